"""A visitor of the console: a client of the same application as `client`, with cookies and no token.

And a real browser: Debian's Chromium, driven by Playwright, beside an application that serves in this process.
"""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from beanie import init_beanie
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from muster.api.auth import issue_signin_code
from muster.app import create_app
from muster.embedded import ports
from muster.resources import DOCUMENTS, Resources
from muster.settings import Settings
from tests.cohorts.conftest import watching
from tests.console.editing import ready
from tests.waiting import until

PATIENCE = 20_000  # milliseconds
PEOPLE = [("P1", 80, "US", "new"), ("P2", 90, "SE", "won"), ("P3", 10, "US", "won"), ("P4", 60, "US", "won")]

expect.set_options(timeout=PATIENCE)


def form_token(page: str) -> str:
    """What the first form of a page carries."""
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]


async def sign_in(visitor: httpx.AsyncClient, owner: str) -> None:
    """Follow a printed link."""
    answer = await visitor.get("/signin", params={"code": await issue_signin_code(owner)})
    assert answer.status_code == 303, answer.text


@pytest.fixture
async def visitor(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Nobody yet."""
    async with httpx.AsyncClient(transport=client._transport, base_url="http://muster.test") as opened:
        yield opened


@pytest.fixture
async def ada(visitor: httpx.AsyncClient) -> httpx.AsyncClient:
    """Signed in as ada, whose token `client` has."""
    await sign_in(visitor, "ada")
    return visitor


@pytest.fixture
def console_settings(clean: Resources) -> Settings:
    """What the application at `address` is set to; a test that needs more puts a fixture of its own in its place."""
    return clean.settings


@pytest.fixture
async def address(clean: Resources, console_settings: Settings) -> AsyncIterator[str]:
    """Where the application serves, in this process, with a watcher beside it."""
    port = ports.free_port()
    app = create_app(console_settings)
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
async def browsing(
    browser: Browser, address: str, *, scripts: bool = True, refused: int | None = None, **options: Any
) -> AsyncIterator[Page]:
    """A page that may only talk to our host, and must not complain (as it does about what the CSP forbids).

    With `refused`, answers with this status are no complaint. Nor is that a request was given up for a newer one.
    """
    context: BrowserContext = await browser.new_context(java_script_enabled=scripts, **options)
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
    status = f"Failed to load resource: the server responded with a status of {refused} "
    borne = ("htmx:sendAbort", "htmx:afterRequest", status)
    assert not [each for each in complaints if not each.startswith(borne)]


@pytest.fixture
async def editor(chromium: Browser, address: str, api: httpx.AsyncClient) -> AsyncIterator[Page]:
    """The form for a new cohort, over four people."""
    for pii_id, score, country, status in PEOPLE:
        await api.put(f"/v1/leads/{pii_id}", json={"score": score, "status": status, "name": f"Lead {pii_id}"})
        await api.put(f"/v1/contacts/{pii_id}", json={"country": country})
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/new")
        await ready(page)
        yield page
