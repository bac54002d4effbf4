"""The pages of jobs: everything that runs or has ended."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.api.paging import Cursor
from muster.console import forms, job_views, live, pages
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.errors import Invalid, MusterError
from muster.jobs import service
from muster.jobs.schemas import job_out
from muster.projects.service import project_of

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
Rows = Annotated[int | None, QueryParameter(ge=1, le=job_views.MOST_ROWS)]
Only = Annotated[str, QueryParameter(max_length=20)]


@get("/jobs")
async def jobs(
    room: NamedDependency[Room], only: Only = "", cursor: Cursor = None, seen: Seen = None, rows: Rows = None
) -> Response[Any]:
    """The jobs of a project, the newest first."""
    _check(only)
    shown = await job_views.job_list(room.project, only=only, cursor=cursor, rows=rows)
    version = live.version_of(await _first_page(room, only, cursor) if rows else shown)
    if seen == version:
        return pages.nothing_new()
    return Page(
        "jobs.html",
        room=room,
        section="jobs",
        shown=shown,
        version=version,
        only=only,
        cursor=cursor,
    )


@get("/jobs/live")
async def follow_jobs(
    request: AnyRequest, room: NamedDependency[Room], only: Only = "", cursor: Cursor = None, seen: Seen = None
) -> Response[Any]:
    """Tells the list when it is out of date."""
    _check(only)

    async def look() -> str:
        return live.version_of(await _first_page(room, only, cursor))

    return await live.follow(request, look, seen)


async def _first_page(room: Room, only: str, cursor: str | None) -> job_views.JobList:
    return await job_views.job_list(room.project, only=only, cursor=cursor)


def _check(only: str) -> None:
    if only not in job_views.FILTERS:
        raise Invalid(f"Jobs cannot be listed by {only!r}.")


@get("/jobs/{job_id:str}")
async def job(room: NamedDependency[Room], job_id: FromPath[str], seen: Seen = None) -> Response[Any]:
    """One job: how far it is, what failed, what came of it."""
    found = await service.job_of(room.owner, job_id)
    shown = job_out(found)
    version = live.version_of(shown)
    if seen == version:
        return pages.nothing_new()
    return Page(
        "job.html",
        room=room,
        section="jobs",
        crumbs=[(_("Jobs"), "/jobs"), (job_id, "")],
        job=shown,
        version=version,
        cohort_id=found.arguments.get("cohort_id"),
        page_of_result=job_views.page_of_result(found),
        failures=shown.failures[: job_views.FAILURES_SHOWN],
        zone=(await project_of(room.owner, found.project_id)).time_zone,
    )


@get("/jobs/{job_id:str}/live")
async def follow_job(
    request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str], seen: Seen = None
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        return live.version_of(job_out(await service.job_of(room.owner, job_id)))

    return await live.follow(request, look, seen)


@post("/jobs/{job_id:str}/cancel")
async def cancel(request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str]) -> Response[Any]:
    """Cancel a job: at once when nobody works on it, else at its next report."""
    back = forms.ours(await forms.text(request, "back"), f"/jobs/{job_id}")
    try:
        found = await service.cancel(room.owner, job_id)
    except MusterError as error:
        return forms.refused(request, back, error)
    ended = found.state == "cancelled"
    said = _("%(job)s is cancelled.") if ended else _("%(job)s ends at its next report of progress.")
    return forms.go(request, back, Notice(said % {"job": job_id}))


@post("/jobs/{job_id:str}/retry")
async def retry(request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str]) -> Response[Any]:
    """Queue a failed or cancelled job again."""
    back = forms.ours(await forms.text(request, "back"), f"/jobs/{job_id}")
    try:
        await service.retry(room.owner, job_id)
    except MusterError as error:
        return forms.refused(request, back, error)
    return forms.go(request, back, Notice(_("%(job)s goes on from where it was.") % {"job": job_id}))


ROUTES = [jobs, follow_jobs, job, follow_job, cancel, retry]
