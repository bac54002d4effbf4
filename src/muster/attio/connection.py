"""The connection of a project with an Attio workspace.

The key is kept in the project's file of secrets and read anew for each use, so that running workers see a changed one;
`MUSTER_ATTIO_API_KEY` serves projects without a key of their own. Which workspace a project is bound to is on record,
and stays so until it is disconnected: a key of another workspace would mix two sets of records.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import SecretStr
from pymongo import ReturnDocument

from muster.api import etags
from muster.attio import models
from muster.attio.budget import budget_of
from muster.attio.client import AttioClient
from muster.attio.documents import AttioConnection
from muster.attio.errors import AttioApiError, AttioKeyRefused, AttioRefused
from muster.attio.requests import PATIENT, WAITED_FOR, Patience
from muster.attio.secrets import API_KEY, forget_secrets, keep_secret, secret_of
from muster.errors import Conflict, Invalid, Problem
from muster.projects.service import project_of
from muster.settings import Settings

Origin = Literal["project", "installation"]

# Which workspace a key leads to never changes, so a process asks once. By digest: keys are kept nowhere else.
_WORKSPACES: dict[bytes, str] = {}
_MOST_KNOWN = 1_000


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a project's connection. `problem` says why it does not work, if so."""

    project_id: str
    connected: bool
    key: Origin | None = None
    workspace: models.Self | None = None
    problem: str | None = None
    connected_at: datetime | None = None
    rev: int = 0


async def client_of(project_id: str, settings: Settings, *, patience: Patience = PATIENT) -> AttioClient:
    """A client (to be entered with `async with`) for a project, with the key as it is in its file now, and as it will
    be: each request reads it anew, so that a key which is replaced while a job runs does not end it.

    Raises Conflict when the project is not connected, or its key leads to another workspace than the one it is bound
    to; AttioKeyRefused when the key was revoked; AttioUnavailable when Attio does not answer. Requests may raise these
    later, too.
    """
    key = _needed_key(project_id, settings)
    workspace_id = await _workspace_of(key, project_id, settings, patience)

    async def key_now() -> SecretStr:
        nonlocal key
        current = _needed_key(project_id, settings)
        if current != key:
            if await _workspace_of(current, project_id, settings, patience) != workspace_id:
                raise Conflict(f"{project_id} was connected with another Attio workspace meanwhile.")
            key = current
        return key

    budget = budget_of(workspace_id)
    return AttioClient(key, base_url=settings.attio_base_url, key_now=key_now, budget=budget, patience=patience)


async def connect(
    owner: str,
    project_id: str | None,
    key: SecretStr,
    settings: Settings,
    *,
    revs: Collection[int] | None = None,
) -> State:
    """Test a key and keep it for a project.

    Raises Invalid for a key that Attio does not know, Conflict for one of another workspace than the project is bound
    to, AttioUnavailable when Attio does not answer; then the key before stays.
    """
    project = await project_of(owner, project_id)
    await _check_rev(project.id, revs)
    key = SecretStr(key.get_secret_value().strip())  # as it was pasted
    found = await _test(key, settings)
    pinned = await _pin(project.id, found, is_new_key=True)
    keep_secret(project.id, API_KEY, key, settings)
    _remember(key, settings, str(found.workspace_id))
    return _state(project.id, "project", found, pinned)


async def state_of(owner: str, project_id: str | None, settings: Settings) -> State:
    """How a project is connected now; Attio is asked. What does not work is said in `problem`, not raised."""
    project = await project_of(owner, project_id)
    pinned = await AttioConnection.get(project.id)
    key, origin = key_of(project.id, settings)
    if key is None:
        return _state(project.id, None, None, pinned)
    try:
        found = await whose(key, settings)
        if pinned is None:
            pinned = await _pin(project.id, found)
        _check_workspace(project.id, found, pinned)
    except (AttioApiError, Conflict) as error:
        return _state(project.id, origin, None, pinned, error.detail)
    return _state(project.id, origin, found, pinned)


async def disconnect(
    owner: str, project_id: str | None, settings: Settings, *, revs: Collection[int] | None = None
) -> None:
    """Forget the key and the workspace of a project. What was imported stays."""
    project = await project_of(owner, project_id)
    await _check_rev(project.id, revs)
    keep_secret(project.id, API_KEY, None, settings)
    await AttioConnection.find_one({"_id": project.id}).delete()


async def forget(settings: Settings, project_id: str) -> None:
    """Forget all that a project which is gone had to do with Attio's key."""
    forget_secrets(project_id, settings)
    await AttioConnection.find_one({"_id": project_id}).delete()


def key_of(project_id: str, settings: Settings) -> tuple[SecretStr | None, Origin | None]:
    """The key that a project uses now, and where it comes from."""
    own = secret_of(project_id, API_KEY, settings)
    if own is not None:
        return own, "project"
    return settings.attio_api_key, "installation" if settings.attio_api_key else None


