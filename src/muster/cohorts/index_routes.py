"""Indexes for rules over HTTP."""

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED

from muster.api.paging import Page
from muster.cohorts import index_jobs
from muster.cohorts.index_advice import advise
from muster.cohorts.index_schemas import IndexesAcceptedOut, IndexesIn, IndexesOut, IndexOut
from muster.errors import Conflict

ProjectId = Annotated[str | None, QueryParameter(description="The project; else the caller's default.")]


@get("/v1/rules/indexes", summary="List indexes that rules would gain by", tags=["rules"])
async def list_indexes(
    owner: NamedDependency[str],
    project_id: ProjectId = None,
    every: Annotated[bool, QueryParameter(name="all", description="By the rules of all your projects.")] = False,
) -> Page[IndexOut]:
    """Those suggested, those that are there, and those not worth it, with the reasons; on one page, measured now."""
    projects = await index_jobs.projects_of(owner, project_id, every=every)
    return Page(items=[IndexOut.of(advice) for advice in await advise(projects)])


@post("/v1/rules/indexes", status_code=HTTP_200_OK, summary="Build or drop indexes", tags=["rules"])
async def build_indexes(
    owner: NamedDependency[str], data: JSONBody[IndexesIn]
) -> Response[IndexesOut | IndexesAcceptedOut]:
    """Build those suggested, or those of `fields`. Long building goes on in the background: 202, and a job."""
    projects = await index_jobs.projects_of(owner, data.project_id, every=data.all)
    advice = await advise(projects)
    fields = index_jobs.chosen(advice, data.fields) if data.create else []
    dropped = await index_jobs.drop_unused(advice) if data.drop_unused else []
    if not fields:
        return Response(IndexesOut(created=[], existed=[], left_out=[], dropped=dropped))
    job = await index_jobs.build(projects[0], fields)
    if job.state == "succeeded" and job.result is not None:
        return Response(IndexesOut.model_validate({**job.result, "dropped": dropped}))
    if job.state in {"failed", "cancelled", "quarantined"}:
        raise Conflict(job.error or f"{job.id} was cancelled.")
    location = {"Location": f"/v1/jobs/{job.id}"}
    return Response(IndexesAcceptedOut(job_id=job.id, dropped=dropped), status_code=HTTP_202_ACCEPTED, headers=location)


ROUTES: list[HTTPRouteHandler] = [list_indexes, build_indexes]
