"""The stand-in for Attio, spoken to as Attio is."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from muster.sandbox.attio import KEY, AttioSandbox
from muster.sandbox.attio_control import control
from muster.sandbox.attio_people import AWKWARD
from muster.sandbox.attio_world import generated_world, world_of_folder
from muster.sandbox.serving import serving

AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
QUERY = "/v2/objects/people/records/query"


@pytest.fixture
async def http(attio: AttioSandbox, attio_server: tuple[AttioSandbox, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks to the sandbox with its key."""
    assert attio is attio_server[0]
    async with httpx.AsyncClient(base_url=attio_server[1], headers=AUTHORIZED) as opened:
        yield opened


async def rows(http: httpx.AsyncClient, **body: Any) -> list[dict[str, Any]]:
    answer = await http.post(QUERY, json=body)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"data"}
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


async def test_it_says_what_it_is(http: httpx.AsyncClient) -> None:
    assert "Nothing in here is real" in (await http.get("/sandbox")).text
    answer = await http.get("/v2/self")
    assert "not Attio" in answer.headers["x-sandbox"]
    assert "not Attio" in answer.json()["workspace_name"]
    assert answer.headers["x-attio-execution-id"].startswith("sandbox-")


async def test_tokens(http: httpx.AsyncClient) -> None:
    unknown = {"Authorization": f"Bearer {'x' * 64}"}
    assert (await http.get("/v2/self", headers=unknown)).json() == {"active": False}
    malformed = await http.get("/v2/self", headers={"Authorization": "Bearer x"})
    assert (malformed.status_code, malformed.json()["code"]) == (400, "missing_value")
    assert (await http.get("/v2/lists", headers=unknown)).status_code == 401


async def test_paging_stands_in_the_body_and_is_ignored_in_the_address(http: httpx.AsyncClient) -> None:
    every = await rows(http)
    assert len(every) == 60
    assert await rows(http, limit=7, offset=55) == every[55:]
    assert len((await http.post(f"{QUERY}?limit=3&offset=9", json={})).json()["data"]) == 60
    for wrong in ({"limit": 501}, {"limit": 0}, {"offset": -1}, {"limit": "5"}, [], {"sorts": "x"}):
        refused = await http.post(QUERY, json=wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, "validation_type")
    assert (await http.post(QUERY, content=b"{")).status_code == 400


async def test_sorts_and_filters(http: httpx.AsyncClient) -> None:
    names = await rows(http, sorts=[{"attribute": "name", "direction": "asc"}], filter={"nps": {"$gte": 5}})
    assert names
    assert all(row["values"]["nps"][0]["value"] >= 5 for row in names)
    full = [row["values"]["name"][0]["full_name"].casefold() for row in names if row["values"]["name"]]
    assert full == sorted(full)
    refused = await http.post(QUERY, json={"filter": {"shoe_size": 1}})
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_filter_attribute_slug")
    of_list = {"path": [["beta-testers", "parent_record"], ["people", "persona"]], "constraints": {"$eq": "Buyer"}}
    found = (await http.post("/v2/lists/beta-testers/entries/query", json={"filter": of_list})).json()["data"]
    assert 0 < len(found) < 15


async def test_everything_is_the_same_on_every_machine(http: httpx.AsyncClient) -> None:
    first = await rows(http, limit=1)
    assert first[0]["id"]["record_id"] == "eb830245-7f73-54d7-b14d-9f4d714428d3"
    names = [row["values"]["name"][0]["full_name"] if row["values"]["name"] else None for row in await rows(http)]
    assert names[: len(AWKWARD)] == list(AWKWARD)


