"""Assignments over HTTP: leads handed to agents, what became of them, and the way back."""

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED

from muster.agents import assignments, left, tasks, undoing
from muster.agents.schemas import (
    AssignedOut,
    AssignIn,
    DryRunOut,
    LeftLeadOut,
    PipelineOut,
    TaskOut,
    UndoneOut,
    WaitingLeadOut,
)
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.cohorts.schemas import AcceptedOut
from muster.errors import Conflict
from muster.jobs.documents import Job
from muster.jobs.service import job_of
from muster.records.service import profile


@post("/v1/cohorts/{cohort_id:str}/assign", status_code=HTTP_200_OK, summary="Assign leads", tags=["assignment"])
async def assign_cohort(
    owner: NamedDependency[str], cohort_id: FromPath[str], data: JSONBody[AssignIn]
) -> Response[AssignedOut | DryRunOut | AcceptedOut]:
    """Hand the leads of a cohort to agents, in the order of their `pii_id`s; fewer than 100 at once, others by a job.

    Each lead gets an open pipeline entry and the tasks of the project's template, and `lead.agent_id` is set. Members
    without a lead are failures; what failed can be tried again by `POST /v1/jobs/{id}/retry`.
    """
    job = await assignments.assign(owner, cohort_id, data)
    if isinstance(job, DryRunOut):
        return Response(job)
    if job.state == "succeeded":
        return Response(await assignments.assigned(job))
    return _accepted(job)


@post("/v1/jobs/{job_id:str}/undo", status_code=HTTP_200_OK, summary="Undo an assignment", tags=["assignment"])
async def undo_assignment(owner: NamedDependency[str], job_id: FromPath[str]) -> Response[UndoneOut | AcceptedOut]:
    """Give leads back to whom they were with, if anybody, as long as nobody has touched them since; by a job as well.

    A lead was touched when anything of its profile changed, a task of it was done, or it was handed over again. Those
    are listed, and left as they are.
    """
    job = await undoing.start(owner, job_id, within=assignments.ANSWER_WITHIN)
    if job.state == "succeeded":
        return Response(assignments.undone(job))
    return _accepted(job)


@get("/v1/jobs/{job_id:str}/failures", summary="List the leads that a job left", tags=["assignment"])
async def list_failures(
    owner: NamedDependency[str], job_id: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[LeftLeadOut]:
    """All that an assignment could not hand over, or an undo left as they are; the job lists the first thousand."""
    found, following = await left.left_by(await job_of(owner, job_id), limit=limit, cursor=cursor)
    return Page(items=found, next_cursor=following)


@get("/v1/jobs/{job_id:str}/unassigned", summary="List the leads that wait for capacity", tags=["assignment"])
async def list_unassigned(
    owner: NamedDependency[str], job_id: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[WaitingLeadOut]:
    """Those for which an assignment with `respect_capacity` found none, and that wait still, the longest first."""
    found, following = await left.waiting_since(await job_of(owner, job_id), limit=limit, cursor=cursor)
    return Page(items=found, next_cursor=following)


@get("/v1/leads/{pii_id:str}/pipelines", summary="List a lead's pipeline entries", tags=["leads"])
async def list_pipelines(
    project: NamedDependency[str], pii_id: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[PipelineOut]:
    """Which agents the lead was with, the oldest entry first. At most one is open."""
    found, following = await assignments.pipelines_of(project, pii_id, limit=limit, cursor=cursor)
    return Page(items=[PipelineOut.of(entry) for entry in found], next_cursor=following)


@get("/v1/leads/{pii_id:str}/tasks", summary="List a lead's tasks", tags=["leads"])
async def list_tasks(
    project: NamedDependency[str], pii_id: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[TaskOut]:
    """What agents had, and have, to do about the lead, the oldest first."""
    lead = await profile(project, pii_id)
    found, following = await tasks.tasks_of_lead(lead.id, limit=limit, cursor=cursor)
    return Page(items=[TaskOut.of(task, pii_id) for task in found], next_cursor=following)


def _accepted(job: Job) -> Response[Any]:
    """A job under way. Raises Conflict for one that has ended otherwise."""
    if job.state in {"failed", "cancelled", "quarantined"}:
        raise Conflict(job.error or f"{job.id} was cancelled; what it had done until then stays.")
    location = {"Location": f"/v1/jobs/{job.id}"}
    return Response(AcceptedOut(job_id=job.id), status_code=HTTP_202_ACCEPTED, headers=location)


ROUTES: list[HTTPRouteHandler] = [
    assign_cohort,
    undo_assignment,
    list_failures,
    list_unassigned,
    list_pipelines,
    list_tasks,
]
