"""Evaluations as jobs: on record before they start, here when they are short, in a worker when they are long."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from muster.cohorts.documents import Cause, Cohort, RunState
from muster.cohorts.evaluation import evaluate
from muster.cohorts.generations import Superseded, give_up, record_superseded
from muster.cohorts.sources import Source
from muster.jobs.documents import FINISHED, Job
from muster.jobs.service import Cancelled, claim, send
from muster.jobs.working import Claimed
from muster.records import rolls

ANSWER_WITHIN = 3.0  # seconds that a request waits for its evaluation before it answers 202
_LOOK_EVERY = 0.05

_here: set[asyncio.Task[None]] = set()  # a task that nobody holds may be collected while it runs


async def run_job(job_id: str) -> None:
    """Evaluate the cohort that a job names. Raises Busy or Done when the job is not to be had."""
    try:
        async with claim(job_id) as claimed:
            arguments = claimed.job.arguments
            source = Source.of(arguments["source"]) if "source" in arguments else None
            claimed.result = await _evaluate(claimed, source)
        if source is not None and source.roll is not None:
            await rolls.drop(source.roll.id)
    finally:
        await settle_ended_runs(job_id)


async def _evaluate(claimed: Claimed, source: Source | None) -> dict[str, Any]:
    arguments = claimed.job.arguments
    try:
        return await evaluate(
            arguments["cohort_id"],
            claimed.job.id,
            cause=arguments["cause"],
            source=source,
            progress=claimed.progress,
        )
    except Superseded:
        reason = f"{arguments['cohort_id']} was deleted, or a later change wants another evaluation."
        await record_superseded(arguments["cohort_id"], claimed.job.id, reason, cause=arguments["cause"])
        raise Cancelled(reason) from None


async def run_here_or_wait(
    job: Job, *, here: bool, run: Callable[[str], Awaitable[None]] = run_job, within: float | None = None
) -> Job:
    """Start a job, in this process by `run` or in a worker, and give it `within` seconds (by default 3) to end.

    The answer is the job as it is then: a request whose job is not finished answers 202. A process that dies
    meanwhile leaves the job to the sweep.
    """
    within = ANSWER_WITHIN if within is None else within
    deadline = time.monotonic() + within
    if here:
        task = asyncio.create_task(_run_quietly(job.id, run))
        _here.add(task)
        task.add_done_callback(_here.discard)
        await asyncio.wait({task}, timeout=within)
    else:
        await send(job)
    while True:
        found = await Job.get(job.id)
        if found is None or found.state in FINISHED or time.monotonic() >= deadline:
            return found or job
        await asyncio.sleep(_LOOK_EVERY)


async def _run_quietly(job_id: str, run: Callable[[str], Awaitable[None]]) -> None:
    """Run a job whose outcome its document tells; whoever waits reads it there."""
    with suppress(Exception):  # recorded on the job, and logged, by `claim`
        await run(job_id)


async def settle_ended_runs(job_id: str | None = None) -> int:
    """Let cohorts go of runs that ended without a result: failed, cancelled, quarantined. All, or one job's.

    Readers keep the members of before; the cohort shows the job's error.
    """
    settled = 0
    async for cohort in Cohort.find({"run": job_id or {"$ne": None}}):
        job = await Job.get(cohort.run)
        if job is None or job.state in FINISHED:
            error = (job.error if job else None) or "The evaluation was cancelled; the members are those of before."
            await give_up(
                cohort.id,
                cohort.run or "",
                error,
                cause=job.arguments["cause"] if job else Cause.RULE.value,
                state=RunState.CANCELLED if job and job.state == "cancelled" else RunState.FAILED,
            )
            settled += 1
    return settled
