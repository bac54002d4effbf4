"""Members put in and taken out by hand; how far they drifted from a rule; and all of them as a file."""

from typing import Annotated, Any

from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED

from muster.cohorts import by_hand
from muster.cohorts.export import export
from muster.cohorts.progress import progress
from muster.cohorts.schemas import AcceptedOut, AddedOut, MembersIn, ProgressOut, RemovedOut
from muster.jobs.documents import Job
from muster.records.exporting import ExportFormat

Fields = Annotated[
    str | None,
    QueryParameter(
        description="Which fields, separated by commas, such as `lead.score,contact.email`; else all that there are. "
        "`entered_at` and `cause` of the membership may stand among them.",
        max_length=100_000,
    ),
]


@post(
    "/v1/cohorts/{cohort_id:str}/members", status_code=HTTP_200_OK, summary="Add to a static cohort", tags=["cohorts"]
)
async def add_members(
    owner: NamedDependency[str], cohort_id: FromPath[str], data: JSONBody[MembersIn]
) -> Response[AddedOut | AcceptedOut]:
    """Whom nobody knows is named in the answer; the others are added. More than 10,000 are added by a job."""
    result = await by_hand.add(owner, cohort_id, data.members)
    if isinstance(result, Job):
        return _accepted(result)
    return Response(AddedOut(added=result.done, already=result.already, unknown=result.others))


@delete(
    "/v1/cohorts/{cohort_id:str}/members",
    status_code=HTTP_200_OK,
    summary="Remove from a static cohort",
    tags=["cohorts"],
)
async def remove_members(
    owner: NamedDependency[str], cohort_id: FromPath[str], data: JSONBody[MembersIn]
) -> Response[RemovedOut | AcceptedOut]:
    """Who is not in is named in the answer; the others are removed. More than 10,000 are removed by a job."""
    result = await by_hand.remove(owner, cohort_id, data.members)
    if isinstance(result, Job):
        return _accepted(result)
    return Response(RemovedOut(removed=result.done, not_members=result.others))


@get("/v1/cohorts/{cohort_id:str}/progress", summary="Show how far the members drifted", tags=["cohorts"])
async def show_progress(owner: NamedDependency[str], cohort_id: FromPath[str]) -> ProgressOut:
    """How many of the members still match the rule that they came from; `members?matching=false` lists the others.

    409 for a cohort without a rule. Every member is looked at: seconds for a million.
    """
    return await progress(owner, cohort_id)


@get("/v1/cohorts/{cohort_id:str}/export", summary="Export the members", tags=["cohorts"])
async def export_members(
    *,
    owner: NamedDependency[str],
    cohort_id: FromPath[str],
    file_format: Annotated[ExportFormat, QueryParameter(name="format", description="The form of the file.")] = "csv",
    fields: Fields = None,
) -> Stream:
    """All members of one moment, as CSV or NDJSON; importing the file restores the same values.

    A connection that ends without the last chunk means that the file is not whole. One export lasts five minutes at
    most. In CSV a text that a spreadsheet would run gets a `'` in front, an empty text is a `'` alone, and an empty
    cell says that there is no value; list items are joined by `;`, and quoted where they hold one. In NDJSON a part
    is as a whole what is exported of it: import a selection of fields as CSV, or it replaces the others.
    """
    file = await export(owner, cohort_id, file_format=file_format, fields=fields)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return Stream(file.chunks, media_type=file.media_type, headers=headers)


def _accepted(job: Job) -> Response[Any]:
    location = {"Location": f"/v1/jobs/{job.id}"}
    return Response(AcceptedOut(job_id=job.id), status_code=HTTP_202_ACCEPTED, headers=location)


ROUTES: list[HTTPRouteHandler] = [add_members, remove_members, show_progress, export_members]
