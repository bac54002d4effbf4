"""The life of a generation: begun before its run takes a snapshot, filled unseen, then put in place in one step.

The order is what makes a run right beside live changes. A generation is registered first and its snapshot is taken
after, so a record change older than the snapshot is in the run, and a newer one is evaluated by a watcher that knows
the generation. Every attempt of a run begins a generation of its own: what a dead or stalled one leaves is never read.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beanie import Document
from bson import ObjectId, Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import (
    Cause,
    Change,
    Cohort,
    Evaluation,
    Generation,
    Kind,
    Membership,
    Run,
    RunState,
    State,
    Written,
    generation_id,
    row_id,
)
from muster.cohorts.graph import dependents_of, inner_rules, reevaluate, saving, send_all
from muster.cohorts.snapshot import raise_registry_version
from muster.jobs.documents import Job
from muster.transactions import in_transaction

PURGE_SLICE = 5_000


class Superseded(Exception):
    """Another run of this cohort is wanted by now, or the cohort is gone; this one has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What a run found, compared with the members that readers see."""

    strategy: str
    scanned: int
    matched: int
    added: int
    removed: int


async def begin(cohort_id: str, run: str) -> Cohort:
    """Register a new generation for this run; the answer's `filling` is it. Raises Superseded.

    It keeps the rules that its own rule reaches, read in the same transaction: whoever edits one of them afterwards
    wants another run.
    """

    async def register(session: AsyncIOMotorClientSession) -> Cohort:
        # A first run that failed, and is tried again, finds a cohort that nobody has given anything else since.
        never_filled = {"run": None, "active": None, "state": State.FAILED.value}
        wanted = await Cohort.find_one({"_id": cohort_id, "$or": [{"run": run}, never_filled]}, session=session)
        if wanted is None:
            raise Superseded
        number = wanted.last_generation + 1
        filling = Generation(number=number, rule=wanted.rule)
        if wanted.rule is not None and wanted.rule.cohorts:
            filling.inner = await inner_rules(wanted.project_id, wanted.rule.cohorts, session)
        wanted.last_generation, wanted.filling, wanted.state, wanted.error = number, filling, State.EVALUATING, None
        registered = {
            "run": run,
            "last_generation": number,
            "filling": filling.model_dump(),
            "state": State.EVALUATING.value,
            "error": None,
        }
        await Cohort.get_motor_collection().update_one({"_id": cohort_id}, {"$set": registered}, session=session)
        return wanted

    return await saving(register)


async def put_in_place(
    cohort: Cohort, run: str, filled: Filled, *, cause: str, now: datetime, started: float
) -> Run | None:
    """Let readers see the generation, with its exact count, and record the run; one transaction.

    `now` is what `$now` was to the run. Members of a static cohort are looked up by whatever names it, and no record
    changed with them: so those are evaluated anew. Where the generation replaces another one the run is `pending`:
    `changes.write_difference` has to follow.

    None when the watcher dropped the generation meanwhile (it lost its history): then the run has to begin again.
    Raises Superseded when another run is wanted. `started` is `time.perf_counter()` at the run's begin.
    """
    generation = filling_of(cohort)
    cohorts = Cohort.get_motor_collection()
    jobs: list[Job] = []

    async def switch(session: AsyncIOMotorClientSession) -> Run | None:
        jobs.clear()  # of an attempt that was rolled back
        shown = {"filling.number": 1, "active.number": 1, "kind": 1, "member_count": 1}
        wanted = await cohorts.find_one({"_id": cohort.id, "run": run}, shown, session=session)
        if wanted is None:
            raise Superseded
        if (wanted.get("filling") or {}).get("number") != generation.number:
            return None
        members = await Membership.get_motor_collection().count_documents(
            {"generation": generation_id(cohort.id, generation.number), "in": True}, session=session
        )
        elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
        previous = (wanted.get("active") or {}).get("number")
        # After the snapshot of this transaction: whatever the watcher decided and wrote before has an earlier time.
        as_of, placed_at = session.operation_time, await server_time()
        evaluation = Evaluation(
            strategy=filled.strategy,
            scanned=filled.scanned,
            matched=filled.matched,
            elapsed_ms=elapsed_ms,
            at=placed_at,
        )
        frozen = {"rule": None} if wanted["kind"] == Kind.STATIC else {}  # its rule was asked once
        await cohorts.update_one(
            {"_id": cohort.id},
            [
                {
                    "$set": {
                        "active": {"$mergeObjects": ["$filling", {"now": now, "placed_at": placed_at, **frozen}]},
                        "filling": None,
                        "run": None,
                        "state": State.READY.value,
                        "error": None,
                        "member_count": members,
                        "evaluation": evaluation.model_dump(),
                    }
                }
            ],
            session=session,
        )
        record = Run(
            id=run,
            cohort=cohort.id,
            generation=generation.number,
            previous=previous,
            cause=cause,
            rule_text=generation.rule.text if generation.rule else None,
            strategy=filled.strategy,
            scanned=filled.scanned,
            matched=filled.matched,
            added=filled.added,
            removed=filled.removed,
            count_before=wanted["member_count"],
            member_count=members,
            elapsed_ms=elapsed_ms,
            at=placed_at,
            as_of=as_of,
            pending=previous is not None,
            written=None if previous is None else Written(),
        )
        # Beanie's own insert knows no cluster times. What may stand there is an attempt that failed.
        await Run.get_motor_collection().replace_one({"_id": run}, _stored(record), upsert=True, session=session)
        if wanted["kind"] == Kind.STATIC:
            jobs.extend(await reevaluate(await dependents_of([cohort.id], session), session))
        return record

    record = await in_transaction(cohorts, switch)
    if record is not None:
        await raise_registry_version()
    await send_all(jobs)
    return record


async def freeze(cohort: Cohort, session: AsyncIOMotorClientSession) -> None:
    """Keep the members as readers see them, in the transaction that makes the cohort static.

    Whoever still decides by the rule does not get to commit, and a run under way is not wanted any more. Only the very
    first one is: nobody has seen members yet, and what it finds is what stays.
    """
    if cohort.active is None and cohort.run is not None:
        return
    values: dict[str, Any] = {"state": State.READY.value, "error": None, "run": None, "filling": None}
    if cohort.active is None:
        number = cohort.last_generation + 1
        values |= {"active": Generation(number=number).model_dump(), "last_generation": number, "member_count": 0}
    else:
        values |= {"active.rule": None}
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$set": values}, session=session)


async def give_up(
    cohort_id: str, run: str, error: str, *, cause: str = "rule", state: RunState = RunState.FAILED
) -> None:
    """End a run without a result: readers keep what they had, and the cohort shows the error and is `failed`."""
    cohorts = Cohort.get_motor_collection()
    nothing = {"filling": None, "run": None, "state": State.FAILED.value, "error": error}

    async def end(session: AsyncIOMotorClientSession) -> None:
        cohort = await cohorts.find_one_and_update(
            {"_id": cohort_id, "run": run},
            {"$set": nothing},
            projection={"filling.number": 1, "rule.text": 1},
            session=session,
        )
        if cohort is not None:
            await _record_end(cohort, run, error, cause=cause, state=state, session=session)

    await in_transaction(cohorts, end)
    await raise_registry_version()


async def record_superseded(cohort_id: str, run: str, reason: str, *, cause: str) -> None:
    """Keep a run that nobody wanted any more among the runs of its cohort, if there still is one."""
    cohort = await Cohort.get_motor_collection().find_one({"_id": cohort_id}, {"_id": 1})
    if cohort is not None:
        await _record_end(cohort, run, reason, cause=cause, state=RunState.SUPERSEDED)


async def _record_end(
    cohort: Mapping[str, Any],
    run: str,
    error: str,
    *,
    cause: str,
    state: RunState,
    session: AsyncIOMotorClientSession | None = None,
) -> None:
    record = Run(
        id=run,
        cohort=cohort["_id"],
        state=state,
        error=error,
        generation=(cohort.get("filling") or {}).get("number"),
        cause=cause,
        rule_text=(cohort.get("rule") or {}).get("text"),
        at=await server_time(),
    )
    await Run.get_motor_collection().update_one(
        {"_id": run}, {"$setOnInsert": _stored(record)}, upsert=True, session=session
    )


def _stored(run: Run) -> dict[str, Any]:
    return {"_id": run.id, **run.model_dump(exclude={"id", "revision_id"})}


def filling_of(cohort: Cohort) -> Generation:
    """The generation that a run has begun."""
    if cohort.filling is None:
        raise Superseded
    return cohort.filling


async def server_time() -> datetime:
    """The database server's clock: the only one that membership goes by."""
    database = Cohort.get_motor_collection().database
    reply = await database.command("hello", codec_options=database.codec_options)  # else datetimes come back naive
    moment: datetime = reply["localTime"]
    return moment


