"""`/v1/leads`, `/v1/contacts`, `/v1/customers`: parts of one profile, flat."""

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import pytest

PARTS = {"leads": {"status": "new"}, "contacts": {"country": "US"}, "customers": {"plan": "pro"}}


def without_stamps(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in {"updated_at", "created_at", "rev"}}


@pytest.mark.parametrize(("plural", "fields"), PARTS.items())
async def test_a_part_from_its_creation_to_its_end(
    client: httpx.AsyncClient, plural: str, fields: dict[str, str]
) -> None:
    path, (name, value) = f"/v1/{plural}/P1", next(iter(fields.items()))
    assert (await client.get(path)).status_code == 404
    created = await client.put(path, json=fields)
    assert created.status_code == 201
    assert without_stamps(created.json()) == {"pii_id": "P1", name: value}
    assert created.headers["etag"] == '"1"'
    patched = await client.patch(path, json={name: None})
    assert (patched.status_code, patched.json()["rev"]) == (200, 2)
    assert without_stamps(patched.json()) == {"pii_id": "P1"}
    replaced = await client.put(path, json=fields)
    assert (replaced.status_code, replaced.json()["rev"]) == (200, 3)
    assert (await client.get(path)).json() == replaced.json()
    assert (await client.get(f"/v1/{plural}")).json() == {"items": [replaced.json()], "next_cursor": None}
    assert (await client.delete(path)).status_code == 204
    for gone in (client.get(path), client.delete(path), client.patch(path, json={})):
        assert (await gone).status_code == 404
    assert (await client.get("/v1/profiles/P1")).json()["rev"] == 4


async def test_put_replaces_and_patch_merges(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={"status": "new", "score": 5, "tags": ["a"]})
    patched = await client.patch("/v1/leads/P1", json={"score": 6, "tags": None, "stage": "x"})
    assert without_stamps(patched.json()) == {"pii_id": "P1", "status": "new", "score": 6, "stage": "x"}
    replaced = await client.put("/v1/leads/P1", json={"stage": "y", "score": None})
    assert without_stamps(replaced.json()) == {"pii_id": "P1", "stage": "y"}


async def test_what_a_get_answered_can_be_sent_back(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={"status": "new", "created_at": "2026-01-31T12:00:00.123456+02:00"})
    answered = (await client.get("/v1/leads/P1")).json()
    assert answered["created_at"] == "2026-01-31T10:00:00.123000Z"
    for method in ("PUT", "PATCH"):
        again = await client.request(method, "/v1/leads/P1", json=answered)
        assert (again.status_code, again.json()) == (200, answered)


async def test_the_parts_of_a_profile_share_one_revision(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={})
    tag = (await client.put("/v1/contacts/P1", json={})).headers["etag"]
    assert tag == '"2"'
    for path in ("/v1/leads/P1", "/v1/contacts/P1", "/v1/profiles/P1"):
        assert (await client.get(path)).headers["etag"] == tag
    assert (await client.put("/v1/customers/P1", json={}, headers={"If-Match": tag})).status_code == 201


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_stale_revision_changes_nothing(client: httpx.AsyncClient, method: str) -> None:
    await client.put("/v1/leads/P1", json={"status": "a"})
    await client.put("/v1/leads/P1", json={"status": "b"})
    body = {} if method == "DELETE" else {"json": {"status": "c"}}
    stale = await client.request(method, "/v1/leads/P1", headers={"If-Match": '"1"'}, **body)
    assert stale.status_code == 412
    assert (await client.get("/v1/leads/P1")).json()["status"] == "b"
    fresh = await client.request(method, "/v1/leads/P1", headers={"If-Match": '"1", "2"'}, **body)
    assert fresh.is_success


