"""The console in a real browser: Debian's Chromium, driven by Playwright."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from beanie import init_beanie
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from muster.api.auth import issue_signin_code
from muster.app import create_app
from muster.console import live
from muster.embedded import ports
from muster.resources import DOCUMENTS, Resources
from tests.cohorts.conftest import watching
from tests.console.test_pages import HOSTILE
from tests.waiting import until

PATIENCE = 20_000  # milliseconds

expect.set_options(timeout=PATIENCE)


@pytest.fixture
async def address(clean: Resources) -> AsyncIterator[str]:
    """Where the application serves, in this process, with a watcher beside it."""
    port = ports.free_port()
    app = create_app(clean.settings)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    await until(lambda: _started(server, serving))
    async with watching():
        yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving
    # The application bound the documents to its own client, which is closed by now.
    await init_beanie(database=clean.database, document_models=list(DOCUMENTS), skip_indexes=True)


async def _started(server: uvicorn.Server, serving: "asyncio.Task[None]") -> bool:
    if serving.done():
        serving.result()
    return server.started


@pytest.fixture
async def api(address: str, token_for: Callable[[str], str]) -> AsyncIterator[httpx.AsyncClient]:
    """The API as ada uses it beside the browser."""
    headers = {"Authorization": f"Bearer {token_for('ada')}"}
    async with httpx.AsyncClient(base_url=address, headers=headers) as opened:
        yield opened


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium: `apt-get install chromium`. A browser that Playwright downloads would do as well."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium") or "/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@asynccontextmanager
async def browsing(browser: Browser, address: str, *, scripts: bool = True) -> AsyncIterator[Page]:
    """A page that may only talk to our host, and must not complain (as it does about what the CSP forbids)."""
    context: BrowserContext = await browser.new_context(java_script_enabled=scripts)
    page = await context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        await context.close()
    assert {urlsplit(each).netloc for each in asked} == {urlsplit(address).netloc}
    assert not [each for each in asked if "/admin" in each], "a name was taken for markup"
    assert not complaints


async def test_membership_changes_on_screen_while_one_looks(
    chromium: Browser, address: str, api: httpx.AsyncClient
) -> None:
    """From the printed link to a cohort; then records change through the API, and nobody reloads anything."""
    for pii_id, score, name in (("P1", 80, "Ann"), ("P2", 90, HOSTILE), ("P3", 10, "Carl")):
        assert (await api.put(f"/v1/leads/{pii_id}", json={"score": score, "name": name})).is_success
    made = await api.post("/v1/cohorts", json={"name": "Best leads", "kind": "dynamic", "rule": "lead.score > 50"})
    assert made.status_code == 201

    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await expect(page).to_have_url(f"{address}/")
        row = page.get_by_role("row").filter(has_text="Best leads")
        await expect(row).to_contain_text("2")
        await row.get_by_role("link").click()
        await expect(page.locator("#standing")).to_contain_text("2 members")
        await expect(page.locator("#members")).to_contain_text(HOSTILE)

        await page.evaluate("window.stayed = true")
        await api.patch("/v1/leads/P3", json={"score": 70})
        await expect(page.locator("#standing")).to_contain_text("3 members")
        await expect(page.locator("#members")).to_contain_text("Carl")
        await expect(page.locator("#members")).to_contain_text("a record changed")
        await api.patch("/v1/leads/P1", json={"score": None})
        await expect(page.locator("#standing")).to_contain_text("2 members")
        await expect(page.locator("#members")).not_to_contain_text("Ann")
        assert await page.evaluate("window.stayed"), "the page was loaded anew"

        await page.get_by_role("link", name="Cohorts").first.click()
        await page.evaluate("window.stayed = true")
        await expect(row).to_contain_text("2")
        await api.patch("/v1/leads/P1", json={"score": 99})
        await expect(row).to_contain_text("3")
        await page.get_by_role("link", name="Home").click()
        await expect(row).to_contain_text("3")
        await api.patch("/v1/leads/P1", json={"score": None})
        await expect(row).to_contain_text("2")


async def test_everything_works_without_scripts(
    chromium: Browser, address: str, api: httpx.AsyncClient, token_for: Callable[[str], str]
) -> None:
    """Signing in with a token, searching, signing out: plain forms and links."""
    await api.post("/v1/cohorts", json={"name": "Best leads", "kind": "dynamic", "rule": "lead.score > 50"})
    async with browsing(chromium, address, scripts=False) as page:
        await page.goto(address)
        await page.get_by_label("Token").fill(token_for("ada"))
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("link", name="Best leads")).to_be_visible()
        await page.get_by_role("link", name="Cohorts", exact=True).click()
        await page.get_by_label("Search cohorts").fill("worst")
        await page.get_by_role("button", name="Search").click()
        await expect(page.get_by_text("No cohort has")).to_be_visible()
        await page.get_by_role("link", name="Show all cohorts").click()
        await page.get_by_role("link", name="Best leads").click()
        await expect(page.locator("#standing")).to_contain_text("0 members")
        await page.locator(".menu summary").click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page).to_have_url(f"{address}/signin")
        await page.goto(address)
        await expect(page).to_have_url(f"{address}/signin")


async def test_a_page_left_open_leaves_when_its_session_ends(
    chromium: Browser, address: str, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What somebody may no longer see does not stay on the screen: its stream ends now and then, and is let in anew."""
    monkeypatch.setattr(live, "LONGEST", 1.0)
    await api.post("/v1/cohorts", json={"name": "Best leads", "kind": "dynamic", "rule": "lead.score > 50"})
    context = await chromium.new_context()
    try:
        page = await context.new_page()
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await expect(page.get_by_role("link", name="Best leads")).to_be_visible()
        await context.clear_cookies()
        await expect(page).to_have_url(f"{address}/signin")
    finally:
        await context.close()
