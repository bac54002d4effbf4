"""An experiment over a cohort, as a growth engineer does it: chosen, run, followed, compared arm by arm."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from playwright.async_api import Browser, expect
from pydantic import SecretStr

from muster.api.auth import issue_signin_code
from muster.resources import Resources
from muster.sandbox import modal as sandbox
from muster.sandbox.modal import Modal
from muster.sandbox.serving import serving
from muster.settings import Settings
from tests.console.conftest import browsing
from tests.console.worlds import HOSTILE
from tests.experiments.conftest import KEY, SECRET, Lab

LEADS = 40


@pytest.fixture
async def modal() -> AsyncIterator[Modal]:
    """The other side; it waits for whoever wants to see it work."""
    other_side = Modal(keys=(KEY, SECRET), per_second=100_000)
    yield other_side
    other_side.stop()


@pytest.fixture
async def console_settings(clean: Resources, modal: Modal) -> AsyncIterator[Settings]:
    async with serving(sandbox.create_app(modal)) as there:
        keys = {"modal_key": SecretStr(KEY), "modal_secret": SecretStr(SECRET)}
        yield clean.settings.model_copy(update={"modal_url": f"{there}{sandbox.PATH}", **keys})


@pytest.fixture
async def lab(api: httpx.AsyncClient, console_settings: Settings, modal: Modal) -> Lab:
    """A worker, and what it works on."""
    project = (await api.get("/v1/projects")).json()["items"]
    project_id = project[0]["id"] if project else (await api.post("/v1/projects", json={"name": "Home"})).json()["id"]
    return Lab(api, console_settings, project_id, modal)


async def test_from_a_cohort_to_results_by_arm(
    chromium: Browser, address: str, api: httpx.AsyncClient, lab: Lab
) -> None:
    for place in range(LEADS):
        name = HOSTILE if place == 1 else f"Lead {place:02}"
        await api.put(f"/v1/leads/L{place:02}", json={"score": 80, "name": name})
    for name in ("Best leads", *(f"Group {place}" for place in range(10))):
        await api.post("/v1/cohorts", json={"name": name, "kind": "dynamic", "rule": "lead.score > 50"})
    async with browsing(chromium, address, refused=422) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.get_by_role("link", name="Experiments", exact=True).click()
        await page.get_by_role("link", name="New experiment").first.click()
        await page.get_by_label("Name", exact=True).fill("Spring offer")
        await page.get_by_label("Search cohorts").press_sequentially("best")
        await expect(page.get_by_role("radio", name="Group")).to_have_count(0)
        await page.get_by_label("Best leads").check()
        first = page.locator("#first")
        await expect(first.get_by_role("listitem")).to_have_count(5)
        await expect(first).to_contain_text(HOSTILE)
        await expect(page.get_by_label("Name", exact=True)).to_have_value("Spring offer")
        await page.get_by_label("Arm 1: name").fill("plain")
        await page.get_by_label("Arm 2: name").fill("warm")
        await page.get_by_label("Everything else").fill('{"question": "Would you take it?"')
        await page.get_by_role("button", name="Create experiment").click()
        await expect(page.locator("#rest-problem")).to_contain_text("line 1, column 34")
        await expect(page.get_by_label("Arm 2: name")).to_have_value("warm")
        await page.get_by_label("Everything else").fill('{"question": "Would you take it?"}')
        await page.get_by_role("button", name="Create experiment").click()

        await page.get_by_role("button", name=f"Run with {LEADS} personas").click()
        await expect(page.locator("#run")).to_contain_text("waits")
        await page.evaluate("window.stayed = true")
        (job,) = (await api.get("/v1/jobs", params={"kind": "experiment"})).json()["items"]
        done = await lab.work(job["id"])
        assert done.state == "succeeded", done.error
        await expect(page.locator("#run")).to_contain_text(f"{LEADS} personas")
        summary = page.locator("#summary")
        await expect(summary.get_by_role("heading", name="interest")).to_be_visible()
        run = page.url.partition("/experiments/")[2]
        rows = (await api.get(f"/v1/experiments/{run}/results", params={"limit": 1000})).json()["items"]
        for arm in ("plain", "warm"):
            values = [row["result"]["interest"] for row in rows if row["arm"] == arm]
            mean = f"{round(sum(values) / len(values), 2):g}"
            chart = summary.locator("section").filter(has=page.get_by_role("heading", name="interest"))
            await expect(chart.get_by_role("row", name=arm)).to_contain_text(mean)
            await expect(chart.get_by_role("row", name=arm).get_by_role("img")).to_be_visible()
        await expect(page.locator("#results").get_by_role("row")).to_have_count(LEADS + 1)
        await expect(page.locator("#results")).to_contain_text(HOSTILE)
        assert await page.evaluate("window.stayed"), "the page was loaded anew"
        await page.get_by_role("navigation", name="Which arm").get_by_role("link", name="warm").click()
        await expect(page.locator("#results").get_by_role("cell", name="plain")).to_have_count(0)


async def test_a_run_that_fails_is_tried_again(
    chromium: Browser, address: str, api: httpx.AsyncClient, lab: Lab, modal: Modal
) -> None:
    """Wrong keys end it; cancelled while it waits for results, it says so, and goes on when it is asked to."""
    await api.put("/v1/leads/L1", json={"score": 80, "name": "Ann"})
    made = await api.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": "lead.score > 50"})
    body = {"name": "Offer", "cohort_id": made.json()["id"]}
    experiment = (await api.post("/v1/experiments", json=body)).json()["id"]
    modal.keys = ("other", "keys")
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/experiments/{experiment}")
        await page.get_by_role("button", name="Run with 1 persona").click()
        await expect(page.locator("#run")).to_contain_text("waits")
        (job,) = (await api.get("/v1/jobs", params={"kind": "experiment"})).json()["items"]
        working = asyncio.create_task(lab.work(job["id"]))
        await expect(page.locator("#run")).to_contain_text("MUSTER_MODAL_KEY")
        await working
        await expect(page.locator("#run .state.failed")).to_be_visible()
        modal.keys = (KEY, SECRET)
        await page.get_by_role("button", name=f"Try {job['id']} again").click()
        await expect(page.get_by_role("status")).to_contain_text("goes on")
        await page.get_by_role("button", name=f"Cancel {job['id']}").click()
        await expect(page.locator("#run .state.cancelled")).to_be_visible()
        await page.get_by_role("button", name=f"Try {job['id']} again").click()
        await expect(page.locator("#run")).to_contain_text("waits")
        assert (await lab.work(job["id"])).state == "succeeded"
        await expect(page.locator("#run .state.succeeded")).to_be_visible()
        await expect(page.locator("#results")).to_contain_text("Ann")


async def test_a_cohort_is_given_to_experiments_that_are_chosen(
    chromium: Browser, address: str, api: httpx.AsyncClient
) -> None:
    """How many are chosen is told on the button; those that have it already are not counted."""
    made = (await api.post("/v1/cohorts", json={"name": "Best", "kind": "static"})).json()["id"]
    for name, cohort in (("Spring", made), ("Summer", None), ("Autumn", None)):
        await api.post("/v1/experiments", json={"name": name, "cohort_id": cohort})
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/{made}")
        await page.get_by_role("link", name="Give it to experiments").click()
        give = page.get_by_role("button", name="Give it to the selected")
        await expect(give).to_be_disabled()
        await expect(page.get_by_label("Select Spring")).to_be_checked()
        await page.get_by_label("Select all that are shown").check()
        await expect(give).to_have_text("Give it to the selected (2)")
        await page.get_by_label("Select Summer").uncheck()
        await give.click()
        await expect(page.get_by_text("1 experiment asks its members now.")).to_be_visible()
        await expect(page.get_by_label("Select Autumn")).to_be_disabled()
        await expect(page.get_by_label("Select Summer")).not_to_be_checked()


async def test_an_experiment_is_run_without_scripts(
    chromium: Browser, address: str, api: httpx.AsyncClient, lab: Lab
) -> None:
    await api.put("/v1/leads/L1", json={"score": 80, "name": "Ann"})
    await api.post("/v1/cohorts", json={"name": "Best", "kind": "dynamic", "rule": "lead.score > 50"})
    async with browsing(chromium, address, scripts=False) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/experiments/new")
        await page.get_by_label("Name", exact=True).fill("Offer")
        await page.get_by_label("Best").check()
        await page.get_by_role("button", name="Show the first members").click()
        await expect(page.locator("#first")).to_contain_text("Ann")
        await page.get_by_role("button", name="Create experiment").click()
        await page.get_by_role("button", name="Run with 1 persona").click()
        (job,) = (await api.get("/v1/jobs", params={"kind": "experiment"})).json()["items"]
        await lab.work(job["id"])
        await page.reload()
        await expect(page.locator("#results")).to_contain_text("Ann")
        await page.get_by_role("link", name="Show the results by arm").click()
        await expect(page.get_by_role("heading", name="interest")).to_be_visible()
