"""What became of a cohort: who entered and left, and its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from muster.api.paging import decode_cursor, object_id, page_of
from muster.cohorts.documents import Cause, Change, Cohort, Run, RunState
from muster.cohorts.service import cohort_of
from muster.records.documents import Profile

Order = Literal["newest", "oldest"]
Stored = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which changes are asked for; both ends of the time are included."""

    change: Literal["entered", "left"] | None = None
    cause: Cause | None = None
    pii_id: str | None = None
    run: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def changes_page(
    owner: str, cohort_id: str, wanted: Filter, *, order: Order, limit: int, cursor: str | None
) -> tuple[Sequence[Stored], str | None]:
    """A page of a cohort's changes, those of erased profiles left out; any page costs the same."""
    query = await _query(await cohort_of(owner, cohort_id), wanted)
    if query is None:
        return [], None
    direction, beyond = (-1, "$lt") if order == "newest" else (1, "$gt")
    if cursor is not None:
        at, entry = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"at": {beyond: at}}, {"at": at, "_id": {beyond: object_id(entry)}}]
    found = Change.get_motor_collection().find(query).sort([("at", direction), ("_id", direction)])
    return page_of(await found.limit(limit + 1).to_list(None), limit, lambda last: (last["at"], str(last["_id"])))


async def _query(cohort: Cohort, wanted: Filter) -> dict[str, Any] | None:
    """The changes that are asked for; None when there can be none."""
    query: dict[str, Any] = {"cohort": cohort.id, "pii_id": {"$type": "string"}, "at": {}}
    for name in ("change", "cause", "run"):
        if (value := getattr(wanted, name)) is not None:
            query[name] = str(value)
    query["at"] |= {"$gte": wanted.since} if wanted.since else {}
    query["at"] |= {"$lte": wanted.until} if wanted.until else {}
    if wanted.pii_id is not None:
        # Whoever had this name before was erased, and has no name in any entry.
        named = {"project_id": cohort.project_id, "pii_id": wanted.pii_id}
        profile = await Profile.get_motor_collection().find_one(named, {"_id": 1})
        if profile is None:
            return None
        query["profile"] = profile["_id"]
    if wanted.run is not None:
        run = await Run.find_one({"_id": wanted.run, "cohort": cohort.id})
        if run is None:
            return None
        query["at"]["$eq"] = run.at  # all of its changes are of one moment
    if not query["at"]:
        del query["at"]
    return query


async def runs_page(
    owner: str, cohort_id: str, *, state: RunState | None, limit: int, cursor: str | None
) -> tuple[list[Run], str | None]:
    """A page of a cohort's runs, newest first, also those that came to nothing."""
    await cohort_of(owner, cohort_id)
    query: dict[str, Any] = {"cohort": cohort_id}
    if state is not None:
        query["state"] = state.value
    if cursor is not None:
        at, run = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": run}}]
    rows = await Run.find(query).sort("-at", "-_id").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda run: (run.at, run.id))
