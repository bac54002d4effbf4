"""The members of a cohort: put in and taken out by hand, why somebody is in it, how they came and went."""

import re
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.api.paging import Cursor
from muster.cohorts import by_hand, explanations
from muster.cohorts.by_hand import ByHand
from muster.cohorts.documents import Cohort
from muster.cohorts.progress import progress
from muster.cohorts.schemas import MembersIn
from muster.console import cohort_views, forms, pages, profile_views
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.languages import ngettext, number
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.errors import MusterError
from muster.jobs.documents import Job

AnyRequest = Request[Any, Any, Any]
Asked = Annotated[str, QueryParameter(max_length=400)]

NAMED = 5  # unknown ids that a notice names


@post("/cohorts/{cohort_id:str}/members/add")
async def add(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Add profiles by their ids, one a line or separated by commas."""
    here = f"/cohorts/{cohort_id}"
    ids = [found.strip() for found in re.split(r"[\n,;]", await forms.text(request, "members")) if found.strip()]
    if not ids:
        return forms.go(request, here, Notice(_("No id was given."), "bad"))
    try:
        body = forms.checked(MembersIn, {"members": ids})
        done = await by_hand.add(room.owner, cohort_id, body.members)
    except MusterError as error:
        return forms.refused(request, here, error)
    return forms.go(request, here, _added(done))


@post("/cohorts/{cohort_id:str}/members/remove", status_code=200)
async def remove(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Take one profile out; htmx takes its row away."""
    here, pii_id = f"/cohorts/{cohort_id}", await forms.text(request, "member")
    try:
        body = forms.checked(MembersIn, {"members": [pii_id]})
        await by_hand.remove(room.owner, cohort_id, body.members)
    except MusterError as error:
        return forms.refused(request, here, error)
    if forms.is_piece(request):
        return Response("", media_type="text/html", headers=pages.HEADERS)
    return forms.go(request, here, Notice(_("%(member)s is out.") % {"member": pii_id}))


@get("/cohorts/{cohort_id:str}/why")
async def why(room: NamedDependency[Room], cohort_id: FromPath[str], pii_id: Asked = "") -> Response[Any]:
    """Why somebody is in a cohort, or not: every condition of its rule with its result.

    `pii_id` may be a contact's e-mail address too; where it is that of several profiles, one of them is to be chosen.
    """
    cohort, zone = await cohort_views.cohort_and_zone(room.owner, cohort_id)
    asked = pii_id.strip()
    meant = await profile_views.whose(cohort.project_id, asked) if asked else []
    found, called, problem = None, None, None
    if asked and len(meant) < 2:
        try:
            found = await explanations.explanation(room.owner, cohort_id, *(meant or [asked]))
            called = await profile_views.name_of(cohort.project_id, meant[0]) if meant else None
        except MusterError as error:
            problem = error.detail
    return Page(
        "why.html",
        room=room,
        section="cohorts",
        crumbs=_way(cohort, _("Why")),
        cohort=cohort,
        asked=asked,
        meant=meant,
        called=called,
        found=found,
        problem=problem,
        zone=zone,
        elsewhere=room.elsewhere(cohort.project_id),
    )


@get("/cohorts/{cohort_id:str}/changes")
async def changes(room: NamedDependency[Room], cohort_id: FromPath[str], cursor: Cursor = None) -> Response[Any]:
    """Who entered and left, the newest first."""
    cohort, zone = await cohort_views.cohort_and_zone(room.owner, cohort_id)
    shown, following = await cohort_views.changes_page(room.owner, cohort_id, cursor=cursor)
    return Page(
        "changes.html",
        room=room,
        section="cohorts",
        crumbs=_way(cohort, _("Entries and exits")),
        cohort=cohort,
        changes=shown,
        next_cursor=following,
        cursor=cursor,
        zone=zone,
    )


@get("/cohorts/{cohort_id:str}/progress")
async def drift(room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """How far the members of a static cohort drifted from its rule. It looks at each of them, so it comes by itself."""
    cohort, _zone = await cohort_views.cohort_and_zone(room.owner, cohort_id)
    return Page(
        "drift.html",
        room=room,
        section="cohorts",
        crumbs=_way(cohort, _("Progress against the rule")),
        cohort=cohort,
        found=await progress(room.owner, cohort_id),
    )


def _way(cohort: Cohort, here: str) -> list[tuple[str, str]]:
    return [(_("Cohorts"), "/cohorts"), (cohort.name, f"/cohorts/{cohort.id}"), (here, "")]


def _added(done: ByHand | Job) -> Notice:
    if isinstance(done, Job):
        return Notice(_("They are being added in the background."))
    added = ngettext("%(count)s member was added.", "%(count)s members were added.", done.done)
    said = [added % {"count": number(done.done)}]
    if done.already:
        already = ngettext("%(count)s was in already.", "%(count)s were in already.", done.already)
        said.append(already % {"count": number(done.already)})
    if done.others:
        named = ", ".join(done.others[:NAMED]) + (" …" if len(done.others) > NAMED else "")
        said.append(_("Nobody knows: %(ids)s.") % {"ids": named})
    return Notice(" ".join(said), "bad" if done.others else "good")


ROUTES = [add, remove, why, changes, drift]
