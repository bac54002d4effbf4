"""Attio's deliveries, and the webhook that sends them, over HTTP."""

from typing import Any

from litestar import Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.status_codes import HTTP_200_OK

from muster.api.auth import PUBLIC, PUBLIC_SECURITY
from muster.attio import hooks
from muster.attio.hook_schemas import HookIn, HookOut, TakenOut
from muster.projects.routes import ProjectId
from muster.settings import Settings


@post(
    "/hooks/attio/{project_id:str}",
    opt=PUBLIC,
    security=PUBLIC_SECURITY,
    status_code=HTTP_200_OK,
    request_max_body_size=hooks.LARGEST_DELIVERY,
    summary="Take a delivery of Attio's",
    tags=["attio"],
)
async def take_delivery(
    request: Request[Any, Any, Any], settings: NamedDependency[Settings], project_id: FromPath[str]
) -> TakenOut:
    """For Attio, which signs each delivery (`Attio-Signature`): that is the authentication, no token is needed.

    What is imported and touched by its events is fetched again a moment later. Events of what is not imported, and of
    kinds that are not known, are passed over.
    """
    signatures = [request.headers[name] for name in ("attio-signature", "x-attio-signature") if name in request.headers]
    key = request.headers.get("idempotency-key")
    return TakenOut.of(await hooks.take(project_id, await request.body(), signatures, key, settings))


@get("/v1/attio/webhook", summary="Show Attio's webhook", tags=["attio"])
async def show_hook(
    owner: NamedDependency[str], settings: NamedDependency[Settings], project_id: ProjectId = None
) -> HookOut:
    """Whether Attio tells this project of changes, and when it last did."""
    return HookOut.of(await hooks.state_of(owner, project_id, settings))


@put("/v1/attio/webhook", summary="Let Attio tell of changes", tags=["attio"])
async def put_hook(owner: NamedDependency[str], settings: NamedDependency[Settings], data: JSONBody[HookIn]) -> HookOut:
    """With `target_url` the webhook is made at Attio (the key needs `webhook:read-write`), in place of an earlier one.

    With `secret` it is one that you made in Attio yourself, for the `path` that the answer shows.
    """
    if data.secret is not None:
        return HookOut.of(await hooks.give_secret(owner, data.project_id, data.secret, settings))
    return HookOut.of(await hooks.register(owner, data.project_id, data.target_url or "", settings))


@delete("/v1/attio/webhook", summary="Hear no more from Attio", tags=["attio"])
async def delete_hook(
    owner: NamedDependency[str], settings: NamedDependency[Settings], project_id: ProjectId = None
) -> None:
    """The webhook is deleted at Attio, its secret forgotten; deliveries are refused from now on."""
    await hooks.unregister(owner, project_id, settings)


ROUTES = (take_delivery, show_hook, put_hook, delete_hook)
