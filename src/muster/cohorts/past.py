"""Who was in a cohort at a past moment, since when, and why."""

from collections.abc import Sequence
from datetime import datetime

from bson import ObjectId

from muster.api.paging import decode_cursor, encode_cursor, object_id
from muster.cohorts import members
from muster.cohorts.changes import BEHIND_EVERY_ID, BY_PROFILE, cause_of
from muster.cohorts.documents import Change
from muster.cohorts.schemas import MemberOut
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.cohorts.undoing import Base, Row, base_of, members_at


async def page(
    owner: str, cohort_id: str, at: datetime, *, limit: int, cursor: str | None
) -> tuple[list[MemberOut], str | None]:
    """A page of the members of a moment, in the order of their profiles. A moment to come is the present one.

    Names and addresses are those of today; whoever was erased since is left out. The cursor keeps the moment. A page
    may be short, or empty, while there is another: where most members of now were none then, it ends in between.
    """
    await cohort_of(owner, cohort_id)
    after = ""
    if cursor is not None:
        at, after = decode_cursor(cursor, datetime, str)
        object_id(after)
    async with open_snapshot() as snapshot:
        at = min(at, snapshot.now)
        base = await base_of(cohort_id, at, snapshot)
        if base is None:
            return [], None
        found, after = await members_at(base, at, after, limit + 1, snapshot)
        if len(found) > limit:
            after = found[limit - 1][0]
        rows = await _entered(base, at, found[:limit], snapshot)
    return await members.shown(rows), None if after == BEHIND_EVERY_ID else encode_cursor((at, after))


async def _entered(base: Base, at: datetime, items: Sequence[tuple[str, Row | None]], snapshot: Snapshot) -> list[Row]:
    """The rows of then: those that have not changed since, and for the others what their last entry says."""
    gone = [ObjectId(profile) for profile, row in items if row is None or row["entered_at"] > at]
    last: dict[str, Row] = {}
    if gone:
        query = {"cohort": base.cohort_id, "profile": {"$in": gone}, "at": {"$lte": at}, "change": "entered"}
        shown = {"_id": 0, "profile": 1, "at": 1, "cause": 1}
        entries = Change.get_motor_collection().find(query, shown, session=snapshot.session, hint=BY_PROFILE)
        async for entry in entries.sort([("profile", 1), ("at", 1)]):
            last[str(entry["profile"])] = {**entry, "entered_at": entry["at"]}
    rows: list[Row] = []
    for profile, row in items:
        if row is None or row["entered_at"] > at:
            row = last.get(profile) or _by_first_fill(base, profile)  # noqa: PLW2901
        if row is not None:
            rows.append(row)
    return rows


def _by_first_fill(base: Base, profile: str) -> Row | None:
    """Members from the first run on have no entry of their own."""
    if base.first is None:
        return None
    return {"profile": ObjectId(profile), "entered_at": base.first.at, "cause": cause_of(base.first.cause)}
