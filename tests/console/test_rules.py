"""The pages on which rules are written, and what their editor asks, without a browser."""

import html
import json
import re
from functools import partial
from typing import Any

import httpx
import pytest

from muster.cohorts import service
from muster.cohorts.jobs import run_here_or_wait
from muster.console import rule_texts, rule_views
from muster.console.languages import speak
from muster.records.indexes import drop_field_index, ensure_field_index
from muster.rules.capabilities import ABILITIES, COMPUTED_REASONS, OTHERWISE_COMPUTED
from tests.console.conftest import form_token, sign_in
from tests.console.test_pages import make, put
from tests.console.worlds import HOSTILE

NEW = "/cohorts/new"


async def submit(visitor: httpx.AsyncClient, address: str, **values: str) -> httpx.Response:
    """Fill in the form at an address, and send it as a browser does."""
    page = (await visitor.get(address)).text
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main")[2]))
    return await visitor.post(address, data={**hidden, **values})


async def ask(visitor: httpx.AsyncClient, address: str, **values: str) -> httpx.Response:
    """As the scripts do."""
    token = form_token((await visitor.get(NEW)).text)
    return await visitor.post(address, data={"form_token": token, **values}, headers={"HX-Request": "true"})


async def test_a_plain_form_makes_a_cohort(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await put(client, "P1", score=80)
    answer = await submit(ada, NEW, name="Best leads", kind="dynamic", rule="lead.score > 50\r\n and true\r\n")
    assert answer.status_code == 303
    made = (await client.get(f"/v1{answer.headers['location']}")).json()
    assert (made["name"], made["kind"], made["member_count"]) == ("Best leads", "dynamic", 1)
    assert made["rule"]["text"] == "lead.score > 50\n and true", "line breaks as they were typed"
    assert "is there" in (await ada.get(answer.headers["location"])).text
    empty = await submit(ada, NEW, name="By hand", kind="static", description="Later", rule="")
    made = (await client.get(f"/v1{empty.headers['location']}")).json()
    assert (made["kind"], made["rule"], made["description"]) == ("static", None, "Later")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": " "}, 'id="name-problem"'),
        ({"name": "x" * 201}, 'id="name-problem"'),
        ({"description": "x" * 5_001}, 'id="description-problem"'),
        ({"kind": "neither"}, 'id="kind-problem"'),
        ({"rule": "", "kind": "dynamic"}, "Give the rule to follow."),
        ({"rule": "lead.scroe > 50"}, "There is no field lead.scroe."),
        (
            {"rule": '{"field": "lead.score", "operator": "greter", "value": 1}'},
            "There is no operator &#39;greter&#39;.",
        ),
        ({"project_id": "PRJ-999"}, "There is no project"),
    ],
)
async def test_what_is_wrong_stands_at_its_field_and_nothing_is_lost(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, given: dict[str, str], told: str
) -> None:
    values = {"name": "Best & few", "description": "<b>", "kind": "static", "rule": "\n  lead.score > 50"} | given
    answer = await submit(ada, NEW, **values)
    assert answer.status_code in {404, 422}
    assert told in answer.text
    again = html.unescape(answer.text)
    assert f'name="name" type="text" dir="auto" required maxlength="200" value="{values["name"].strip()}"' in again
    assert f">\n{values['description']}</textarea>" in again
    assert f">\n{values['rule'].strip()}</textarea>" in again
    assert (await client.get("/v1/cohorts")).json()["items"] == []


async def test_a_wrong_rule_says_where_and_what_was_meant(ada: httpx.AsyncClient) -> None:
    answer = await submit(ada, NEW, name="Best leads", kind="dynamic", rule="true and\nlead.scroe > 50")
    assert "line 2, column 1" in answer.text
    assert re.search(r'Perhaps: <bdi dir="ltr" class="code">lead.score</bdi>', answer.text)
    assert 'aria-invalid="true"' in answer.text


