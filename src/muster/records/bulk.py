"""Many profiles at once: the way of imports, of Attio, of the demo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DocumentTooLarge

from muster.errors import TooLarge
from muster.records.documents import Profile
from muster.records.updates import Changes, creates, differences, parts_of_new, pipeline

_DUPLICATE_KEY = 11000
_TOO_LARGE = {10334, 17419, 17420}  # the server's codes for a document above 16 MB


@dataclass(frozen=True, slots=True)
class UpsertCounts:
    """How a bulk went: `upserted` counts every line that was taken, `unchanged` those that changed nothing."""

    upserted: int
    unchanged: int


Line = tuple[str, Changes]
"""A pii_id, and what to change of its profile."""


async def upsert_parts(project_id: str, lines: Sequence[Line]) -> UpsertCounts:
    """Apply normalised changes in order, each line atomically; an id may stand in several lines.

    A thousand lines at once are best. One read tells which profiles are new, which lines change nothing (they are
    done: at that moment the profile was as they ask), and what the others must write. Those writes name the revision
    that was read; where somebody came between, the line is compared anew, inside the server.
    """
    stored = await _stored(project_id, {pii_id for pii_id, _ in lines})
    new: list[Line] = []
    known: list[tuple[Line, UpdateOne]] = []
    again: list[Line] = []
    seen: set[str] = set()
    for pii_id, changes in lines:
        found = stored.get(pii_id)
        if pii_id in seen:  # whatever the first line of this id does, it does before
            again.append((pii_id, changes))
        elif found is None and creates(changes):
            new.append((pii_id, changes))
        elif found is not None and (difference := differences(found, changes)):
            known.append(((pii_id, changes), _guarded(found, difference)))
        seen.add(pii_id)
    changed, late = await _insert(project_id, new)
    modified, stale = await _modify(known)
    return UpsertCounts(
        upserted=len(lines),
        unchanged=len(lines) - changed - modified - await _compare(project_id, [*late, *stale, *again]),
    )


async def _stored(project_id: str, pii_ids: set[str]) -> dict[str, Mapping[str, Any]]:
    wanted = {"project_id": project_id, "pii_id": {"$in": list(pii_ids)}}
    unneeded = {"project_id": 0, "created_at": 0, "updated_at": 0}
    return {found["pii_id"]: found for found in await _profiles().find(wanted, unneeded).to_list(None)}


def _guarded(found: Mapping[str, Any], difference: Mapping[str, Any]) -> UpdateOne:
    update = {**difference, "$inc": {"rev": 1}, "$currentDate": {"updated_at": True}}
    return UpdateOne({"_id": found["_id"], "rev": found["rev"]}, update)


async def _insert(project_id: str, lines: list[Line]) -> tuple[int, list[Line]]:
    """Create profiles; how many, and the lines whose profile somebody else created in the meantime."""
    if not lines:
        return 0, []
    now = await _server_time()
    documents = [
        {
            "project_id": project_id,
            "pii_id": pii_id,
            **parts_of_new(changes),
            "rev": 1,
            "created_at": now,
            "updated_at": now,
        }
        for pii_id, changes in lines
    ]
    try:
        await _profiles().insert_many(documents, ordered=False)
    except BulkWriteError as error:
        failed = error.details["writeErrors"]
        for failure in failed:
            if failure["code"] != _DUPLICATE_KEY:
                raise
        return len(lines) - len(failed), [lines[failure["index"]] for failure in failed]
    return len(lines), []


async def _modify(known: list[tuple[Line, UpdateOne]]) -> tuple[int, list[Line]]:
    """Write what the read said; how many were written, and the lines to compare anew when one was not.

    The server does not say which of them met another revision. So all are compared anew; those written are as asked.
    """
    if not known:
        return 0, []
    try:
        result = await _profiles().bulk_write([update for _, update in known], ordered=False)
    except BulkWriteError as error:
        raise _refusal(error) from error
    stale = [] if result.matched_count == len(known) else [line for line, _ in known]
    return result.modified_count, stale


async def _compare(project_id: str, lines: list[Line]) -> int:
    """Apply changes in order, each compared where it is written; how many changed anything."""
    pending = [
        UpdateOne({"project_id": project_id, "pii_id": pii_id}, pipeline(changes), upsert=creates(changes))
        for pii_id, changes in lines
        if changes
    ]
    changed = 0
    while pending:
        try:
            result: Mapping[str, Any] = (await _profiles().bulk_write(pending, ordered=True)).bulk_api_result
            pending = []
        except BulkWriteError as error:
            result = error.details
            failed = result["writeErrors"][0]
            if failed["code"] != _DUPLICATE_KEY:
                raise _refusal(error) from error
            pending = pending[failed["index"] :]  # somebody created the same profile just now: it is an update now
        changed += result["nUpserted"] + result["nModified"]
    return changed


def _refusal(error: BulkWriteError) -> Exception:
    codes = {failed["code"] for failed in error.details["writeErrors"]}
    return too_large() if codes & _TOO_LARGE else error


def is_too_large(error: Exception) -> bool:
    """Whether MongoDB refused a document for its size."""
    return isinstance(error, DocumentTooLarge) or getattr(error, "code", None) in _TOO_LARGE


def too_large() -> TooLarge:
    """The error for a profile that would pass MongoDB's limit."""
    return TooLarge("A profile would be larger than MongoDB stores (16 MB); shorten its longest values.")


async def _server_time() -> datetime:
    """MongoDB's clock, as in every other write of a profile: the clocks of our own hosts may differ."""
    hello = await _profiles().database.command("hello")
    now: datetime = hello["localTime"]
    return now


def _profiles() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Profile.get_motor_collection()
