"""From an Attio workspace to a cohort, as somebody does it who has just been given a key."""

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from muster.api.auth import issue_signin_code
from muster.attio import importing
from muster.attio.importing import run_job
from muster.attio.storing import Filed
from muster.resources import Resources
from muster.sandbox.attio import KEY, AttioSandbox
from tests.attio.conftest import hasty
from tests.console.conftest import browsing

__all__ = ["hasty"]


pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture(autouse=True)
def as_new(attio: AttioSandbox) -> AttioSandbox:
    """The stand-in without what other tests did to it."""
    return attio


async def connect(page: Page) -> None:
    await page.get_by_label("API key").fill(KEY)
    await page.get_by_role("button", name="Test and connect").click()
    await expect(page.get_by_role("status")).to_contain_text("Connected with")


async def select(page: Page, name: str) -> None:
    await page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()


async def test_from_a_key_to_a_cohort(
    chromium: Browser, address: str, api: httpx.AsyncClient, clean: Resources
) -> None:
    """Connected, searched, selected over pages and searches, imported with a bar, saved as a cohort, looked at."""
    async with browsing(chromium, address, refused=422) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.get_by_role("link", name="Attio", exact=True).click()
        await page.get_by_label("API key").fill("no such key")
        await page.get_by_role("button", name="Test and connect").click()
        await expect(page.get_by_role("alert")).to_contain_text("key")
        await expect(page.get_by_label("API key")).to_have_value("")
        await connect(page)
        await expect(page.get_by_text("record_permission:read")).to_be_visible()
        await page.get_by_role("link", name="Browse the workspace").click()
        await page.get_by_role("link", name="People").click()

        people = (await api.get("/v1/attio/objects/people/records", params={"limit": 1000})).json()["items"]
        named = [each for each in people if each["name"] and [one["name"] for one in people].count(each["name"]) == 1]
        first, last = named[0]["name"], named[-1]["name"]
        button = page.get_by_role("button", name="Import selected")
        await expect(button).to_be_disabled()
        await select(page, first)
        await expect(button).to_have_text("Import selected (1)")
        await page.locator("#next-page").scroll_into_view_if_needed()
        await select(page, last)
        await expect(button).to_have_text("Import selected (2)")
        search = page.get_by_role("searchbox")
        await search.press_sequentially(last)
        await expect(page.locator("#rows tr")).to_have_count(1)
        await expect(page.get_by_role("checkbox", name=f"Select {last}", exact=True)).to_be_checked()
        await expect(button).to_have_text("Import selected (2)")
        await expect(page.get_by_text("Selected and not shown here: 1")).to_be_visible()
        await search.fill("")
        await expect(page.get_by_role("checkbox", name=f"Select {first}", exact=True)).to_be_checked()
        await button.click()

        await expect(page.locator("#import")).to_contain_text("waits")
        await page.evaluate("window.stayed = true")
        await run_job(page.url.rsplit("/", 1)[1], clean.settings)
        await expect(page.get_by_text("A static cohort of the 2 records")).to_be_visible()
        assert await page.evaluate("window.stayed"), "the page was loaded anew"
        await page.get_by_label("Name").fill("From Attio")
        await page.get_by_role("button", name="Save as cohort").click()
        await expect(page.get_by_role("heading", name="From Attio")).to_be_visible()
        for name in (first, last):
            await expect(page.locator("#members")).to_contain_text(name)
        await page.get_by_role("link", name="Attio", exact=True).click()
        await page.get_by_role("link", name="People").click()
        row = page.get_by_role("row").filter(has_text=first)
        await expect(row).to_contain_text("imported")
        await expect(row.get_by_role("link", name=re.compile("in Attio"))).to_have_attribute(
            "href", re.compile("https")
        )


async def test_all_that_a_search_finds_with_attio_down_midway(
    chromium: Browser, address: str, clean: Resources, as_new: AttioSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What broke off is tried again; then a bar says how many of how many, and nothing is there twice."""
    seen = asyncio.Event()
    store = importing._Storing._store

    async def store_and_wait(self: importing._Storing, filed: Filed) -> None:
        await store(self, filed)
        await seen.wait()

    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/attio")
        await connect(page)
        await page.get_by_role("link", name="Browse the workspace").click()
        await page.get_by_label("Save as cohort").fill("All companies")
        await page.get_by_role("button", name="Import all").click()
        await expect(page.locator("#import")).to_contain_text("waits")
        job = page.url.rsplit("/", 1)[1]
        as_new.keys[KEY].is_active = False
        with pytest.raises(Exception, match="token"):
            await run_job(job, clean.settings)
        await expect(page.locator("#import .state.failed")).to_be_visible()
        await expect(page.get_by_role("alert")).to_contain_text("token")
        as_new.keys[KEY].is_active = True
        await page.get_by_role("button", name=f"Try {job} again").click()
        await expect(page.locator("#import")).to_contain_text("waits")
        monkeypatch.setattr(importing._Storing, "_store", store_and_wait)
        working = asyncio.create_task(run_job(job, clean.settings))
        await expect(page.locator("#import")).to_contain_text("30 of 30")
        await expect(page.get_by_role("progressbar")).to_have_attribute("max", "30")
        seen.set()
        await expect(page.get_by_role("link", name="All companies")).to_be_visible()
        await working
        await page.get_by_role("link", name="All companies").click()
        await expect(page.locator("#standing")).to_contain_text("30 members")


async def test_members_are_added_from_attio_without_scripts(
    chromium: Browser, address: str, api: httpx.AsyncClient, clean: Resources
) -> None:
    await api.put("/v1/leads/L1", json={"score": 1, "name": "Ann"})
    await api.post("/v1/cohorts", json={"name": "Board", "kind": "static", "members": ["L1"]})
    async with browsing(chromium, address, scripts=False) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/attio")
        await connect(page)
        await page.get_by_role("link", name="Cohorts", exact=True).click()
        await page.get_by_role("link", name="Board").click()
        await page.get_by_role("link", name="Add from Attio").click()
        await expect(page.get_by_text("What you import is added to")).to_be_visible()
        await page.get_by_role("link", name="People").click()
        box = page.locator('input[name="record"]').first
        await box.check()
        await page.get_by_role("button", name="Import selected").click()
        await run_job(page.url.rsplit("/", 1)[1], clean.settings)
        await page.reload()
        await page.get_by_role("link", name="Board").click()
        await expect(page.locator("#standing")).to_contain_text("2 members")
        await expect(page.locator("#members")).to_contain_text("imported")
