"""Where a generation differs from its rule, by comparing the two as wholes: after lost history, and as time passes."""

from datetime import datetime

from bson import ObjectId

from muster.cohorts.documents import Membership
from muster.cohorts.live_rules import LiveRule
from muster.cohorts.scans import matching, planned
from muster.cohorts.snapshot import Snapshot
from muster.records.documents import Profile

BATCH = 10_000


async def differing(live: LiveRule, snapshot: Snapshot, now: datetime) -> list[ObjectId]:
    """The profiles whose membership is not what it should be at the snapshot, sorted.

    For a cohort with a rule: whoever is a member and does not match, or matches and is not one. For one without: the
    members whose profile is gone.
    """
    rows = Membership.get_motor_collection().find(
        {"generation": live.generation, "in": True},
        {"_id": 0, "profile": 1},
        session=snapshot.session,
        batch_size=BATCH,
    )
    differences = {row["profile"] async for row in rows}
    if live.rule is None:
        existing = await _existing(sorted(differences), snapshot)
        return sorted(differences - existing)
    plan = await planned(live.rule, snapshot.session)
    async for profiles in matching(live.project_id, plan, snapshot, now):
        differences.symmetric_difference_update(profiles)
    return sorted(differences)


async def _existing(profiles: list[ObjectId], snapshot: Snapshot) -> set[ObjectId]:
    existing: set[ObjectId] = set()
    for start in range(0, len(profiles), BATCH):
        part = profiles[start : start + BATCH]
        found = Profile.get_motor_collection().find({"_id": {"$in": part}}, {"_id": 1}, session=snapshot.session)
        existing.update([profile["_id"] async for profile in found])
    return existing
