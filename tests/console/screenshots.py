"""Pictures of every page: light, dark, narrow, Arabic. `make screenshots` puts them into screenshots/.

A pytest file that is run only when it is named: it needs the same servers and the same browser as the tests.
"""

import os
from pathlib import Path

import httpx
from playwright.async_api import Browser

from muster.api.auth import issue_signin_code
from tests.console.worlds import addresses, build
from tests.waiting import until

FOLDER = Path(os.environ.get("MUSTER_SCREENSHOTS", "screenshots"))
WIDE, NARROW = {"width": 1200, "height": 760}, {"width": 390, "height": 780}

LOOKS = {
    "light": {"viewport": WIDE, "color_scheme": "light", "locale": "en"},
    "dark": {"viewport": WIDE, "color_scheme": "dark", "locale": "en"},
    "narrow": {"viewport": NARROW, "color_scheme": "light", "locale": "fr"},
    "arabic": {"viewport": WIDE, "color_scheme": "light", "locale": "ar"},
}


async def test_take_pictures(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """One of each page in each look."""
    world = await build(api)
    await until(lambda: _moved(api, world["dynamic"]))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for look, options in LOOKS.items():
        context = await chromium.new_context(**options)  # type: ignore[arg-type]
        page = await context.new_page()
        await page.goto(f"{address}/signin")
        await page.screenshot(path=FOLDER / f"signin-{look}.png")
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        for name, path in addresses(world).items():
            await page.goto(address + path)
            if await page.locator("#drift[hx-get]").count():
                await page.locator("#drift.panel").wait_for()
            await page.screenshot(path=FOLDER / f"{name}-{look}.png", full_page=True)
        await context.close()


async def _moved(api: httpx.AsyncClient, cohort: str) -> bool:
    return len((await api.get(f"/v1/cohorts/{cohort}/changes")).json()["items"]) > 2
