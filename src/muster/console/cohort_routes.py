"""The pages of cohorts: their list, one of them, and what can be done with it."""

from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_412_PRECONDITION_FAILED

from muster.api.paging import Cursor
from muster.cohorts import service
from muster.cohorts.documents import Kind
from muster.cohorts.export import export
from muster.cohorts.schemas import CohortPatch
from muster.console import cohort_views, forms, live, pages, views
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.console.sentences import sentence
from muster.errors import Invalid, MusterError
from muster.records.exporting import ExportFormat

AnyRequest = Request[Any, Any, Any]
Search = Annotated[str | None, QueryParameter(max_length=200)]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
Rows = Annotated[int | None, QueryParameter(ge=1, le=views.MOST_ROWS)]
Only = Annotated[str | None, QueryParameter(max_length=20)]


@dataclass(frozen=True, slots=True)
class Typed:
    """What somebody has typed over name and description, and what is wrong with it."""

    name: str
    description: str
    problem: str | None = None
    is_stale: bool = False  # somebody else changed the cohort meanwhile


@get("/cohorts")
async def cohorts(
    *,
    room: NamedDependency[Room],
    q: Search = None,
    kind: Only = None,
    cursor: Cursor = None,
    seen: Seen = None,
    rows: Rows = None,
) -> Response[Any]:
    """The cohorts of a project."""
    shown = await views.cohort_list(room.project, q=q, kind=_kind(kind), cursor=cursor, rows=rows)
    version = live.version_of(await _first_page(room, q, kind, cursor) if rows else shown)
    if seen == version:
        return pages.nothing_new()
    return Page(
        "cohorts.html",
        room=room,
        section="cohorts",
        shown=shown,
        version=version,
        q=q or "",
        kind=kind or "",
        cursor=cursor,
    )


@get("/cohorts/live")
async def follow_cohorts(
    *,
    request: AnyRequest,
    room: NamedDependency[Room],
    q: Search = None,
    kind: Only = None,
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """Tells the list when it is out of date."""

    async def look() -> str:
        return live.version_of(await _first_page(room, q, kind, cursor))

    return await live.follow(request, look, seen)


async def _first_page(room: Room, q: str | None, kind: str | None, cursor: str | None) -> views.CohortList:
    return await views.cohort_list(room.project, q=q, kind=_kind(kind), cursor=cursor)


def _kind(value: str | None) -> Kind | None:
    if not value:
        return None
    try:
        return Kind(value)
    except ValueError:
        raise Invalid(f"There is no kind {value!r} of cohorts.") from None


@get(["/cohorts/{cohort_id:str}", "/cohorts/{cohort_id:str}/edit"])
async def cohort(
    *,
    request: AnyRequest,
    room: NamedDependency[Room],
    cohort_id: FromPath[str],
    cursor: Cursor = None,
    seen: Seen = None,
    rows: Rows = None,
) -> Response[Any]:
    """One cohort with its members; with its name and description in a form where somebody edits them."""
    outline = await cohort_views.outline(room.owner, cohort_id, cursor=cursor)
    if seen == live.version_of(outline):
        return pages.nothing_new()
    typed = Typed(outline.cohort.name, outline.cohort.description) if request.url.path.endswith("/edit") else None
    return await _page(room, outline, cursor=cursor, rows=rows, typed=typed)


async def _page(
    room: Room,
    outline: cohort_views.Outline,
    *,
    cursor: str | None = None,
    rows: int | None = None,
    typed: Typed | None = None,
    status_code: int = 200,
) -> Page:
    shown = await cohort_views.detail(room.owner, outline, cursor=cursor, rows=rows)
    return Page(
        "cohort.html",
        status_code=status_code,
        room=room,
        section="cohorts",
        crumbs=[(_("Cohorts"), "/cohorts"), (outline.cohort.id, "")],
        shown=shown,
        version=live.version_of(outline),
        cursor=cursor,
        zone=shown.zone,
        typed=typed,
    )


@get("/cohorts/{cohort_id:str}/live")
async def follow_cohort(
    request: AnyRequest,
    room: NamedDependency[Room],
    cohort_id: FromPath[str],
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        return live.version_of(await cohort_views.outline(room.owner, cohort_id, cursor=cursor))

    return await live.follow(request, look, seen)


@post("/cohorts/{cohort_id:str}/edit")
async def edit(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Save name and description, if nobody changed the cohort since the form was shown; else show it again."""
    name, description = await forms.text(request, "name"), await forms.text(request, "description")
    try:
        body = forms.checked(CohortPatch, {"name": name, "description": description})
        await service.patch(room.owner, cohort_id, body, expected_revs=await forms.revision(request))
    except MusterError as error:
        outline = await cohort_views.outline(room.owner, cohort_id, cursor=None)
        typed = Typed(name, description, error.detail, is_stale=error.status == HTTP_412_PRECONDITION_FAILED)
        return await _page(room, outline, typed=typed, status_code=error.status)
    return forms.go(request, f"/cohorts/{cohort_id}", Notice(_("Saved.")))


@post("/cohorts/{cohort_id:str}/kind")
async def convert(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Let a cohort follow its rule, or keep the members that it has."""
    body = forms.checked(CohortPatch, {"kind": await forms.text(request, "kind")})
    here = f"/cohorts/{cohort_id}"
    try:
        await service.patch(room.owner, cohort_id, body, expected_revs=await forms.revision(request))
    except MusterError as error:
        return forms.refused(request, here, error)
    said = _("It follows its rule from now on.") if body.kind == "dynamic" else _("It keeps its members from now on.")
    return forms.go(request, here, Notice(said))


@post("/cohorts/{cohort_id:str}/evaluate")
async def evaluate(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Ask the rule about every profile again."""
    here = f"/cohorts/{cohort_id}"
    try:
        job = await service.evaluate_now(room.owner, cohort_id)
    except MusterError as error:
        return forms.refused(request, here, error)
    if job.state == "succeeded":
        return forms.go(request, here, Notice(_("Evaluated anew: every profile was asked.")))
    if job.error:
        return forms.go(request, here, Notice(sentence(job.error), "bad"))
    return forms.go(request, here, Notice(_("The evaluation goes on in the background.")))


@post("/cohorts/{cohort_id:str}/delete")
async def delete(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Delete a cohort, unless something still uses it."""
    try:
        await service.delete(room.owner, cohort_id, expected_revs=await forms.revision(request))
    except MusterError as error:
        return forms.refused(request, f"/cohorts/{cohort_id}", error)
    return forms.go(request, "/cohorts", Notice(_("%(cohort)s is deleted.") % {"cohort": cohort_id}))


@get("/cohorts/{cohort_id:str}/export")
async def export_members(
    room: NamedDependency[Room],
    cohort_id: FromPath[str],
    file_format: Annotated[ExportFormat, QueryParameter(name="format")] = "csv",
) -> Stream:
    """All members of one moment, as CSV or NDJSON."""
    file = await export(room.owner, cohort_id, file_format=file_format, fields=None)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return Stream(file.chunks, media_type=file.media_type, headers=headers)


ROUTES = [
    cohorts,
    follow_cohorts,
    cohort,
    follow_cohort,
    edit,
    convert,
    evaluate,
    delete,
    export_members,
]
