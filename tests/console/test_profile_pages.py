"""The page of a profile: found by id or address, kept up to date, erased."""

import html
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from muster.api.auth import issue_signin_code
from tests.console.conftest import browsing, form_token, sign_in
from tests.console.test_cohort_pages import notice, send
from tests.console.worlds import HOSTILE, RULE
from tests.waiting import until


async def put(api: httpx.AsyncClient, pii_id: str, **parts: Any) -> None:
    line = httpx.Request("POST", "http://x", json={"pii_id": pii_id, **parts}).content
    answer = await api.post("/v1/profiles/import", content=line, headers={"Content-Type": "application/x-ndjson"})
    assert answer.json()["upserted"] == 1, answer.text


async def test_a_profile_is_shown_with_all_its_parts(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Values by their type: numbers and times of the language, lists, yes and no."""
    await put(
        client,
        "P/1 ?&",
        lead={"score": 1234.5, "tags": ["spring", HOSTILE], "created_at": "2026-03-01T10:30:00Z"},
        contact={"name": HOSTILE, "opted_in": False},
        customer={},
    )
    made = await client.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": "lead.score > 50"})
    page = (await ada.get("/profile", params={"who": "P/1 ?&"}, headers={"Accept-Language": "fr"})).text
    assert "1\u202f234,5" in page
    assert "1 mars 2026" in page
    assert html.escape(HOSTILE).replace("&quot;", "&#34;") in page
    assert "<img src=x" not in page
    assert f'href="/cohorts/{made.json()["id"]}"' in page
    members = (await ada.get(f"/cohorts/{made.json()['id']}")).text
    assert 'href="/profile?who=P%2F1+%3F%26"' in members


async def test_somebody_is_found_by_address(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """However it is written; two with one address are both offered."""
    await put(client, "P1", contact={"email": "Ann@Example.org"})
    await put(client, "P2", contact={"email": "bob@example.org", "name": "Bob"})
    await put(client, "P3", contact={"email": " BOB@example.org"})
    assert '<code dir="ltr">email</code>' in (await ada.get("/profile", params={"who": "ann@example.ORG "})).text
    both = (await ada.get("/profile", params={"who": "bob@example.org"})).text
    assert 'href="/profile?who=P2"' in both
    assert 'href="/profile?who=P3"' in both
    for nobody in ("P4", "carl@example.org", HOSTILE):
        answer = await ada.get("/profile", params={"who": nobody})
        assert "No profile of this project" in answer.text
        assert "<img src=x" not in answer.text


async def test_assignments_and_tasks_of_a_lead_are_shown(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await put(client, "P1", lead={"score": 80})
    await client.put("/v1/agents/nora", json={"name": "Nora", "daily_capacity": 9, "active": True})
    made = await client.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": "lead.score > 50"})
    done = await client.post(f"/v1/cohorts/{made.json()['id']}/assign", json={"agent_ids": ["nora"]})
    assert done.json()["assigned_count"] == 1, done.text
    tasks = (await client.get("/v1/leads/P1/tasks")).json()["items"]
    page = (await ada.get("/profile", params={"who": "P1"})).text
    assert page.count("Nora") == 1 + len(tasks)
    assert all(html.escape(task["title"]) in page for task in tasks)


async def test_a_profile_of_another_project_says_so(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Links from another project's cohort name it; the same id here is somebody else."""
    other = (await client.post("/v1/projects", json={"name": "Other"})).json()["id"]
    for project, name in ((None, "Here"), (other, "There")):
        query = {"project_id": project} if project else {}
        await client.put("/v1/leads/P1", json={"name": name, "score": 80}, params=query)
    body = {"name": "There", "kind": "dynamic", "rule": "lead.score > 50", "project_id": other}
    made = (await client.post("/v1/cohorts", json=body)).json()["id"]
    link = f"/profile?who=P1&amp;project_id={other}"
    assert link in (await ada.get(f"/cohorts/{made}")).text
    assert "<h1><bdi>There</bdi></h1>" in (await ada.get(html.unescape(link))).text
    assert "<h1><bdi>Here</bdi></h1>" in (await ada.get("/profile?who=P1")).text


async def test_erasing_takes_a_profile_out_of_everything(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Only as the page showed it, and only by its owner."""
    await put(client, "P1", lead={"score": 80})
    made = (await client.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": RULE})).json()
    old = {"pii_id": "P1", "project_id": made["project_id"], "rev": "0"}
    assert "412" not in await notice(ada, await send(ada, "/profile?who=P1", "/profile/erase", **old))
    assert (await client.get("/v1/profiles/P1")).status_code == 200
    async with httpx.AsyncClient(transport=client._transport, base_url="http://muster.test") as eve:
        await sign_in(eve, "eve")
        token = form_token((await eve.get("/")).text)
        assert (await eve.post("/profile/erase", data={**old, "rev": "1", "form_token": token})).status_code == 404
        assert (await eve.get("/profile", params={"who": "P1", "project_id": made["project_id"]})).status_code == 404
    done = await send(ada, "/profile?who=P1", "/profile/erase", pii_id="P1", project_id=made["project_id"])
    assert "P1 is erased" in await notice(ada, done)
    assert (await client.get("/v1/profiles/P1")).status_code == 404


@pytest.mark.parametrize("scripts", [True, False])
async def test_from_a_cohort_to_a_member_and_away(
    chromium: Browser, address: str, api: httpx.AsyncClient, *, scripts: bool
) -> None:
    """A member's page follows its records; erased while somebody looks, it says that there is nobody."""
    await put(api, "P1", lead={"score": 80, "name": "Ann"})
    await api.post("/v1/cohorts", json={"name": "Best leads", "kind": "dynamic", "rule": "lead.score > 50"})
    async with browsing(chromium, address, scripts=scripts) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.get_by_role("link", name="Best leads").click()
        await page.get_by_role("link", name="Ann").first.click()
        await expect(page.get_by_role("heading", name="Ann")).to_be_visible()
        await expect(page.locator("#profile")).to_contain_text("Best leads")
        if not scripts:
            return
        await api.patch("/v1/leads/P1", json={"score": 7})
        await expect(page.locator("#profile")).to_contain_text("It is in no cohort now.")
        await page.get_by_role("button", name="Erase …").click()
        await page.get_by_role("button", name="Erase", exact=True).click()
        await expect(page.get_by_role("status")).to_contain_text("P1 is erased from everywhere.")
        await put(api, "P2", lead={"name": "Ben"})
        await page.get_by_role("searchbox").fill("P2")
        await page.get_by_role("button", name="Find").click()
        await expect(page.get_by_role("heading", name="Ben")).to_be_visible()
        await until(lambda: _streams(page))
        assert (await api.delete("/v1/profiles/P2")).is_success
        await expect(page.get_by_text("No profile of this project")).to_be_visible()


async def _streams(page: Any) -> bool:
    return bool(await page.evaluate("document.querySelector('[data-live]') !== null"))
