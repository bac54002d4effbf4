"""How far members have moved away from the rule that they came from: exact, of one moment, in bounded memory."""

from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from muster.cohorts.documents import Cohort, Membership, generation_id
from muster.cohorts.generations import server_time
from muster.cohorts.graph import inner_rules, read_stored
from muster.cohorts.scans import BATCH, accepted, planned
from muster.cohorts.schemas import ProgressOut
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.errors import Conflict
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import Plan


@dataclass(frozen=True, slots=True)
class Check:
    """Asks a cohort's rule about some of its members, all in one snapshot."""

    plan: Plan
    snapshot: Snapshot
    now: datetime

    async def matching(self, profiles: list[ObjectId]) -> set[ObjectId]:
        """Those of these profiles that exist and match now."""
        found = Profile.get_motor_collection().find(
            {"$and": [{"_id": {"$in": profiles}}, self.plan.match_at(self.now)]},
            {"_id": 1, **self.plan.projection},
            session=self.snapshot.session,
            batch_size=BATCH,
        )
        return set(await accepted(self.plan, await found.to_list(None), self.now))


async def check_of(cohort: Cohort, snapshot: Snapshot) -> Check:
    """A check against a cohort's rule, with the cohorts that it names as they are now. Raises Conflict without one."""
    if cohort.rule is None:
        raise Conflict(
            f"{cohort.id} has no rule that its members could have moved away from; "
            'PATCH {"rule": …} gives it one, and leaves its members as they are.'
        )
    inner = await inner_rules(cohort.project_id, cohort.rule.cohorts, snapshot.session)
    rule = read_stored(cohort.rule, await registry(cohort.project_id), inner)
    return Check(await planned(rule, snapshot.session), snapshot, await server_time())


async def progress(owner: str, cohort_id: str) -> ProgressOut:
    """How many members there are, and how many of them still match. Raises NotFound, Conflict without a rule."""
    total = still_matching = 0
    async with open_snapshot() as snapshot:
        cohort = await cohort_of(owner, cohort_id, session=snapshot.session)
        check = await check_of(cohort, snapshot)
        if cohort.active is not None:
            rows = Membership.get_motor_collection().find(
                {"generation": generation_id(cohort.id, cohort.active.number), "in": True},
                {"_id": 0, "profile": 1},
                session=snapshot.session,
                batch_size=BATCH,
            )
            while members := await rows.to_list(BATCH):
                total += len(members)
                still_matching += len(await check.matching([row["profile"] for row in members]))
    diverged = total - still_matching
    return ProgressOut(
        total=total,
        still_matching=still_matching,
        diverged=diverged,
        progress_percent=round(100 * diverged / total, 2) if total else 0.0,
    )
