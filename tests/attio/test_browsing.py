"""What a workspace holds, over HTTP."""

import json
from typing import Any

import httpx
import pytest

from muster.attio.documents import AttioImport, import_key
from muster.sandbox.attio import KEY, AttioSandbox
from muster.sandbox.attio_world import generated_world

PEOPLE = "/v1/attio/objects/people/records"


@pytest.fixture(autouse=True)
async def project(client: httpx.AsyncClient, attio: AttioSandbox, hasty: None) -> str:  # noqa: ARG001  nobody waits
    """Ada's default project, connected."""
    assert KEY in attio.keys
    answer = await client.put("/v1/attio/connection", json={"api_key": KEY})
    return str(answer.json()["project_id"])


async def pages(client: httpx.AsyncClient, url: str, limit: int, **query: Any) -> list[list[dict[str, Any]]]:
    found, cursor = [], None
    while True:
        asked = {**query, "limit": limit, **({"cursor": cursor} if cursor else {})}
        answer = await client.get(url, params=asked)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["items"])
        if (cursor := answer.json()["next_cursor"]) is None:
            return found


@pytest.mark.parametrize("limit", [1, 7, 20, 30, 60, 61])
async def test_pages_hold_every_person_once(client: httpx.AsyncClient, limit: int) -> None:
    found = await pages(client, PEOPLE, limit)
    assert [len(page) for page in found] == [limit] * (60 // limit) + ([60 % limit] if 60 % limit else [])
    ids = [item["attio_record_id"] for page in found for item in page]
    assert len(set(ids)) == 60


async def test_a_page_larger_than_attio_s(client: httpx.AsyncClient, attio: AttioSandbox) -> None:
    attio.reset(generated_world(3, 1_205))
    assert [len(page) for page in await pages(client, PEOPLE, 1_000)] == [1_000, 205]


async def test_rows_that_go_between_two_pages_hide_no_other(client: httpx.AsyncClient, attio: AttioSandbox) -> None:
    rows = attio.world.objects["people"]
    first = (await client.get(PEOPLE, params={"limit": 20})).json()
    for _ in range(5):
        rows.remove(3)
    second = (await client.get(PEOPLE, params={"limit": 20, "cursor": first["next_cursor"]})).json()
    seen = {item["attio_record_id"] for item in first["items"] + second["items"]}
    assert {rows.row(place)["id"]["record_id"] for place in range(35)} <= seen
    assert len(first["items"] + second["items"]) == len(
        {item["attio_record_id"] for item in first["items"] + second["items"]}
    )


async def test_what_is_shown_of_a_record_and_what_is_imported(
    client: httpx.AsyncClient, attio: AttioSandbox, project: str
) -> None:
    row = attio.world.objects["companies"].row(20)
    record_id = row["id"]["record_id"]
    next_id = attio.world.objects["companies"].row(21)["id"]["record_id"]
    imports = AttioImport.get_motor_collection()
    await imports.insert_one({"_id": import_key(project, "company", record_id), "attio_record_id": record_id})
    await imports.insert_one({"_id": import_key("PRJ-other", "company", next_id), "attio_record_id": next_id})
    items = (await client.get("/v1/attio/objects/companies/records")).json()["items"]
    assert [item["attio_record_id"] for item in items if item["imported"]] == [record_id]
    shown = items[20]
    assert shown["name"] == row["values"]["name"][0]["value"]
    assert shown["domain"] == row["values"]["domains"][0]["domain"]
    assert (shown["attio_object_type"], shown["attio_web_url"]) == ("company", row["web_url"])
    assert (items[0]["name"], items[1]["name"], items[2]["name"]) == ("", "", "🦊🚀")
    assert shown["values"]["seats"][0]["value"] == 20


async def test_search(client: httpx.AsyncClient) -> None:
    for q, count in (("TWIN", 3), ("second.34@", 1), ("nobody at all", 0), ("  ", 60)):
        assert sum(len(page) for page in await pages(client, PEOPLE, 10, q=q)) == count
    found = (await client.get("/v1/attio/objects/companies/records", params={"q": "-7.example"})).json()["items"]
    assert [item["domain"][-9:] for item in found] == ["7.example"]


async def test_search_in_lists(client: httpx.AsyncClient, attio: AttioSandbox) -> None:
    url = "/v1/attio/lists/beta-testers/entries"
    every = [item for page in await pages(client, url, 100) for item in page]
    for q in ("twin", "people.example", "An"):
        wanted = [
            entry
            for entry in every
            if q.casefold() in entry["name"].casefold() or q.casefold() in (entry["email"] or "").casefold()
        ]
        found = [item for page in await pages(client, url, 2, q=q) for item in page]
        assert found == wanted
        assert wanted
    by_id = attio.world.lists["sales-pipeline"]["id"]["list_id"]
    assert (await client.get(f"/v1/attio/lists/{by_id}/entries", params={"q": "twin"})).json()["items"]
    assert (await client.get("/v1/attio/lists/none/entries", params={"q": "x"})).status_code == 404
    lists = (await client.get("/v1/attio/lists", params={"q": "BETA"})).json()["items"]
    assert [each["api_slug"] for each in lists] == ["beta-testers"]


async def test_filters_in_attio_s_grammar(client: httpx.AsyncClient) -> None:
    wanted = json.dumps({"nps": {"$gte": 5}})
    found = (await client.get(PEOPLE, params={"filter": wanted})).json()["items"]
    assert found
    assert all(item["values"]["nps"][0]["value"] >= 5 for item in found)
    with_q = (await client.get(PEOPLE, params={"filter": wanted, "q": "ada"})).json()["items"]
    assert 0 < len(with_q) < len(found)
    stage = json.dumps({"stage": "Invited"})
    entries = (await client.get("/v1/attio/lists/beta-testers/entries", params={"filter": stage})).json()["items"]
    assert {entry["entry_values"]["stage"][0]["status"]["title"] for entry in entries} == {"Invited"}
    for wrong in ("{", "[]", "5", "[" * 5_000):
        assert (await client.get(PEOPLE, params={"filter": wrong})).status_code == 422
    refused = await client.get(PEOPLE, params={"filter": json.dumps({"shoe_size": 43})})
    assert (refused.status_code, "shoe_size" in refused.json()["detail"]) == (422, True)


async def test_entries_of_objects_that_the_key_may_not_read_have_no_names(
    client: httpx.AsyncClient, attio: AttioSandbox
) -> None:
    attio.faults.add({"kind": "forbidden", "times": -1, "match": "records/query"})
    found = (await client.get("/v1/attio/lists/beta-testers/entries")).json()["items"]
    assert (len(found), {entry["name"] for entry in found}) == (15, {""})


async def test_lists_and_their_entries_with_the_names_that_stand_there(
    client: httpx.AsyncClient, attio: AttioSandbox
) -> None:
    lists = await pages(client, "/v1/attio/lists", 1)
    assert [page[0]["api_slug"] for page in lists] == ["beta-testers", "sales-pipeline"]
    assert lists[0][0]["parent_objects"] == ["people"]
    entries = [item for page in await pages(client, "/v1/attio/lists/beta-testers/entries", 4) for item in page]
    assert len({entry["attio_record_id"] for entry in entries}) == 15
    person = attio.world.objects["people"].find(entries[6]["parent_record_id"])
    assert person is not None
    assert entries[6]["name"] == person["values"]["name"][0]["full_name"]
    assert entries[6]["entry_values"]["stage"][0]["status"]["title"]
    by_id = attio.world.lists["beta-testers"]["id"]["list_id"]
    assert (await client.get(f"/v1/attio/lists/{by_id}/entries")).json()["items"] == entries


async def test_attributes_of_the_workspace_s_own(client: httpx.AsyncClient) -> None:
    found = [item for page in await pages(client, "/v1/attio/objects/people/attributes", 5) for item in page]
    assert {"nps": "number", "beta_tester": "checkbox"}.items() <= {
        item["api_slug"]: item["type"] for item in found
    }.items()
    assert len({item["api_slug"] for item in found}) == len(found) == 18


async def test_what_is_not_there(client: httpx.AsyncClient) -> None:
    for url in ("/v1/attio/objects/deals/records", "/v1/attio/objects/x/attributes", "/v1/attio/lists/none/entries"):
        assert (await client.get(url)).status_code == 404, url
    for cursor in ("x", "WzEsMl0", "Wy01LCJ4Il0"):
        assert (await client.get(PEOPLE, params={"cursor": cursor})).status_code == 422
    await client.delete("/v1/attio/connection")
    refused = await client.get(PEOPLE)
    assert (refused.status_code, "muster attio connect" in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("revoked", 409), ("server_error", 503), ("rate_limited", 503), ("html", 502), ("redirect", 502)],
)
async def test_attio_s_failures_are_told_as_such(
    client: httpx.AsyncClient, attio: AttioSandbox, kind: str, status: int
) -> None:
    attio.faults.add({"kind": kind, "times": 4, "retry_after": "none"})
    answer = await client.get("/v1/attio/lists")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("Attio answered")
    assert "sandbox-" in answer.json()["detail"]  # the execution id
