"""Cohorts and rules over HTTP, as their users call them."""

from typing import Any

import httpx
import pytest

from muster.cohorts import jobs, service
from muster.jobs.documents import Job
from tests.waiting import until

RULE = 'lead.score > 50 and contact.country == "US"'


async def people(client: httpx.AsyncClient, count: int = 5) -> None:
    lines = [
        f'{{"pii_id": "P{n}", "lead": {{"score": {60 + n}}}, "contact": {{"country": "US"}}}}' for n in range(count)
    ]
    answer = await client.post(
        "/v1/profiles/import", content="\n".join(lines), headers={"content-type": "application/x-ndjson"}
    )
    assert answer.json()["upserted"] == count


async def create(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/v1/cohorts", json={"name": "Hot", "kind": "dynamic", "rule": RULE} | body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_cohort_is_created_shown_changed_and_deleted(client: httpx.AsyncClient) -> None:
    await people(client)
    made = await create(client)
    assert made["member_count"] == 5
    assert made["rule"]["text"] == RULE
    assert made["rule_fields"] == ["contact.country", "lead.score"]
    assert made["entity_scope"] == ["lead", "contact"]
    shown = await client.get(f"/v1/cohorts/{made['id']}")
    assert shown.headers["etag"] == '"1"'

    changed = await client.patch(
        f"/v1/cohorts/{made['id']}", json={"rule": "lead.score > 62", "name": "Hotter"}, headers={"If-Match": '"1"'}
    )
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert (changed.json()["member_count"], changed.json()["name"]) == (2, "Hotter")
    stale = await client.patch(f"/v1/cohorts/{made['id']}", json={"name": "X"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    same = await client.patch(f"/v1/cohorts/{made['id']}", json=changed.json())
    assert same.headers["etag"] == '"2"', "what was read and sent back changes nothing"

    assert (await client.delete(f"/v1/cohorts/{made['id']}")).status_code == 204
    assert (await client.get(f"/v1/cohorts/{made['id']}")).status_code == 404


@pytest.mark.parametrize("order", ["joined", "id"])
async def test_members_page_without_gap_or_repetition(client: httpx.AsyncClient, order: str) -> None:
    await people(client, 7)
    made = await create(client)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": 3, "order": order} | ({"cursor": cursor} if cursor else {})
        page = (await client.get(f"/v1/cohorts/{made['id']}/members", params=parameters)).json()
        seen += [member["pii_id"] for member in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert sorted(seen) == [f"P{n}" for n in range(7)]
    strange = await client.get(f"/v1/cohorts/{made['id']}/members", params={"cursor": "bm8"})
    assert strange.status_code == 422


async def test_static_members_by_hand_and_conversion(client: httpx.AsyncClient) -> None:
    await people(client)
    made = await create(client, kind="static", rule=None, members=["P0"])
    address = f"/v1/cohorts/{made['id']}"
    added = await client.post(f"{address}/members", json={"members": ["P0", "P1", "nobody"]})
    assert added.json() == {"added": 1, "already": 1, "unknown": ["nobody"]}
    removed = await client.request("DELETE", f"{address}/members", json={"members": ["P0", "P4"]})
    assert removed.json() == {"removed": 1, "not_members": ["P4"]}
    assert (await client.post(f"{address}/evaluate")).status_code == 409
    without_rule = await client.patch(address, json={"kind": "dynamic"})
    assert without_rule.json()["errors"][0]["pointer"] == "/rule"
    dynamic = await client.patch(address, json={"kind": "dynamic", "rule": "lead.score > 61"})
    assert (dynamic.json()["kind"], dynamic.json()["member_count"]) == ("dynamic", 3)
    refused = await client.post(f"{address}/members", json={"members": ["P0"]})
    assert refused.status_code == 409
    static = await client.patch(address, json={"kind": "static"})
    assert (static.json()["kind"], static.json()["member_count"]) == ("static", 3)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"rule": "lead.scroe > 1"}, "/rule"),
        ({"rule": {"all": [{"field": "lead.score", "operator": "above", "value": 1}]}}, "/rule/all/0/operator"),
        ({"rule": None}, "/rule"),
        ({"name": "  "}, "/name"),
        ({"name": None}, "/name"),
        ({"kind": "loose"}, "/kind"),
        ({"members": ["P0"]}, "/members"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_what_is_wrong_with_a_new_cohort_is_pointed_at(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    answer = await client.post("/v1/cohorts", json={"name": "Hot", "kind": "dynamic", "rule": RULE} | body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("body", "pointer"), [({"name": None}, "/name"), ({"rule": None}, "/rule"), ({"kind": 3}, "/kind")]
)
async def test_what_is_wrong_with_a_change_is_pointed_at(
    client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    made = await create(client)
    answer = await client.patch(f"/v1/cohorts/{made['id']}", json=body)
    assert answer.status_code == 422
    assert pointer in [error["pointer"] for error in answer.json()["errors"]]


async def test_a_wrong_text_is_located_with_a_suggestion(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/rules/check", json={"rule": "lead.scroe > 50"})
    assert answer.status_code == 200
    found = answer.json()
    assert not found["valid"]
    assert found["errors"][0]["suggestion"] in {"lead.score", "score"}
    start, end = found["errors"][0]["span"]["start"], found["errors"][0]["span"]["end"]
    assert "scroe" in "lead.scroe > 50"[start:end]


async def test_check_says_where_each_piece_runs(client: httpx.AsyncClient) -> None:
    rule = "lead.score > 50 and lead.score / 3 > 20"
    found = (await client.post("/v1/rules/check", json={"rule": rule})).json()
    assert (found["valid"], found["plan"]["strategy"]) == (True, "hybrid")
    assert {piece["text"]: piece["where"] for piece in found["plan"]["pieces"]} == {
        "lead.score > 50": "mongodb",
        "lead.score / 3 > 20": "python",
    }


@pytest.mark.parametrize("rule", ["lead.score > 62", "lead.score / 2 > 31"])
async def test_preview_counts_and_shows_a_few_but_stores_nothing(client: httpx.AsyncClient, rule: str) -> None:
    await people(client)
    found = (await client.post("/v1/rules/preview", json={"rule": rule, "sample": 1})).json()
    assert (found["count"], found["exact"], len(found["sample"])) == (2, True, 1)
    shown = (await client.get(f"/v1/profiles/{found['sample'][0]['pii_id']}")).json()
    assert shown["pii_id"] in {"P3", "P4"}
    assert found["sample"][0].items() <= shown.items()
    assert (await client.get("/v1/cohorts")).json()["items"] == []


async def test_a_long_evaluation_answers_202_and_goes_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(client)
    monkeypatch.setattr(jobs, "ANSWER_WITHIN", 0.0)
    monkeypatch.setattr(service, "RESIDUAL_CANDIDATES_HERE", 2)  # so a worker has to do it, and none runs
    body = {"name": "Slow", "kind": "dynamic", "rule": "lead.score / 2 > 31"}
    answer = await client.post("/v1/cohorts", json=body)
    made = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{made['job_id']}"
    assert (made["state"], made["member_count"]) == ("evaluating", 0)
    again = await client.post(f"/v1/cohorts/{made['id']}/evaluate")
    assert (again.status_code, again.json()) == (202, {"job_id": made["job_id"]}), "it joins the run under way"
    await jobs.run_job(made["job_id"])
    shown = (await client.get(f"/v1/cohorts/{made['id']}")).json()
    assert (shown["state"], shown["member_count"], shown["job_id"]) == ("ready", 2, None)


async def test_a_cancelled_evaluation_keeps_the_members_of_before(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(client)
    made = await create(client)
    monkeypatch.setattr(jobs, "ANSWER_WITHIN", 0.0)
    monkeypatch.setattr(service, "RESIDUAL_CANDIDATES_HERE", 2)
    edited = (await client.patch(f"/v1/cohorts/{made['id']}", json={"rule": "lead.score / 2 > 31"})).json()
    assert edited["member_count"] == 5
    cancelled = await client.post(f"/v1/jobs/{edited['job_id']}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    assert await until(jobs.settle_ended_runs) == 1
    shown = (await client.get(f"/v1/cohorts/{made['id']}")).json()
    assert (shown["state"], shown["member_count"]) == ("failed", 5)
    assert "cancelled" in shown["error"]
    job = await Job.get(edited["job_id"])
    assert job is not None
    assert job.attempts == 0


async def test_lists_are_filtered_searched_and_paged(client: httpx.AsyncClient) -> None:
    for name in ("Alpha", "Beta (new)", "Gamma"):
        await create(client, name=name)
    await create(client, name="Delta", kind="static", rule=None)

    async def names(**parameters: Any) -> list[str]:
        return [item["name"] for item in (await client.get("/v1/cohorts", params=parameters)).json()["items"]]

    assert await names(q="(new") == ["Beta (new)"]
    assert await names(kind="static") == ["Delta"]
    first = (await client.get("/v1/cohorts", params={"limit": 2})).json()
    assert await names(limit=2, cursor=first["next_cursor"]) == ["Gamma", "Delta"]


async def test_a_profile_names_its_cohorts(client: httpx.AsyncClient) -> None:
    await people(client)
    first, second = await create(client), await create(client, rule="lead.score > 63")
    listed = (await client.get("/v1/profiles/P4/cohorts")).json()["items"]
    assert [(item["id"], item["cause"]) for item in listed] == [(first["id"], "rule"), (second["id"], "rule")]
    assert (await client.get("/v1/profiles/P0")).json()["cohorts"] == [first["id"]]
    assert (await client.get("/v1/profiles/nobody/cohorts")).status_code == 404
