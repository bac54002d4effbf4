"""Webhooks over HTTP."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED

from muster.api.etags import etag, expected_revs, not_modified, unchanged
from muster.api.idempotency import SECRET_ANSWER
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.settings import Settings
from muster.webhooks import deliveries, payloads, service
from muster.webhooks.documents import DeliveryState
from muster.webhooks.schemas import (
    DeliveryOut,
    DeliveryWithPayload,
    WebhookIn,
    WebhookOut,
    WebhookPatch,
    WebhookWithSecret,
)

AnyRequest = Request[Any, Any, Any]
ProjectId = Annotated[str | None, QueryParameter(description="The project; else the caller's default.")]

NO_STORE = {"Cache-Control": "no-store"}


@post("/v1/webhooks", opt=SECRET_ANSWER, summary="Create a webhook", tags=["webhooks"])
async def create_webhook(
    owner: NamedDependency[str], settings: NamedDependency[Settings], data: JSONBody[WebhookIn]
) -> Response[WebhookWithSecret]:
    """The answer shows the secret that signs every delivery; no other answer does."""
    webhook, secret = await service.create(owner, data, settings)
    headers = {"ETag": etag(webhook.rev), "Location": f"/v1/webhooks/{webhook.id}", **NO_STORE}
    return Response(WebhookWithSecret.of(webhook, secret=secret), headers=headers)


@get("/v1/webhooks", summary="List webhooks, oldest first", tags=["webhooks"])
async def list_webhooks(
    owner: NamedDependency[str], project_id: ProjectId = None, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[WebhookOut]:
    """The webhooks of a project."""
    webhooks, following = await service.list_webhooks(owner, project_id=project_id, limit=limit, cursor=cursor)
    return Page(items=[WebhookOut.of(webhook) for webhook in webhooks], next_cursor=following)


@get("/v1/webhooks/{webhook_id:str}", summary="Show a webhook", tags=["webhooks"])
async def show_webhook(request: AnyRequest, owner: NamedDependency[str], webhook_id: FromPath[str]) -> Response[Any]:
    """One webhook. Its ETag follows what can be changed; how its endpoint fares does not change it."""
    webhook = await service.webhook_of(owner, webhook_id)
    if not_modified(request, webhook.rev):
        return unchanged(webhook.rev)
    return Response(WebhookOut.of(webhook), headers={"ETag": etag(webhook.rev)})


@patch("/v1/webhooks/{webhook_id:str}", summary="Change a webhook", tags=["webhooks"])
async def patch_webhook(
    request: AnyRequest,
    owner: NamedDependency[str],
    settings: NamedDependency[Settings],
    webhook_id: FromPath[str],
    data: JSONBody[WebhookPatch],
) -> Response[WebhookOut]:
    """`"active": false` pauses it; `true` switches it on again, also after Muster has switched it off."""
    webhook = await service.patch(owner, webhook_id, data, settings, expected_revs=expected_revs(request))
    return Response(WebhookOut.of(webhook), headers={"ETag": etag(webhook.rev)})


@delete("/v1/webhooks/{webhook_id:str}", summary="Delete a webhook", tags=["webhooks"])
async def delete_webhook(request: AnyRequest, owner: NamedDependency[str], webhook_id: FromPath[str]) -> None:
    """Its deliveries go with it, also those that still wait."""
    await service.delete(owner, webhook_id, expected_revs=expected_revs(request))


@post(
    "/v1/webhooks/{webhook_id:str}/rotate-secret",
    status_code=HTTP_200_OK,
    opt=SECRET_ANSWER,
    summary="Change the secret",
    tags=["webhooks"],
)
async def rotate_secret(
    owner: NamedDependency[str], settings: NamedDependency[Settings], webhook_id: FromPath[str]
) -> Response[WebhookWithSecret]:
    """The answer shows the new secret. The old one signs beside it for a day."""
    webhook, secret = await service.rotate_secret(owner, webhook_id, settings)
    headers = {"ETag": etag(webhook.rev), **NO_STORE}
    return Response(WebhookWithSecret.of(webhook, secret=secret), headers=headers)


@post(
    "/v1/webhooks/{webhook_id:str}/test", status_code=HTTP_202_ACCEPTED, summary="Send a test event", tags=["webhooks"]
)
async def send_test_event(owner: NamedDependency[str], webhook_id: FromPath[str]) -> DeliveryOut:
    """An event `webhook.test`, sent at once and signed like any other; its delivery tells how it went."""
    return DeliveryOut.of(await service.send_test(owner, webhook_id))


@get("/v1/webhooks/{webhook_id:str}/deliveries", summary="List deliveries, newest first", tags=["webhooks"])
async def list_deliveries(
    *,
    owner: NamedDependency[str],
    webhook_id: FromPath[str],
    delivery_state: Annotated[
        DeliveryState | None, QueryParameter(name="state", description="Only in this state.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[DeliveryOut]:
    """What was sent, and what waits to be; for seven days."""
    found, following = await deliveries.list_deliveries(
        owner, webhook_id, state=delivery_state, limit=limit, cursor=cursor
    )
    return Page(items=[DeliveryOut.of(delivery) for delivery in found], next_cursor=following)


@get(
    "/v1/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}",
    summary="Show a delivery with its payload",
    tags=["webhooks"],
)
async def show_delivery(
    owner: NamedDependency[str], webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> DeliveryWithPayload:
    """One delivery, and what it would say if it were sent now."""
    delivery = await deliveries.delivery_of(owner, webhook_id, delivery_id)
    payload = await payloads.payload_of(delivery)
    return DeliveryWithPayload.of(delivery, payload=payload)


@post(
    "/v1/webhooks/{webhook_id:str}/deliveries/{delivery_id:str}/resend",
    status_code=HTTP_202_ACCEPTED,
    summary="Send a delivery again",
    tags=["webhooks"],
)
async def resend_delivery(
    owner: NamedDependency[str], webhook_id: FromPath[str], delivery_id: FromPath[str]
) -> DeliveryOut:
    """Whatever became of it: at once, and under the same `webhook-id`."""
    return DeliveryOut.of(await deliveries.resend(owner, webhook_id, delivery_id))


ROUTES: list[HTTPRouteHandler] = [
    create_webhook,
    list_webhooks,
    show_webhook,
    patch_webhook,
    delete_webhook,
    rotate_secret,
    send_test_event,
    list_deliveries,
    show_delivery,
    resend_delivery,
]
