"""What the pages show, to whom, and that nothing in them is taken for markup."""

import html
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from bson import ObjectId, Timestamp

from muster.cohorts import slices
from muster.cohorts.documents import Change, WatchState
from muster.console import cohort_views, pages, views
from muster.resources import Resources
from tests.cohorts.conftest import watching
from tests.console.conftest import sign_in
from tests.console.worlds import HOSTILE
from tests.waiting import until


async def put(client: httpx.AsyncClient, pii_id: str, **lead: Any) -> None:
    answer = await client.put(f"/v1/leads/{pii_id}", json=lead)
    assert answer.status_code in {200, 201}, answer.text


async def make(client: httpx.AsyncClient, name: str, rule: str = "lead.score > 50", **more: Any) -> dict[str, Any]:
    answer = await client.post("/v1/cohorts", json={"name": name, "kind": "dynamic", "rule": rule} | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def links(page: str) -> list[str]:
    return [html.unescape(address) for address in re.findall(r'href="([^"]*)"', page)]


async def test_an_empty_console_says_what_to_do_first(ada: httpx.AsyncClient) -> None:
    page = (await ada.get("/")).text
    assert "No cohorts yet" in page
    assert "muster cohorts create" in page
    assert "0 profiles" in (await ada.get("/profiles/count")).text


async def test_the_list_of_cohorts_finds_them(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await put(client, "P1", score=80)
    hot = await make(client, "Best leads", description="Call today")
    await make(client, "Gone cold", "lead.score < 10")
    page = (await ada.get("/cohorts")).text
    assert page.index("Best leads") < page.index("Gone cold"), "the oldest first"
    assert f"/cohorts/{hot['id']}" in links(page)
    assert re.search(r'<td class="number">1</td>', page)
    found = (await ada.get("/cohorts", params={"q": "call TODAY"})).text
    assert "Best leads" in found
    assert "Gone cold" not in found
    nothing = (await ada.get("/cohorts", params={"q": HOSTILE})).text
    assert "No cohort has" in nothing
    assert "<img src=x" not in nothing


async def test_lists_go_on_behind_a_link(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cohort and member stands on exactly one page, and the search goes along."""
    monkeypatch.setattr(views, "COHORTS_PER_PAGE", 2)
    monkeypatch.setattr(cohort_views, "MEMBERS_PER_PAGE", 2)
    for number in range(5):
        await put(client, f"P{number}", score=80)
    made = [await make(client, f"Team & {number}") for number in range(5)]
    await make(client, "Else")
    seen = await _follow(ada, "/cohorts?q=Team+%26", r'href="/cohorts/(COH-\d+)"')
    assert seen == [cohort["id"] for cohort in made]
    assert sorted(await _follow(ada, f"/cohorts/{made[0]['id']}", r"<bdi>(P\d)</bdi>")) == [f"P{n}" for n in range(5)]


async def _follow(visitor: httpx.AsyncClient, address: str, pattern: str) -> list[str]:
    found = []
    while True:
        page = (await visitor.get(address)).text
        found += re.findall(pattern, page)
        following = re.search(r'id="next-page" rel="next" href="([^"]*)"', page)
        if following is None:
            assert 'id="first-page"' in page
            return found
        address = html.unescape(following[1])


async def test_a_cohort_shows_its_rule_and_members(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await put(client, "P1", score=80)
    await client.put("/v1/contacts/P1", json={"name": "Ann", "email": "ann@example.org"})
    made = await make(client, "Best leads", 'lead.score > 50 and contact.name =~ "A.*"', description="Call today")
    page = (await ada.get(f"/cohorts/{made['id']}")).text
    assert "Call today" in page
    assert '<pre class="rule" dir="ltr"' in page
    assert html.escape(made["rule"]["text"]).replace("&quot;", "&#34;") in page
    assert "1 member<" in page
    assert "ann@example.org" in page
    assert "matched the rule" in page
    year = str(datetime.fromisoformat(made["created_at"]).year)
    assert re.search(rf'<time datetime="{year}[^"]*\+00:00"><bdi>[A-Z][a-z]+ \d+, {year} \d\d:\d\d</bdi>', page)


async def test_a_static_cohort_without_a_rule_and_an_empty_one(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await put(client, "P1", score=80)
    by_hand = (await client.post("/v1/cohorts", json={"name": "Few", "kind": "static", "members": ["P1"]})).json()
    page = (await ada.get(f"/cohorts/{by_hand['id']}")).text
    assert "chosen by hand" in page
    assert "added by hand" in page
    nobody = await make(client, "Nobody", "lead.score > 1000")
    assert "Nobody is in this cohort" in (await ada.get(f"/cohorts/{nobody['id']}")).text


async def test_nothing_is_taken_for_markup(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Names of leads, of cohorts, rules and ids are shown as they are."""
    await put(client, "P1", score=80, name=HOSTILE)
    await put(client, "%3Cimg%20src=x%3E", score=80)
    made = await make(client, HOSTILE, "lead.score > 50 or lead.name == '</pre><img src=x>'", description=HOSTILE)
    for address in ("/", "/cohorts", f"/cohorts/{made['id']}"):
        page = (await ada.get(address)).text
        assert "<img src=x" not in page
        assert html.escape(HOSTILE).replace("&quot;", "&#34;") in page
    assert "&lt;/pre&gt;&lt;img src=x&gt;" in page
    assert "<bdi>&lt;img src=x&gt;</bdi>" in page


async def test_an_owner_sees_nothing_of_another_ones(
    ada: httpx.AsyncClient, visitor: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    made = await make(client, "Best leads")
    assert (await ada.get(f"/cohorts/{made['id']}")).status_code == 200
    await sign_in(visitor, "eve")
    assert "Best leads" not in (await visitor.get("/")).text
    theirs, nobodys = await visitor.get(f"/cohorts/{made['id']}"), await visitor.get("/cohorts/COH-999")
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace(made["id"], "COH-999") == nobodys.text


async def test_errors_are_pages_for_people_and_problems_for_programs(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    made = await make(client, "Best leads")
    for address, status in [
        ("/cohorts?cursor=junk", 422),
        (f"/cohorts/{made['id']}?cursor=%00", 422),
        ("/cohorts?q=" + "x" * 300, 422),
        ("/cohorts/%3Cscript%3E", 404),
    ]:
        answer = await ada.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8"), address
        assert "Back to the start" in answer.text
        assert answer.headers["content-security-policy"] == pages.POLICY
        assert "<script>" not in answer.text
    assert (await ada.put("/")).status_code == 405
    browser = {"Accept": "text/html,*/*;q=0.8"}
    assert (await ada.get("/nowhere", headers=browser)).headers["content-type"].startswith("text/html")
    for address, headers in (("/nowhere", {}), ("/v1/nowhere", browser), ("/v1/cohorts/x", browser)):
        answer = await ada.get(address, headers=headers)
        assert answer.headers["content-type"] == "application/problem+json", address


async def test_pages_take_nothing_from_elsewhere_and_run_nothing_inline(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    """No inline script, style or handler, no other host; every asset is there, and may be kept for ever."""
    made = await make(client, "Best leads")
    assets = set()
    for address in ("/", f"/cohorts/{made['id']}", "/cohorts/COH-999"):
        answer = await ada.get(address)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
        page = answer.text
        assert '"allowEval": false' in page
        assert re.search(r'<html lang="en" dir="ltr">', page)
        assert not re.search(r"<style|\sstyle=|\son\w+=|hx-on|<script(?![^>]*\ssrc=)", page)
        elsewhere = [found for found in re.findall(r'(?:href|src|action)="([^"]*)"', page) if not found.startswith("/")]
        assert set(elsewhere) == {"#main"}
        assets.update(re.findall(r'(?:href|src)="(/static/[^"]*)"', page))
    assert len(assets) == 4
    for each in assets:
        answer = await ada.get(html.unescape(each))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert (await ada.get("/static/../pages.py")).status_code == 404
    assert (await ada.get("/static/%2e%2e/pages.py")).status_code == 404


async def test_a_page_that_shows_it_all_already_is_not_sent_again(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    """What refreshes a page names the version that it shows; something new comes as soon as there is something."""
    async with watching():
        await put(client, "P1", score=80)
        made = await make(client, "Best leads")
        for address in ("/", "/cohorts", f"/cohorts/{made['id']}"):
            asked = f"{address}?seen={await until(lambda at=address: _settled(ada, at))}"  # type: ignore[misc]
            assert (await ada.get(asked)).status_code == 204
            score = 90 if address == "/cohorts" else 10
            await client.patch("/v1/leads/P1", json={"score": score})
            page = await until(lambda at=asked: _page(ada, at))  # type: ignore[misc]
            assert "Best leads" in page


async def _settled(visitor: httpx.AsyncClient, address: str) -> str | None:
    """The version that a page shows, once nothing moves any more."""
    found = re.search(r'name="seen" value="(\w+)"', (await visitor.get(address)).text)
    assert found
    same = (await visitor.get(f"{address}?seen={found[1]}")).status_code == 204
    return found[1] if same else None


async def _page(visitor: httpx.AsyncClient, address: str) -> str | None:
    answer = await visitor.get(address)
    return answer.text if answer.status_code == 200 else None


async def test_home_says_how_the_watcher_does(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    assert "has not started" in (await ada.get("/")).text
    async with watching():
        await until(lambda: _standing("ok"))
        assert "Live: members follow every change" in (await ada.get("/")).text
        await put(client, "P1", score=80)
        await until(lambda: _says(ada, "Live: the last change was applied within"))
    await WatchState.get_motor_collection().update_many({}, {"$set": {"saved_at": datetime(2020, 1, 1)}})  # noqa: DTZ001
    assert "is silent" in (await ada.get("/")).text


async def _says(visitor: httpx.AsyncClient, words: str) -> bool:
    return words in (await visitor.get("/")).text


async def _standing(status: str) -> bool:
    return bool((await slices.standing())["status"] == status)


async def test_the_last_change_of_each_cohort_is_one_look_at_the_index(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, clean: Resources
) -> None:
    """However long their history is."""
    made = await make(client, "Best leads")
    for year in (2031, 2032):
        await _change(made["id"], datetime(year, 1, 2, tzinfo=UTC))
    await _change("COH-0", datetime(2033, 1, 2, tzinfo=UTC))
    assert "Jan 2, 2032" in (await ada.get("/")).text
    explained = await clean.database.command(
        {
            "explain": {"aggregate": "changes", "pipeline": views.last_changes_of([made["id"], "COH-0"]), "cursor": {}},
            "verbosity": "queryPlanner",
        }
    )
    assert "DISTINCT_SCAN" in str(explained)


async def _change(cohort: str, at: datetime) -> None:
    entry = {"generation": 1, "profile": ObjectId(), "change": "entered", "cause": "record", "as_of": Timestamp(1, 1)}
    await Change.get_motor_collection().insert_one({"cohort": cohort, "at": at, **entry})
