"""The pages of Attio: the connection, what the workspace holds, and what is chosen of it to be imported."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from pydantic import SecretStr

from muster.api.paging import Cursor
from muster.attio import connection, imports
from muster.attio.errors import AttioApiError
from muster.attio.import_schemas import ImportIn
from muster.attio.schemas import ConnectionIn
from muster.cohorts.by_hand import static_cohort
from muster.cohorts.documents import Cohort
from muster.console import attio_views, forms
from muster.console.attio_views import COMPANIES, IMPORTED, LISTS, TABS
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page, address
from muster.console.rooms import Room
from muster.errors import Conflict, Invalid, MusterError, NotFound
from muster.settings import Settings

AnyRequest = Request[Any, Any, Any]
Tab = Annotated[str, QueryParameter(max_length=20)]
ListSlug = Annotated[str, QueryParameter(name="list", max_length=200)]
Search = Annotated[str, QueryParameter(max_length=200)]
Into = Annotated[str, QueryParameter(max_length=100)]

LARGEST_CHOICE = 1_000_000  # bytes: ten thousand ids


@get("/attio")
async def browse(
    *,
    room: NamedDependency[Room],
    settings: NamedDependency[Settings],
    tab: Tab = COMPANIES,
    list_slug: ListSlug = "",
    q: Search = "",
    into: Into = "",
    cursor: Cursor = None,
) -> Response[Any]:
    """What the workspace holds, to choose from; or how to connect. `into` is a static cohort that is added to."""
    standing = await attio_views.standing(room.project, settings)
    tab = tab if tab in TABS else COMPANIES
    if standing.origin is None and tab != IMPORTED:
        return await _connection(room, settings)
    q = q.strip()
    shown: dict[str, Any] = {"lists": None, "browsed": None, "imported": None}
    if tab == IMPORTED:
        shown["imported"] = await attio_views.imported(room.project, q=q, cursor=cursor)
    elif tab == LISTS and not list_slug:
        shown["lists"] = await attio_views.lists(room.project, settings, q=q)
    else:
        shown["browsed"] = await attio_views.browse(
            room.project, settings, tab, list_slug=list_slug, q=q, cursor=cursor
        )
    return Page(
        "attio.html",
        room=room,
        section="attio",
        standing=standing,
        tab=tab,
        list_slug=list_slug,
        q=q,
        cursor=cursor,
        into=await _into(room, into),
        **shown,
    )


async def _into(room: Room, cohort_id: str) -> Cohort | None:
    """The cohort that is added to, if that is possible here."""
    try:
        cohort = await static_cohort(room.owner, cohort_id) if cohort_id else None
    except (Conflict, NotFound):
        return None
    return cohort if cohort and cohort.project_id == room.project.id else None


@post("/attio/import", request_max_body_size=LARGEST_CHOICE)
async def begin(request: AnyRequest, room: NamedDependency[Room], settings: NamedDependency[Settings]) -> Response[Any]:
    """Import what is selected, or all that the search finds."""
    form = await request.form()
    given = {name: await forms.text(request, name) for name in ("tab", "list", "q", "into", "cohort_name", "do")}
    body: dict[str, Any] = {
        "source": "list" if given["tab"] == LISTS else given["tab"],
        "list": given["list"] or None,
        "project_id": room.project.id,
        "add_to_cohort": given["into"] or None,
        "save_as_cohort": {"name": given["cohort_name"]} if given["cohort_name"] and not given["into"] else None,
    }
    back = address("/attio", tab=given["tab"], list=given["list"], q=given["q"], into=given["into"])
    if given["do"] == "all":
        body["q"] = given["q"] or None
    else:
        chosen = [each for each in form.getall("record", []) if isinstance(each, str) and each]
        body["record_ids"] = list(dict.fromkeys(chosen))
        if not chosen:
            return forms.go(request, back, Notice(_("Nothing is selected."), "bad"))
    try:
        job = await imports.begin(room.owner, forms.checked(ImportIn, body), settings)
    except MusterError as error:
        return forms.refused(request, back, error)
    return forms.go(request, f"/attio/imports/{job.id}")


@get("/attio/connection")
async def show_connection(room: NamedDependency[Room], settings: NamedDependency[Settings]) -> Response[Any]:
    """How the project is connected, as Attio says now; and the form for a key."""
    return await _connection(room, settings)


@post("/attio/connection", status_code=200)
async def connect(
    request: AnyRequest, room: NamedDependency[Room], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Test a key, and keep it if it is good. It is never shown again, not even in the form that was wrong."""
    try:
        body = forms.checked(ConnectionIn, {"api_key": SecretStr(await forms.text(request, "api_key"))})
        state = await connection.connect(room.owner, room.project.id, body.api_key, settings)
    except (AttioApiError, Invalid, Conflict) as error:
        return await _connection(room, settings, problem=error)
    name = (state.workspace and (state.workspace.workspace_name or state.workspace.workspace_slug)) or ""
    return forms.go(request, "/attio/connection", Notice(_("Connected with %(workspace)s.") % {"workspace": name}))


@post("/attio/disconnect")
async def disconnect(
    request: AnyRequest, room: NamedDependency[Room], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Forget the key. What was imported stays."""
    await connection.disconnect(room.owner, room.project.id, settings)
    return forms.go(request, "/attio/connection", Notice(_("The key is forgotten. What was imported stays.")))


async def _connection(room: Room, settings: Settings, *, problem: MusterError | None = None) -> Response[Any]:
    details = [each.detail for each in forms.problems_of(problem)] if problem else []
    return Page(
        "attio_connection.html",
        status_code=422 if problem else 200,
        room=room,
        section="attio",
        crumbs=[(_("Attio"), "/attio"), (_("Connection"), "")],
        state=await connection.state_of(room.owner, room.project.id, settings),
        problems=details,
    )


ROUTES = [browse, begin, show_connection, connect, disconnect]
