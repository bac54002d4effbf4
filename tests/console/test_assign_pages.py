"""Leads handed to agents from the console: the plan, the doing, what failed, and the way back."""

import html
import re
from typing import Any

import httpx
import pytest

from muster.console import assign_routes
from tests.console.conftest import form_token, sign_in
from tests.console.test_cohort_pages import notice, send
from tests.console.worlds import HOSTILE


async def world(client: httpx.AsyncClient, leads: int = 7, name: str = "Best leads") -> str:
    """Leads, two agents that take 2 and 6 a day, and a cohort with all leads and one profile that is none."""
    for place in range(leads):
        await client.put(f"/v1/leads/L{place:02}", json={"score": 80})
    await client.put("/v1/contacts/C1", json={"name": "no lead"})
    for agent, capacity in (("nora", 2), ("omar", 6)):
        body = {"name": agent.title(), "daily_capacity": capacity}
        assert (await client.put(f"/v1/agents/{agent}", json=body)).is_success
    members = [f"L{place:02}" for place in range(leads)] + ["C1"]
    made = await client.post("/v1/cohorts", json={"name": name, "kind": "static", "members": members})
    return str(made.json()["id"])


def loads(page: str) -> dict[str, str]:
    """The agents of the plan, or of an assignment, with their numbers of leads."""
    return dict(re.findall(r'<th scope="row"><bdi>(\w+)</bdi></th>.*?<strong>(\d+)</strong>', page, re.DOTALL))


