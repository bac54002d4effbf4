"""Profiles: reading them, changing them atomically, erasing them."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError, DocumentTooLarge, DuplicateKeyError, OperationFailure, WriteError

from muster.api import etags
from muster.errors import NotFound, PreconditionFailed, TooLarge
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.records.updates import Changes, creates, pipeline

__all__ = ["registry"]  # asked for together with profiles

Revs = Collection[int] | None
"""The revisions that a caller's `If-Match` accepts; None when any will do."""

Erasure = Callable[[AsyncIOMotorClientSession, str, ObjectId, str], Awaitable[None]]
"""Called with the transaction's session, the project, the profile's `_id` and its pii_id."""

ERASURES: list[Erasure] = []
"""What else must go with a profile, in the same transaction. `muster.app` fills it."""

MEMBERSHIPS: list[Callable[[str, ObjectId], Awaitable[Sequence[str]]]] = []
"""Who knows the cohorts of a profile: project and `_id` → ids. `muster.app` fills it."""

_DUPLICATE_KEY = 11000
_TOO_LARGE = {10334, 17419, 17420}  # the server's codes for a document above 16 MB


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """How a bulk went: `upserted` counts every line that was taken, `unchanged` those that changed nothing."""

    upserted: int
    unchanged: int


async def profile(project_id: str, pii_id: str) -> Profile:
    """The profile of this id. Raises NotFound."""
    found = await _profiles().find_one({"project_id": project_id, "pii_id": pii_id})
    if found is None:
        raise NotFound(f"There is no profile {pii_id!r} in {project_id}.")
    return _read(found)


async def profile_with(project_id: str, pii_id: str, part: str) -> Profile:
    """The profile of this id, if it has this part. Raises NotFound."""
    found = await _profiles().find_one({"project_id": project_id, "pii_id": pii_id, part: {"$exists": True}})
    if found is None:
        raise _no_part(project_id, pii_id, part)
    return _read(found)


async def has_part(project_id: str, pii_id: str, part: str) -> bool:
    """Whether there is a profile of this id with this part."""
    wanted = {"project_id": project_id, "pii_id": pii_id, part: {"$exists": True}}
    return await _profiles().find_one(wanted, {"_id": 1}) is not None


async def profiles_with(project_id: str, part: str, after: str | None, limit: int) -> list[Profile]:
    """Up to `limit` profiles that have this part, in the order of their pii_id, from behind `after`."""
    wanted: dict[str, Any] = {"project_id": project_id, part: {"$exists": True}}
    if after is not None:
        wanted["pii_id"] = {"$gt": after}
    found = await _profiles().find(wanted).sort("pii_id", 1).limit(limit).to_list(None)
    return [_read(one) for one in found]


async def put(project_id: str, pii_id: str, changes: Changes, *, revs: Revs = None, create: bool = True) -> Profile:
    """Apply changes to the profile of this id, which comes into being if need be and `create`.

    Raises PreconditionFailed when `revs` are given and the profile has another revision, or is not there; NotFound
    when it is not there and must be.
    """
    found = await _change(project_id, pii_id, changes, {}, revs, upsert=create and revs is None)
    if found is None:
        raise etags.stale() if revs is not None else NotFound(f"There is no profile {pii_id!r} in {project_id}.")
    return found


async def change_part(project_id: str, pii_id: str, part: str, changes: Changes, *, revs: Revs = None) -> Profile:
    """Apply changes to a profile that has this part. Raises NotFound without it, PreconditionFailed as `put`."""
    found = await _change(project_id, pii_id, changes, {part: {"$exists": True}}, revs, upsert=False)
    if found is None:
        await profile_with(project_id, pii_id, part)
        raise etags.stale()
    return found


async def create_part(project_id: str, pii_id: str, part: str, changes: Changes) -> Profile:
    """Apply changes to a profile that has not this part yet. Raises PreconditionFailed when it has."""
    try:
        found = await _change(project_id, pii_id, changes, {part: {"$exists": False}}, None, upsert=True, retry=False)
    except DuplicateKeyError:
        found = None
    if found is None:
        raise PreconditionFailed(f"If-None-Match: the {part} {pii_id!r} exists already.")
    return found


