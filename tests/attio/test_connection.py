"""The connection of a project: the key tested, kept in its file alone, bound to one workspace."""

import asyncio
import json
import logging
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from muster.attio import connection
from muster.attio.connection import client_of
from muster.attio.errors import AttioKeyRefused, AttioUnavailable
from muster.errors import Conflict
from muster.resources import Resources
from muster.sandbox.attio import KEY, AttioSandbox, Key
from muster.sandbox.attio_world import generated_world
from muster.settings import Settings
from tests.attio.conftest import HASTY

URL = "/v1/attio/connection"
CANARY = "canary-7ad0c3f1-key-of-a-workspace-that-nobody-else-may-see-0002"
OTHER = "key-of-another-workspace-00000000000000000000000000000000000003".ljust(64, "x")


@pytest.fixture(autouse=True)
def known(attio: AttioSandbox, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  nobody waits
    """Two more keys, of which one leads elsewhere; nothing is remembered of other tests."""
    attio.keys[CANARY] = Key(attio.world)
    attio.keys[OTHER] = Key(generated_world(1, 1, number=2))
    monkeypatch.setattr(connection, "_WORKSPACES", {})


def file_of(settings: Settings, project_id: str) -> Path:
    return settings.data_path / "secrets" / f"{project_id}.env"


async def connect(client: httpx.AsyncClient, key: str = CANARY, **more: Any) -> dict[str, Any]:
    answer = await client.put(URL, json={"api_key": key, **more})
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()
    return state


async def test_a_key_is_tested_kept_privately_and_shown_by_nobody(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    before = (await client.get(URL)).json()
    assert (before["connected"], before["workspace"], before["key"], before["problem"]) == (False, None, None, None)
    state = await connect(client)
    assert (state["connected"], state["missing_scopes"], state["key"]) == (True, [], "project")
    assert state["workspace"]["name"] == "Sandbox (not Attio)"
    assert "list_entry:read" in state["scopes"]
    file = file_of(settings, state["project_id"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.read_text() == f"MUSTER_ATTIO_API_KEY={CANARY}\n"
    shown = await client.get(URL)
    assert shown.json() == state
    assert (CANARY not in shown.text, shown.headers["cache-control"]) == (True, "no-store")


async def test_what_a_key_lacks_is_told(client: httpx.AsyncClient, attio: AttioSandbox) -> None:
    attio.keys[CANARY].scopes = "record_permission:read-write list_entry:read"
    assert (await connect(client))["missing_scopes"] == ["object_configuration:read", "list_configuration:read"]


@pytest.mark.parametrize("key", ["short", "k" * 64, "a\nb", "schlüssel", " "])
async def test_a_key_that_is_none_is_refused(client: httpx.AsyncClient, settings: Settings, key: str) -> None:
    answer = await client.put(URL, json={"api_key": key})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/api_key"
    assert not (settings.data_path / "secrets").exists()
    assert (await client.get(URL)).json()["connected"] is False


@pytest.mark.parametrize("body", [{}, {"api_key": ""}, {"api_key": 5}, {"api_key": None}, {"api_key": "x" * 501}])
async def test_a_body_without_a_key_is_told_where(client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.put(URL, json=body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/api_key")


async def test_a_key_pasted_with_white_space_is_the_key(client: httpx.AsyncClient) -> None:
    assert (await connect(client, f" {CANARY}\n"))["connected"]


async def test_an_answer_of_a_get_can_be_put_back_with_a_key(client: httpx.AsyncClient) -> None:
    state = (await client.get(URL)).json()
    assert (await client.put(URL, json={**state, "api_key": CANARY})).json()["connected"]


async def test_a_revoked_key_shows_as_not_connected_with_the_reason(
    client: httpx.AsyncClient, attio: AttioSandbox, settings: Settings
) -> None:
    project = (await connect(client))["project_id"]
    attio.keys[CANARY].is_active = False
    state = (await client.get(URL)).json()
    assert (state["connected"], state["scopes"]) == (False, [])
    assert state["workspace"]["name"] == "Sandbox (not Attio)"  # still bound
    assert "revoked" in state["problem"]
    async with await client_of(project, settings, patience=HASTY) as attio_client:
        with pytest.raises(AttioKeyRefused):
            await attio_client.fetch_lists()
    assert (await client.get("/v1/attio/lists")).status_code == 409


async def test_a_key_of_another_workspace_is_refused_until_disconnected(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    state = await connect(client)
    refused = await client.put(URL, json={"api_key": OTHER})
    assert refused.status_code == 409
    assert "Sandbox 2" in refused.json()["detail"]
    assert CANARY in file_of(settings, state["project_id"]).read_text()
    assert (await client.delete(URL)).status_code == 204
    assert (await client.delete(URL)).status_code == 204
    assert not file_of(settings, state["project_id"]).exists()
    assert (await client.get(URL)).json()["workspace"] is None
    assert (await connect(client, OTHER))["workspace"]["slug"] == "sandbox-2"


async def test_attio_away_leaves_the_key_before(
    client: httpx.AsyncClient, attio: AttioSandbox, settings: Settings
) -> None:
    project = (await connect(client))["project_id"]
    attio.faults.add({"kind": "server_error", "times": -1})
    answer = await client.put(URL, json={"api_key": KEY})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "asked 4 times" in answer.json()["detail"]
    state = (await client.get(URL)).json()
    assert (state["connected"], "500" in state["problem"]) == (False, True)
    attio.faults.waiting.clear()
    assert CANARY in file_of(settings, project).read_text()
    assert (await client.get(URL)).json()["connected"]


async def test_the_key_of_the_installation_serves_projects_without_one(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    project = (await client.post("/v1/projects", json={"name": "one"})).json()["id"]
    with pytest.raises(Conflict, match="connect"):
        await client_of(project, settings)
    given = settings.model_copy(update={"attio_api_key": SecretStr(KEY)})
    async with await client_of(project, given, patience=HASTY) as attio_client:
        assert len(await attio_client.fetch_lists()) == 2
    state = await connection.state_of("ada", project, given)
    assert (state.key, state.connected) == ("installation", True)
    # It is bound now; a setting that leads elsewhere is refused.
    other = settings.model_copy(update={"attio_api_key": SecretStr(OTHER)})
    with pytest.raises(Conflict, match="disconnect"):
        await client_of(project, other, patience=HASTY)
    # A key of its own goes first.
    await connect(client, CANARY, project_id=project)
    assert (await connection.state_of("ada", project, given)).key == "project"


async def test_running_workers_see_a_changed_key(
    client: httpx.AsyncClient, attio: AttioSandbox, settings: Settings
) -> None:
    """Also in the middle of a job: the old one may be revoked as soon as the new one is in place."""
    project = (await connect(client))["project_id"]
    async with await client_of(project, settings, patience=HASTY) as attio_client:
        assert len(await attio_client.fetch_people(limit=5)) == 5
        await connect(client, KEY)
        attio.keys[CANARY].is_active = False
        assert len(await attio_client.fetch_people(limit=5)) == 5
        await client.delete(URL)
        with pytest.raises(Conflict, match="not connected"):
            await attio_client.fetch_people(limit=5)
        await connect(client, OTHER)
        with pytest.raises(Conflict, match="another Attio workspace"):
            await attio_client.fetch_people(limit=5)


async def test_workers_ask_once_which_workspace_a_key_leads_to(
    client: httpx.AsyncClient, attio: AttioSandbox, settings: Settings
) -> None:
    project = (await connect(client))["project_id"]
    attio.seen.clear()
    clients = [await client_of(project, settings) for _ in range(3)]
    assert attio.seen == []
    assert len({id(one._requests._budget) for one in clients}) == 1  # one pace for all of them


async def test_attio_away_is_told_to_whoever_wants_a_client(
    client: httpx.AsyncClient, attio: AttioSandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = (await connect(client))["project_id"]
    monkeypatch.setattr(connection, "_WORKSPACES", {})  # as in another process
    attio.faults.add({"kind": "dropped", "times": -1})
    with pytest.raises(AttioUnavailable):
        await client_of(project, settings, patience=HASTY)


async def test_revisions(client: httpx.AsyncClient) -> None:
    first = await client.put(URL, json={"api_key": CANARY})
    assert first.headers["etag"] == (await client.get(URL)).headers["etag"] == '"1"'
    assert (await client.put(URL, json={"api_key": KEY}, headers={"If-Match": '"7"'})).status_code == 412
    assert (await client.put(URL, json={"api_key": KEY}, headers={"If-Match": '"1"'})).headers["etag"] == '"2"'
    assert (await client.delete(URL, headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.delete(URL, headers={"If-Match": '"2"'})).status_code == 204


async def test_a_project_that_goes_takes_its_key_along(client: httpx.AsyncClient, resources: Resources) -> None:
    project = (await client.post("/v1/projects", json={"name": "one"})).json()["id"]
    await connect(client, CANARY, project_id=project)
    file = file_of(resources.settings, project)
    assert file.exists()
    assert (await client.delete(f"/v1/projects/{project}")).status_code == 204
    assert not file.exists()
    assert await resources.database["attio_connections"].count_documents({}) == 0


async def test_others_see_nothing_of_it(client: httpx.AsyncClient, token_for: Callable[[str], str]) -> None:
    project = (await connect(client))["project_id"]
    bob = {"Authorization": f"Bearer {token_for('bob')}"}
    for method, more in (("GET", {}), ("DELETE", {})):
        assert (
            await client.request(method, URL, params={"project_id": project}, headers=bob, **more)
        ).status_code == 404
    body = {"api_key": KEY, "project_id": project}
    assert (await client.put(URL, json=body, headers=bob)).status_code == 404
    assert (await client.get(URL, headers=bob)).json()["connected"] is False
    assert (await client.get(URL)).json()["connected"] is True


async def test_many_at_once_leave_one_whole_file(client: httpx.AsyncClient, settings: Settings) -> None:
    answers = await asyncio.gather(*(client.put(URL, json={"api_key": key}) for key in [CANARY, KEY] * 5))
    assert {answer.status_code for answer in answers} == {200}
    project = answers[0].json()["project_id"]
    (line,) = file_of(settings, project).read_text().splitlines()
    assert line in {f"MUSTER_ATTIO_API_KEY={CANARY}", f"MUSTER_ATTIO_API_KEY={KEY}"}
    assert [file.name for file in (settings.data_path / "secrets").iterdir() if file.name.startswith(".")] == []


async def test_the_key_is_in_no_document_no_redis_value_no_log_and_no_answer(
    client: httpx.AsyncClient, attio: AttioSandbox, resources: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = [(await client.put(URL, json={"api_key": CANARY}, headers={"Idempotency-Key": "once"})).text]
    for kind in ("revoked", "html", "server_error", "redirect", "rate_limited", "dropped"):
        attio.faults.add({"kind": kind, "times": 4, "retry_after": "none"})
        said.append((await client.put(URL, json={"api_key": CANARY})).text)
        attio.faults.waiting.clear()
    said.append((await client.put(URL, json={"api_key": [CANARY], "other": CANARY})).text)
    said += [
        (await client.get(URL)).text,
        (await client.get("/v1/attio/lists")).text,
        (await client.get("/metrics")).text,
    ]
    for name in await resources.database.list_collection_names():
        said += [str(document) async for document in resources.database[name].find()]
    for key in await resources.redis.keys():
        said.append(str(await resources.redis.dump(key)))
    assert CANARY not in json.dumps(said)
    assert CANARY not in caplog.text