async def test_of_many_writers_with_one_revision_one_wins(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={"score": 0})
    answers = await asyncio.gather(
        *(client.put("/v1/leads/P1", json={"score": n}, headers={"If-Match": '"1"'}) for n in range(1, 21))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    assert (await client.get("/v1/leads/P1")).json()["rev"] == 2


async def test_if_match_never_creates(client: httpx.AsyncClient) -> None:
    for header in ('"1"', "*"):
        answer = await client.put("/v1/leads/P1", json={}, headers={"If-Match": header})
        assert answer.status_code == 412
    assert (await client.get("/v1/profiles/P1")).status_code == 404


async def test_if_none_match_only_creates(client: httpx.AsyncClient) -> None:
    create = {"If-None-Match": "*"}
    answers = await asyncio.gather(*(client.put("/v1/leads/P1", json={}, headers=create) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 9
    assert (await client.put("/v1/contacts/P1", json={}, headers=create)).status_code == 201
    assert (await client.put("/v1/contacts/P1", json={}, headers=create)).status_code == 412


async def test_a_copy_that_is_still_right_is_not_sent_again(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={})
    answer = await client.get("/v1/leads/P1", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')


async def test_many_at_once_create_one_profile(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.put("/v1/leads/P1", json={"score": n}) for n in range(30)))
    assert all(answer.is_success for answer in answers)
    assert sorted(answer.json()["rev"] for answer in answers) == list(range(1, 31))
    assert len((await client.get("/v1/leads")).json()["items"]) == 1


@pytest.mark.parametrize(
    "pii_id", ["a/b", "a%b", "a b", "..x", "é", "attio:1", "x" * 200, "a?b#c", "a+b", "😀", "//", "%2F"]
)
async def test_any_pii_id_has_its_address(client: httpx.AsyncClient, pii_id: str) -> None:
    path = f"/v1/leads/{quote(pii_id, safe='')}"
    assert (await client.put(path, json={"status": "new"})).json()["pii_id"] == pii_id
    assert (await client.get(path)).json()["pii_id"] == pii_id
    assert (await client.get(f"/v1/profiles/{quote(pii_id, safe='')}")).json()["pii_id"] == pii_id
    assert (await client.delete(path)).status_code == 204


@pytest.mark.parametrize("address", ["%01", "%C2%85", "x" * 201, "%00", "%1F", "%FF", "%ED%A0%80"])
async def test_no_profile_has_such_an_id(client: httpx.AsyncClient, address: str) -> None:
    answer = await client.put(f"/v1/leads/{address}", json={})
    assert answer.status_code in {404, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/v1/leads")).json()["items"] == []


@pytest.mark.parametrize("value", ["$secret", "$$ROOT", "$lead.score", "a.b", "", "x" * 300_000])
async def test_strings_of_a_database_s_language_stay_strings(client: httpx.AsyncClient, value: str) -> None:
    await client.put("/v1/contacts/P1", json={"email": "hidden@example.com"})
    for method in ("PUT", "PATCH", "PATCH"):
        answer = await client.request(method, "/v1/leads/P1", json={"status": value, "tags": [value]})
        assert (answer.json()["status"], answer.json()["tags"]) == (value, [value])
    assert answer.json()["rev"] == 2


@pytest.mark.parametrize(
    "body", [{"$set": {"a": 1}}, {"a.b": 1}, {"__proto__": {}}, {"lead": {}}, {"_id": "x"}, {"status\0": ""}]
)
async def test_only_registered_fields_are_stored(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    for method in ("PUT", "PATCH"):
        answer = await client.request(method, "/v1/leads/P1", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"].startswith("/")


@pytest.mark.parametrize("value", [{"$ne": None}, ["x"], True, 2**60])
async def test_a_value_of_another_type_is_refused(client: httpx.AsyncClient, value: Any) -> None:
    answer = await client.put("/v1/leads/P1", json={"score": value})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/score"]


async def test_pages_hold_everybody_once_in_order(client: httpx.AsyncClient) -> None:
    ids = [f"P{number:02}" for number in range(25)] + ["é", "Z", "a/b"]
    for pii_id in ids:
        await client.put(f"/v1/leads/{quote(pii_id, safe='')}", json={})
        await client.put(f"/v1/contacts/C{quote(pii_id, safe='')}", json={})
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = (await client.get("/v1/leads", params={"limit": 7, **({"cursor": cursor} if cursor else {})})).json()
        found += [item["pii_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 7
    assert found == sorted(ids, key=str.encode)


async def test_a_profile_is_all_its_parts(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={"status": "new"})
    await client.put("/v1/contacts/P1", json={})
    profile = (await client.get("/v1/profiles/P1")).json()
    assert without_stamps(profile) == {
        "pii_id": "P1",
        "lead": {"status": "new"},
        "contact": {},
        "customer": None,
        "person": None,
        "company": None,
        "cohorts": [],
        "experiment_ids": [],
    }


async def test_an_erased_profile_is_gone_and_its_successor_is_new(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={"status": "new"})
    await client.put("/v1/leads/P1", json={"status": "old"})
    assert (await client.delete("/v1/profiles/P1", headers={"If-Match": '"1"'})).status_code == 412
    assert (await client.delete("/v1/profiles/P1", headers={"If-Match": '"2"'})).status_code == 200
    for path in ("/v1/profiles/P1", "/v1/leads/P1"):
        assert (await client.get(path)).status_code == 404
    assert (await client.delete("/v1/profiles/P1")).status_code == 404
    assert (await client.put("/v1/leads/P1", json={})).json()["rev"] == 1


async def test_a_profile_without_parts_stays_until_it_is_erased(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/P1", json={})
    await client.delete("/v1/leads/P1")
    assert (await client.get("/v1/profiles/P1")).json()["lead"] is None
    assert (await client.get("/v1/leads")).json()["items"] == []


async def test_a_field_can_be_added_and_keeps_its_type(client: httpx.AsyncClient) -> None:
    assert (await client.put("/v1/leads/P1", json={"nps": 9})).status_code == 422
    nps = {"name": "lead.nps", "type": "number"}
    answers = await asyncio.gather(*(client.post("/v1/fields", json=nps) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert (await client.put("/v1/leads/P1", json={"nps": 9})).json()["nps"] == 9
    for taken in ({"name": "lead.nps", "type": "string"}, {"name": "lead.status", "type": "number"}):
        assert (await client.post("/v1/fields", json=taken)).status_code == 409
    same = await client.post("/v1/fields", json={"name": "lead.status", "type": "string"})
    assert (same.status_code, same.json()["built_in"]) == (200, True)


async def test_a_field_belongs_to_its_project(client: httpx.AsyncClient) -> None:
    other = (await client.post("/v1/projects", json={"name": "other"})).json()["id"]
    await client.post("/v1/fields", json={"name": "lead.nps", "type": "number"}, params={"project_id": other})
    assert (await client.put("/v1/leads/P1", json={"nps": 9}, params={"project_id": other})).status_code == 201
    assert (await client.put("/v1/leads/P1", json={"nps": 9})).status_code == 422
    assert (await client.delete(f"/v1/profiles/P1?project_id={other}")).status_code == 200
    assert (await client.delete(f"/v1/projects/{other}")).status_code == 204


@pytest.mark.parametrize(
    "name",
    [
        *("nps", "lead.", ".nps", "lead.a.b", "deal.nps", "lead.pii_id", "lead.rev", "lead.updated_at", "lead.in"),
        *(
            "lead.true",
            "lead.length",
            "lead.$x",
            "lead._x",
            "lead.1x",
            "lead.é",
            "lead.a b",
            f"lead.{'x' * 64}",
            "lead.x\n",
        ),
    ],
)
async def test_a_field_has_a_name_that_rules_can_say(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/v1/fields", json={"name": name, "type": "string"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/name"


async def test_the_registry_is_a_list_of_all_fields(client: httpx.AsyncClient) -> None:
    await client.post("/v1/fields", json={"name": "lead.nps", "type": "list of number"})
    fields: dict[str, str] = {}
    cursor: str | None = None
    while True:
        page = (await client.get("/v1/fields", params={"limit": 10, **({"cursor": cursor} if cursor else {})})).json()
        fields.update({item["name"]: item["type"] for item in page["items"]})
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(fields) == 9 + 10 + 9 + 12 + 11 + 1
    assert fields["lead.nps"] == "list of number"
    assert fields["company.founded_on"] == "datetime"
