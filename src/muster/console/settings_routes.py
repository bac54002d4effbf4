"""The settings: language and looks, the project with its time zone, the fields of the registry."""

from datetime import UTC, datetime
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from muster.api.paging import Cursor
from muster.console import forms, rooms, settings_views
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.preferences import YEAR
from muster.console.rooms import Room
from muster.errors import MusterError
from muster.projects import service
from muster.projects.schemas import NewProject, ProjectPatch
from muster.records.registry import register_field
from muster.records.schemas import NewField
from muster.rules import PARTS, FieldType

AnyRequest = Request[Any, Any, Any]
Search = Annotated[str, QueryParameter(max_length=100)]

PROJECT = ("name", "description", "time_zone")


@get("/settings")
async def show(room: NamedDependency[Room]) -> Response[Any]:
    """Language, looks, and the project."""
    return _settings(room)


@post("/settings/project", status_code=200)
async def save_project(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Change the project, if it still is as the page showed it."""
    project_id = await forms.text(request, "project_id")
    typed = {name: await forms.text(request, name) for name in PROJECT}
    try:
        body = forms.checked(ProjectPatch, typed)
        revs = await forms.revision(request)
        await service.patch_project(room.owner, project_id, body.model_dump(exclude_unset=True), revs)
    except MusterError as error:
        await service.project_of(room.owner, project_id)  # another owner's is not there
        return _settings(room, typed=typed, error=error)
    return forms.go(request, "/settings", Notice(_("Saved.")))


@post("/settings/projects", status_code=200)
async def add_project(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """A new project, which is shown from now on."""
    typed = {name: await forms.text(request, name) for name in PROJECT}
    try:
        made = await service.create_project(room.owner, **forms.checked(NewProject, typed).model_dump())
    except MusterError as error:
        return _settings(room, new=typed, error=error)
    chosen = forms.cookie(request, rooms.COOKIE, made.id, max_age=YEAR)
    return forms.go(request, "/settings", Notice(_("%(project)s is there.") % {"project": made.name}), chosen)


@post("/settings/project/delete")
async def delete_project(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Delete the project, if nothing is in it."""
    project_id = await forms.text(request, "project_id")
    try:
        await service.delete_project(room.owner, project_id, await forms.revision(request))
    except MusterError as error:
        return forms.refused(request, "/settings", error)
    return forms.go(request, "/settings", Notice(_("%(project)s is deleted.") % {"project": project_id}))


def _settings(
    room: Room,
    *,
    typed: dict[str, str] | None = None,
    new: dict[str, str] | None = None,
    error: MusterError | None = None,
) -> Response[Any]:
    project = room.project
    fields, rest = forms.by_field(forms.problems_of(error), PROJECT) if error else ({}, [])
    return Page(
        "settings.html",
        status_code=error.status if error else 200,
        room=room,
        section="settings",
        typed=typed or {"name": project.name, "description": project.description, "time_zone": str(project.time_zone)},
        new=new or {"name": "", "description": "", "time_zone": str(project.time_zone)},
        is_new=new is not None,
        problems=fields,
        other_problems=[problem.detail for problem in rest],
        zones=settings_views.time_zones(),
        now=datetime.now(UTC),
    )


@get("/settings/fields")
async def fields(room: NamedDependency[Room], q: Search = "", cursor: Cursor = None) -> Response[Any]:
    """The fields that profiles may have, and that rules may ask for."""
    return await _fields(room, q=q.strip(), cursor=cursor)


@post("/settings/fields", status_code=200)
async def add_field(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Register a field."""
    typed = {name: await forms.text(request, name) for name in ("part", "name", "type")}
    try:
        body = forms.checked(NewField, {"name": f"{typed['part']}.{typed['name']}", "type": typed["type"]})
        field, is_new = await register_field(room.project.id, body.name, body.type)
    except MusterError as error:
        return await _fields(room, typed=typed, error=error)
    said = _("%(field)s is there.") if is_new else _("%(field)s was there already, with this type.")
    return forms.go(request, "/settings/fields", Notice(said % {"field": field.name}))


async def _fields(
    room: Room,
    *,
    q: str = "",
    cursor: str | None = None,
    typed: dict[str, str] | None = None,
    error: MusterError | None = None,
) -> Response[Any]:
    wrong, rest = forms.by_field(forms.problems_of(error), ("name", "type")) if error else ({}, [])
    return Page(
        "fields_registry.html",
        status_code=error.status if error else 200,
        room=room,
        section="settings",
        crumbs=[(_("Settings"), "/settings"), (_("Fields"), "")],
        shown=await settings_views.field_list(room.project, q=q, cursor=cursor),
        q=q,
        cursor=cursor,
        parts=PARTS,
        types=[each.value for each in FieldType],
        typed=typed or {"part": "lead", "name": "", "type": "string"},
        problems=wrong,
        other_problems=[problem.detail for problem in rest],
    )


ROUTES = [show, save_project, add_project, delete_project, fields, add_field]
