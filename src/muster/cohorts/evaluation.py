"""The full evaluation of a cohort: from its rule, or from a given list, to a generation that readers see."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import datetime
from operator import attrgetter
from typing import Any, Self

import structlog
from pymongo.errors import BulkWriteError, OperationFailure

from muster.cohorts.changes import cause_of, write_difference
from muster.cohorts.documents import Cohort, Kind, Membership, Run, RunState, generation_id
from muster.cohorts.generations import Filled, begin, filling_of, give_up, put_in_place, row, server_time
from muster.cohorts.graph import read_stored
from muster.cohorts.scans import BATCH, Scan, in_batches, matching, planned
from muster.cohorts.snapshot import Snapshot, is_gone, open_snapshot
from muster.cohorts.sources import Source, members_of
from muster.errors import Conflict
from muster.records.indexes import ensure_field_index
from muster.records.service import registry
from muster.rules import Rule

INSERTS_AT_ONCE = 2  # while one batch is written the next is read and built
ATTEMPTS = 5  # where the watcher loses its history meanwhile, or the snapshot is gone

REPORT_EVERY = 0.25  # seconds between two reports of progress, and so until a cancellation is noticed

DUPLICATE_KEY = 11000

_BYTES = attrgetter("binary")  # ObjectIds compare in Python, their bytes in C

Progress = Callable[[int, int | None], Awaitable[None]]

log = structlog.get_logger(__name__)


async def evaluate(
    cohort_id: str, run: str, *, cause: str, progress: Progress, source: Source | None = None
) -> dict[str, Any]:
    """Fill a new generation and put it in place; readers see the old members until then.

    The members of a static cohort may come from a `source`; without one the rule decides. Where an attempt before
    died after that, only the rest is done. Raises `generations.Superseded` when the cohort went or wants another run.
    """
    for _ in range(ATTEMPTS):
        if (stands := await Run.get(run)) is not None and stands.state is RunState.SUCCEEDED:
            return await _finished(stands)
        started = time.perf_counter()
        cohort = await begin(cohort_id, run)
        rule = None if source is not None else await _rule_of(cohort)
        try:
            async with open_snapshot() as snapshot:
                now = await server_time()
                filled = await _fill(cohort, rule, snapshot, now, cause=cause, source=source, progress=progress)
        except OperationFailure as error:
            if is_gone(error):
                continue
            raise
        record = await put_in_place(cohort, run, filled, cause=cause, now=now, started=started)
        if record is not None:
            return await _finished(record)
    sentence = "Again and again history or snapshot were lost while the cohort was evaluated; try again."
    await give_up(cohort_id, run, sentence, cause=cause)
    raise RuntimeError(sentence)


async def _finished(run: Run) -> dict[str, Any]:
    """What a run that is in place comes to, once its difference is written."""
    run = await write_difference(run)
    return {
        "cohort_id": run.cohort,
        "added": run.added,
        "removed": run.removed,
        "member_count": run.member_count,
    }


async def _rule_of(cohort: Cohort) -> Rule | None:
    """The rule of the generation that is filled, with an index for each of its windows, which every tick will ask."""
    filling = filling_of(cohort)
    if filling.rule is None:
        return None
    rule = read_stored(filling.rule, await registry(cohort.project_id), filling.inner)
    for name in sorted({window.field for window in rule.windows}) if cohort.kind is Kind.DYNAMIC else ():
        try:
            await ensure_field_index(name)
        except Conflict as full:  # a tick then reads the whole project
            await log.awarning("No index for a window of time", cohort=cohort.id, field=name, reason=str(full))
    return rule


async def _fill(
    cohort: Cohort,
    rule: Rule | None,
    snapshot: Snapshot,
    now: datetime,
    *,
    cause: str,
    source: Source | None,
    progress: Progress,
) -> Filled:
    before = await _members_before(cohort, snapshot)
    scan = Scan()
    if source is not None:
        strategy = "list"
        batches = members_of(source, cohort.project_id, snapshot, scan)
    elif rule is None:
        raise Conflict(f"{cohort.id} has no rule that could be evaluated.")
    else:
        plan = await planned(rule, snapshot.session)
        strategy = str(plan.strategy)
        batches = matching(cohort.project_id, plan, snapshot, now, scan)
    generation = generation_id(cohort.id, filling_of(cohort).number)
    matched, were_members = 0, len(before)
    reported = 0.0
    async with _Inserts() as inserts, aclosing(batches):
        async for profiles in batches:
            rows = []
            for profile in sorted(profiles, key=_BYTES):
                since = before.pop(profile.binary, None) if before else None
                entered_at, why = since or (now, cause_of(cause))
                rows.append(
                    row(generation, profile, is_member=True, entered_at=entered_at, cause=why, as_of=snapshot.as_of)
                )
            matched += len(rows)
            await inserts.add(rows)
            if time.monotonic() - reported >= REPORT_EVERY:
                reported = time.monotonic()
                await progress(scan.scanned, scan.total)
    return Filled(
        strategy=strategy,
        scanned=scan.scanned,
        matched=matched,
        added=matched - (were_members - len(before)),
        removed=len(before),
    )


class _Inserts:
    """Writes batches while the next are read, never more than a few at once. Leaving waits for all of them."""

    def __init__(self) -> None:
        self._writes: set[asyncio.Task[None]] = set()

    async def add(self, rows: list[dict[str, Any]]) -> None:
        """Begin to write a batch, once there is room."""
        if len(self._writes) >= INSERTS_AT_ONCE:
            done, self._writes = await asyncio.wait(self._writes, return_when=asyncio.FIRST_COMPLETED)
            for write in done:
                write.result()
        if rows:
            self._writes.add(asyncio.create_task(_insert(rows)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for write in self._writes:
                write.cancel()
        await asyncio.gather(*self._writes, return_exceptions=kind is not None)


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


async def _members_before(cohort: Cohort, snapshot: Snapshot) -> dict[bytes, tuple[datetime, str]]:
    """Since when and why each present member is one, by the bytes of its id, so that those who stay keep it.

    A million of them take a hundred megabytes, and hardly more where many entered at one moment.
    """
    if cohort.active is None:
        return {}
    rows = Membership.get_motor_collection().find(
        {"generation": generation_id(cohort.id, cohort.active.number), "in": True},
        {"_id": 0, "profile": 1, "entered_at": 1, "cause": 1},
        session=snapshot.session,
        batch_size=BATCH,
    )
    before: dict[bytes, tuple[datetime, str]] = {}
    alike: dict[tuple[datetime, str], tuple[datetime, str]] = {}
    async with aclosing(in_batches(rows, BATCH)) as batches:
        async for found in batches:
            for each in found:
                since = each["entered_at"], each["cause"]
                before[each["profile"].binary] = alike.setdefault(since, since)
    return before
