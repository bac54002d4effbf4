"""The page of an import from Attio: how far it is, what came of it, and the cohort that is made of it."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.attio.imports import KIND
from muster.cohorts import service
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import CohortIn
from muster.console import attio_views, forms, live, pages
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.errors import MusterError, NotFound
from muster.jobs.documents import Job
from muster.jobs.service import job_of
from muster.projects.service import project_of

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]

NAMES = ("name", "description")


@get("/attio/imports/{job_id:str}")
async def show(room: NamedDependency[Room], job_id: FromPath[str], seen: Seen = None) -> Response[Any]:
    """One import."""
    job = await _import(room.owner, job_id)
    version = live.version_of(attio_views.import_of(job))
    if seen == version:
        return pages.nothing_new()
    return await _page(room, job)


async def _page(
    room: Room, job: Job, *, typed: dict[str, str] | None = None, error: MusterError | None = None
) -> Response[Any]:
    shown = attio_views.import_of(job)
    fields, rest = forms.by_field(forms.problems_of(error), NAMES) if error else ({}, [])
    cohort_id = (job.result or {}).get("cohort_id")
    return Page(
        "import.html",
        status_code=error.status if error else 200,
        room=room,
        section="attio",
        crumbs=[(_("Attio"), "/attio"), (job.id, "")],
        shown=shown,
        version=live.version_of(shown),
        cohort=await Cohort.find_one({"_id": cohort_id}) if cohort_id else None,
        typed=typed or {"name": "", "description": ""},
        problems=fields,
        other_problems=[problem.detail for problem in rest],
        zone=(await project_of(room.owner, job.project_id)).time_zone,
    )


@get("/attio/imports/{job_id:str}/live")
async def follow(
    request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str], seen: Seen = None
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        return live.version_of(attio_views.import_of(await _import(room.owner, job_id)))

    return await live.follow(request, look, seen)


@post("/attio/imports/{job_id:str}/cohort", status_code=200)
async def save_as_cohort(request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str]) -> Response[Any]:
    """A static cohort of just what the import brought."""
    job = await _import(room.owner, job_id)
    typed = {name: await forms.text(request, name) for name in NAMES}
    try:
        body = {**typed, "kind": "static", "import_id": job_id, "project_id": job.project_id}
        made = await service.create(room.owner, forms.checked(CohortIn, body))
    except MusterError as error:
        return await _page(room, job, typed=typed, error=error)
    return forms.go(request, f"/cohorts/{made.id}", Notice(_("%(cohort)s is there.") % {"cohort": made.id}))


async def _import(owner: str, job_id: str) -> Job:
    """An import. Raises NotFound."""
    job = await job_of(owner, job_id)
    if job.kind != KIND:
        raise NotFound(f"{job_id} is no import.")
    return job


ROUTES = [show, follow, save_as_cohort]
