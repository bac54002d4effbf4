"""Leads handed to agents, as somebody does it who has never used the API."""

import asyncio

import httpx
import pytest
from playwright.async_api import Browser, Locator, Page, expect

from muster.agents import assigning, undoing
from muster.api.auth import issue_signin_code
from tests.console.conftest import browsing

LEADS = 130  # from 100 on a worker assigns


async def world(api: httpx.AsyncClient, leads: int) -> None:
    lines = "\n".join(f'{{"pii_id": "L{place:03}", "lead": {{"score": 80}}}}' for place in range(leads))
    lines += '\n{"pii_id": "C1", "contact": {"name": "No lead"}}'
    await api.post("/v1/profiles/import", content=lines, headers={"Content-Type": "application/x-ndjson"})
    members = [f"L{place:03}" for place in range(leads)] + ["C1"]
    made = await api.post("/v1/cohorts", json={"name": "Best leads", "kind": "static", "members": members})
    assert made.status_code == 201, made.text


async def add_agent(page: Page, name: str, capacity: str) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Leads a day").fill(capacity)
    await page.get_by_role("button", name="Add agent").click()
    await expect(page.get_by_role("status")).to_contain_text(f"{name} is there.")


TWICE = """(button) => {
  let sent = 0;
  addEventListener("submit", (event) => { sent += !event.defaultPrevented; });
  button.click();
  button.click();
  return sent;
}"""


async def click_twice(button: Locator) -> None:
    """As an impatient person does, before the answer comes; the form is sent once."""
    assert await button.evaluate(TWICE) == 1


async def plan_and_begin(page: Page) -> None:
    """The plan follows what is chosen; a double click begins once."""
    await page.get_by_role("link", name="Assign", exact=True).first.click()
    await page.get_by_label("Best leads").check()
    plan = page.locator("#plan")
    await expect(plan.get_by_role("row", name="Nora")).to_contain_text("65")
    await expect(plan).to_contain_text("1 agent would get more than is left of today.")
    await page.get_by_label("By capacity").check()
    await expect(plan.get_by_role("row", name="Nora")).to_contain_text("33")
    await expect(plan.get_by_role("row", name="Omar")).to_contain_text("97")
    await page.get_by_label("Nora").uncheck()
    await expect(plan.get_by_role("row", name="Omar")).to_contain_text("130")
    await page.get_by_label("All that are active").check()
    await expect(plan.get_by_role("row", name="Nora")).to_contain_text("33")
    await click_twice(plan.get_by_role("button", name="Assign 130 leads"))


async def test_from_agents_to_an_assignment_and_back(
    chromium: Browser, address: str, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents are added, the plan is looked at and changed, a bar moves, one failure is mended, all is taken back."""
    await world(api, LEADS)
    seen = asyncio.Event()
    report = assigning.Attempt._report

    async def report_and_wait(self: assigning.Attempt, done: int) -> None:
        await report(self, done)
        if 0 < done < LEADS:
            await seen.wait()

    monkeypatch.setattr(assigning.Attempt, "_report", report_and_wait)
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.get_by_role("link", name="Assign", exact=True).click()
        await page.get_by_role("link", name="Add agents").click()
        await add_agent(page, "Nora", "30")
        await add_agent(page, "Omar", "90")

        await plan_and_begin(page)
        await expect(page.locator("#assignment")).to_contain_text("waits")
        jobs = (await api.get("/v1/jobs", params={"kind": "assign"})).json()["items"]
        assert len(jobs) == 1, "a double click began two"
        job = jobs[0]["id"]
        await page.evaluate("window.stayed = true")
        working = asyncio.create_task(assigning.run_job(job))
        bar = page.locator("progress")
        await expect(bar).to_have_attribute("max", str(LEADS + 1))
        await page.wait_for_function("document.querySelector('progress').value > 0")
        assert 0 < await page.evaluate("document.querySelector('progress').value") < LEADS
        seen.set()
        await working
        await expect(page.locator("#assignment")).to_contain_text("130 leads handed over")
        await expect(page.get_by_role("row", name="Omar")).to_contain_text("97")
        failed = page.get_by_role("row").filter(has_text="C1")
        await expect(failed).to_contain_text("lead")
        assert await page.evaluate("window.stayed"), "the page was loaded anew"

        await api.put("/v1/leads/C1", json={"score": 1})
        await page.get_by_role("button", name="Try CAJ-1 again").click()
        await expect(page.get_by_role("status")).to_contain_text("goes on")
        await assigning.run_job(job)
        await expect(page.locator("#assignment")).to_contain_text("131 leads handed over")
        await expect(failed).to_have_count(0)
        assert (await api.get("/v1/leads/C1")).json()["agent_id"]

        await page.get_by_role("button", name="Undo …").click()
        await page.get_by_role("button", name="Undo the assignment").click()
        await expect(page.get_by_role("heading", name="CAJ-1 taken back")).to_be_visible()
        await undoing.run_job(page.url.rsplit("/", 1)[1])
        await expect(page.locator("#assignment")).to_contain_text("131 leads are back where they were.")
        assert "agent_id" not in (await api.get("/v1/leads/L000")).json()


async def test_leads_are_assigned_without_scripts(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """The same by plain forms; Enter in a field shows the plan, and never begins."""
    await world(api, 3)
    async with browsing(chromium, address, scripts=False) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/agents")
        await add_agent(page, "Nora", "20")
        await page.get_by_role("link", name="Assign", exact=True).first.click()
        await page.get_by_label("Best leads").check()
        await page.get_by_label("Best leads").press("Enter")
        await expect(page.locator("#plan").get_by_role("row", name="Nora")).to_contain_text("3")
        assert (await api.get("/v1/jobs", params={"kind": "assign"})).json()["items"] == []
        await page.get_by_role("button", name="Assign 3 leads").click()
        await expect(page.locator("#assignment")).to_contain_text("3 leads handed over")
