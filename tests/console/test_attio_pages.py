"""Attio in the console: the connection, what the workspace holds, imports, and the key that nobody ever sees again."""

import html
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from muster.attio import imports
from muster.attio.importing import run_job
from muster.cohorts import sources
from muster.resources import Resources
from muster.sandbox.attio import KEY, AttioSandbox
from muster.settings import Settings
from tests.attio.conftest import hasty
from tests.console.conftest import form_token, sign_in
from tests.console.test_cohort_pages import notice, send
from tests.console.worlds import HOSTILE

__all__ = ["hasty"]

CANARY = "canary-key-that-nobody-may-ever-see-again-0000000000000000000001"


@pytest.fixture(autouse=True)
def as_new(attio: AttioSandbox) -> AttioSandbox:
    """The stand-in without what other tests did to it."""
    return attio


async def connect(ada: httpx.AsyncClient, key: str = KEY) -> httpx.Response:
    return await send(ada, "/attio/connection", "/attio/connection", api_key=key)


def shown(page: str) -> list[str]:
    """The ids of the rows that can be selected."""
    return re.findall(r'name="record" value="([^"]*)"', page)


async def test_a_project_is_connected_tested_and_disconnected(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    page = (await ada.get("/attio")).text
    assert "Test and connect" in page
    wrong = await connect(ada, CANARY)
    assert wrong.status_code == 422
    assert "aria-invalid" in wrong.text
    assert CANARY not in wrong.text
    assert "Connected with" in await notice(ada, await connect(ada, f"  {KEY} "))
    page = (await ada.get("/attio/connection")).text
    assert "record_permission:read" in page
    assert KEY not in page
    assert KEY not in (await ada.get("/attio")).text
    assert (await client.get("/v1/attio/connection")).json()["connected"]
    assert "forgotten" in await notice(ada, await send(ada, "/attio/connection", "/attio/disconnect"))
    assert not (await client.get("/v1/attio/connection")).json()["connected"]


async def test_missing_scopes_and_revoked_keys_are_told(ada: httpx.AsyncClient, as_new: AttioSandbox) -> None:
    await connect(ada)
    as_new.keys[KEY].scopes = "record_permission:read"
    assert "list_entry:read" in (await ada.get("/attio/connection")).text
    as_new.keys[KEY].is_active = False
    page = await ada.get("/attio")
    assert page.status_code == 200
    assert 'class="problem"' in page.text
    assert "not connected" in (await ada.get("/attio/connection")).text


async def test_the_workspace_is_browsed(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Page by page, by search, list by list: what the API says of it."""
    await connect(ada)
    people = (await client.get("/v1/attio/objects/people/records", params={"limit": 1000})).json()["items"]
    first = (await ada.get("/attio", params={"tab": "people"})).text
    further = html.unescape(re.findall(r'id="next-page" rel="next" href="([^"]*)"', first)[0])
    both = shown(first) + shown((await ada.get(further)).text)
    assert both == [each["attio_record_id"] for each in people]
    word = next(each["name"] for each in people if each["name"]).split()[-1]
    found = (await client.get("/v1/attio/objects/people/records", params={"q": word})).json()["items"]
    page = (await ada.get("/attio", params={"tab": "people", "q": word})).text
    assert shown(page) == [each["attio_record_id"] for each in found]
    (one, *_) = (await client.get("/v1/attio/lists")).json()["items"]
    lists = html.unescape((await ada.get("/attio", params={"tab": "lists"})).text)
    assert one["name"] in lists
    assert {*re.findall(r"<td>(\w+)</td>", lists)} == {"People", "Companies"}
    entries = (await client.get(f"/v1/attio/lists/{one['api_slug']}/entries")).json()["items"]
    page = (await ada.get("/attio", params={"tab": "lists", "list": one["api_slug"]})).text
    assert shown(page) == [each["attio_record_id"] for each in entries[:50]]
    nothing = (await ada.get("/attio", params={"tab": "people", "q": HOSTILE})).text
    assert "Nothing in Attio has" in nothing
    assert "<img src=x" not in nothing
    gone = await ada.get("/attio", params={"tab": "lists", "list": HOSTILE})
    assert gone.status_code == 200
    assert "<img src=x" not in gone.text


async def test_names_in_attio_are_only_shown(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, clean: Resources
) -> None:
    await connect(ada)
    stand_in = clean.settings.attio_base_url.removesuffix("/v2")
    for tab in ("people", "companies"):
        (first, *_) = (await client.get(f"/v1/attio/objects/{tab}/records")).json()["items"]
        named = {"values": {"name": [{"full_name": HOSTILE, "value": HOSTILE}]}}
        async with httpx.AsyncClient() as http:
            put = await http.put(f"{stand_in}/sandbox/records/{tab}/{first['attio_record_id']}", json=named)
            assert put.is_success, put.text
        page = (await ada.get("/attio", params={"tab": tab})).text
        assert html.escape(HOSTILE).replace("&quot;", "&#34;") in page
        assert "<img src=x" not in page


@pytest.fixture
async def working(clean: Resources, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What a worker needs: cohorts know of imports, as the application has it."""
    monkeypatch.setattr(sources, "IMPORTS", [imports.profiles_of])
    return clean.settings


async def test_what_is_selected_is_imported_and_saved_as_a_cohort(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, working: Settings
) -> None:
    await connect(ada)
    page = (await ada.get("/attio")).text
    chosen = shown(page)[:3]
    begun = await send(ada, "/attio", "/attio/import", tab="companies", do="selected", record=chosen)
    there = begun.headers["location"]
    assert "waits" in (await ada.get(there)).text
    await run_job(there.rsplit("/", 1)[1], working)
    page = (await ada.get(there)).text
    assert "A static cohort of the 3 records" in page
    wrong = await send(ada, there, f"{there}/cohort", name="", description="typed")
    assert wrong.status_code == 422
    assert "name-problem" in wrong.text
    assert "typed" in wrong.text
    saved = await send(ada, there, f"{there}/cohort", name="Three", description="")
    cohort = (await client.get(f"/v1{saved.headers['location']}")).json()
    assert (cohort["name"], cohort["member_count"]) == ("Three", 3)
    after = (await ada.get("/attio")).text
    assert after.count('<span class="badge">imported</span>') == 3
    assert (await ada.get("/attio", params={"tab": "imported"})).text.count("<tr data-row>") == 3


async def test_all_that_a_search_finds_is_imported(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, working: Settings
) -> None:
    """With the cohort named beforehand; the import makes it."""
    await connect(ada)
    wanted = (await client.get("/v1/attio/objects/companies/records", params={"q": "works", "limit": 1000})).json()
    begun = await send(
        ada, "/attio", "/attio/import", tab="companies", q="works", do="all", cohort_name="Works", record="ignored"
    )
    there = begun.headers["location"]
    await run_job(there.rsplit("/", 1)[1], working)
    (cohort,) = (await client.get("/v1/cohorts")).json()["items"]
    assert (cohort["name"], cohort["member_count"]) == ("Works", len(wanted["items"]))
    assert f'href="/cohorts/{cohort["id"]}"' in (await ada.get(there)).text


async def test_a_static_cohort_is_added_to(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, working: Settings
) -> None:
    await connect(ada)
    await client.put("/v1/leads/L1", json={"score": 1})
    made = await client.post("/v1/cohorts", json={"name": "Board", "kind": "static", "members": ["L1"]})
    cohort = made.json()["id"]
    assert f"/attio?into={cohort}" in (await ada.get(f"/cohorts/{cohort}")).text
    page = (await ada.get("/attio", params={"tab": "people", "into": cohort})).text
    assert "What you import is added to" in page
    body: dict[str, Any] = {"tab": "people", "into": cohort, "do": "selected", "record": shown(page)[:2]}
    there = (await send(ada, "/attio", "/attio/import", **body)).headers["location"]
    await run_job(there.rsplit("/", 1)[1], working)
    assert "2 members were added." in (await ada.get(there)).text
    assert (await client.get(f"/v1/cohorts/{cohort}")).json()["member_count"] == 3
    nothing = await notice(ada, await send(ada, "/attio", "/attio/import", **{**body, "record": ""}))
    assert "Nothing is selected" in nothing
    await client.delete(f"/v1/cohorts/{cohort}")
    assert "There is no cohort" in await notice(ada, await send(ada, "/attio", "/attio/import", **body))


async def test_two_thousand_can_be_selected(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await connect(ada)
    ids = [f"{number:032x}" for number in range(2_500)]
    begun = await send(ada, "/attio", "/attio/import", tab="people", do="selected", record=ids)
    assert begun.status_code == 303, begun.text
    job = (await client.get(f"/v1/jobs/{begun.headers['location'].rsplit('/', 1)[1]}")).json()
    assert job["kind"] == "import"


async def test_nothing_of_another_owner_is_browsed_or_imported(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await connect(ada)
    page = (await ada.get("/attio")).text
    there = (await send(ada, "/attio", "/attio/import", tab="companies", do="selected", record=shown(page)[:1])).headers
    async with httpx.AsyncClient(transport=client._transport, base_url="http://muster.test") as eve:
        await sign_in(eve, "eve")
        assert (await eve.get(there["location"])).status_code == 404
        token = {"form_token": form_token((await eve.get("/")).text)}
        assert (await eve.post(f"{there['location']}/cohort", data={**token, "name": "x"})).status_code == 404
        assert "Test and connect" in (await eve.get("/attio")).text
        refused = await eve.post("/attio/import", data={**token, "tab": "people", "do": "all"})
        assert refused.status_code == 303
        assert (await client.get("/v1/jobs", params={"kind": "import"})).json()["items"][1:] == []


async def test_the_key_is_nowhere_but_in_its_file(
    ada: httpx.AsyncClient, working: Settings, as_new: AttioSandbox
) -> None:
    as_new.keys[CANARY] = as_new.keys[KEY]
    await connect(ada, CANARY)
    for page in ("/attio", "/attio/connection", "/attio?tab=lists", "/jobs"):
        answer = await ada.get(page)
        assert CANARY not in answer.text + str(answer.headers), page
    holders = [
        path for path in Path(working.data_path).rglob("*") if path.is_file() and CANARY in path.read_text("latin-1")
    ]
    assert [path.parent.name for path in holders] == ["secrets"]
