"""Assignments as they are asked for: checked, tried without doing anything, begun here or in a worker."""

from datetime import datetime
from typing import Any

from muster.agents.asked import Asked
from muster.agents.assigning import KIND, PREFIX, run_job
from muster.agents.beginning import dry_run
from muster.agents.documents import Pipeline
from muster.agents.freezing import fewer_than
from muster.agents.left import waiting_since
from muster.agents.schemas import AssignedOut, AssignIn, DryRunOut, FailureOut, UndoneOut
from muster.agents.service import chosen
from muster.api.paging import decode_cursor, page_of
from muster.cohorts.jobs import run_here_or_wait
from muster.cohorts.service import cohort_of
from muster.errors import Conflict
from muster.jobs.documents import Job
from muster.jobs.service import create_job, send
from muster.projects.service import project_of
from muster.records.service import profile

HERE = 100  # leads; so many and more are a worker's
ANSWER_WITHIN = 20.0  # seconds that a request waits for fewer; it takes a fraction of one
LOOK_AT = 20_000  # members, of a cohort whose leads have to be counted first


async def assign(owner: str, cohort_id: str, body: AssignIn) -> Job | DryRunOut:
    """A job that assigns, ended or under way; or what it would do.

    Raises NotFound, Conflict while the cohort has no members yet, and Invalid, naming agents that cannot take leads.
    """
    cohort = await cohort_of(owner, cohort_id)
    project = await project_of(owner, cohort.project_id)
    asked = Asked.from_body(cohort_id, body, await chosen(project, body.agent_ids))
    if cohort.active is None:
        raise Conflict(f"{cohort_id} has no members yet; its first evaluation runs, or has failed.")
    if body.dry_run:
        return await dry_run(project, asked)
    job = await create_job(PREFIX, KIND, project.id, owner, asked.as_arguments())
    if await fewer_than(HERE, cohort, asked, LOOK_AT):
        return await run_here_or_wait(job, here=True, run=run_job, within=ANSWER_WITHIN)
    await send(job)
    return job


async def assigned(job: Job) -> AssignedOut:
    """What a job that has succeeded says."""
    result = job.result or {}
    counts = {name: value for name, value in result.items() if name in AssignedOut.model_fields}
    waiting, _ = await waiting_since(job, limit=HERE, cursor=None) if result.get("unassigned_count") else ([], None)
    return AssignedOut(
        **counts,
        job_id=job.id,
        failures=[FailureOut(**failure) for failure in job.failures],
        unassigned=[lead.pii_id for lead in waiting],
    )


def undone(job: Job) -> UndoneOut:
    """What an undo that has succeeded says."""
    result = job.result or {}
    failures = [FailureOut(**failure) for failure in job.failures]
    return UndoneOut(
        job_id=job.id,
        undone_count=result.get("undone_count", 0),
        failed_count=result.get("failed_count", 0),
        failures=failures,
    )


async def pipelines_of(
    project_id: str, pii_id: str, *, limit: int, cursor: str | None
) -> tuple[list[Pipeline], str | None]:
    """A page of a lead's entries, the oldest first. Raises NotFound for an unknown profile."""
    query: dict[str, Any] = {"profile": (await profile(project_id, pii_id)).id}
    if cursor is not None:
        at, last = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"opened_at": {"$gt": at}}, {"opened_at": at, "_id": {"$gt": last}}]
    rows = await Pipeline.find(query).sort("opened_at", "_id").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda entry: (entry.opened_at, entry.id))
