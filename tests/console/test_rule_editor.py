"""The rule editor in a real browser: as text, as conditions, with the keyboard alone, and in Arabic."""

import json

import httpx
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, Route, expect

from muster.api.auth import issue_signin_code
from tests.console.conftest import browsing
from tests.console.editing import count, ready, text, write, written
from tests.console.worlds import HOSTILE
from tests.waiting import until

SERIOUS = ("serious", "critical")


async def no_barriers(page: Page) -> None:
    """Nothing that axe calls serious."""
    found = (await Axe().run(page)).response["violations"]
    assert not [(each["id"], [node["html"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]


async def test_a_rule_in_text_and_visually_with_an_error_on_the_way(editor: Page, api: httpx.AsyncClient) -> None:
    """From the first letter to the members of the cohort."""
    page = editor
    await page.get_by_label("Name").fill("Best & brightest")
    await text(page).click()
    await page.keyboard.type("lead.scroe > 50 and contact.country == 'US'", delay=5)
    await expect(page.locator(".cm-lintRange-error")).to_have_text("lead.scroe")
    await expect(count(page)).to_have_text("The rule is not right yet.")
    await page.get_by_role("tab", name="Conditions").click()
    await expect(page.locator(".rule-problems")).to_contain_text("There is no field lead.scroe.")
    await expect(page.get_by_role("tab", name="Text")).to_have_attribute("aria-selected", "true")
    await no_barriers(page)
    await page.get_by_role("button", name="Put lead.score there").click()
    await expect(count(page)).to_have_text("2 profiles match.")
    await expect(page.locator(".samples")).to_contain_text("Lead P4")
    await expect(page.locator(".plan")).to_contain_text("MongoDB decides this, because comparing a field")
    rule = "lead.score > 50 and contact.country == 'US'"
    assert await written(page) == rule

    await page.get_by_role("tab", name="Conditions").click()
    conditions = page.locator(".visual .condition")
    await expect(conditions).to_have_count(2)
    await no_barriers(page)
    await page.get_by_role("tab", name="Text").click()
    await expect(text(page)).to_have_text(rule)
    await page.get_by_role("tab", name="Conditions").click()
    await page.get_by_role("button", name="Add condition").click()
    await expect(count(page)).to_have_text("A condition is not complete yet.")
    await conditions.nth(2).get_by_label("Field", exact=True).select_option("lead.status")
    await conditions.nth(2).get_by_label("Comparison").select_option("in")
    await conditions.nth(2).get_by_label("Add a value").fill("won")
    await page.keyboard.press("Enter")
    await expect(page.locator(".chip")).to_contain_text("won")
    await expect(count(page)).to_have_text("1 profile matches.")
    await page.get_by_role("button", name="Create cohort").click()
    await expect(page.locator("#standing")).to_contain_text("1 member")
    await expect(page.locator("#members")).to_contain_text("Lead P4")
    made = (await api.get("/v1/cohorts")).json()["items"][0]
    assert made["rule"]["tree"]["all"][2] == {"field": "lead.status", "operator": "in", "value": ["won"]}

    await page.get_by_role("link", name="Edit rule").click()
    await ready(page)
    await page.get_by_role("tab", name="Conditions").click()
    await expect(page.locator(".chip")).to_contain_text("won")
    await page.get_by_label("How the conditions count").select_option("any")
    await expect(count(page)).to_have_text("4 profiles match.")
    await page.get_by_role("button", name="Save rule").click()
    await expect(page.locator("#notices")).to_contain_text("The rule is saved.")
    await expect(page.locator("#standing")).to_contain_text("4 members")


async def test_completion_offers_fields_and_values(editor: Page) -> None:
    page = editor
    offered = page.locator(".cm-tooltip-autocomplete li")
    await text(page).click()
    await page.keyboard.type("lead.stat")
    await expect(offered.first).to_contain_text("lead.status")
    await page.wait_for_timeout(100)  # CodeMirror takes no key for a list that has only just come
    await page.keyboard.press("Enter")
    await expect(text(page)).to_have_text("lead.status")
    await page.keyboard.type(' == "')
    await expect(offered).to_have_text(['"won"', '"new"'])
    await page.keyboard.type("ne")
    await expect(offered).to_have_text(['"new"'])
    await page.wait_for_timeout(100)
    await page.keyboard.press("Enter")
    await expect(text(page)).to_have_text('lead.status == "new"')
    await expect(count(page)).to_have_text("1 profile matches.")
    await page.keyboard.type(" and lead.name.starts")
    await expect(offered.first).to_contain_text("starts_with")


async def test_errors_are_underlined_where_they_are_also_behind_a_smiley(editor: Page) -> None:
    """The server counts characters, the browser counts some of them twice."""
    page = editor
    await write(page, "'😀😀' == lead.name or\n  lead.scroe > 5 # 😀")
    await expect(page.locator(".cm-lintRange-error")).to_have_text("lead.scroe")
    await page.get_by_role("button", name="Show the place").click()
    assert await page.evaluate("getSelection().toString()") == "lead.scroe"
    await page.get_by_role("button", name="Put lead.score there").click()
    await expect(count(page)).to_have_text("4 profiles match.")
    assert await written(page) == "'😀😀' == lead.name or\n  lead.score > 5 # 😀"


async def test_what_can_never_hold_is_a_warning(editor: Page) -> None:
    page = editor
    await write(page, "lead.score > 5 and lead.score < 3")
    await expect(page.locator(".rule-problems .warning")).to_be_visible()
    await expect(count(page)).to_have_text("0 profiles match.")
    await page.get_by_role("tab", name="Conditions").click()
    await expect(page.locator(".visual .condition")).to_have_count(2)
    await expect(page.locator(".rule-problems .warning")).to_be_visible()


async def test_what_is_written_before_the_editor_is_there_is_kept(editor: Page) -> None:
    """On a slow line the plain field is written in first: the editor goes on with its text, where the cursor stands."""
    page = editor
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/rules/vocabulary*", hold)
    await page.reload()
    await page.get_by_role("textbox", name="Rule").press_sequentially("lead.score > 5")
    await page.keyboard.press("ArrowLeft")
    await until(lambda: _has(held, 1))
    await held[0].continue_()
    await ready(page)
    await page.keyboard.press("8")
    await expect(page.get_by_role("textbox", name="Rule")).to_have_text("lead.score > 85")
    await expect(count(page)).to_have_text("1 profile matches.")


async def test_a_form_is_sent_before_the_editor_is_there(editor: Page) -> None:
    page = editor
    await page.route("**/rules/vocabulary*", lambda _: None)
    await page.reload()
    await page.get_by_label("Name").fill("Early")
    await page.get_by_role("textbox", name="Rule").fill("lead.score > 85")
    await page.get_by_role("button", name="Create cohort").click()
    await expect(page.get_by_role("heading", name="Early")).to_be_visible()
    await expect(page.get_by_text("lead.score > 85")).to_be_visible()


async def test_answers_that_come_late_are_not_shown(editor: Page) -> None:
    """A preview that another one took the place of is cancelled; should it answer all the same, nobody sees it."""
    page = editor
    held: list[Route] = []
    asked: list[str] = []
    given_up: list[str] = []

    async def hold(route: Route) -> None:
        asked.append(route.request.post_data or "")
        if "+50" in asked[-1]:
            held.append(route)
        else:
            await route.continue_()

    page.on("requestfailed", lambda request: given_up.append(request.url))
    await page.route("**/rules/preview", hold)
    await write(page, "lead.score > 50")
    await until(lambda: _has(held, 1))
    await write(page, "lead.score > 85")
    await expect(count(page)).to_have_text("1 profile matches.")
    assert [each.rpartition("/")[2] for each in given_up] == ["preview"]

    await page.evaluate("AbortController.prototype.abort = () => {}")
    await write(page, "lead.score > 50")
    await until(lambda: _has(held, 2))
    await write(page, "lead.score > 85")
    await expect(count(page)).to_have_text("1 profile matches.")
    async with page.expect_response("**/rules/preview"):
        await held[1].fulfill(body="<p data-count>3 profiles match.</p>", content_type="text/html")
    await expect(count(page)).to_have_text("1 profile matches.")

    before = len(asked)
    await text(page).press("End")
    await page.keyboard.type("5555", delay=20)
    await expect(count(page)).to_have_text("0 profiles match.")
    assert len(asked) == before + 1, "typing is asked about once, when it pauses"


async def _has(held: list[Route], number: int) -> bool:
    return len(held) >= number


async def test_the_keyboard_alone_builds_reorders_duplicates_and_deletes(editor: Page) -> None:
    """Focus stays with what was acted on, and each step is announced."""
    page = editor
    keys = page.keyboard

    async def focused() -> str:
        return str(
            await page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
            )
        )

    await page.get_by_role("tab", name="Text").focus()
    await keys.press("ArrowRight")
    await expect(page.get_by_role("tab", name="Conditions")).to_be_focused()
    for _ in range(2):
        await keys.press("Tab")
    assert await focused() == "Add condition", await focused()
    await keys.press("Enter")
    assert await focused() == "Field"
    await keys.type("lead.score")
    await expect(page.get_by_label("Comparison")).to_be_visible()
    assert await focused() == "Field"
    for _ in range(3):
        await keys.press("Tab")
    assert await focused() == "Value"
    await keys.type("50")
    assert json.loads(await written(page)) == {"all": [{"field": "lead.score", "operator": "greaterThan", "value": 50}]}
    await expect(count(page)).to_have_text("3 profiles match.")
    said = page.locator("[data-part=spoken]")
    await page.get_by_role("button", name="Duplicate").focus()
    await keys.press("Enter")
    await expect(said).to_have_text("Condition 1 of 1 was duplicated.")
    assert await focused() == "Duplicate"
    await page.get_by_label("Value", exact=True).nth(1).fill("70")
    up = page.get_by_role("group", name="Condition 2 of 2").get_by_role("button", name="Move up")
    await up.focus()
    await keys.press("Enter")
    await expect(said).to_have_text("Condition 2 of 2 was moved; it is number 1 of 2 now.")
    assert (
        await page.evaluate("document.activeElement.closest('[role=group]').getAttribute('aria-label')")
        == "Condition 1 of 2"
    )
    values = [each["value"] for each in json.loads(await written(page))["all"]]
    assert values == [70, 50]
    await page.get_by_role("button", name="Delete").first.focus()
    await keys.press("Enter")
    assert await focused() == "Delete"
    assert json.loads(await written(page))[
        "value" if "value" in await written(page) and "all" not in await written(page) else "all"
    ]
    await page.get_by_role("button", name="Undo").focus()
    await keys.press("Enter")
    assert [each["value"] for each in json.loads(await written(page))["all"]] == [70, 50]


async def test_conditions_are_dragged(editor: Page) -> None:
    page = editor
    await write(page, 'lead.score > 1 and lead.score > 2 and (lead.status == "a" or lead.status == "b")')
    await page.get_by_role("tab", name="Conditions").click()
    grips = page.locator(".visual .is-leaf > .grip")
    await expect(grips).to_have_count(4)
    await grips.nth(0).drag_to(page.locator(".visual .is-leaf").nth(3), target_position={"x": 200, "y": 30})
    await expect(page.locator(".visual .group.any .is-leaf")).to_have_count(3)
    tree = json.loads(await written(page))
    assert [each.get("value") for each in tree["all"][1]["any"]] == ["a", "b", 1]


async def test_a_wrong_condition_stays_where_it_is_told(editor: Page) -> None:
    page = editor
    await write(page, "lead.score > 50")
    await page.get_by_role("tab", name="Conditions").click()
    await page.get_by_role("button", name="Add as text").click()
    await page.get_by_label("Condition as text").fill("lead.scroe > 1 and")
    await expect(page.locator(".visual .is-wrong .fault")).to_be_visible()
    await page.get_by_role("tab", name="Text").click()
    await expect(count(page)).to_have_text("A condition is not right yet, so the rule cannot be shown as text.")
    await expect(page.get_by_role("tab", name="Conditions")).to_have_attribute("aria-selected", "true")
    await page.get_by_label("Condition as text").fill("lead.score + 1 > 85")
    await expect(count(page)).to_have_text("1 profile matches.")


async def test_in_arabic_and_in_the_dark(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """The page is mirrored, the rule is not; names of strangers are text; nothing sticks out of a narrow screen."""
    await api.post("/v1/cohorts", json={"name": HOSTILE, "kind": "dynamic", "rule": "lead.score > 50"})
    async with browsing(chromium, address) as page:
        await page.emulate_media(color_scheme="dark")
        await page.set_viewport_size({"width": 390, "height": 800})
        await page.context.add_cookies([{"name": "muster_language", "value": "ar", "url": address}])
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/new")
        await ready(page)
        assert await page.evaluate("document.dir") == "rtl"
        await write(
            page,
            '$in_cohort("COH-1") and lead.score > 50 and lead.created_at > $now - t"P3D" and lead.status in ["a", "b"]',
        )
        assert await text(page).evaluate("element => getComputedStyle(element).direction") == "ltr"
        await expect(page.locator(".plan li")).to_have_count(4)
        await no_barriers(page)
        await page.locator("#tab-visual").click()
        await expect(page.locator(".visual .condition")).to_have_count(4)
        await expect(page.locator(".visual")).to_contain_text(HOSTILE)
        await no_barriers(page)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_large_rule_offers_its_fields_when_they_are_asked_for(editor: Page) -> None:
    page = editor
    await write(page, " or ".join(f"lead.score == {number}" for number in range(60)))
    await page.get_by_role("tab", name="Conditions").click()
    picker = page.get_by_label("Field", exact=True).nth(59)
    await expect(picker.locator("option")).to_have_text(["lead.score"])
    await picker.focus()
    await page.keyboard.type("contact.country")
    await expect(picker).to_have_value("contact.country")
    assert json.loads(await written(page))["any"][59]["field"] == "contact.country"


async def test_a_session_that_ends_takes_nothing_along(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    """Who has to sign in again does so elsewhere; what was written stays, and goes on being looked at."""
    await api.put("/v1/leads/P1", json={"score": 80})
    context = await chromium.new_context()
    try:
        page = await context.new_page()
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/new")
        await ready(page)
        kept = await context.cookies()
        await context.clear_cookies()
        await write(page, "lead.score > 50")
        await expect(count(page)).to_contain_text("Your session has ended.")
        await context.add_cookies(kept)  # type: ignore[arg-type]  # Playwright takes what it gave
        await page.keyboard.type(" and true")
        await expect(count(page)).to_have_text("1 profile matches.")
    finally:
        await context.close()


async def test_without_scripts_a_text_field_does_it(chromium: Browser, address: str, api: httpx.AsyncClient) -> None:
    await api.put("/v1/leads/P1", json={"score": 80})
    context = await chromium.new_context(java_script_enabled=False)
    try:
        page = await context.new_page()
        await page.goto(f"{address}/signin?code={await issue_signin_code('ada')}")
        await page.goto(f"{address}/cohorts/new")
        await page.get_by_label("Name").fill("Best")
        await page.get_by_role("textbox", name="Rule").fill("lead.scroe > 50")
        await page.get_by_role("button", name="Create cohort").click()
        await expect(page.locator(".rule-problems")).to_contain_text("There is no field lead.scroe.")
        await page.get_by_role("textbox", name="Rule").fill("lead.score > 50")
        await page.get_by_role("button", name="Create cohort").click()
        await expect(page.locator("#standing")).to_contain_text("1 member")
    finally:
        await context.close()
