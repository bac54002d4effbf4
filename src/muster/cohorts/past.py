"""Who was in a cohort at a past moment: the members of a later one, with the changes since then undone.

Of each profile its first change after the moment decides: whoever left by it was a member, whoever entered was not. The
later moment is the present; while the difference of a run is still being written, it is the one before that run, whose
rows have not changed since. So the answer is exact at any time, and stays the same while changes come in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from muster.api.paging import decode_cursor, object_id, page_of
from muster.cohorts import members
from muster.cohorts.changes import BEHIND_EVERY_ID, between, cause_of
from muster.cohorts.documents import Change, Cohort, Membership, Run, RunState, generation_id
from muster.cohorts.schemas import MemberOut
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import Snapshot, open_snapshot

ROWS_AT_ONCE = 1_000
CHANGES_AT_ONCE = 10_000

Row = Mapping[str, Any]


async def page(
    owner: str, cohort_id: str, at: datetime, *, limit: int, cursor: str | None
) -> tuple[list[MemberOut], str | None]:
    """A page of the members of a moment, in the order of their profiles. A moment to come is the present one.

    Names and addresses are those of today; whoever was erased since is left out. The cursor keeps the moment.
    """
    await cohort_of(owner, cohort_id)
    after = ""
    if cursor is not None:
        at, after = decode_cursor(cursor, datetime, str)
        object_id(after)
    async with open_snapshot() as snapshot:
        at = min(at, snapshot.now)
        base = await _base(cohort_id, at, snapshot)
        found = [] if base is None else await _members(base, at, after, limit + 1, snapshot)
        items, next_cursor = page_of(found, limit, lambda last: (at, last[0]))
        rows = [] if base is None else await _entered(base, at, items, snapshot)
    return await members.shown(rows), next_cursor


@dataclass(frozen=True, slots=True)
class _Base:
    """The generation to go back from, and the run that began the history of its cohort, if one did."""

    cohort_id: str
    number: int
    first: Run | None

    def changes_after(self, at: datetime) -> dict[str, Any]:
        """What may have to be undone."""
        return {"cohort": self.cohort_id, "at": {"$gt": at}, "generation": {"$lte": self.number}}


async def _base(cohort_id: str, at: datetime, snapshot: Snapshot) -> _Base | None:
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
    return _Base(cohort_id, cohort.active.number if replaced is None else replaced, first)


async def _members(
    base: _Base, at: datetime, after: str, limit: int, snapshot: Snapshot
) -> list[tuple[str, Row | None]]:
    """The next profiles that were members, in hexadecimal, each with its row if it still, or again, has one."""
    found: list[tuple[str, Row | None]] = []
    while len(found) < limit and after != BEHIND_EVERY_ID:
        rows = await _rows(base, after, snapshot)
        upto = max(rows) if len(rows) == ROWS_AT_ONCE else BEHIND_EVERY_ID
        undone, upto = await _first_changes(base, at, after, upto, snapshot)
        then: dict[str, Row | None] = {profile: row for profile, row in rows.items() if profile <= upto}
        for profile, was_member in undone.items():
            if was_member:
                then.setdefault(profile, None)
            else:
                then.pop(profile, None)
        found += sorted(then.items())
        after = upto
    return found[:limit]


async def _rows(base: _Base, after: str, snapshot: Snapshot) -> dict[str, Row]:
    prefix = generation_id(base.cohort_id, base.number) + "|"
    rows = Membership.get_motor_collection().find(
        {"_id": {"$gt": prefix + after, "$lt": prefix + BEHIND_EVERY_ID}, "in": True},
        {"profile": 1, "entered_at": 1, "cause": 1},
        session=snapshot.session,
    )
    return {str(row["profile"]): row for row in await rows.sort("_id", 1).limit(ROWS_AT_ONCE).to_list(None)}


async def _first_changes(
    base: _Base, at: datetime, after: str, upto: str, snapshot: Snapshot
) -> tuple[dict[str, bool], str]:
    """Whether profiles were members, as their first change since tells; and up to which profile that is complete."""
    query = {**base.changes_after(at), "profile": between(after, upto)}
    changes = Change.get_motor_collection().find(
        query, {"_id": 0, "profile": 1, "change": 1}, session=snapshot.session, batch_size=CHANGES_AT_ONCE
    )
    found = await changes.sort([("profile", 1), ("at", 1)]).limit(CHANGES_AT_ONCE).to_list(None)
    first: dict[str, bool] = {}
    for change in found:
        first.setdefault(str(change["profile"]), change["change"] == "left")
    if len(found) == CHANGES_AT_ONCE:
        upto = str(found[-1]["profile"])
    return first, upto


async def _entered(base: _Base, at: datetime, items: Sequence[tuple[str, Row | None]], snapshot: Snapshot) -> list[Row]:
    """The rows of then: those that have not changed since, and for the others what their last entry says."""
    gone = [ObjectId(profile) for profile, row in items if row is None or row["entered_at"] > at]
    last: dict[str, Row] = {}
    if gone:
        query = {"cohort": base.cohort_id, "profile": {"$in": gone}, "at": {"$lte": at}, "change": "entered"}
        shown = {"_id": 0, "profile": 1, "at": 1, "cause": 1}
        entries = Change.get_motor_collection().find(query, shown, session=snapshot.session)
        async for entry in entries.sort([("profile", 1), ("at", 1)]):
            last[str(entry["profile"])] = {**entry, "entered_at": entry["at"]}
    rows: list[Row] = []
    for profile, row in items:
        if row is None or row["entered_at"] > at:
            row = last.get(profile) or _by_first_fill(base, profile)  # noqa: PLW2901
        if row is not None:
            rows.append(row)
    return rows


def _by_first_fill(base: _Base, profile: str) -> Row | None:
    """Members from the first run on have no entry of their own."""
    if base.first is None:
        return None
    return {"profile": ObjectId(profile), "entered_at": base.first.at, "cause": cause_of(base.first.cause)}