def row(
    generation: str, profile: ObjectId, *, is_member: bool, entered_at: datetime, cause: Cause | str, as_of: Timestamp
) -> dict[str, Any]:
    """A membership as it is stored."""
    return {
        "_id": row_id(generation, profile),
        "generation": generation,
        "profile": profile,
        "in": is_member,
        "entered_at": entered_at,
        "cause": str(cause),
        "as_of": as_of,
    }


async def purge() -> int:
    """Delete the rows of generations that no cohort names any more, the tombstones of those in place, and the history
    of deleted cohorts. Returns how many rows went.

    Safe beside everything: a generation is registered before its first row is written, so reading the rows'
    generations before the cohorts never misses one that is wanted. The two that a run exchanged stay until their
    difference is written.
    """
    await _purge_history()
    memberships = Membership.get_motor_collection()
    present: list[str] = await memberships.distinct("generation")
    wanted: dict[str, bool] = {}  # generation → whether its tombstones are wanted, too
    async for cohort in Cohort.get_motor_collection().find({}, {"active.number": 1, "filling.number": 1}):
        for name in ("active", "filling"):
            if cohort.get(name):
                wanted[generation_id(cohort["_id"], cohort[name]["number"])] = name == "filling"
    async for run in Run.get_motor_collection().find({"pending": True}):
        for number in (run["previous"], run["generation"]):
            wanted.setdefault(generation_id(run["cohort"], number), True)
    gone = 0
    for generation in present:
        if generation not in wanted:
            gone += await _delete_in_slices(Membership, {"generation": generation})
        elif not wanted[generation]:
            gone += await _delete_in_slices(Membership, {"generation": generation, "in": False})
    return gone


async def _purge_history() -> None:
    """Runs go first: a difference still being written stops with its run, and the next purge takes what it left."""
    for document in (Run, Change):
        for cohort_id in await document.get_motor_collection().distinct("cohort"):
            if await Cohort.get_motor_collection().find_one({"_id": cohort_id}, {"_id": 1}) is None:
                await _delete_in_slices(document, {"cohort": cohort_id})


async def _delete_in_slices(document: type[Document], which: dict[str, Any]) -> int:
    collection = document.get_motor_collection()
    gone = 0
    while ids := [found["_id"] async for found in collection.find(which, {"_id": 1}).limit(PURGE_SLICE)]:
        gone += (await collection.delete_many({"_id": {"$in": ids}})).deleted_count
    return gone
