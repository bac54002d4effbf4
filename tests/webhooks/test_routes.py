"""Webhooks over HTTP: their life, what is refused, and a secret that is shown once."""

import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from muster.resources import Resources
from muster.webhooks import service
from muster.webhooks.documents import KEEP, RELAY, Delivery, RelayState, Webhook
from muster.webhooks.signatures import KEY_FILE, Vault, WrongKey, new_secret
from tests.waiting import until
from tests.webhooks.conftest import World, relaying
from tests.webhooks.receiver import Receiver, Reply

URL = "https://1.1.1.1/hook"


async def test_the_life_of_a_webhook(client: httpx.AsyncClient) -> None:
    cohort = (await client.post("/v1/cohorts", json={"name": "some", "kind": "static"})).json()["id"]
    body = {"url": URL, "events": ["cohort.entered", "cohort.entered"], "cohort_ids": [cohort], "description": "CRM"}
    made = await client.post("/v1/webhooks", json=body)
    webhook = made.json()
    path = f"/v1/webhooks/{webhook['id']}"
    assert made.status_code == 201
    assert (made.headers["location"], made.headers["etag"]) == (path, '"1"')
    assert webhook["secret"].startswith("whsec_")
    shown = await client.get(path)
    assert shown.json() == {name: value for name, value in webhook.items() if name != "secret"}
    assert shown.json()["events"] == ["cohort.entered"]
    assert (await client.get("/v1/webhooks")).json()["items"] == [shown.json()]
    assert (await client.get(path, headers={"If-None-Match": '"1"'})).status_code == 304

    again = await client.patch(path, json=webhook)
    assert (again.status_code, again.json()["rev"]) == (200, 1), "what was answered may be sent back as it is"
    change = {"url": "https://1.0.0.1/", "events": ["job.finished"], "cohort_ids": None, "active": False}
    changed = await client.patch(path, json=change, headers={"If-Match": '"1"'})
    assert changed.status_code == 200, changed.text
    assert {name: changed.json()[name] for name in change} == change
    assert (await client.patch(path, json={"active": True}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.post(f"{path}/test")).status_code == 409
    assert (await client.delete(path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "http://example.com/"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "/url"),
        ({"url": "https://[::1]/"}, "/url"),
        ({"url": "https://user:password@1.1.1.1/"}, "/url"),
        ({"url": 7}, "/url"),
        ({"events": []}, "/events"),
        ({"events": ["cohort.exploded"]}, "/events/0"),
        ({"events": ["webhook.test"]}, "/events/0"),
        ({"cohort_ids": ["COH-404"]}, "/cohort_ids/0"),
        ({"cohort_ids": []}, "/cohort_ids"),
        ({"secret_": "mine"}, "/secret_"),
    ],
)
async def test_what_does_not_hold_is_told_where(client: httpx.AsyncClient, body: dict[str, Any], pointer: str) -> None:
    """When it is made, and when it is changed."""
    right = {"url": URL, "events": ["cohort.left"]}
    webhook = (await client.post("/v1/webhooks", json=right)).json()
    for answer in (
        await client.post("/v1/webhooks", json=right | body),
        await client.patch(f"/v1/webhooks/{webhook['id']}", json=body),
    ):
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert await Webhook.count() == 1


async def test_a_project_has_only_so_many(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "PER_PROJECT", 2)
    body = {"url": URL, "events": ["cohort.left"]}
    answers = [(await client.post("/v1/webhooks", json=body)).status_code for _ in range(3)]
    assert answers == [201, 201, 409]
    other = (await client.post("/v1/projects", json={"name": "other"})).json()["id"]
    assert (await client.post("/v1/webhooks", json=body | {"project_id": other})).status_code == 201
    assert len((await client.get("/v1/webhooks", params={"project_id": other})).json()["items"]) == 1


async def test_they_go_with_their_project(client: httpx.AsyncClient) -> None:
    project = (await client.post("/v1/projects", json={"name": "short-lived"})).json()["id"]
    body = {"url": URL, "events": ["cohort.left"], "project_id": project}
    webhook = (await client.post("/v1/webhooks", json=body)).json()
    await client.post(f"/v1/webhooks/{webhook['id']}/test")
    assert (await client.delete(f"/v1/projects/{project}")).status_code == 204
    assert (await Webhook.count(), await Delivery.count()) == (0, 0)


