"""The audit: a few memberships at a time, members and non-members by chance, asked of the oracle itself.

Nothing here is shared with what writes memberships but the oracle and the stored rule. A membership may rightly differ
from its rule for as long as the watcher has not come to the last change of the profile. So a look only finds suspects,
all in one snapshot; a second one, once the watcher has passed that snapshot, finds those guilty whose profile has not
changed since and that still differ. It reports and puts nothing right: a difference is a bug, and worth being seen.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from bson import ObjectId
from prometheus_client import Gauge
from pymongo.errors import ExecutionTimeout

from muster.cohorts import slices
from muster.cohorts.documents import (
    Audit,
    Cohort,
    Difference,
    Generation,
    Membership,
    State,
    generation_id,
    ids_of,
    row_id,
)
from muster.cohorts.graph import read_stored
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import IN_COHORTS, Rule, RuleError, oracle

COHORTS_AT_ONCE = 4
PROFILES_AT_ONCE = 20  # of each cohort; and the next member behind each of them
COUNTED = 50_000  # members of cohorts whose count is compared with their rows
WITHIN_MS = 1_000  # for a sample out of a project that is a small part of all profiles
PATIENCE = 30.0  # seconds for the watcher to pass; a suspect that must wait longer is let go
LOOKS_EVERY = 0.5  # seconds
LISTED = 100  # differences on record

_ID = "memberships"
_GAUGES = {
    "looks": Gauge("muster_audit_looks", "Memberships and counts that the audit held against their rules"),
    "found": Gauge("muster_audit_found", "Differences that the audit ever found"),
    "differences": Gauge("muster_audit_differences", "Differences that the audit found and has not seen put right"),
}

log = structlog.get_logger(__name__)


Key = tuple[str, ObjectId | None]
"""A cohort, and a profile; without a profile its count is meant."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A membership (1 or 0), or a count, as one snapshot shows it: what is stored, and what would be right.

    `rests_on` is the state of what it rests on: another one, and two looks do not speak of the same thing.
    """

    key: Key
    stored: int
    right: int
    rests_on: tuple[Any, ...]
    over_time: bool = False

    @property
    def differs(self) -> bool:
        """Whether it is not what it should be."""
        return self.stored != self.right


async def audit() -> None:
    """One round: look at some memberships, wait for the watcher, look again at what differed, and put it on record."""
    known = await Audit.get(_ID)
    before: dict[Key, Difference] = {(each.cohort, each.profile): each for each in known.differences} if known else {}
    drawn = await _drawn()
    async with open_snapshot() as snapshot:
        looks = await _look({*drawn, *before}, snapshot)
    suspects = {seen.key: seen for seen in looks if seen.differs}
    guilty = await _confirmed(suspects, snapshot) if suspects.keys() - before.keys() else []
    new = [seen for seen in guilty if seen.key not in before]
    for seen in new:
        await log.aerror(
            "A cohort is not what its rule says" if seen.key[1] else "A cohort's count is not that of its members",
            cohort=seen.key[0],
            profile=str(seen.key[1]) if seen.key[1] else None,
            stored=seen.stored,
            right=seen.right,
        )
    for cohort, profile in before.keys() - suspects.keys():
        await log.ainfo("A difference is gone", cohort=cohort, profile=str(profile) if profile else None)
    differences = [found for key, found in before.items() if key in suspects]
    differences += [
        Difference(cohort=seen.key[0], profile=seen.key[1], stored=seen.stored, right=seen.right, found_at=snapshot.now)
        for seen in new
    ]
    await Audit.get_motor_collection().update_one(
        {"_id": _ID},
        {
            "$inc": {"looks": len(looks), "found": len(new)},
            "$set": {
                "differences": [each.model_dump() for each in differences[:LISTED]],
                "looked_at": snapshot.now,
            },
        },
        upsert=True,
    )


async def standing() -> dict[str, Any]:
    """What the audit came to, for health."""
    known = await Audit.get(_ID)
    if known is None:
        return {"status": "not started"}
    return {
        "status": "differences" if known.differences else "ok",
        "looks": known.looks,
        "found": known.found,
        "differences": len(known.differences),
        "cohorts": sorted({each.cohort for each in known.differences}),
        "looked_seconds_ago": round((datetime.now(UTC) - known.looked_at).total_seconds(), 1),
    }


async def measure() -> None:
    """What the audit came to, for Prometheus."""
    found = await standing()
    for name, gauge in _GAUGES.items():
        gauge.set(found.get(name, 0))


async def _drawn() -> set[Key]:
    """What to look at: of some cohorts their counts, and of those with a rule some profiles and some members."""
    cohorts = Cohort.get_motor_collection().aggregate(
        [
            {"$sample": {"size": 2 * COHORTS_AT_ONCE}},
            {"$match": {"active": {"$ne": None}}},
            {"$project": {"project_id": 1, "active.number": 1, "follows": {"$gt": ["$active.rule", None]}}},
            {"$limit": COHORTS_AT_ONCE},
        ]
    )
    drawn: set[Key] = set()
    for cohort in await cohorts.to_list(None):
        drawn.add((cohort["_id"], None))
        if cohort["follows"]:
            profiles = await _some_profiles(cohort["project_id"])
            generation = generation_id(cohort["_id"], cohort["active"]["number"])
            members = [await _next_member(generation, profile) for profile in profiles]
            drawn |= {(cohort["_id"], profile) for profile in [*profiles, *members] if profile is not None}
    return drawn


async def _some_profiles(project_id: str) -> list[ObjectId]:
    """By chance out of all profiles, which costs little; out of the project, where that is too small a part of them."""
    ours: dict[str, Any] = {"$match": {"project_id": project_id}}
    chance: dict[str, Any] = {"$sample": {"size": PROFILES_AT_ONCE}}
    for stages, options in (([chance, ours], {}), ([ours, chance], {"maxTimeMS": WITHIN_MS})):
        try:
            found = Profile.get_motor_collection().aggregate([*stages, {"$project": {"_id": 1}}], **options)
            profiles = [profile["_id"] for profile in await found.to_list(None)]
        except ExecutionTimeout:
            return []
        if profiles:
            return profiles
    return []


async def _next_member(generation: str, profile: ObjectId) -> ObjectId | None:
    """The member behind a profile, in the order of ids: a member by chance, for a profile by chance."""
    behind = {**ids_of(generation), "$gt": row_id(generation, profile)}
    rows = Membership.get_motor_collection().find({"_id": behind, "in": True}, {"profile": 1})
    found = await rows.sort("_id", 1).limit(1).to_list(1)
    return found[0]["profile"] if found else None


async def _look(wanted: Iterable[Key], snapshot: Snapshot, ticked_at: datetime | None = None) -> list[Seen]:
    """What the snapshot shows of these. A cohort that is being evaluated, or could not be, is left out."""
    by_cohort: dict[str, list[ObjectId | None]] = defaultdict(list)
    for cohort_id, profile in wanted:
        by_cohort[cohort_id].append(profile)
    looks: list[Seen] = []
    for cohort_id, profiles in by_cohort.items():
        cohort = await Cohort.find_one(
            {"_id": cohort_id, "state": State.READY.value, "active": {"$ne": None}}, session=snapshot.session
        )
        if cohort is None or cohort.active is None:
            continue
        if None in profiles and cohort.member_count <= COUNTED:
            looks.append(await _count(cohort, cohort.active, snapshot))
        if cohort.active.rule is not None:
            with suppress(RuleError):  # the watcher says so
                rule = read_stored(cohort.active.rule, await registry(cohort.project_id), cohort.active.inner)
                ids = [profile for profile in profiles if profile is not None]
                looks += await _memberships(cohort, rule, ids, snapshot, ticked_at)
    return looks


async def _count(cohort: Cohort, generation: Generation, snapshot: Snapshot) -> Seen:
    rows = await Membership.get_motor_collection().count_documents(
        {"generation": generation_id(cohort.id, generation.number), "in": True}, session=snapshot.session
    )
    return Seen((cohort.id, None), cohort.member_count, rows, (generation.number,))


async def _memberships(
    cohort: Cohort, rule: Rule, ids: list[ObjectId], snapshot: Snapshot, ticked_at: datetime | None
) -> list[Seen]:
    """Each of these profiles: is it a member, and should it be?

    With a rule over time a membership may be as the last tick left it, or as it is by now.
    """
    number = cohort.active.number if cohort.active else 0
    members = await _members_of(generation_id(cohort.id, number), ids, snapshot)
    found = Profile.get_motor_collection().find({"_id": {"$in": ids}}, session=snapshot.session)
    profiles = {profile["_id"]: profile async for profile in found}
    inside: dict[ObjectId, set[str]] = defaultdict(set)
    for looked_up in rule.looked_up:
        static = await Cohort.find_one({"_id": looked_up}, session=snapshot.session)
        if static is not None and static.active is not None:
            for profile_id in await _members_of(generation_id(looked_up, static.active.number), ids, snapshot):
                inside[profile_id].add(looked_up)
    belongs = oracle(rule)
    moments = [snapshot.now] if ticked_at is None or not rule.time_dependent else [ticked_at, snapshot.now]
    looks: list[Seen] = []
    for profile_id in ids:
        profile = profiles.get(profile_id)
        state = (number, None, None) if profile is None else (number, profile["rev"], profile.get("touched"))
        stored = profile_id in members
        if profile is None:
            right = False
        else:
            answers = {belongs({**profile, IN_COHORTS: inside[profile_id]}, moment) for moment in moments}
            right = stored if stored in answers else not stored
        looks.append(Seen((cohort.id, profile_id), int(stored), int(right), state, rule.time_dependent))
        await asyncio.sleep(0)
    return looks


async def _members_of(generation: str, ids: list[ObjectId], snapshot: Snapshot) -> set[ObjectId]:
    rows = Membership.get_motor_collection().find(
        {"_id": {"$in": [row_id(generation, profile) for profile in ids]}, "in": True},
        {"_id": 0, "profile": 1},
        session=snapshot.session,
    )
    return {row["profile"] for row in await rows.to_list(None)}


async def _confirmed(suspects: Mapping[Key, Seen], first: Snapshot) -> list[Seen]:
    """Those that still differ, resting on the same, once the watcher has passed the first snapshot. None if it is slow.

    The watcher's position is read in the second snapshot, so all that it has applied shows there.
    """
    over_time = any(seen.over_time for seen in suspects.values())
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        async with open_snapshot() as snapshot:
            position, ticked_at = await slices.reached(snapshot.session) or (None, None)
            passed = position is not None and position > first.as_of
            if over_time and (ticked_at is None or ticked_at <= first.now):
                passed = False
            if passed:
                again = await _look(suspects, snapshot, ticked_at)
                return [seen for seen in again if seen.differs and seen.rests_on == suspects[seen.key].rests_on]
        await asyncio.sleep(LOOKS_EVERY)
    return []
