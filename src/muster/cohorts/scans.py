"""Streams of the profiles that a plan matches, or that a list names, as of one moment; memory stays bounded."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Cohort, Membership, generation_id
from muster.cohorts.snapshot import Snapshot
from muster.records.documents import Profile
from muster.rules import Plan, Rule, plan_rule

MOST_PASSED_ALONG = 100_000  # ids of a static cohort in one filter: two megabytes of the sixteen that MongoDB takes
BATCH = 5_000  # profiles read, and rows written, at once: more are no faster
RESIDUAL_BATCH = 500  # profiles that Python decides between two chances for others in this process

# The planner's only choice for a project is its index on ids, which fetches document by document. Reading the
# collection from end to end is two to four times faster as soon as the project holds a fair part of it.
WORTH_A_FULL_READ = 0.3
SHARE_SAMPLE = 40

Batches = AsyncIterator[list[ObjectId]]


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
    """The ids of the profiles that a plan matches, in batches."""
    scan = scan or Scan()
    projection = {"_id": 1} if plan.residual is None else {"_id": 1, **plan.projection}
    cursor = Profile.get_motor_collection().find(
        filter_for(project_id, plan, now), projection, session=snapshot.session, batch_size=BATCH
    )
    if (hint := await reading_order(project_id)) is not None:
        cursor = cursor.hint(hint)
    while profiles := await cursor.to_list(BATCH):
        scan.scanned += len(profiles)
        if plan.residual is None:
            yield [profile["_id"] for profile in profiles]
            continue
        accepted: list[ObjectId] = []
        for start in range(0, len(profiles), RESIDUAL_BATCH):
            batch = profiles[start : start + RESIDUAL_BATCH]
            accepted += [profile["_id"] for profile in batch if plan.accepts(profile, now)]
            await asyncio.sleep(0)
        yield accepted


async def listed(project_id: str, members: Sequence[str], snapshot: Snapshot, scan: Scan) -> Batches:
    """The ids of the profiles on a list that exist, in batches."""
    wanted = list(dict.fromkeys(members))
    scan.total = len(wanted)
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        found = Profile.get_motor_collection().find(
            {"project_id": project_id, "pii_id": {"$in": part}}, {"_id": 1}, session=snapshot.session
        )
        scan.scanned += len(part)
        yield [profile["_id"] async for profile in found]


def filter_for(project_id: str, plan: Plan, now: datetime) -> dict[str, Any]:
    """What MongoDB decides of a plan, within a project."""
    return {"$and": [{"project_id": project_id}, plan.match_at(now)]}


async def reading_order(project_id: str) -> list[tuple[str, int]] | None:
    """The hint to read all of `profiles` from end to end, where that is the quicker way; else None."""
    sample = Profile.get_motor_collection().aggregate(
        [{"$sample": {"size": SHARE_SAMPLE}}, {"$match": {"project_id": project_id}}, {"$count": "ours"}]
    )
    found = await sample.to_list(None)
    return [("$natural", 1)] if found and found[0]["ours"] >= SHARE_SAMPLE * WORTH_A_FULL_READ else None
