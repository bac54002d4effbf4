"""Streams of the profiles that a plan matches, or that a list names, as of one moment; memory stays bounded."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Cohort, Membership, generation_id
from muster.cohorts.reading import hint_for
from muster.cohorts.snapshot import Snapshot
from muster.records.documents import Profile
from muster.rules import Plan, Rule, plan_rule

MOST_PASSED_ALONG = 100_000  # ids of a static cohort in one filter: two megabytes of the sixteen that MongoDB takes
BATCH = 5_000  # profiles read, and rows written, at once: more are no faster
LONGEST_BREATH = 0.01  # seconds that Python decides before others in this process have their turn
BETWEEN_LOOKS_AT_THE_CLOCK = 50  # profiles

Batches = AsyncGenerator[list[ObjectId], None]


@dataclass(slots=True)
class Scan:
    """How many profiles a stream has looked at so far, and of how many, once that is known."""

    scanned: int = 0
    total: int | None = None


async def planned(rule: Rule, session: AsyncIOMotorClientSession | None = None) -> Plan:
    """How a rule runs, given the members of the static cohorts that it looks into, as the session sees them."""
    members: dict[str, set[ObjectId]] = {}
    for cohort_id in rule.looked_up:
        found = await Cohort.get_motor_collection().find_one({"_id": cohort_id}, {"active.number": 1}, session=session)
        active = (found or {}).get("active")
        members[cohort_id] = await _members(generation_id(cohort_id, active["number"]), session) if active else set()
    large = {cohort_id for cohort_id, ids in members.items() if len(ids) > MOST_PASSED_ALONG}
    return plan_rule(rule, large).given(members)


async def _members(generation: str, session: AsyncIOMotorClientSession | None) -> set[ObjectId]:
    rows = Membership.get_motor_collection().find(
        {"generation": generation, "in": True}, {"_id": 0, "profile": 1}, session=session, batch_size=10 * BATCH
    )
    return {row["profile"] async for row in rows}


async def matching(project_id: str, plan: Plan, snapshot: Snapshot, now: datetime, scan: Scan | None = None) -> Batches:
    """The ids of the profiles that a plan matches, in batches; the next is read while the caller has one.

    The snapshot's session is for this stream until its end.
    """
    scan = scan or Scan()
    projection = {"_id": 1} if plan.residual is None else {"_id": 1, **plan.projection}
    cursor = Profile.get_motor_collection().find(
        filter_for(project_id, plan, now), projection, session=snapshot.session, batch_size=BATCH
    )
    if (hint := await hint_for(project_id, plan, now, snapshot.session)) is not None:
        cursor = cursor.hint(hint)
    async with aclosing(in_batches(cursor, BATCH)) as batches:
        async for profiles in batches:
            scan.scanned += len(profiles)
            yield await accepted(plan, profiles, now)


async def in_batches(cursor: Any, size: int) -> AsyncGenerator[list[dict[str, Any]], None]:
    """What a cursor finds, the next batch on its way while the caller has one."""
    coming = asyncio.ensure_future(cursor.to_list(size))
    try:
        while found := await asyncio.shield(coming):
            coming = asyncio.ensure_future(cursor.to_list(size))
            yield found
    finally:
        await asyncio.wait({coming})  # a cursor is used by one thread at a time
        coming.exception()
        await cursor.close()


async def accepted(plan: Plan, profiles: Sequence[Mapping[str, Any]], now: datetime) -> list[ObjectId]:
    """The ids of those that Python lets in, too, of profiles that passed the filter of a plan."""
    if plan.residual is None:
        return [profile["_id"] for profile in profiles]
    found: list[ObjectId] = []
    breath = time.perf_counter()
    for start in range(0, len(profiles), BETWEEN_LOOKS_AT_THE_CLOCK):
        some = profiles[start : start + BETWEEN_LOOKS_AT_THE_CLOCK]
        found += [profile["_id"] for profile in some if plan.accepts(profile, now)]
        if time.perf_counter() - breath > LONGEST_BREATH:
            await asyncio.sleep(0)
            breath = time.perf_counter()
    return found


def filter_for(project_id: str, plan: Plan, now: datetime) -> dict[str, Any]:
    """What MongoDB decides of a plan, within a project."""
    return {"$and": [{"project_id": project_id}, plan.match_at(now)]}
