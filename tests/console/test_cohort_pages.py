"""What can be done with a cohort from its page: plain forms over the same functions as the API."""

import html
import re
from typing import Any

import httpx
import pytest

from muster.console import cohort_views
from tests.console.conftest import form_token, sign_in
from tests.console.worlds import HOSTILE, NAMELESS, RULE, addresses, build


async def send(ada: httpx.AsyncClient, page: str, action: str, **values: Any) -> httpx.Response:
    """Fill in a form of a page as a browser does: its token, and the revision that the page shows."""
    shown = (await ada.get(page)).text
    found = re.search(r'name="rev" value="(\d+)"', shown)
    given = {"form_token": form_token(shown), **({"rev": found[1]} if found else {}), **values}
    return await ada.post(action, data=given)


async def notice(ada: httpx.AsyncClient, answer: httpx.Response) -> str:
    """What the next page says; it says it once."""
    assert answer.status_code == 303, answer.text
    page = (await ada.get(answer.headers["location"])).text
    found = re.search(r'<p class="notice \w+"><bdi>(.*?)</bdi>', page)
    assert found, page
    assert 'class="notice good"><bdi>' not in (await ada.get(answer.headers["location"])).text
    return html.unescape(found[1])


async def test_names_on_every_page_are_only_shown(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client, hostile=True)
    nameless = set()
    for name, address in addresses(world).items():
        answer = await ada.get(address)
        assert answer.status_code == 200, (name, answer.text)
        assert "<img src=x" not in answer.text, name
        if html.escape(HOSTILE).replace("&quot;", "&#34;") not in answer.text:
            nameless.add(name)
    assert nameless == NAMELESS