async def erase(project_id: str, pii_id: str, *, revs: Revs = None) -> None:
    """Delete a profile and all that others keep about it, in one transaction. Raises as `change_part`."""

    async def in_transaction(session: AsyncIOMotorClientSession) -> None:
        found = await _profiles().find_one({"project_id": project_id, "pii_id": pii_id}, session=session)
        if found is None:
            raise NotFound(f"There is no profile {pii_id!r} in {project_id}.")
        if revs is not None and found["rev"] not in revs:
            raise etags.stale()
        for erasure in ERASURES:
            await erasure(session, project_id, found["_id"], pii_id)
        await _profiles().delete_one({"_id": found["_id"]}, session=session)

    async with await _profiles().database.client.start_session() as session:
        await session.with_transaction(in_transaction)


async def holdings(project_id: str) -> list[str]:
    """What a project holds of profiles, in words."""
    if await _profiles().find_one({"project_id": project_id}, {"_id": 1}) is None:
        return []
    count = await _profiles().count_documents({"project_id": project_id})
    return [f"{count:,} profiles" if count > 1 else "a profile"]


async def cohorts_of(profile: Profile) -> list[str]:
    """The ids of the cohorts that this profile is in, in order of their number."""
    found = {cohort for known in MEMBERSHIPS for cohort in await known(profile.project_id, profile.id)}
    return sorted(found, key=lambda cohort: (len(cohort), cohort))


async def upsert_parts(project_id: str, lines: Sequence[tuple[str, Changes]]) -> UpsertCounts:
    """Apply normalised changes in order, each line atomically; an id may stand in several lines.

    A few thousand lines at once are best: they are one message to the server.
    """
    pending = [
        UpdateOne({"project_id": project_id, "pii_id": pii_id}, pipeline(changes), upsert=creates(changes))
        for pii_id, changes in lines
        if changes
    ]
    changed = 0
    while pending:
        try:
            result = (await _profiles().bulk_write(pending, ordered=True)).bulk_api_result
            pending = []
        except BulkWriteError as error:
            result = dict(error.details)
            failed = result["writeErrors"][0]
            if failed["code"] in _TOO_LARGE:
                raise TooLarge(_too_large(lines[len(lines) - len(pending) + failed["index"]][0])) from error
            if failed["code"] != _DUPLICATE_KEY:
                raise
            pending = pending[failed["index"] :]  # somebody created the same profile just now: it is an update now
        changed += result["nUpserted"] + result["nModified"]
    return UpsertCounts(upserted=len(lines), unchanged=len(lines) - changed)


async def _change(
    project_id: str,
    pii_id: str,
    changes: Changes,
    condition: Mapping[str, Any],
    revs: Revs,
    *,
    upsert: bool,
    retry: bool = True,
) -> Profile | None:
    """One atomic change; None when no profile meets the condition and revisions."""
    wanted: dict[str, Any] = {"project_id": project_id, "pii_id": pii_id, **condition}
    if revs is not None:
        wanted["rev"] = {"$in": list(revs)}
    while True:
        try:
            found = await _profiles().find_one_and_update(
                wanted, pipeline(changes), upsert=upsert, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # somebody created the same profile just now: it is an update now
            if not retry:
                raise
            continue
        except (DocumentTooLarge, WriteError, OperationFailure) as error:
            if isinstance(error, DocumentTooLarge) or getattr(error, "code", None) in _TOO_LARGE:
                raise TooLarge(_too_large(pii_id)) from error
            raise
        return None if found is None else _read(found)


def _read(stored: Mapping[str, Any]) -> Profile:
    read: Profile = Profile.model_validate(stored)
    return read


def _no_part(project_id: str, pii_id: str, part: str) -> NotFound:
    return NotFound(f"There is no {part} {pii_id!r} in {project_id}.")


def _too_large(pii_id: str) -> str:
    return f"The profile {pii_id!r} would become larger than MongoDB stores (16 MB); shorten its longest values."


def _profiles() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Profile.get_motor_collection()
