"""Attio tells us of changes: how a delivery is taken, and how Attio is asked to send them.

A delivery says where to look and no more, so nothing that it says is believed but that: what changed is fetched. It is
taken when its marks are written, and answered at once; a refresh (`marks.look_after`) does the rest. A delivery that
was taken is not taken again for as long as Attio repeats it.

The secrets that deliveries are signed with stand in the project's file of secrets. A new one does not end the one
before at once: what Attio still has to repeat is signed with that.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from pydantic import SecretStr
from pymongo.errors import DuplicateKeyError

from muster.attio import marks
from muster.attio.connection import client_of
from muster.attio.deliveries import events_of, is_signed
from muster.attio.documents import AttioConnection, AttioDelivery, AttioHook
from muster.attio.requests import WAITED_FOR
from muster.attio.secrets import keep_secret, secret_of
from muster.errors import BadRequest, Conflict, Unauthenticated
from muster.projects.service import project_of
from muster.settings import Settings

EVENTS: Sequence[str] = (
    "record.created",
    "record.updated",
    "record.deleted",
    "record.merged",
    "list-entry.created",
    "list-entry.updated",
    "list-entry.deleted",
)
REPEATED_FOR = timedelta(days=4)  # Attio repeats for three
SECRETS = "ATTIO_WEBHOOK_SECRETS"
MOST_SECRETS = 3  # the new one and those before, until their deliveries are through
LARGEST_DELIVERY = 1_000_000  # bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a delivery: how many events it had, how many imports they touch, whether it was taken before."""

    events: int
    marked: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class HookState:
    """How a project hears from Attio. `state`: "off", "secret only", or "registered" at Attio."""

    project_id: str
    state: Literal["off", "secret", "registered"]
    path: str
    webhook_id: str | None
    target_url: str | None
    last_delivery_at: datetime | None


async def take(
    project_id: str, body: bytes, signatures: Sequence[str], idempotency_key: str | None, settings: Settings
) -> Taken:
    """Take a delivery. Raises Unauthenticated when it is not signed with a secret of the project, BadRequest."""
    if not is_signed(body, signatures, _secrets(project_id, settings)):
        raise Unauthenticated("The delivery is not signed with the secret of a webhook of this project.")
    key = idempotency_key and hashlib.sha256(f"{project_id}\n{idempotency_key}".encode(errors="replace")).hexdigest()
    if key and await AttioDelivery.get(key) is not None:
        return Taken(0, 0, repeated=True)
    try:
        delivery = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise BadRequest("The delivery is not JSON.") from None
    connection = await AttioConnection.get(project_id)
    events = events_of(delivery, connection.workspace_id if connection else None)
    marked = await marks.mark(project_id, events) if events else 0
    now = datetime.now(UTC)
    await AttioHook.get_motor_collection().update_one(
        {"_id": project_id}, {"$set": {"last_delivery_at": now}}, upsert=True
    )
    if key:
        try:
            await AttioDelivery(id=key, project_id=project_id, expires_at=now + REPEATED_FOR).insert()
        except DuplicateKeyError:  # two copies at once; the marks of both are the same ones
            return Taken(len(events), marked, repeated=True)
    if marked:
        await marks.look_after(project_id)
    return Taken(len(events), marked)


async def register(owner: str, project_id: str | None, address: str, settings: Settings) -> HookState:
    """Ask Attio to tell `address`, where Muster is reached from the outside, of every change; the secret is kept.

    Webhooks that Attio already has for it are replaced. Raises AttioApiError, Conflict without a connection.
    """
    project = await project_of(owner, project_id)
    target = _target(address, project.id)
    hook = await AttioHook.get(project.id)
    async with await client_of(project.id, settings, patience=WAITED_FOR) as client:
        made = await client.make_webhook(target, EVENTS)
        if made.secret is None:
            raise Conflict("Attio made the webhook and did not show its secret; delete it there, then try again.")
        _keep(project.id, made.secret, settings)
        await _remember(project.id, made.webhook_id, target)
        for other in await client.fetch_webhooks():
            same = other.target_url == target or (hook is not None and other.webhook_id == hook.webhook_id)
            if same and other.webhook_id != made.webhook_id:
                await client.delete_webhook(other.webhook_id)
    return await _state(project.id, settings)


async def give_secret(owner: str, project_id: str | None, secret: SecretStr, settings: Settings) -> HookState:
    """Keep the secret of a webhook that somebody made in Attio by hand."""
    project = await project_of(owner, project_id)
    _keep(project.id, secret, settings)
    return await _state(project.id, settings)


async def state_of(owner: str, project_id: str | None, settings: Settings) -> HookState:
    """How a project hears from Attio; Attio is not asked."""
    project = await project_of(owner, project_id)
    return await _state(project.id, settings)


async def unregister(owner: str, project_id: str | None, settings: Settings) -> None:
    """Hear no more: the webhook that Muster made is deleted at Attio, the secrets are forgotten.

    Raises AttioApiError when Attio does not do it; then all stays as it is. Without a connection it is left to Attio.
    """
    project = await project_of(owner, project_id)
    hook = await AttioHook.get(project.id)
    if hook is not None and hook.webhook_id is not None:
        try:
            client = await client_of(project.id, settings, patience=WAITED_FOR)
        except Conflict as reason:
            _log.warning("The webhook %s of %s stays at Attio: %s", hook.webhook_id, project.id, reason.detail)
        else:
            async with client:
                await client.delete_webhook(hook.webhook_id)
    keep_secret(project.id, SECRETS, None, settings)
    await _remember(project.id, None, None)


async def forget(project_id: str) -> None:
    """Forget what is on record of a project that is gone; its secrets go with its file of secrets."""
    await marks.forget(project_id)
    await AttioDelivery.get_motor_collection().delete_many({"project_id": project_id})
    await AttioHook.get_motor_collection().delete_one({"_id": project_id})


def path_of(project_id: str) -> str:
    """Where Attio delivers."""
    return f"/hooks/attio/{project_id}"


def _target(address: str, project_id: str) -> str:
    path = path_of(project_id)
    return address if address.rstrip("/").endswith(path) else address.rstrip("/") + path


def _secrets(project_id: str, settings: Settings) -> list[SecretStr]:
    """The newest first; none for what is no project's id."""
    try:
        kept = secret_of(project_id, SECRETS, settings)
    except ValueError:
        return []
    return (
        [SecretStr(secret) for secret in msgspec.json.decode(kept.get_secret_value(), type=list[str])] if kept else []
    )


def _keep(project_id: str, secret: SecretStr, settings: Settings) -> None:
    known = [one.get_secret_value() for one in _secrets(project_id, settings)]
    listed = list(dict.fromkeys([secret.get_secret_value(), *known]))[:MOST_SECRETS]
    keep_secret(project_id, SECRETS, SecretStr(msgspec.json.encode(listed).decode()), settings)


async def _remember(project_id: str, webhook_id: str | None, target_url: str | None) -> None:
    values: dict[str, Any] = {"webhook_id": webhook_id, "target_url": target_url}
    await AttioHook.get_motor_collection().update_one({"_id": project_id}, {"$set": values}, upsert=True)


async def _state(project_id: str, settings: Settings) -> HookState:
    hook = await AttioHook.get(project_id)
    webhook_id = hook.webhook_id if hook else None
    has_secret = bool(_secrets(project_id, settings))
    return HookState(
        project_id=project_id,
        state="off" if not has_secret else "registered" if webhook_id else "secret",
        path=path_of(project_id),
        webhook_id=webhook_id,
        target_url=hook.target_url if hook else None,
        last_delivery_at=hook.last_delivery_at if hook else None,
    )