async def test_lists_page(client: httpx.AsyncClient) -> None:
    """Webhooks from the oldest on, deliveries from the newest; these by state, too."""
    body = {"url": URL, "events": ["cohort.left"]}
    webhooks = [(await client.post("/v1/webhooks", json=body)).json()["id"] for _ in range(5)]
    path = f"/v1/webhooks/{webhooks[0]}"
    tests = [(await client.post(f"{path}/test")).json()["id"] for _ in range(5)]
    assert await pages(client, "/v1/webhooks") == [webhooks[:2], webhooks[2:4], webhooks[4:]]
    newest = tests[::-1]
    assert await pages(client, f"{path}/deliveries") == [newest[:2], newest[2:4], newest[4:]]
    assert await pages(client, f"{path}/deliveries", state="pending") == [newest[:2], newest[2:4], newest[4:]]
    for state in ("delivered", "failed", "dropped"):
        assert await pages(client, f"{path}/deliveries", state=state) == [[]]
    assert (await client.get(f"{path}/deliveries", params={"state": "lost"})).status_code == 422


async def pages(client: httpx.AsyncClient, path: str, **query: str) -> list[list[str]]:
    """The ids on each page of two."""
    found: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await client.get(path, params={"limit": 2} | query | cursor)).json()
        found.append([item["id"] for item in page["items"]])
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_deliveries_are_kept_for_a_while(client: httpx.AsyncClient, clean: Resources) -> None:
    """MongoDB deletes them by itself; nothing is kept for ever."""
    webhook = (await client.post("/v1/webhooks", json={"url": URL, "events": ["cohort.left"]})).json()
    made = (await client.post(f"/v1/webhooks/{webhook['id']}/test")).json()
    delivery = await Delivery.get(made["id"])
    assert delivery is not None
    assert delivery.expires_at - delivery.created_at == KEEP
    indexes = await clean.database[Delivery.Settings.name].index_information()
    assert indexes["expiry"]["expireAfterSeconds"] == 0


async def test_an_idempotency_key_does_not_keep_a_secret(client: httpx.AsyncClient, clean: Resources) -> None:
    """Neither of a new webhook nor of a changed secret; other answers are kept as everywhere."""
    key = {"Idempotency-Key": "once"}
    body = {"url": URL, "events": ["cohort.left"]}
    first, second = [(await client.post("/v1/webhooks", json=body, headers=key)).json() for _ in range(2)]
    assert first["id"] != second["id"]
    path = f"/v1/webhooks/{first['id']}"
    rotated = [(await client.post(f"{path}/rotate-secret", headers=key)).json()["secret"] for _ in range(2)]
    assert len({first["secret"], second["secret"], *rotated}) == 4
    assert await clean.database["idempotency"].count_documents({}) == 0
    tests = [(await client.post(f"{path}/test", headers=key)).json()["id"] for _ in range(2)]
    assert len(set(tests)) == 1


async def test_a_secret_is_nowhere_in_the_clear(
    world: World, receiver: Receiver, clean: Resources, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in MongoDB, Redis, the data folder, the log, or an error; whatever happens to deliveries meanwhile."""
    caplog.set_level(logging.DEBUG)
    webhook = await world.webhook(receiver.url)
    rotated = (await world.http.post(f"/v1/webhooks/{webhook['id']}/rotate-secret")).json()["secret"]
    canaries = [secret.removeprefix("whsec_") for secret in (webhook["secret"], rotated)]
    receiver.replies += [Reply(500), Reply(410)]
    async with relaying(world.settings):
        for _ in range(2):
            await world.http.post(f"/v1/webhooks/{webhook['id']}/test")

        async def switched_off() -> bool:
            return not (await world.shown(webhook))["active"]

        await until(switched_off)
    names = await clean.database.list_collection_names()
    seen = [caplog.text, *[str(await clean.database[name].find().to_list(None)) for name in names]]
    seen += [str(await clean.redis.dump(key)) async for key in clean.redis.scan_iter()]
    seen += [file.read_text("latin-1") for file in Path(world.settings.data_path).rglob("*") if file.is_file()]
    for path in ("", "/deliveries"):
        seen.append((await world.http.get(f"/v1/webhooks/{webhook['id']}{path}")).text)
    assert receiver.received
    for canary in canaries:
        assert not any(canary in text for text in seen)
    assert (world.settings.data_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_locked_secret_belongs_to_its_webhook() -> None:
    """Whoever can write to the database cannot lend one webhook another's secret."""
    vault, secret = Vault(bytes(32)), new_secret()
    stored = vault.lock(secret, "WHK-1")
    assert vault.unlock(stored, "WHK-1") == secret
    assert vault.lock(secret, "WHK-1") != stored
    for other, webhook_id in ((vault, "WHK-2"), (Vault(bytes(31) + b"1"), "WHK-1")):
        with pytest.raises(WrongKey):
            other.unlock(stored, webhook_id)


async def test_health_tells_of_a_relay_that_is_silent(client: httpx.AsyncClient) -> None:
    """Nobody relays here."""
    assert (await client.get("/health/ready")).json()["checks"]["webhooks"] == {"status": "idle"}
    await client.post("/v1/webhooks", json={"url": URL, "events": ["cohort.left"]})
    assert (await client.get("/health/ready")).json()["checks"]["webhooks"]["status"] == "silent"
    assert await RelayState.get(RELAY) is None
