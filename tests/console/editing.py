"""How a test writes rules in the console: the editor that `conftest.editor` opens, and what stands in it."""

from typing import Any

from playwright.async_api import Page, expect


async def ready(page: Page) -> None:
    await expect(page.locator("[data-ready]")).to_be_visible()


def text(page: Page) -> Any:
    return page.locator(".cm-content")


async def write(page: Page, rule: str) -> None:
    """Put a rule in place of what stands there, by CodeMirror's own ways: Chromium's own leave inline styles behind."""
    await text(page).click()
    await page.keyboard.press("ControlOrMeta+A")
    await page.keyboard.press("Delete")
    await page.keyboard.insert_text(rule)


def count(page: Page) -> Any:
    return page.locator("[data-part=count]")


async def written(page: Page) -> str:
    """The rule as the form would send it."""
    return str(await page.locator("textarea[name=rule]").input_value())
