"""Jobs over HTTP."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT, HTTP_304_NOT_MODIFIED

from muster.api.etags import etag, not_modified
from muster.api.events import server_sent
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.jobs import events, service
from muster.jobs.documents import Job, JobState
from muster.jobs.schemas import JobOut, State, job_out

AnyRequest = Request[Any, Any, Any]

STORED_STATES: dict[State, tuple[JobState, ...]] = {
    "queued": ("queued",),
    "running": ("running",),
    "succeeded": ("succeeded",),
    "failed": ("failed", "quarantined"),
    "cancelled": ("cancelled",),
}


@get("/v1/jobs", summary="List jobs, newest first", tags=["jobs"])
async def list_jobs(
    *,
    owner: NamedDependency[str],
    named_project: NamedDependency[str | None],
    kind: Annotated[str | None, QueryParameter(description="Only of this kind, such as `evaluate`.")] = None,
    job_state: Annotated[State | None, QueryParameter(name="state", description="Only in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[JobOut]:
    """The caller's jobs."""
    states = STORED_STATES[job_state] if job_state else ()
    jobs, following = await service.list_jobs(
        owner, limit=limit, cursor=cursor, project_id=named_project, kinds=(kind,) if kind else (), states=states
    )
    return Page(items=[job_out(job) for job in jobs], next_cursor=following)


@get("/v1/jobs/{job_id:str}", summary="Show a job", tags=["jobs"])
async def show_job(request: AnyRequest, owner: NamedDependency[str], job_id: FromPath[str]) -> Response[JobOut | None]:
    """One job, as it is now."""
    job = await service.job_of(owner, job_id)
    if not_modified(request, job.rev):
        return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers={"ETag": etag(job.rev)})
    return _answer(job)


@get("/v1/jobs/{job_id:str}/events", summary="Follow a job", tags=["jobs"])
async def follow_job(request: AnyRequest, owner: NamedDependency[str], job_id: FromPath[str]) -> Response[Any]:
    """Server-sent events named `job`, each the whole job as JSON under the id of its revision.

    The stream ends with the job. A client that comes back with `Last-Event-ID` misses nothing; one that comes back
    after the end is told by 204 to stay away, which is how EventSource stops.
    """
    job = await service.job_of(owner, job_id)
    if events.seen_to_the_end(job, request.headers.get("last-event-id")):
        return Response(None, status_code=HTTP_204_NO_CONTENT)
    return server_sent(events.follow(job, request.headers.get("last-event-id")))


@post("/v1/jobs/{job_id:str}/cancel", status_code=HTTP_200_OK, summary="Cancel a job", tags=["jobs"])
async def cancel_job(owner: NamedDependency[str], job_id: FromPath[str]) -> Response[JobOut | None]:
    """Cancel at once what nobody works on yet; else `cancel_requested` stands until the worker reports next."""
    return _answer(await service.cancel(owner, job_id))


@post("/v1/jobs/{job_id:str}/retry", status_code=HTTP_202_ACCEPTED, summary="Try a job again", tags=["jobs"])
async def retry_job(owner: NamedDependency[str], job_id: FromPath[str]) -> Response[JobOut | None]:
    """Queue a failed or cancelled job again; what it has done already stays done."""
    return _answer(
        await service.retry(owner, job_id), status_code=HTTP_202_ACCEPTED, headers={"Location": f"/v1/jobs/{job_id}"}
    )


def _answer(
    job: Job, *, status_code: int = HTTP_200_OK, headers: dict[str, str] | None = None
) -> Response[JobOut | None]:
    return Response(job_out(job), status_code=status_code, headers={"ETag": etag(job.rev), **(headers or {})})


ROUTES: list[HTTPRouteHandler] = [list_jobs, show_job, follow_job, cancel_job, retry_job]