def _needed_key(project_id: str, settings: Settings) -> SecretStr:
    key, _ = key_of(project_id, settings)
    if key is None:
        raise Conflict(
            f"{project_id} is not connected with Attio: give it a key with PUT /v1/attio/connection, or with "
            "`muster attio connect`. Without an account at Attio, `muster sandbox` serves a stand-in."
        )
    return key


async def _test(key: SecretStr, settings: Settings) -> models.Self:
    """Whose key somebody gives us. Raises Invalid for one that is no good."""
    try:
        return await whose(key, settings)
    except (AttioKeyRefused, AttioRefused) as error:
        raise Invalid("Attio does not take this key.", [Problem(error.detail, pointer="/api_key")]) from None


async def whose(key: SecretStr, settings: Settings, patience: Patience | None = None) -> models.Self:
    """Whose key this is. Raises AttioKeyRefused for one that is not active, AttioApiError where Attio does not say."""
    async with AttioClient(key, base_url=settings.attio_base_url, patience=patience or WAITED_FOR) as client:
        found = await client.test_connection()
    if not found.active:
        raise AttioKeyRefused("Attio does not know this key, or it was revoked: make one in Attio's settings.")
    if found.workspace_id is None:
        raise AttioApiError("Attio does not say which workspace the key belongs to.")
    return found


async def _workspace_of(key: SecretStr, project_id: str, settings: Settings, patience: Patience) -> str:
    """The workspace that a project's key leads to, which is the one that the project is bound to."""
    pinned = await AttioConnection.get(project_id)
    known = _WORKSPACES.get(_digest(key, settings))
    if known is not None and pinned is not None and pinned.workspace_id == known:
        return known
    found = await whose(key, settings, patience)
    if pinned is None:
        pinned = await _pin(project_id, found)
    _check_workspace(project_id, found, pinned)
    _remember(key, settings, pinned.workspace_id)
    return pinned.workspace_id


async def _pin(project_id: str, found: models.Self, *, is_new_key: bool = False) -> AttioConnection:
    """Bind a project to a workspace, unless it is bound. Raises Conflict when that is another one."""
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as MongoDB keeps it
    connections = AttioConnection.get_motor_collection()
    known = {"workspace_name": found.workspace_name, "workspace_slug": found.workspace_slug}
    first = {
        "workspace_id": found.workspace_id,
        "connected_at": now.replace(microsecond=now.microsecond // 1000 * 1000),
    }
    stored = await connections.find_one_and_update(
        {"_id": project_id},
        {"$setOnInsert": {**first, **known, "rev": 0 if is_new_key else 1}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    _check_workspace(project_id, found, AttioConnection.model_validate(stored))
    if is_new_key:
        stored = await connections.find_one_and_update(
            {"_id": project_id}, {"$set": known, "$inc": {"rev": 1}}, return_document=ReturnDocument.AFTER
        )
    read: AttioConnection = AttioConnection.model_validate(stored or {"_id": project_id, **first, **known})
    return read


def _check_workspace(project_id: str, found: models.Self, pinned: AttioConnection) -> None:
    if found.workspace_id != pinned.workspace_id:
        raise Conflict(
            f"{project_id} is bound to the Attio workspace {pinned.workspace_name or pinned.workspace_id}, and this "
            f"key belongs to {found.workspace_name or found.workspace_id}: disconnect first (DELETE "
            "/v1/attio/connection), if the other workspace is meant."
        )


async def _check_rev(project_id: str, revs: Collection[int] | None) -> None:
    if revs is None:
        return
    pinned = await AttioConnection.get(project_id)
    if pinned is None or pinned.rev not in revs:
        raise etags.stale()


def _state(
    project_id: str,
    origin: Origin | None,
    found: models.Self | None,
    pinned: AttioConnection | None,
    problem: str | None = None,
) -> State:
    workspace = found
    if workspace is None and pinned is not None:
        workspace = models.Self(
            active=False,
            workspace_id=pinned.workspace_id,
            workspace_name=pinned.workspace_name,
            workspace_slug=pinned.workspace_slug,
        )
    return State(
        project_id=project_id,
        connected=found is not None,
        key=origin,
        workspace=workspace,
        problem=problem,
        connected_at=pinned.connected_at if pinned else None,
        rev=pinned.rev if pinned else 0,
    )


def _remember(key: SecretStr, settings: Settings, workspace_id: str) -> None:
    if len(_WORKSPACES) >= _MOST_KNOWN:
        _WORKSPACES.clear()
    _WORKSPACES[_digest(key, settings)] = workspace_id


def _digest(key: SecretStr, settings: Settings) -> bytes:
    return hashlib.sha256(f"{settings.attio_base_url}\n{key.get_secret_value()}".encode()).digest()