async def test_more_requests_than_the_rate_are_refused(http: httpx.AsyncClient, attio: AttioSandbox) -> None:
    await http.post("/sandbox/faults", json={"kind": "lower_rate", "count": 2})
    answers = [await http.get("/v2/lists") for _ in range(12)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert limited[0].headers["retry-after"].endswith("GMT")
    assert limited[0].json()["type"] == "rate_limit_error"
    assert attio.rate == 2


async def test_faults_by_path_and_after_some_requests(http: httpx.AsyncClient) -> None:
    wanted = {"kind": "server_error", "match": "people", "skip": 1, "times": 2, "status": 503}
    assert (await http.post("/sandbox/faults", json=wanted)).status_code == 200
    statuses = [(await http.post(QUERY, json={"limit": 1})).status_code for _ in range(4)]
    assert statuses == [200, 503, 503, 200]
    assert (await http.post("/sandbox/faults", json={"kind": "earthquake"})).status_code == 400
    assert (await http.post("/sandbox/faults", json={"what": "x"})).status_code == 400
    await http.post("/sandbox/faults", json={"kind": "silent", "times": -1})
    await http.delete("/sandbox/faults")
    assert (await http.get("/sandbox/faults")).json() == {"faults": []}
    assert (await http.get("/sandbox/requests")).json()["requests"] == [f"POST {QUERY}"] * 4


async def test_records_change_and_go_and_become_one(http: httpx.AsyncClient) -> None:
    first, second, third = await rows(http, limit=3)
    ids = [row["id"]["record_id"] for row in (first, second, third)]
    one = f"/sandbox/records/people/{ids[0]}"
    await http.put(one, json={"values": {"job_title": [{"value": "Queen"}]}})
    changed = (await http.get(f"/v2/objects/people/records/{ids[0]}")).json()["data"]
    assert changed["values"]["job_title"] == [{"value": "Queen"}]
    assert changed["values"]["nps"] == first["values"]["nps"]
    merged = (await http.post(f"{one}/merge", json={"duplicate": ids[1], "into": "third-id"})).json()
    assert merged["id"]["record_id"] == "third-id"
    for gone in ids[:2]:
        assert (await http.get(f"/v2/objects/people/records/{gone}")).json()["code"] == "not_found"
    assert (await http.get("/v2/objects/people/records/third-id")).status_code == 200
    await http.delete(f"/sandbox/records/people/{ids[2]}")
    assert len(await rows(http)) == 58
    new = {"values": {"name": [{"full_name": "New"}]}}
    await http.put("/sandbox/records/people/new-id", json=new)
    assert (await rows(http))[-1]["id"]["record_id"] == "new-id"


async def test_webhooks_are_signed_and_told_of_changes(http: httpx.AsyncClient) -> None:
    told: list[tuple[dict[bytes, bytes], bytes]] = []

    async def receiver(scope: Any, receive: Any, send: Any) -> None:
        told.append((dict(scope["headers"]), (await receive()).get("body", b"")))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with serving(receiver) as address:
        subscription = {"event_type": "record.updated", "filter": None}
        made = {"data": {"target_url": address, "subscriptions": [subscription]}}
        secret = (await http.post("/v2/webhooks", json=made)).json()["data"]["secret"]
        assert (await http.get("/v2/webhooks")).json()["data"][0]["secret"] is None
        record_id = (await rows(http, limit=1))[0]["id"]["record_id"]
        await http.put(f"/sandbox/records/people/{record_id}", json={"values": {}})
        await http.delete(f"/sandbox/records/people/{record_id}")  # nobody wants to know
        again = {"target_url": address, "secret": secret, "events": [], "copies": 2, "idempotency_key": "k"}
        assert (await http.post("/sandbox/deliveries", json=again)).json()["statuses"] == [204, 204]
    (headers, body), *repeated = told
    assert headers[b"attio-signature"].decode() == hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert [event["id"]["record_id"] for event in json.loads(body)["events"]] == [record_id]
    assert [each[0][b"idempotency-key"] for each in repeated] == [b"k", b"k"]
    missing = {"data": {"target_url": address, "subscriptions": [{"event_type": "record.updated"}]}}
    assert (await http.post("/v2/webhooks", json=missing)).status_code == 400


async def test_another_workspace_behind_another_key(http: httpx.AsyncClient) -> None:
    key = "k" * 64
    await http.put(f"/sandbox/keys/{key}", json={"workspace": 2, "scopes": "list_entry:read"})
    found = (await http.get("/v2/self", headers={"Authorization": f"Bearer {key}"})).json()
    assert (found["workspace_slug"], found["scope"]) == ("sandbox-2", "list_entry:read")
    await http.put(f"/sandbox/keys/{key}", json={"is_active": False})
    assert (await http.get("/v2/self", headers={"Authorization": f"Bearer {key}"})).json() == {"active": False}


async def test_a_folder_is_served_as_it_is(tmp_path: Path) -> None:
    made = generated_world(5, 8)
    for slug, found in made.objects.items():
        lines = [json.dumps(found.row(place)) for place in range(len(found))]
        (tmp_path / f"{slug}.ndjson").write_text("\n".join(lines) + "\n")
    (tmp_path / "lists.ndjson").write_text(json.dumps(made.lists["beta-testers"]))
    entries = made.entries["beta-testers"]
    (tmp_path / "beta-testers-entries.ndjson").write_text(json.dumps(entries.row(0)))
    types = {"people": {"name": "personal-name", "nps": None, "linkedin": None}}
    (tmp_path / "attribute-types.json").write_text(json.dumps(types))

    world = world_of_folder(tmp_path)
    assert world.workspace_id == made.workspace_id
    app = AttioSandbox(world, control=control)
    async with serving(app) as address, httpx.AsyncClient(base_url=address, headers=AUTHORIZED) as http:
        assert len(await rows(http)) == 8
        found = (await http.get("/v2/objects/people/attributes")).json()["data"]
        types_found = {each["api_slug"]: each["type"] for each in found}
        assert (types_found["name"], types_found["nps"], types_found["linkedin"]) == ("personal-name", "number", "text")
        assert len((await http.post("/v2/lists/beta-testers/entries/query", json={})).json()["data"]) == 1
        assert (await rows(http, filter={"nps": {"$gte": 0}})) != []


@pytest.mark.parametrize("path", ["/v2", "/", "/v2/objects/people/records", "/v2/lists/none", "/sandbox/what", "/v1/x"])
async def test_what_there_is_not(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
