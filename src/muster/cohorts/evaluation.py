"""The full evaluation of a cohort: from its rule, or from a given list, to a generation that readers see."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.errors import BulkWriteError

from muster.cohorts.documents import Cohort, Membership, StoredRule, generation_id
from muster.cohorts.generations import Filled, begin, filling_of, give_up, put_in_place, row, server_time
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.records.documents import Profile
from muster.records.service import registry
from muster.rules import Plan, Registry, Rule, plan_rule, read_rule

BATCH = 5_000  # rows per insert: larger ones are no faster
RESIDUAL_BATCH = 500  # profiles per look at the clock while Python decides
INSERTS_AT_ONCE = 2  # while one batch is written the next is read and built
ATTEMPTS_AFTER_LOST_HISTORY = 5

DUPLICATE_KEY = 11000

Progress = Callable[[int, int | None], Awaitable[None]]
Batches = AsyncIterator[list[ObjectId]]


async def evaluate(
    cohort_id: str, run: str, *, cause: str, members: list[str] | None, progress: Progress
) -> dict[str, Any]:
    """Fill a new generation and put it in place; readers see the old members until then.

    `members` are the `pii_id`s of a static cohort given by hand; without them the rule decides. Raises
    `generations.Superseded` when the cohort went or wants another run.
    """
    for _ in range(ATTEMPTS_AFTER_LOST_HISTORY):
        started = time.perf_counter()
        cohort = await begin(cohort_id, run)
        async with open_snapshot() as snapshot:
            now = await server_time()
            filled = await _fill(cohort, snapshot, now, cause=cause, members=members, progress=progress)
        record = await put_in_place(cohort, run, filled, cause=cause, started=started)
        if record is not None:
            return {
                "cohort_id": cohort_id,
                "added": record.added,
                "removed": record.removed,
                "member_count": record.member_count,
            }
    sentence = "The change stream lost its history again and again while the cohort was evaluated; try again."
    await give_up(cohort_id, run, sentence)
    raise RuntimeError(sentence)


def read_stored(rule: StoredRule, fields: Registry) -> Rule:
    """The rule of a generation, read again. Its fields cannot have changed type since: the registry forbids it."""
    return read_rule(rule.text, fields, time_zone=rule.time_zone)


async def _fill(
    cohort: Cohort,
    snapshot: Snapshot,
    now: datetime,
    *,
    cause: str,
    members: list[str] | None,
    progress: Progress,
) -> Filled:
    before = await _members_before(cohort, snapshot)
    stored = filling_of(cohort).rule
    scan = _Scan()
    if members is not None or stored is None:
        strategy = "list"
        batches = _listed(cohort, snapshot, members or [], scan)
    else:
        plan = plan_rule(read_stored(stored, await registry(cohort.project_id)))
        strategy = str(plan.strategy)
        batches = matching(cohort.project_id, plan, snapshot, now, scan)
    generation = generation_id(cohort.id, filling_of(cohort).number)
    matched = added = 0
    writes: set[asyncio.Task[None]] = set()
    try:
        async for profiles in batches:
            rows = []
            for profile in sorted(profiles):
                entered_at, why = before.pop(profile, (None, cause))
                added += entered_at is None
                rows.append(
                    row(
                        generation,
                        profile,
                        is_member=True,
                        entered_at=entered_at or now,
                        cause=why,
                        as_of=snapshot.as_of,
                    )
                )
            await progress(scan.scanned, scan.total)
            if not rows:
                continue
            matched += len(rows)
            if len(writes) >= INSERTS_AT_ONCE:
                done, writes = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
                for write in done:
                    write.result()
            writes.add(asyncio.create_task(_insert(rows)))
        await asyncio.gather(*writes)
    finally:
        for write in writes:
            write.cancel()
    return Filled(strategy=strategy, scanned=scan.scanned, matched=matched, added=added, removed=len(before))


async def _insert(rows: list[dict[str, Any]]) -> None:
    """Write decisions of the run, each only over an older one: the watcher may have been here first."""
    memberships = Membership.get_motor_collection()
    try:
        await memberships.insert_many(rows, ordered=False)
    except BulkWriteError as error:
        for failure in error.details["writeErrors"]:
            if failure["code"] != DUPLICATE_KEY:
                raise
            mine = failure["op"]
            await memberships.update_one(
                {"_id": mine["_id"], "as_of": {"$lt": mine["as_of"]}},
                {"$set": {name: mine[name] for name in ("in", "entered_at", "cause", "as_of")}},
            )


async def _members_before(cohort: Cohort, snapshot: Snapshot) -> dict[ObjectId, tuple[datetime, str]]:
    """Since when and why each present member is one, so that those who stay keep it."""
    if cohort.active is None:
        return {}
    rows = Membership.get_motor_collection().find(
        {"generation": generation_id(cohort.id, cohort.active.number), "in": True},
        {"_id": 0, "profile": 1, "entered_at": 1, "cause": 1},
        session=snapshot.session,
        batch_size=10 * BATCH,
    )
    return {found["profile"]: (found["entered_at"], found["cause"]) async for found in rows}


class _Scan:
    """How many profiles a stream of batches has looked at so far, and of how many, once known."""

    def __init__(self) -> None:
        self.scanned = 0
        self.total: int | None = None


async def matching(
    project_id: str, plan: Plan, snapshot: Snapshot, now: datetime, scan: _Scan | None = None
) -> Batches:
    """The ids of the profiles that a plan matches, at the snapshot's moment, in batches; memory stays bounded."""
    scan = scan or _Scan()
    projection = {"_id": 1} if plan.residual is None else {"_id": 1, **plan.projection}
    cursor = Profile.get_motor_collection().find(
        {"$and": [{"project_id": project_id}, plan.match_at(now)]},
        projection,
        session=snapshot.session,
        batch_size=BATCH,
    )
    while profiles := await cursor.to_list(BATCH):
        scan.scanned += len(profiles)
        if plan.residual is None:
            yield [profile["_id"] for profile in profiles]
            continue
        accepted: list[ObjectId] = []
        for start in range(0, len(profiles), RESIDUAL_BATCH):
            accepted += [
                profile["_id"] for profile in profiles[start : start + RESIDUAL_BATCH] if plan.accepts(profile, now)
            ]
            await asyncio.sleep(0)  # let other requests of this process through between two batches
        yield accepted


async def _listed(cohort: Cohort, snapshot: Snapshot, members: list[str], scan: _Scan) -> Batches:
    """The ids of the profiles on a list that exist at the snapshot's moment."""
    wanted = list(dict.fromkeys(members))
    scan.total = len(wanted)
    for start in range(0, len(wanted), BATCH):
        part = wanted[start : start + BATCH]
        found = Profile.get_motor_collection().find(
            {"project_id": cohort.project_id, "pii_id": {"$in": part}}, {"_id": 1}, session=snapshot.session
        )
        scan.scanned += len(part)
        yield [profile["_id"] async for profile in found]
