"""The console in a real browser."""

import re
from collections.abc import Callable

import httpx
import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Dialog, Locator, Page, Response, expect

from muster.api.auth import issue_signin_code
from muster.console import live, views
from tests.console.conftest import browsing
from tests.console.worlds import HOSTILE, addresses, build


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


async def test_a_search_stands_in_the_address(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """Whoever comes back to a search, or is sent its address, finds it as it was; no letter of it is a step back."""
    for name in ("Best leads", "Worst leads"):
        await api.post("/v1/cohorts", json={"name": name, "kind": "static"})
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.get_by_role("link", name="Cohorts", exact=True).click()
        rows = page.locator("#list tbody tr")
        await expect(rows).to_have_count(2)
        await page.get_by_label("Search cohorts").press_sequentially("best")
        await expect(rows).to_have_count(1)
        await expect(page).to_have_url(re.compile("q=best"))
        await rows.get_by_role("link").first.click()
        await expect(page.get_by_role("heading", name="Best leads")).to_be_visible()
        await page.go_back()
        await expect(page.get_by_label("Search cohorts")).to_have_value("best")
        await expect(rows).to_have_count(1)
        await page.go_back()
        await expect(page).to_have_url(f"{address}/")
        stored = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
        assert "leads" not in stored, "a page is kept in the browser"


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


async def test_a_form_outlives_its_session(chromium: Browser, address: str, token_for: Callable[[str], str]) -> None:
    """Begun in the evening, sent in the morning: one signs in and sends it, and nothing has to be typed again."""
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/new")
        await page.get_by_label("Name").fill(HOSTILE)
        await page.get_by_role("textbox", name="Rule").fill("lead.score > 5")
        await expect(page.locator("[data-part=count]")).to_have_text("0 profiles match.")  # so nothing is being asked
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Create cohort").click()
        await expect(page.get_by_text("What you typed is kept")).to_be_visible()
        await page.get_by_label("Token").fill(token_for("ada"))
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Not sent yet")).to_be_visible()
        await page.get_by_text("What you typed").click()
        await expect(page.get_by_text(HOSTILE)).to_be_visible()
        await page.get_by_role("button", name="Send again").click()
        await expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
        await expect(page.locator("pre.rule")).to_have_text("lead.score > 5")


async def test_a_page_hears_of_what_it_missed(
    chromium: Browser, address: str, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a laptop sleeps, or its network is gone, its stream breaks off; it comes back by itself."""
    monkeypatch.setattr(live, "LONGEST", 0.3)
    await api.put("/v1/leads/P1", json={"score": 80})
    made = await api.post("/v1/cohorts", json={"name": "Best leads", "kind": "dynamic", "rule": "lead.score > 50"})
    context = await chromium.new_context()
    try:
        page = await context.new_page()
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/{made.json()['id']}")
        await expect(page.locator("#standing")).to_contain_text("1 member")
        async with page.expect_event("requestfailed", lambda request: "/live" in request.url):
            await context.set_offline(True)
        await api.put("/v1/leads/P2", json={"score": 90})
        await context.set_offline(False)
        await expect(page.locator("#standing")).to_contain_text("2 members")
    finally:
        await context.close()


async def test_the_first_run(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """An empty console says what to do first; what is done then appears by itself, down to the members."""
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await expect(page.get_by_text("muster cohorts create")).to_be_visible()
        await page.evaluate("window.stayed = true")
        await expect(page.get_by_text("0 profiles")).to_be_visible()
        world = await build(api)
        await expect(page.get_by_role("link", name="Hot leads")).to_be_visible()
        assert await page.evaluate("window.stayed"), "the page was loaded anew"
        await page.get_by_role("link", name="Hot leads").click()

        await page.get_by_role("link", name="Edit", exact=True).click()
        await page.get_by_label("Name").fill("Hottest leads")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("status")).to_contain_text("Saved.")
        await expect(page.get_by_role("heading", name="Hottest leads")).to_be_visible()

        await page.get_by_label("Why is somebody in here").fill("lead-03")
        await page.get_by_role("button", name="Explain").click()
        await expect(page.locator("#why")).to_contain_text("is not a member.")
        await expect(page.locator("#why .fails").first).to_be_visible()

        await page.goto(f"{address}/cohorts/{world['static']}")
        await expect(page.locator("#drift")).to_contain_text("no longer match")
        rows = page.locator("#rows tr")
        before = await rows.count()
        await page.get_by_role("button", name="Remove").first.click()
        await expect(rows).to_have_count(before - 1)
        await page.get_by_role("button", name="Add by id").click()
        await page.get_by_label("Ids of profiles").fill("lead-01")
        await page.get_by_role("button", name="Add", exact=True).click()
        await expect(page.get_by_role("status")).to_contain_text("1 member was added.")
        await page.get_by_role("button", name="Delete …").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("status")).to_contain_text("is deleted.")


async def test_the_first_cohort(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """From the printed link over the empty page to a cohort of one's own; nothing typed is lost unasked."""
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await expect(page.get_by_role("heading", name="No cohorts yet")).to_be_visible()
        await api.put("/v1/leads/L1", json={"score": 80, "name": "Ann"})
        await page.get_by_role("link", name="New cohort").click()
        await expect(page.locator("[data-ready]")).to_be_visible()
        await page.get_by_label("Name").fill("My first")
        await page.locator(".cm-content").click()
        await page.keyboard.type("lead.score > 50", delay=5)
        await expect(page.locator("[data-part=count]")).to_have_text("1 profile matches.")
        await expect(page.locator(".samples")).to_contain_text("Ann")

        asked: list[str] = []

        async def stay(dialog: Dialog) -> None:
            asked.append(dialog.type)
            await dialog.dismiss()

        page.once("dialog", stay)
        await page.get_by_role("link", name="Home").click()
        await expect(page.locator(".cm-content")).to_have_text("lead.score > 50")
        assert asked == ["beforeunload"]
        await page.get_by_role("button", name="Create cohort").click()
        await expect(page.get_by_role("heading", name="My first")).to_be_visible()
        await expect(page.locator("#members")).to_contain_text("Ann")
        await page.get_by_role("link", name="Home").click()
        await expect(page.get_by_role("row").filter(has_text="My first")).to_contain_text("1")


async def test_lists_go_on_by_themselves(
    chromium: Browser, address: str, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row once, as far as somebody scrolls; and what has grown stays when something changes."""
    monkeypatch.setattr(views, "COHORTS_PER_PAGE", 10)
    for number in range(35):
        await api.post("/v1/cohorts", json={"name": f"Team {number:02}", "kind": "static"})
    async with browsing(chromium, address) as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts")
        rows = page.locator("[data-row]")
        while (shown := await rows.count()) < 35:
            await page.mouse.wheel(0, 10_000)
            await expect(rows).not_to_have_count(shown)
        names = await page.locator("[data-row] a bdi").all_inner_texts()
        assert names == [f"Team {number:02}" for number in range(35)]
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await api.patch(f"/v1/cohorts/{await first_cohort(api)}", json={"name": "Renamed"})
        await expect(page.locator("[data-row] a bdi").first).to_have_text("Renamed")
        await expect(rows).to_have_count(35)
        assert any("rows=35" in each for each in asked)
        assert not any("cursor=" in each for each in asked), "it was loaded page by page again"
        await page.get_by_label("Search cohorts").fill("team 07")
        await expect(rows).to_have_count(1)
        found = (await api.get("/v1/cohorts?q=team 07")).json()["items"][0]["id"]
        await api.patch(f"/v1/cohorts/{found}", json={"description": "Words that are new"})
        await expect(rows).to_contain_text("Words that are new")
        await expect(rows).to_have_count(1)


async def first_cohort(api: httpx.AsyncClient) -> str:
    return str((await api.get("/v1/cohorts?limit=1")).json()["items"][0]["id"])


async def test_the_console_in_arabic(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """Mirrored as a whole; rules stay left to right, and names keep to themselves."""
    world = await build(api, hostile=True)
    async with browsing(chromium, address, locale="ar") as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await expect(page.get_by_role("heading", name="الرئيسية")).to_be_visible()
        brand, menu = page.locator(".brand"), page.locator(".menu")
        assert await left(brand) > await left(menu), "the brand stands at the right"
        await page.goto(f"{address}/cohorts/{world['dynamic']}")
        await expect(page.locator("#standing")).to_contain_text("أعضاء")
        await expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        assert await page.locator("pre.rule").evaluate("(rule) => getComputedStyle(rule).direction") == "ltr"
        assert await page.locator("table").evaluate("(table) => getComputedStyle(table).direction") == "rtl"
        asked = page.locator("#pii_id")
        assert await asked.evaluate("(field) => getComputedStyle(field).direction") == "rtl", (
            "its placeholder is Arabic"
        )
        await asked.fill("lead-01")
        assert await asked.evaluate("(field) => getComputedStyle(field).direction") == "ltr"
        await menu.locator("summary").click()
        await page.get_by_role("button", name="Français").click()
        await expect(page.locator("#standing")).to_contain_text("membres")
        assert await left(brand) < await left(menu)
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_have_text("Aller au contenu")


async def test_a_cohort_is_made_and_handed_out_in_arabic(
    chromium: Browser, address: str, api: httpx.AsyncClient
) -> None:
    """From signing in to a plan: words, plural forms, dates and bars as Arabic has them; rules as rules are."""
    for place in range(3):
        await api.put(f"/v1/leads/L{place}", json={"score": 80, "name": "نورة", "created_at": "2026-03-01T09:05:00Z"})
    await api.put("/v1/agents/nora", json={"name": "Nora", "daily_capacity": 6})
    async with browsing(chromium, address, locale="ar") as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.get_by_role("link", name="مجموعة جديدة").click()
        await expect(page.locator("[data-ready]")).to_be_visible()
        await page.get_by_label("الاسم").fill("الأفضل")
        await page.locator(".cm-content").click()
        await page.keyboard.type("lead.score > 50", delay=5)
        assert await page.locator(".cm-content").evaluate("(rule) => getComputedStyle(rule).direction") == "ltr"
        await expect(page.locator("[data-part=count]")).to_contain_text("3 ملفات")
        await page.get_by_role("button", name="إنشاء المجموعة").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("الأفضل")
        await expect(page.locator("#standing")).to_contain_text("3 أعضاء")
        await page.get_by_role("link", name="نورة").first.click()
        await expect(page.locator("#profile")).to_contain_text("01\u200f/03\u200f/2026 09:05")
        await page.go_back()
        await page.get_by_role("link", name="إسناد العملاء المحتملين").click()
        bar = page.locator("#plan svg rect.share")
        track = page.locator("#plan svg rect.whole")
        assert abs(await right(bar) - await right(track)) < 1, "bars begin at the right"
        assert await left(bar) > await left(track)


async def right(part: Locator) -> float:
    box = await part.bounding_box()
    assert box is not None
    return box["x"] + box["width"]


async def left(part: Locator) -> float:
    box = await part.bounding_box()
    assert box is not None
    return box["x"]


async def test_no_page_has_a_barrier(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """axe finds nothing serious, in light and in dark, narrow and in Arabic; and nothing is wider than the screen."""
    world = await build(api)
    narrow = {"width": 390, "height": 800}
    for look in ({"color_scheme": "light"}, {"color_scheme": "dark", "locale": "ar", "viewport": narrow}):
        async with browsing(chromium, address, **look) as page:
            await page.goto(f"{address}/signin")
            await look_for_barriers(page)
            await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
            for path in addresses(world).values():
                await page.goto(address + path)
                await look_for_barriers(page)
            await page.goto(f"{address}/cohorts/{world['static']}")
            await page.locator("[commandfor=adding][command=show-modal]").click()
            await look_for_barriers(page)


async def test_no_page_is_wider_than_its_screen(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """In French, whose words are the longest of the three; as narrow as WCAG 1.4.10 asks, and where columns come in."""
    world = await build(api)
    async with browsing(chromium, address, locale="fr") as page:
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        for path in addresses(world).values():
            await page.goto(address + path)
            for width in (320, 390, 710, 1000):
                await page.set_viewport_size({"width": width, "height": 800})
                await look_for_what_is_too_wide(page)


async def look_for_barriers(page: Page) -> None:
    found = (await Axe().run(page)).response["violations"]
    serious = [
        (each["id"], [node["html"] for node in each["nodes"]])
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
    assert not serious, page.url
    await look_for_what_is_too_wide(page)


async def look_for_what_is_too_wide(page: Page) -> None:
    too_wide = await page.evaluate("""() => [
        document.documentElement.scrollWidth - document.documentElement.clientWidth,
        ...[...document.querySelectorAll("main table")]
            .map((table) => table.offsetWidth - parseFloat(getComputedStyle(table.parentElement).width)),
    ].filter((pixels) => pixels >= 1)""")
    assert not too_wide, (page.url, page.viewport_size)


async def test_the_first_visit_is_small(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """500 kB at most go over the wire."""
    await build(api)
    async with browsing(chromium, address) as page:
        answers: list[Response] = []
        page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  # Playwright wants a Python function
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await expect(page.get_by_role("heading", name="Home")).to_be_visible()
        await page.goto(f"{address}/cohorts/new")  # the editor is the heaviest page
        await expect(page.locator("[data-ready]")).to_be_visible()
        sizes = [await answer.request.sizes() for answer in answers if answer.ok and "/live" not in answer.url]
        assert len(sizes) >= 4
        assert 50_000 < sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes) < 500_000