async def test_a_rule_is_edited_and_a_stale_form_loses_nothing(
    ada: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    """What If-Match is for the API, the hidden revision is for the form; the second try is on purpose."""
    made = await make(client, "Best leads")
    address = f"/cohorts/{made['id']}/rule"
    page = (await ada.get(address)).text
    assert "\nlead.score &gt; 50</textarea>" in page
    stale = dict(re.findall(r'name="(form_token|rev)" value="(\w+)"', page))
    saved = await submit(ada, address, rule="lead.score > 70")
    assert (saved.status_code, saved.headers["location"]) == (303, f"/cohorts/{made['id']}")
    late = await ada.post(address, data={**stale, "rule": "lead.score > 90"})
    assert late.status_code == 412
    assert "Somebody else changed this cohort meanwhile" in late.text
    assert "\nlead.score &gt; 90</textarea>" in late.text
    now = (await client.get(f"/v1/cohorts/{made['id']}")).json()
    assert now["rule"]["text"] == "lead.score > 70"
    rev = re.search(r'name="rev" value="(\d+)"', late.text)
    assert rev is not None
    assert int(rev[1]) == now["rev"]
    assert (await ada.post(address, data={**stale, "rev": rev[1], "rule": "lead.score > 90"})).status_code == 303


async def test_saving_what_was_there_changes_nothing(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """Also where the rule came in as a tree that its text alone would not give back."""
    tree = {"field": "lead.score", "operator": "between", "value": [1, 5]}
    made = (await client.post("/v1/cohorts", json={"name": "Few", "kind": "dynamic", "rule": tree})).json()
    address = f"/cohorts/{made['id']}/rule"
    page = html.unescape((await ada.get(address)).text)
    assert f'data-tree="{json.dumps(tree)}"'.replace(" ", "") in page.replace(" ", "")
    for rule in (made["rule"]["text"], json.dumps(tree)):
        assert (await submit(ada, address, rule=rule)).status_code == 303
    assert (await client.get(f"/v1/cohorts/{made['id']}")).json() == made
    refused = await submit(ada, address, rule="")
    assert (refused.status_code, "Give the rule to follow." in refused.text) == (422, True)


async def test_a_cohort_of_a_file_is_tried_but_not_saved(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    made = await make(client, "Best leads")
    cohort = await service.cohort_of("ada", made["id"])
    cohort.managed_by, cohort.key = "file", "best"
    await cohort.save()
    address = f"/cohorts/{made['id']}/rule"
    assert "Save rule" not in (await ada.get(address)).text
    refused = await submit(ada, address, rule="lead.score > 70")
    assert (refused.status_code, "comes from the file" in refused.text) == (409, True)


async def test_everybody_sees_their_own(
    ada: httpx.AsyncClient, visitor: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    await put(client, "P1", status="secret")
    made = await make(client, "Best leads")
    project = made["project_id"]
    query = {"field": "lead.status", "project_id": project}
    assert (await ada.get("/rules/values", params=query)).json() == {"items": ["secret"]}
    await sign_in(visitor, "eve")
    assert (await visitor.get("/rules/values", params=query)).status_code == 404
    assert (await visitor.get("/rules/vocabulary", params={"project_id": project})).status_code == 404
    assert (await visitor.get(f"/cohorts/{made['id']}/rule")).status_code == 404
    assert (await ask(visitor, "/rules/preview", rule="true", project_id=project)).status_code == 404
    assert (await visitor.get("/rules/values", params={"field": "lead.status"})).json() == {"items": []}
    assert (await visitor.post("/rules/check", data={"rule": "true"})).status_code == 403


async def test_the_names_that_a_rule_can_use(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await client.post("/v1/fields", json={"name": "lead.nps", "type": "number"})
    made = await make(client, HOSTILE)
    known = (await ada.get("/rules/vocabulary")).json()
    assert {"name": "lead.nps", "type": "number"} in known["fields"]
    assert next(field["name"] for field in known["fields"]).startswith("lead.")
    assert "$fuzzy" in [function["name"] for function in known["functions"]]
    assert known["cohorts"] == [{"id": made["id"], "name": HOSTILE}]


async def test_values_are_the_frequent_ones_of_a_bounded_look(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = ["new", "new", "won", HOSTILE, "renewed", "x" * 300]
    for number, status in enumerate(statuses):
        await put(client, f"P{number}", status=status, tags=["vip", status[:5]], score=number)

    async def values(field: str, q: str = "") -> Any:
        return (await ada.get("/rules/values", params={"field": field, "q": q})).json()["items"]

    assert await values("lead.status") == ["new", HOSTILE, "renewed", "won"]
    assert await values("lead.status", "NEW") == ["new", "renewed"]
    assert await values("lead.status", "(") == [HOSTILE]
    assert (await values("lead.tags"))[0] == "vip"
    for nothing in ("lead.score", "lead.nothing", "$where", "lead"):
        assert await values(nothing) == []
    assert await values("lead.status", "\0") == []
    monkeypatch.setattr(rule_views, "LOOKED_AT", 2)
    assert await values("lead.status", "won") == [], "only the first two are looked at"
    await ensure_field_index("lead.status")
    try:
        assert await values("lead.status", "won") == ["won"], "the index knows where it is"
    finally:
        await drop_field_index("lead.status")


async def test_a_check_and_a_preview_of_text_and_tree(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    await client.put("/v1/contacts/P1", json={"name": HOSTILE, "email": "a@example.org"})
    await put(client, "P1", score=80)
    wrong = (await ask(ada, "/rules/check", rule="'😀' == lead.scroe")).json()
    assert wrong["errors"][0]["span"] == {"start": 7, "end": 17, "line": 1, "column": 8}
    spaced = (await ask(ada, "/rules/check", rule="  \n lead.scroe")).json()
    assert spaced["errors"][0]["span"]["start"] == 4, "to the character"
    tree = {
        "any": [{"field": "lead.score", "operator": "greaterThan", "value": 50}, {"expression": "lead.score + 1 > 81"}]
    }
    found = (await ask(ada, "/rules/check", rule=json.dumps(tree))).json()
    assert (found["valid"], found["tree"]) == (True, tree)
    shown = (await ask(ada, "/rules/preview", rule=json.dumps(tree), key="k")).text
    assert "1 profile matches." in shown
    assert html.escape(HOSTILE).replace("&quot;", "&#34;") in shown
    assert "<img" not in shown
    assert "MongoDB could decide it, but not the other branch" in shown
    assert "Python decides this, because arithmetic is decimal in Python" in shown
    ada.cookies.set("muster_language", "fr")
    assert (
        "Python évalue ceci\u00a0: le calcul est décimal"
        in (await ask(ada, "/rules/preview", rule=json.dumps(tree))).text
    )


@pytest.mark.parametrize(
    "rule", ["{", "{}", "{1: 2}", '{"all":' * 5_000, '{"a": 1e999}', "{" + "9" * 5_000, "\0", "x" * 400_000]
)
async def test_hostile_rules_are_told_to_be_wrong(ada: httpx.AsyncClient, rule: str) -> None:
    answer = await ask(ada, "/rules/check", rule=rule)
    assert (answer.status_code, answer.json()["valid"]) == (200, False), answer.text
    assert (await submit(ada, NEW, name="x", kind="dynamic", rule=rule)).status_code == 422


def test_every_reason_of_a_plan_has_its_words() -> None:
    """The table of the rules and the words of the console are two lists of the same sentences."""
    theirs = {row.reason for row in ABILITIES if row.reason} | set(COMPUTED_REASONS.values()) | {OTHERWISE_COMPUTED}
    ours = set(rule_texts.reasons(str))
    assert ours - theirs == {
        "the rule of that cohort stands for it",
        "no row of the table says that MongoDB decides it exactly",
    }
    assert theirs <= ours
    speak("fr")
    try:
        for reason in ours:
            assert rule_texts.because(f"{reason}; asked only of profiles with a.b and c.d").endswith("ont a.b et c.d")
            assert rule_texts.because(reason) != reason
    finally:
        speak("en")


async def test_a_first_visit_to_the_editor_is_small(ada: httpx.AsyncClient) -> None:
    """What a browser fetches to write a rule, compressed as it comes."""
    page = (await ada.get(NEW)).text
    transferred = len(page.encode())
    for each in set(re.findall(r'(?:href|src)="(/static/[^"]*)"', page)):
        async with ada.stream("GET", html.unescape(each), headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            transferred += sum([len(chunk) async for chunk in answer.aiter_raw()])
    assert transferred < 250_000, transferred


async def test_a_long_evaluation_leads_to_the_page_that_shows_how_far_it_is(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here nobody works on the job."""
    monkeypatch.setattr(service, "RESIDUAL_CANDIDATES_HERE", 0)
    monkeypatch.setattr(service, "run_here_or_wait", partial(run_here_or_wait, within=0.1))
    await put(client, "P1", score=80)
    answer = await submit(ada, NEW, name="Slow", kind="dynamic", rule="lead.score + 1 > 50")
    assert answer.status_code == 303
    made = (await client.get(f"/v1{answer.headers['location']}")).json()
    assert made["state"] == "evaluating"
    page = (await ada.get(answer.headers["location"])).text
    assert "<progress" in page
    assert f'href="/jobs/{made["job_id"]}"' in page
    address = f"{answer.headers['location']}/rule"
    assert (await submit(ada, address, rule="lead.score + 1 > 60")).status_code == 303
    assert "is evaluated now" in (await ada.get(answer.headers["location"])).text
