"""How MongoDB shall read the profiles of a plan: by an index on a field, by that on ids, or all from end to end.

Left alone, MongoDB takes an index wherever there is one, also when it leads to most of the collection: then fetching
document by document takes two to four times as long as reading from end to end. And it remembers the index that was
good for one rule for all rules of the same form. So indexes are asked how much they would lead to, and no further than
it is worth.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import OperationFailure

from muster.records.documents import Profile
from muster.records.indexes import index_name, ready_fields
from muster.rules import PROFILE_ID, AccessPath, Plan

Hint = str | list[tuple[str, int]] | None
"""For `find` and `count_documents`; None leaves it to MongoDB."""

FULL_READ: list[tuple[str, int]] = [("$natural", 1)]
WORTH_A_FULL_READ = 0.3  # share of all profiles that the project holds
WORTH_AN_INDEX = 0.1  # share of all profiles that the index leads to
MOST_BY_INDEX = 100_000  # profiles: so many entries are counted in a few hundredths of a second
MOST_PATHS = 4

SHARE_SAMPLE = 40
SHARE_HOLDS = 60.0  # seconds: sampling takes longer than many a read
MOST_SHARES = 10_000

_NO_SUCH_INDEX = 2  # that is, for this snapshot
_INDEX_DROPPED = 175  # while the query ran


async def hint_for(
    project_id: str,
    plan: Plan,
    now: datetime,
    session: AsyncIOMotorClientSession | None = None,
    *,
    comment: Any = None,
) -> Hint:
    """How to read what a plan lets through, as the session sees it. `comment` goes with every query."""
    if plan.finds_nobody:
        return None  # MongoDB sees that by itself, unless it is told to read everything
    if plan.access_paths:
        ready = await ready_fields() | {PROFILE_ID}
        paths = [path for path in plan.access_paths if path.fields <= ready]
        found = await _shortest(project_id, plan, now, paths[:MOST_PATHS], _Asking(session, comment)) if paths else None
        if found is not None:
            (branch, *others) = found.branches
            if others:
                return None  # a hint names one index; MongoDB finds the way by several when nothing stands against it
            return "_id_" if branch.field == PROFILE_ID else index_name(branch.field)
    return FULL_READ if await _share(project_id, comment) >= WORTH_A_FULL_READ else None


async def hint_for_ranges(project_id: str, fields: Collection[str]) -> Hint:
    """How to read a few narrow ranges of these fields, any of which may hold."""
    if await ready_fields() >= frozenset(fields):
        return None  # MongoDB finds the way by all of them
    return FULL_READ if await _share(project_id, None) >= WORTH_A_FULL_READ else None


def most_by_index(total: int) -> int:
    """How many profiles of so many an index may lead to."""
    return min(MOST_BY_INDEX, int(total * WORTH_AN_INDEX))


def is_without_index(error: OperationFailure) -> bool:
    """Whether a query failed because the index that it was to use is gone."""
    return error.code in {_NO_SUCH_INDEX, _INDEX_DROPPED}


@dataclass(frozen=True, slots=True)
class _Asking:
    """As whom to ask MongoDB."""

    session: AsyncIOMotorClientSession | None
    comment: Any


async def _shortest(
    project_id: str, plan: Plan, now: datetime, paths: Sequence[AccessPath], asking: _Asking
) -> AccessPath | None:
    """The path that leads to the fewest profiles, if they are few enough."""
    fewest = most_by_index(await Profile.get_motor_collection().estimated_document_count()) + 1
    shortest = None
    for path in paths:
        named = sum(plan.named(branch) or 0 for branch in path.branches)
        others = {
            index_name(branch.field): {"$and": [{"project_id": project_id}, plan.filter_of(branch.condition, now)]}
            for branch in path.branches
            if branch.field != PROFILE_ID
        }
        length = named + await _length(others, fewest, asking)
        if length < fewest:
            fewest, shortest = length, path
    return shortest


async def _length(branches: Mapping[str, Mapping[str, Any]], limit: int, asking: _Asking) -> int:
    """How many profiles indexes lead to, by their names, `limit` at the most."""
    length = 0
    for name, query in branches.items():
        try:
            length += await Profile.get_motor_collection().count_documents(
                query, limit=limit, hint=name, session=asking.session, comment=asking.comment
            )
        except OperationFailure as error:
            if not is_without_index(error):
                raise
            return limit  # built since the snapshot was taken, or dropped just now
    return min(length, limit)


@dataclass(frozen=True, slots=True)
class _Share:
    """Which share of all profiles a project holds, as sampled of `total`."""

    share: float
    total: int
    until: float

    def holds(self, total: int) -> bool:
        """Whether it is still to be believed."""
        return time.monotonic() < self.until and 4 * abs(total - self.total) <= self.total


_shares: dict[str, _Share] = {}


async def _share(project_id: str, comment: Any) -> float:
    """About which share of all profiles a project holds."""
    total = await Profile.get_motor_collection().estimated_document_count()
    known = _shares.get(project_id)
    if known is not None and known.holds(total):
        return known.share
    sample = Profile.get_motor_collection().aggregate(
        [{"$sample": {"size": SHARE_SAMPLE}}, {"$match": {"project_id": project_id}}, {"$count": "ours"}],
        comment=comment,
    )
    found = await sample.to_list(None)
    share: float = found[0]["ours"] / SHARE_SAMPLE if found else 0.0
    if len(_shares) > MOST_SHARES:
        _shares.clear()
    _shares[project_id] = _Share(share, total, time.monotonic() + SHARE_HOLDS)
    return share
