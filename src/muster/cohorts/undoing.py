"""The members of a past moment: those of a later one, with the changes since then undone.

Of each profile its first change after the moment decides: whoever left by it was a member, whoever entered was not. The
later moment is the present; while the difference of a run is still being written, it is the one before that run, whose
rows have not changed since. So the answer is exact at any time, and stays the same while changes come in.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from muster.cohorts.changes import BEHIND_EVERY_ID, BY_PROFILE, between
from muster.cohorts.documents import Change, Cohort, Membership, Run, RunState, generation_id
from muster.cohorts.snapshot import Snapshot

ROWS_AT_ONCE = 1_000
CHANGES_AT_ONCE = 10_000
MOST_LOOKS = 50  # at rows and changes, for one page

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Base:
    """The generation to go back from, and the run that began the history of its cohort, if one did."""

    cohort_id: str
    number: int
    first: Run | None

    def changes_after(self, at: datetime) -> dict[str, Any]:
        """What may have to be undone."""
        return {"cohort": self.cohort_id, "at": {"$gt": at}, "generation": {"$lte": self.number}}


async def base_of(cohort_id: str, at: datetime, snapshot: Snapshot) -> Base | None:
    """None before there were members, or any runs."""
    cohort = await Cohort.find_one({"_id": cohort_id}, session=snapshot.session)
    if cohort is None or cohort.active is None:
        return None
    of_cohort = {"cohort": cohort_id, "state": RunState.SUCCEEDED.value}
    fills = Run.find({**of_cohort, "previous": None}, session=snapshot.session)
    first = await fills.sort("-at").first_or_none()
    if first is not None and at < first.at:
        return None
    pending = Run.find({**of_cohort, "pending": True, "at": {"$gt": at}}, session=snapshot.session)
    being_written = await pending.sort("at").first_or_none()
    replaced = being_written.previous if being_written else None
    return Base(cohort_id, cohort.active.number if replaced is None else replaced, first)


async def profiles_at(cohort_id: str, at: datetime, snapshot: Snapshot) -> AsyncIterator[list[ObjectId]]:
    """The ids of all who were members, in batches, in their order; nobody before there were members."""
    base = await base_of(cohort_id, at, snapshot)
    after = "" if base is not None else BEHIND_EVERY_ID
    while base is not None and after != BEHIND_EVERY_ID:
        found, after = await members_at(base, at, after, ROWS_AT_ONCE, snapshot)
        yield [ObjectId(profile) for profile, _ in found]


async def members_at(
    base: Base, at: datetime, after: str, limit: int, snapshot: Snapshot
) -> tuple[list[tuple[str, Row | None]], str]:
    """The next profiles that were members, in hexadecimal, each with its row if it still, or again, has one.

    At least `limit` of them if there are so many, unless MOST_LOOKS come first; and behind which profile to go on.
    """
    found: list[tuple[str, Row | None]] = []
    at_once = min(limit, ROWS_AT_ONCE)
    for _ in range(MOST_LOOKS):
        rows = await _rows(base, after, at_once, snapshot)
        upto = max(rows) if len(rows) == at_once else BEHIND_EVERY_ID
        undone, upto = await _first_changes(base, at, after, upto, snapshot)
        then: dict[str, Row | None] = {profile: row for profile, row in rows.items() if profile <= upto}
        for profile, was_member in undone.items():
            if was_member:
                then.setdefault(profile, None)
            else:
                then.pop(profile, None)
        found += sorted(then.items())
        after = upto
        if len(found) >= limit or after == BEHIND_EVERY_ID:
            break
        at_once = min(2 * at_once, ROWS_AT_ONCE)  # most of those of now were no members then
    return found, after


async def _rows(base: Base, after: str, limit: int, snapshot: Snapshot) -> dict[str, Row]:
    prefix = generation_id(base.cohort_id, base.number) + "|"
    rows = Membership.get_motor_collection().find(
        {"_id": {"$gt": prefix + after, "$lt": prefix + BEHIND_EVERY_ID}, "in": True},
        {"profile": 1, "entered_at": 1, "cause": 1},
        session=snapshot.session,
    )
    return {str(row["profile"]): row for row in await rows.sort("_id", 1).limit(limit).to_list(None)}


async def _first_changes(
    base: Base, at: datetime, after: str, upto: str, snapshot: Snapshot
) -> tuple[dict[str, bool], str]:
    """Whether profiles were members, as their first change since tells; and up to which profile that is complete."""
    query = {**base.changes_after(at), "profile": between(after, upto)}
    changes = Change.get_motor_collection().find(
        query,
        {"_id": 0, "profile": 1, "change": 1},
        session=snapshot.session,
        batch_size=CHANGES_AT_ONCE,
        hint=BY_PROFILE,
    )
    found = await changes.sort([("profile", 1), ("at", 1)]).limit(CHANGES_AT_ONCE).to_list(None)
    first: dict[str, bool] = {}
    for change in found:
        first.setdefault(str(change["profile"]), change["change"] == "left")
    if len(found) == CHANGES_AT_ONCE:
        upto = str(found[-1]["profile"])
    return first, upto
