"""The page of one profile, found by its id or by an e-mail address."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from muster.console import forms, live, pages, profile_views
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.errors import MusterError, NotFound
from muster.projects.documents import Project
from muster.projects.service import project_of
from muster.records import service

AnyRequest = Request[Any, Any, Any]
Who = Annotated[str, QueryParameter(max_length=400)]
InProject = Annotated[str | None, QueryParameter(max_length=100)]
Seen = Annotated[str | None, QueryParameter(max_length=64)]


@get("/profile")
async def profile(
    request: AnyRequest, room: NamedDependency[Room], who: Who = "", project_id: InProject = None, seen: Seen = None
) -> Response[Any]:
    """One profile; a form to find one, where nobody, or more than one, is meant.

    An id stands in the query, because it may hold any character. `project_id` is named by links from things of another
    project than the one that is chosen.
    """
    home = await _project(room, project_id)
    who = who.strip()
    found = await profile_views.whose(home.id, who) if who else []
    shown = await profile_views.shown_profile(home, found[0]) if len(found) == 1 else None
    version = live.version_of(shown)
    if seen == version:
        return pages.nothing_new()
    if seen and shown is None:  # erased while one looked
        return forms.go(request, pages.address("/profile", who=who, project_id=project_id))
    return Page(
        "profile.html",
        room=room,
        crumbs=[(_("Find a profile"), "/profile"), (shown.pii_id, "")] if shown else [],
        who=who,
        found=found,
        shown=shown,
        version=version,
        project_id=home.id,
        elsewhere=room.elsewhere(home.id),
        zone=home.time_zone,
    )


@get("/profile/live")
async def follow_profile(
    request: AnyRequest, room: NamedDependency[Room], who: Who, project_id: InProject = None, seen: Seen = None
) -> Response[Any]:
    """Tells the page when it is out of date."""
    home = await _project(room, project_id)

    async def look() -> str:
        try:
            return live.version_of(await profile_views.shown_profile(home, who))
        except NotFound:  # erased while one looks
            return live.version_of(None)

    return await live.follow(request, look, seen)


@post("/profile/erase")
async def erase(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Erase a profile from everywhere, if it is still as the page showed it."""
    home = await _project(room, await forms.text(request, "project_id"))
    pii_id = await forms.text(request, "pii_id")
    try:
        revs = await forms.revision(request)
        await service.erase_everywhere(room.owner, home.id, pii_id, revs=revs)
    except MusterError as error:
        return forms.refused(request, pages.address("/profile", who=pii_id, project_id=home.id), error)
    return forms.go(request, "/profile", Notice(_("%(profile)s is erased from everywhere.") % {"profile": pii_id}))


async def _project(room: Room, named: str | None) -> Project:
    """The project that an address names, else the room's. Raises NotFound, also for another owner's."""
    return await project_of(room.owner, named) if named else room.project


ROUTES = [profile, follow_profile, erase]