async def test_the_plan_says_what_would_happen(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """As the API's dry run does, and without doing it."""
    cohort = await world(client)
    page = (await ada.get("/assign", params={"cohort": cohort})).text
    assert loads(page) == {"Nora": "4", "Omar": "3"}
    assert "1 agent would get more than is left of today." in page
    assert "1 member without a lead" in page
    values = {"cohort": cohort, "agent": ["nora", "omar"], "strategy": "capacity_weighted", "reassign": "yes"}
    weighted = (await send(ada, "/assign", "/assign", do="plan", **values)).text
    assert loads(weighted) == {"Nora": "2", "Omar": "5"}
    limited = (
        await send(ada, "/assign", "/assign", do="plan", respect_capacity="yes", **values | {"agent": ["nora"]})
    ).text
    assert loads(limited) == {"Nora": "2"}
    assert "5 wait for capacity" in limited
    assert (await client.get("/v1/jobs", params={"kind": "assign"})).json()["items"] == []


async def test_the_plan_of_a_large_cohort_comes_by_itself(
    ada: httpx.AsyncClient, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading all members takes longer than a page may take."""
    cohort = await world(client)
    monkeypatch.setattr(assign_routes, "PLANNED_AT_ONCE", 7)
    page = (await ada.get("/assign", params={"cohort": cohort})).text
    assert loads(page) == {}
    assert 'hx-trigger="load"' in page
    values = {"cohort": cohort, "agent": ["nora", "omar"], "strategy": "round_robin", "reassign": "yes"}
    assert loads((await send(ada, "/assign", "/assign", do="plan", **values)).text) == {"Nora": "4", "Omar": "3"}


async def test_leads_are_assigned_tried_again_and_taken_back(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    cohort = await world(client)
    values = {"cohort": cohort, "agent": ["nora", "omar"], "strategy": "capacity_weighted", "reassign": "yes"}
    begun = await send(ada, "/assign", "/assign", do="assign", **values)
    assert begun.status_code == 303, begun.text
    there = begun.headers["location"]
    page = (await ada.get(there)).text
    assert loads(page) == {"Nora": "2", "Omar": "5"}
    assert "7 leads handed over" in page
    assert 'href="/profile?who=C1"' in page
    owners = [(await client.get(f"/v1/leads/L{place:02}")).json()["agent_id"] for place in range(7)]
    assert sorted(owners) == ["nora"] * 2 + ["omar"] * 5

    await client.put("/v1/leads/C1", json={"score": 1})
    job = there.rsplit("/", 1)[1]
    assert "goes on" in await notice(ada, await send(ada, there, f"/jobs/{job}/retry", back=there))
    assert there in (await ada.get("/assignments")).text
    await client.patch("/v1/leads/L00", json={"score": 3})
    # The retry waits for a worker, of which there is none here: it is cancelled, what was done is taken back.
    assert "is cancelled" in await notice(ada, await send(ada, there, f"/jobs/{job}/cancel", back=there))
    undone = await send(ada, there, f"{there}/undo")
    assert undone.status_code == 303, undone.text
    back = (await ada.get(undone.headers["location"])).text
    assert "6 leads are back where they were." in back
    assert 'href="/profile?who=L00"' in back
    assert undone.headers["location"] in (await ada.get(there)).text
    again = await notice(ada, await send(ada, there, f"{there}/undo"))
    assert "takes CAJ-1 back already" in again


async def test_who_cannot_take_leads_is_named(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """An agent that went away, or was switched off, between the plan and the beginning."""
    cohort = await world(client)
    values = {"cohort": cohort, "agent": ["nora", "omar"], "strategy": "round_robin"}
    await client.delete("/v1/agents/omar")
    refused = await send(ada, "/assign", "/assign", do="assign", **values)
    assert refused.status_code == 422
    assert "There is no agent &#39;omar&#39;" in refused.text
    await client.patch("/v1/agents/nora", json={"active": False})
    refused = await send(ada, "/assign", "/assign", do="assign", **values | {"agent": ["nora"]})
    assert "nora is not active" in refused.text
    for missing in ("cohort", "agent"):
        refused = await send(ada, "/assign", "/assign", do="assign", **values | {missing: ""})
        assert refused.status_code == 422, missing
    strange = await send(ada, "/assign", "/assign", do="assign", **values | {"strategy": HOSTILE})
    assert strange.status_code == 422
    assert "<img src=x" not in strange.text


async def test_one_cohort_among_many_is_found(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """The first are offered; a search finds others, and keeps the one that is chosen."""
    cohort = await world(client)
    for place in range(12):
        await client.post("/v1/cohorts", json={"name": f"Group {place}", "kind": "static", "members": ["L01"]})
    page = (await ada.get("/assign")).text
    assert page.count('name="cohort"') == 8
    found = (await send(ada, "/assign", "/assign", do="find", q="group 11", cohort=cohort)).text
    offered = re.findall(r'name="cohort" value="[^"]*"( checked)?>\s*<span><bdi>([^<]*)', found)
    assert offered == [(" checked", "Best leads"), ("", "Group 11")]


async def test_agents_are_added_changed_and_deleted(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    typed = {"name": "Nora", "email": "nora@example.org", "daily_capacity": "5", "active": "yes"}
    hours = {"days": ["monday", "friday"], "begin": "09:00", "end": "16:00"}
    assert "Nora is there" in await notice(ada, await send(ada, "/agents", "/agents", **typed, **hours))
    (agent,) = (await client.get("/v1/agents")).json()["items"]
    assert (agent["id"], agent["daily_capacity"], agent["working_hours"]["days"]) == ("A0-1001", 5, hours["days"])
    edit = f"/agents/edit?id={agent['id']}"
    off = {**typed, "active": "", "id": agent["id"], "daily_capacity": "7"}
    assert "Nora is saved" in await notice(ada, await send(ada, edit, "/agents/edit", **off))
    (agent,) = (await client.get("/v1/agents")).json()["items"]
    assert (agent["active"], agent["daily_capacity"], agent["working_hours"]) == (False, 7, None)

    wrong = await send(ada, edit, "/agents/edit", **off | {"daily_capacity": "-1", "name": "", "email": "x"})
    assert wrong.status_code == 422
    assert all(f'id="{name}-problem"' in wrong.text for name in ("name", "email", "daily_capacity"))
    stale = await send(ada, edit, "/agents/edit", **off | {"rev": "1", "name": "Other"})
    assert stale.status_code == 412
    assert 'value="Other"' in stale.text
    taken = await send(ada, "/agents", "/agents", **typed, id=agent["id"])
    assert taken.status_code == 422
    assert 'id="id-problem"' in taken.text
    deleted = await send(ada, edit, "/agents/delete", id=agent["id"])
    assert "is deleted" in await notice(ada, deleted)
    assert (await client.get("/v1/agents")).json()["items"] == []


async def test_tasks_of_assigned_leads_are_planned(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    lines = {"title": ["Call", "", HOSTILE], "kind": ["call", "", "mail"], "due_in_hours": ["2", "24", "1.5"]}
    assert "Saved" in await notice(ada, await send(ada, "/agents", "/agents/tasks", **lines))
    stored = (await client.get("/v1/task-template")).json()["tasks"]
    assert [(task["title"], task["due_in_hours"]) for task in stored] == [("Call", 2), (HOSTILE, 1.5)]
    page = (await ada.get("/agents")).text
    assert html.escape(HOSTILE).replace("&quot;", "&#34;") in page
    wrong = await send(ada, "/agents", "/agents/tasks", **lines | {"due_in_hours": ["soon", "1", "1"]})
    assert wrong.status_code == 422
    assert (await client.get("/v1/task-template")).json()["tasks"] == stored


async def test_nothing_of_another_owner_is_assigned(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    cohort = await world(client)
    values: dict[str, Any] = {"cohort": cohort, "agent": ["nora"], "strategy": "round_robin"}
    there = (await send(ada, "/assign", "/assign", do="assign", **values)).headers["location"]
    async with httpx.AsyncClient(transport=client._transport, base_url="http://muster.test") as eve:
        await sign_in(eve, "eve")
        token = {"form_token": form_token((await eve.get("/")).text)}
        assert (await eve.get(there)).status_code == 404
        assert (await eve.post(f"{there}/undo", data=token)).status_code == 404
        refused = await eve.post("/assign", data={**values, **token, "do": "assign"})
        assert refused.status_code in {404, 422}
        assert "Best leads" not in (await eve.get("/assign", params={"cohort": cohort})).text
        assert (await eve.get("/agents/edit", params={"id": "nora"})).status_code == 404
        for action in ("edit", "delete"):
            data = {**token, "id": "nora", "rev": "1", "name": "x", "daily_capacity": "1"}
            assert (await eve.post(f"/agents/{action}", data=data)).status_code == 404
    assert (await client.get("/v1/agents/nora")).json()["name"] == "Nora"
