"""Profiles: reading them, changing them atomically, erasing them."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import ReturnDocument
from pymongo.errors import DocumentTooLarge, DuplicateKeyError, OperationFailure

from muster.api import etags, idempotency
from muster.errors import NotFound, PreconditionFailed
from muster.records.bulk import UpsertCounts, is_too_large, too_large, upsert_parts
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.records.rolls import Roll
from muster.records.updates import Changes, pipeline
from muster.transactions import in_transaction

# What others ask of records, in one place.
__all__ = [
    "UpsertCounts",
    "change_part",
    "cohorts_of",
    "create_part",
    "erase",
    "erase_everywhere",
    "experiments_of",
    "has_part",
    "holdings",
    "profile",
    "profile_with",
    "profiles_with",
    "put",
    "registry",
    "upsert_parts",
]

Revs = Collection[int] | None
"""The revisions that a caller's `If-Match` accepts; None when any will do."""

Erasure = Callable[[AsyncIOMotorClientSession, str, ObjectId, str], Awaitable[Mapping[str, int]]]
"""Called with the transaction's session, the project, the profile's `_id` and its pii_id; how much went, by place."""

ERASURES: list[Erasure] = []
"""What else must go with a profile, in the same transaction. `muster.app` fills it.

What lies outside of the database (a file, say) goes by a job that the erasure puts on record in the transaction.
"""

ERASED: list[Callable[[str], Awaitable[object]]] = []
"""Called with the project when an erasure is committed, to hurry what it put on record. `muster.app` fills it."""

SaveAsCohort = Callable[[str, str, str, Roll], Awaitable[tuple[str, str | None]]]
"""Called with owner, project, name and roll: the id of the new cohort, and of the job that still fills it, if any."""

SAVE_AS_COHORT: list[SaveAsCohort] = []
"""Who makes a cohort of the profiles that an import brought. `muster.app` fills it with one."""

MEMBERSHIPS: list[Callable[[str, ObjectId], Awaitable[Sequence[str]]]] = []
"""Who knows the cohorts of a profile: project and `_id` → ids. `muster.app` fills it."""

EXPERIMENTS: list[Callable[[str, ObjectId], Awaitable[Sequence[str]]]] = []
"""Who knows the experiments of a profile: project and `_id` → ids. `muster.app` fills it."""


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

    Raises PreconditionFailed when the profile has none of the `revs`, or is not there and must be.
    """
    found = await _change(project_id, pii_id, changes, {}, revs, upsert=create and revs is None)
    if found is None:
        raise etags.stale()
    return found


async def change_part(project_id: str, pii_id: str, part: str, changes: Changes, *, revs: Revs = None) -> Profile:
    """Apply changes to a profile that has this part. Raises NotFound without it, PreconditionFailed as `put`."""
    while (found := await _change(project_id, pii_id, changes, {part: {"$exists": True}}, revs, upsert=False)) is None:
        await profile_with(project_id, pii_id, part)
        if revs is not None:
            raise etags.stale()
        # It came into being since: the caller set no condition that it could fail.
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


async def erase(project_id: str, pii_id: str, *, revs: Revs = None) -> dict[str, int]:
    """Delete a profile and all that others keep about it, in one transaction; how much of each.

    Raises as `change_part`.
    """

    async def take_out(session: AsyncIOMotorClientSession) -> dict[str, int]:
        found = await _profiles().find_one({"project_id": project_id, "pii_id": pii_id}, session=session)
        if found is None:
            raise NotFound(f"There is no profile {pii_id!r} in {project_id}.")
        if revs is not None and found["rev"] not in revs:
            raise etags.stale()
        removed = {"profiles": 1}
        for erasure in ERASURES:
            removed |= await erasure(session, project_id, found["_id"], pii_id)
        await _profiles().delete_one({"_id": found["_id"]}, session=session)
        return removed

    removed = await in_transaction(_profiles(), take_out)
    for follow in ERASED:
        await follow(project_id)
    return removed


async def erase_everywhere(owner: str, project_id: str, pii_id: str, *, revs: Revs = None) -> dict[str, int]:
    """`erase`, and the kept answers to its owner's requests in which the profile stands, as `kept_answers`."""
    try:
        removed = await erase(project_id, pii_id, revs=revs)
    finally:  # also when there is no such profile: an erasure that was cut off here is asked for again
        answers = await idempotency.forget(owner, pii_id)
    return {**removed, "kept_answers": answers}


async def holdings(project_id: str) -> list[str]:
    """What a project holds of profiles, in words."""
    count = await _profiles().count_documents({"project_id": project_id})
    return [f"{count:,} profiles" if count > 1 else "a profile"] if count else []


async def cohorts_of(profile: Profile) -> list[str]:
    """The ids of the cohorts that this profile is in, in order of their number."""
    found = {cohort for known in MEMBERSHIPS for cohort in await known(profile.project_id, profile.id)}
    return sorted(found, key=lambda cohort: (len(cohort), cohort))


async def experiments_of(profile: Profile) -> list[str]:
    """The ids of the experiments that take this profile, or took it in a run."""
    return [experiment for known in EXPERIMENTS for experiment in await known(profile.project_id, profile.id)]


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
        except (DocumentTooLarge, OperationFailure) as error:
            if is_too_large(error):
                raise too_large() from error
            raise
        return None if found is None else _read(found)


def _read(stored: Mapping[str, Any]) -> Profile:
    read: Profile = Profile.model_validate(stored)
    return read


def _no_part(project_id: str, pii_id: str, part: str) -> NotFound:
    return NotFound(f"There is no {part} {pii_id!r} in {project_id}.")


def _profiles() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Profile.get_motor_collection()
