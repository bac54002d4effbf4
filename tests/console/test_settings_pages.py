"""The settings: project and time zone, fields, webhooks whose secret is shown once."""

import re
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, expect

from muster.api.auth import issue_signin_code
from muster.webhooks.documents import Attempt, Delivery, DeliveryState
from tests.console.conftest import browsing, form_token, sign_in
from tests.console.test_cohort_pages import notice, send
from tests.console.worlds import HOSTILE, build

PUBLIC = "https://1.1.1.1/hook"  # an address that needs no name to be resolved


async def test_the_time_zone_of_the_project_is_set(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Pages show times in it from then on; a zone that is none, and an older revision, are refused as typed."""
    await client.put("/v1/leads/L1", json={"created_at": "2026-01-01T23:30:00Z"})
    page = (await ada.get("/settings")).text
    project = re.findall(r'name="project_id" value="([^"]*)"', page)[0]
    typed = {"project_id": project, "name": "Sales", "description": "", "time_zone": "Asia/Tokyo"}
    assert "Saved" in await notice(ada, await send(ada, "/settings", "/settings/project", **typed))
    assert (await client.get(f"/v1/projects/{project}")).json()["time_zone"] == "Asia/Tokyo"
    assert "Jan 2, 2026 08:30" in (await ada.get("/profile?who=L1")).text
    wrong = await send(ada, "/settings", "/settings/project", **typed | {"time_zone": HOSTILE, "name": "kept"})
    assert wrong.status_code == 422
    assert "time_zone-problem" in wrong.text
    assert 'value="kept"' in wrong.text
    assert "<img src=x" not in wrong.text
    stale = await send(ada, "/settings", "/settings/project", **typed | {"rev": "1", "name": "older"})
    assert stale.status_code == 412


async def test_projects_are_made_and_deleted_when_empty(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    typed = {"name": "Trial", "description": "", "time_zone": "UTC"}
    made = await send(ada, "/settings", "/settings/projects", **typed)
    assert "Trial is there" in await notice(ada, made)
    project = (await client.get("/v1/projects")).json()["items"][-1]["id"]
    page = (await ada.get("/settings")).text
    assert f'name="project_id" value="{project}"' in page, "the new one is shown"
    await client.put("/v1/leads/L1", json={"score": 1}, params={"project_id": project})
    held = await notice(ada, await send(ada, "/settings", "/settings/project/delete", project_id=project))
    assert "still holds a profile" in held
    await client.delete("/v1/profiles/L1", params={"project_id": project})
    gone = await notice(ada, await send(ada, "/settings", "/settings/project/delete", project_id=project))
    assert "is deleted" in gone
    assert (await client.get(f"/v1/projects/{project}")).status_code == 404


async def test_fields_are_found_and_added(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await client.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": "lead.score > 50"})
    page = (await ada.get("/settings/fields", params={"q": "SCORE"})).text
    assert re.search(r'lead.score</code></th>\s*<td>number</td>\s*<td class="number">1</td>', page)
    assert "lead.status" not in page
    added = await send(ada, "/settings/fields", "/settings/fields", part="lead", name="nps", type="number")
    assert "lead.nps is there" in await notice(ada, added)
    names = [field["name"] for field in (await client.get("/v1/fields", params={"limit": 1000})).json()["items"]]
    assert "lead.nps" in names
    for wrong in ({"name": "and"}, {"name": HOSTILE}, {"name": "nps", "type": "string"}, {"type": "color"}):
        typed = {"part": "lead", "name": "x", "type": "number"} | wrong
        refused = await send(ada, "/settings/fields", "/settings/fields", **typed)
        assert refused.status_code in {409, 422}, wrong
        assert 'class="problem"' in refused.text
        assert "<img src=x" not in refused.text


async def test_a_secret_is_shown_once(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    typed: dict[str, Any] = {"url": PUBLIC, "events": ["cohort.entered"], "cohort_ids": "", "description": HOSTILE}
    made = await send(ada, "/settings/webhooks", "/settings/webhooks", **typed)
    assert made.status_code == 200
    secret = re.findall(r'<code id="secret" dir="ltr">(whsec_[^<]+)</code>', made.text)[0]
    (webhook,) = (await client.get("/v1/webhooks")).json()["items"]
    here = f"/settings/webhooks/{webhook['id']}"
    for page in (here, "/settings/webhooks", "/"):
        answer = await ada.get(page)
        assert secret not in answer.text + str(answer.headers)
        assert "<img src=x" not in answer.text
    other = re.findall(r'id="secret"[^>]*>(whsec_[^<]+)<', (await send(ada, here, f"{here}/rotate")).text)[0]
    assert other != secret
    assert "no-store" in made.headers["cache-control"]


async def test_a_webhook_is_changed_paused_and_deleted(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    cohort = await client.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": "lead.score > 50"})
    await client.post("/v1/webhooks", json={"url": PUBLIC, "events": ["cohort.left"]})
    (webhook,) = (await client.get("/v1/webhooks")).json()["items"]
    here = f"/settings/webhooks/{webhook['id']}"
    typed: dict[str, Any] = {"url": PUBLIC, "events": ["job.finished", "cohort.left"], "description": "", "do": "save"}
    saved = await send(ada, here, here, **typed, cohort_ids=cohort.json()["id"])
    assert "Saved" in await notice(ada, saved)
    await send(ada, here, here, do="pause")
    stored = (await client.get(f"/v1/webhooks/{webhook['id']}")).json()
    assert (stored["events"], stored["cohort_ids"], stored["active"]) == (
        typed["events"],
        [cohort.json()["id"]],
        False,
    )
    assert "switched off" in await notice(ada, await send(ada, here, f"{here}/test"))
    await send(ada, here, here, do="activate")
    assert "on its way" in await notice(ada, await send(ada, here, f"{here}/test"))
    for wrong, field in (
        ({"url": "http://127.0.0.1/"}, "url"),
        ({"url": "ftp://1.1.1.1/"}, "url"),
        ({"events": []}, "events"),
        ({"cohort_ids": "COH-999"}, "cohort_ids"),
    ):
        refused = await send(ada, here, here, **{**typed, "cohort_ids": "", **wrong})
        assert refused.status_code == 422, wrong
        assert f'id="{field}-problem"' in refused.text, wrong
        new = await send(ada, "/settings/webhooks", "/settings/webhooks", **{**typed, "cohort_ids": "", **wrong})
        assert f'id="{field}-problem"' in new.text, wrong
    assert "is deleted" in await notice(ada, await send(ada, here, f"{here}/delete"))
    assert (await client.get("/v1/webhooks")).json()["items"] == []


async def test_nothing_of_another_owner_is_set(visitor: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    (project,) = (await client.get("/v1/projects")).json()["items"]
    await sign_in(visitor, "eve")
    here = f"/settings/webhooks/{world['webhook']}"
    token = {"form_token": form_token((await visitor.get("/")).text), "rev": "1"}
    assert (await visitor.get(here)).status_code == 404
    for action in ("", "/rotate", "/test", "/delete", "/deliveries/msg_1/resend"):
        assert (await visitor.post(here + action, data={**token, "do": "pause"})).status_code == 404, action
    typed = {**token, "project_id": project["id"], "name": "Mine", "description": "", "time_zone": "UTC"}
    assert (await visitor.post("/settings/project", data=typed)).status_code == 404
    assert (await visitor.post("/settings/project/delete", data=typed)).status_code == 404
    assert (await client.get(f"/v1/projects/{project['id']}")).json()["name"] == project["name"]


@pytest.mark.parametrize("scripts", [True, False])
async def test_deliveries_are_followed_and_sent_again(
    chromium: Browser, address: str, api: httpx.AsyncClient, *, scripts: bool
) -> None:
    """What an endpoint answered appears by itself, and is sent again by a button."""
    made = await api.post("/v1/webhooks", json={"url": PUBLIC, "events": ["cohort.left"]})
    here = f"{address}/settings/webhooks/{made.json()['id']}"
    async with browsing(chromium, address, scripts=scripts) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(here)
        await page.get_by_role("button", name="Send a test event").click()
        deliveries = page.locator("#deliveries")
        await expect(deliveries).to_contain_text("waits")
        delivery = await Delivery.find_one({"webhook": made.json()["id"]})
        assert delivery is not None
        at = delivery.created_at
        attempt = Attempt(at=at, duration_ms=12, status=500, error="It answered 500.", response=HOSTILE)
        await delivery.set({"state": DeliveryState.FAILED, "attempts": [attempt.model_dump()], "attempt_count": 1})
        if not scripts:
            await page.reload()
        await expect(deliveries).to_contain_text("failed")
        await deliveries.get_by_text("1 attempt").click()
        await expect(deliveries).to_contain_text(HOSTILE)
        await page.get_by_role("button", name=f"Send {delivery.id} again").click()
        await expect(page.get_by_role("status").first).to_contain_text("on its way again")
        await expect(deliveries).to_contain_text("waits")
        await page.get_by_role("navigation", name="Which deliveries").get_by_role("link", name="failed").click()
        await expect(page.get_by_text("There are no such deliveries")).to_be_visible()