async def test_nothing_of_another_owner_is_shown_or_done(visitor: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    await sign_in(visitor, "eve")
    for address in (each for each in addresses(world).values() if re.search(r"/[A-Z]+-\d", each)):
        assert (await visitor.get(address)).status_code == 404, address
    token = form_token((await visitor.get("/")).text)
    for action in ("edit", "kind", "evaluate", "delete", "members/add", "members/remove"):
        values = {"form_token": token, "rev": "1", "name": "x", "kind": "static", "members": "P1", "member": "P1"}
        answer = await visitor.post(f"/cohorts/{world['dynamic']}/{action}", data=values)
        assert answer.status_code == 404, action
    for action in ("cancel", "retry"):
        answer = await visitor.post(f"/jobs/{world['job']}/{action}", data={"form_token": token})
        assert answer.status_code == 404, action


async def test_name_and_description_are_edited_in_place(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Two people who edit at once do not overwrite each other unseen."""
    world = await build(client)
    here = f"/cohorts/{world['dynamic']}"
    page = (await ada.get(f"{here}/edit")).text
    values = {"form_token": form_token(page), "rev": "1", "name": " Best ", "description": "a\r\nb"}
    assert await notice(ada, await ada.post(f"{here}/edit", data=values)) == "Saved."
    stored = (await client.get(f"/v1{here}")).json()
    assert (stored["name"], stored["description"]) == ("Best", "a\nb")
    stale = await ada.post(f"{here}/edit", data={**values, "name": "Mine"})
    assert stale.status_code == 412
    assert "Somebody else changed this meanwhile" in stale.text
    assert 'value="Mine"' in stale.text, "what was typed is not lost"
    for wrong in ({"name": ""}, {"name": "x" * 500}, {"rev": "soon"}, {"rev": ""}):
        answer = await ada.post(f"{here}/edit", data={**values, "rev": "2", **wrong})
        assert answer.status_code == 422, wrong
    assert (await client.get(f"/v1{here}")).json()["name"] == "Best"


async def test_a_cohort_is_frozen_and_follows_again(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    here = f"/cohorts/{world['dynamic']}"
    said = await notice(ada, await send(ada, here, f"{here}/kind", kind="static"))
    assert said == "It keeps its members from now on."
    assert 'hx-get="' + here + '/progress"' in (await ada.get(here)).text
    said = await notice(ada, await send(ada, here, f"{here}/kind", kind="dynamic"))
    assert said == "It follows its rule from now on."
    assert "Evaluated anew" in await notice(ada, await send(ada, here, f"{here}/evaluate"))
    stale = await send(ada, here, f"{here}/kind", kind="static", rev="1")
    assert "another revision" in await notice(ada, stale)
    assert (await send(ada, here, f"{here}/kind", kind="liquid")).status_code == 422


async def test_members_are_added_and_removed(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    made = (await client.post("/v1/cohorts", json={"name": "Few", "kind": "static"})).json()
    here = f"/cohorts/{made['id']}"
    answer = await send(ada, here, f"{here}/members/add", members="lead-01, lead-02\nlead-02\nnobody; lead-03")
    said = await notice(ada, answer)
    assert said.startswith("3 members were added.")
    assert said.endswith("Nobody knows: nobody.")
    assert "1 was in already" in await notice(ada, await send(ada, here, f"{here}/members/add", members="lead-01"))
    assert await notice(ada, await send(ada, here, f"{here}/members/add", members=" ,\n")) == "No id was given."
    assert await notice(ada, await send(ada, here, f"{here}/members/remove", member="lead-01")) == "lead-01 is out."
    token = form_token((await ada.get(here)).text)
    values = {"form_token": token, "member": "lead-02"}
    piece = await ada.post(f"{here}/members/remove", data=values, headers={"HX-Request": "true"})
    assert (piece.status_code, piece.text) == (200, "")
    left = (await client.get(f"/v1{here}/members")).json()["items"]
    assert [member["pii_id"] for member in left] == ["lead-03"]
    dynamic = f"/cohorts/{world['dynamic']}"
    refused = await notice(ada, await send(ada, dynamic, f"{dynamic}/members/add", members="lead-01"))
    assert "dynamic" in refused


async def test_a_cohort_in_use_is_not_deleted(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """The page says by what, before anybody tries."""
    world = await build(client)
    here = f"/cohorts/{world['dynamic']}"
    page = (await ada.get(here)).text
    assert "It cannot be deleted while something uses it" in page
    assert re.search(r'<button class="danger" disabled>', page)
    assert "names" in await notice(ada, await send(ada, here, f"{here}/delete"))
    unused = f"/cohorts/{world['static']}"
    assert await notice(ada, await send(ada, unused, f"{unused}/delete")) == f"{world['static']} is deleted."
    assert (await ada.get(unused)).status_code == 404


async def test_why_marks_every_condition(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    here = f"/cohorts/{world['dynamic']}/why"
    page = (await ada.get(here, params={"pii_id": "lead-03"})).text
    told = (await client.get(f"/v1/cohorts/{world['dynamic']}/explain/lead-03")).json()
    marks = re.findall(r'<li class="(holds|fails)">\s*<span[^>]*>[✓✗]</span>\s*<code dir="ltr">(.*?)</code>', page)
    assert [(mark == "holds", html.unescape(text)) for mark, text in marks] == list(conditions(told["conditions"]))
    assert marks[0] == ("fails", html.escape(RULE).replace("&#x27;", "&#39;"))
    await client.put("/v1/contacts/lead-03", json={"email": "Three@example.com"})
    by_address = (await ada.get(here, params={"pii_id": "three@EXAMPLE.com"})).text
    assert re.search(r'<a href="/profile\?who=lead-03"><bdi>.*</bdi></a> is not a member\.', by_address)
    await client.put("/v1/contacts/lead-04", json={"email": "three@example.com"})
    several = (await ada.get(here, params={"pii_id": "three@example.com"})).text
    assert re.findall(r'href="[^"]*/why\?pii_id=([^"]*)"', several) == ["lead-03", "lead-04"]
    for unknown in ("nobody", "nobody@example.com", HOSTILE):
        page = (await ada.get(here, params={"pii_id": unknown})).text
        assert "There is no profile" in page
        assert "<img src=x" not in page


def conditions(found: dict[str, Any]) -> list[tuple[bool, str]]:
    return [(found["result"], found["text"]), *(each for one in found.get("children", ()) for each in conditions(one))]


async def test_entries_and_exits_and_drift(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the API tells them."""
    world = await build(client)
    here = f"/cohorts/{world['dynamic']}"
    await client.patch(f"/v1{here}", json={"rule": "lead.score > 60"})
    told = (await client.get(f"/v1{here}/changes?order=newest")).json()["items"]
    monkeypatch.setattr(cohort_views, "CHANGES_PER_PAGE", len(told))
    page = (await ada.get(f"{here}/changes")).text
    assert re.findall(r'<span class="more"><bdi>(lead-\d+)</bdi>', page) == [change["pii_id"] for change in told]
    progress = (await client.get(f"/v1/cohorts/{world['static']}/progress")).json()
    assert (
        f"{progress['progress_percent']:g}% of the members no longer match"
        in (await ada.get(f"/cohorts/{world['static']}/progress")).text
    )


async def test_exports_are_those_of_the_api(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    for form in ("csv", "ndjson"):
        ours = await ada.get(f"/cohorts/{world['dynamic']}/export?format={form}")
        theirs = await client.get(f"/v1/cohorts/{world['dynamic']}/export?format={form}")
        assert ours.content == theirs.content
        assert ours.headers["content-disposition"] == theirs.headers["content-disposition"]
        assert ours.headers["content-type"] == theirs.headers["content-type"]


async def test_who_has_several_projects_switches_between_them(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/cohorts", json={"name": "Here", "kind": "static"})
    assert 'id="project"' not in (await ada.get("/")).text
    other = (await client.post("/v1/projects", json={"name": HOSTILE, "time_zone": "Asia/Tokyo"})).json()["id"]
    await client.post("/v1/cohorts", json={"name": "There", "kind": "static", "project_id": other})
    assert (await send(ada, "/", "/project", project=other)).status_code == 303
    page = (await ada.get("/cohorts")).text
    assert "There" in page
    assert "Here" not in page
    assert "Asia/Tokyo" in page
    assert "<img src=x" not in page
    assert (await send(ada, "/", "/project", project="PRJ-999")).status_code == 404


async def test_a_page_that_has_grown_is_refreshed_as_a_whole(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rows` says how far; the version is that of its beginning, so that the stream and the page agree."""
    monkeypatch.setattr(cohort_views, "MEMBERS_PER_PAGE", 2)
    world = await build(client)
    here = f"/cohorts/{world['dynamic']}"
    page = (await ada.get(here)).text
    grown = (await ada.get(here, params={"rows": "4"})).text
    assert (page.count("data-row"), grown.count("data-row")) == (2, 4)
    assert re.findall(r'name="seen" value="\w+"', page) == re.findall(r'name="seen" value="\w+"', grown)
    assert (await ada.get(here, params={"rows": "100000"})).status_code == 422
