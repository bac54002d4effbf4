"""The pages of webhooks: where Muster tells of changes, and what became of each message."""

import re
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.api.paging import Cursor
from muster.console import forms, live, pages, settings_views
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.errors import Invalid, MusterError, NotFound
from muster.projects.service import project_of
from muster.settings import Settings
from muster.webhooks import deliveries, service
from muster.webhooks.documents import DeliveryState
from muster.webhooks.schemas import WebhookIn, WebhookPatch

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
Only = Annotated[str, QueryParameter(max_length=20)]

EVENTS = ("cohort.entered", "cohort.left", "job.finished")
NAMES = ("url", "events", "cohort_ids", "description")  # of the fields that show what is wrong with them
NEW: dict[str, Any] = {"url": "", "events": list(EVENTS[:2]), "cohort_ids": None, "description": ""}


@get("/settings/webhooks")
async def webhooks(room: NamedDependency[Room]) -> Response[Any]:
    """The webhooks of a project, and a form for a new one."""
    return await _list(room)


async def _list(room: Room, *, typed: dict[str, Any] | None = None, error: MusterError | None = None) -> Response[Any]:
    return Page(
        "webhooks.html",
        status_code=error.status if error else 200,
        room=room,
        section="settings",
        crumbs=[(_("Settings"), "/settings"), (_("Webhooks"), "")],
        rows=await settings_views.webhook_rows(room.project),
        typed=typed or NEW,
        events=EVENTS,
        **_what_is_wrong(error),
    )


@post("/settings/webhooks", status_code=200)
async def add(request: AnyRequest, room: NamedDependency[Room], settings: NamedDependency[Settings]) -> Response[Any]:
    """A new webhook. The page shows its secret, and no other page does."""
    typed = await _typed(request)
    try:
        body = forms.checked(WebhookIn, {**typed, "project_id": room.project.id})
        made, secret = await service.create(room.owner, body, settings)
    except MusterError as error:
        return await _list(room, typed=typed, error=error)
    return await _webhook(room, made.id, secret=secret)


@get("/settings/webhooks/{webhook_id:str}")
async def webhook(
    room: NamedDependency[Room],
    webhook_id: FromPath[str],
    only: Only = "",
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """A webhook with its deliveries."""
    detail = await settings_views.webhook_detail(room.owner, webhook_id, state=_state(only), cursor=cursor)
    if seen == live.version_of(detail):
        return pages.nothing_new()
    return await _webhook(room, webhook_id, only=only, cursor=cursor)


@get("/settings/webhooks/{webhook_id:str}/live")
async def follow_webhook(
    *,
    request: AnyRequest,
    room: NamedDependency[Room],
    webhook_id: FromPath[str],
    only: Only = "",
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        return live.version_of(
            await settings_views.webhook_detail(room.owner, webhook_id, state=_state(only), cursor=cursor)
        )

    return await live.follow(request, look, seen)


async def _webhook(
    room: Room,
    webhook_id: str,
    *,
    only: str = "",
    cursor: str | None = None,
    secret: str | None = None,
    typed: dict[str, Any] | None = None,
    error: MusterError | None = None,
) -> Response[Any]:
    shown = await settings_views.webhook_detail(room.owner, webhook_id, state=_state(only), cursor=cursor)
    return Page(
        "webhook.html",
        status_code=error.status if error else 200,
        room=room,
        section="settings",
        crumbs=[(_("Settings"), "/settings"), (_("Webhooks"), "/settings/webhooks"), (webhook_id, "")],
        shown=shown,
        version=live.version_of(shown),
        only=only,
        cursor=cursor,
        secret=secret,
        typed=typed or shown.webhook.model_dump(include=set(NAMES)),
        events=EVENTS,
        states=[state.value for state in DeliveryState],
        zone=(await project_of(room.owner, shown.webhook.project_id)).time_zone,
        **_what_is_wrong(error),
    )


@post("/settings/webhooks/{webhook_id:str}", status_code=200)
async def change(
    request: AnyRequest, room: NamedDependency[Room], settings: NamedDependency[Settings], webhook_id: FromPath[str]
) -> Response[Any]:
    """Save what is in the form, pause or go on, as the button that was pressed says."""
    wanted, typed = await forms.text(request, "do"), await _typed(request)
    values: dict[str, Any] = {"active": wanted == "activate"} if wanted in {"pause", "activate"} else typed
    try:
        body = forms.checked(WebhookPatch, values)
        revs = await forms.revision(request)
        await service.patch(room.owner, webhook_id, body, settings, expected_revs=revs)
    except NotFound:
        raise
    except MusterError as error:
        return await _webhook(room, webhook_id, typed=typed, error=error)
    return forms.go(request, f"/settings/webhooks/{webhook_id}", Notice(_("Saved.")))


@post("/settings/webhooks/{webhook_id:str}/rotate", status_code=200)
async def rotate(
    room: NamedDependency[Room], settings: NamedDependency[Settings], webhook_id: FromPath[str]
) -> Response[Any]:
    """A new secret, which this page shows and no other."""
    _changed, secret = await service.rotate_secret(room.owner, webhook_id, settings)
    return await _webhook(room, webhook_id, secret=secret)


@post("/settings/webhooks/{webhook_id:str}/test")
async def test(request: AnyRequest, room: NamedDependency[Room], webhook_id: FromPath[str]) -> Response[Any]:
    """Send a test event at once."""
    here = f"/settings/webhooks/{webhook_id}"
    try:
        await service.send_test(room.owner, webhook_id)
    except MusterError as error:
        return forms.refused(request, here, error)
    return forms.go(request, here, Notice(_("A test event is on its way.")))


@post("/settings/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/resend")
async def resend(
    request: AnyRequest, room: NamedDependency[Room], webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> Response[Any]:
    """Send a message again."""
    here = f"/settings/webhooks/{webhook_id}"
    try:
        await deliveries.resend(room.owner, webhook_id, delivery_id)
    except MusterError as error:
        return forms.refused(request, here, error)
    return forms.go(request, here, Notice(_("It is on its way again.")))


@post("/settings/webhooks/{webhook_id:str}/delete")
async def delete(request: AnyRequest, room: NamedDependency[Room], webhook_id: FromPath[str]) -> Response[Any]:
    """Delete a webhook with its deliveries."""
    try:
        await service.delete(room.owner, webhook_id, expected_revs=await forms.revision(request))
    except MusterError as error:
        return forms.refused(request, f"/settings/webhooks/{webhook_id}", error)
    return forms.go(request, "/settings/webhooks", Notice(_("%(webhook)s is deleted.") % {"webhook": webhook_id}))


async def _typed(request: AnyRequest) -> dict[str, Any]:
    form = await request.form()
    cohorts = [each for each in re.split(r"[\s,;]+", await forms.text(request, "cohort_ids")) if each]
    return {
        "url": await forms.text(request, "url"),
        "events": [each for each in form.getall("events", []) if isinstance(each, str)],
        "cohort_ids": cohorts or None,
        "description": await forms.text(request, "description"),
    }


def _what_is_wrong(error: MusterError | None) -> dict[str, Any]:
    fields, rest = forms.by_field(forms.problems_of(error), NAMES) if error else ({}, [])
    return {"problems": fields, "other_problems": [problem.detail for problem in rest]}


def _state(only: str) -> DeliveryState | None:
    try:
        return DeliveryState(only) if only else None
    except ValueError:
        raise Invalid(f"Deliveries cannot be listed by {only!r}.") from None


ROUTES = [webhooks, add, webhook, follow_webhook, change, rotate, test, resend, delete]
