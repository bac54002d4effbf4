"""Agents and tasks over REST: ids, revisions, pages, capacity, deletion."""

from datetime import UTC, datetime

import httpx
import pytest

from muster.agents.capacity import day_of
from muster.agents.documents import Agent, Pipeline, WorkingHours
from muster.agents.tasks import next_working_moment
from muster.projects.documents import Project
from tests.agents.conftest import Desk

BODY = {"name": "Ada Novak", "email": "ada@example.com", "daily_capacity": 40}


async def test_an_agent_through_its_life(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/agents", json=BODY)
    assert (made.status_code, made.headers["location"], made.headers["etag"]) == (201, "/v1/agents/A0-1001", '"1"')
    agent = made.json()
    assert {name: agent[name] for name in BODY} == BODY
    assert (agent["id"], agent["active"], agent["working_hours"]) == ("A0-1001", True, None)
    assert (agent["capacity_used_today"], agent["capacity_left_today"]) == (0, 40)
    same = await client.put("/v1/agents/A0-1001", json=agent)
    assert (same.status_code, same.headers["etag"]) == (200, '"1"'), "read-only properties are ignored"
    hours = {"days": ["monday", "friday"], "begin": "08:30", "end": "16:00"}
    changed = await client.patch("/v1/agents/A0-1001", json={"active": False, "working_hours": hours})
    assert (changed.json()["active"], changed.json()["working_hours"], changed.json()["rev"]) == (False, hours, 2)
    assert changed.json()["updated_at"] > agent["updated_at"]
    stale = await client.patch("/v1/agents/A0-1001", json={"name": "x"}, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    shown = await client.get("/v1/agents/A0-1001", headers={"If-None-Match": '"2"'})
    assert shown.status_code == 304
    replaced = await client.put("/v1/agents/A0-1001", json=BODY, headers={"If-Match": '"2"'})
    assert (replaced.json()["active"], replaced.json()["working_hours"]) == (True, None)
    assert (await client.delete("/v1/agents/A0-1001", headers={"If-Match": '"2"'})).status_code == 412
    assert (await client.delete("/v1/agents/A0-1001")).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await client.request(method, "/v1/agents/A0-1001")).status_code == 404
    assert (await client.patch("/v1/agents/A0-1001", json={"name": "x"})).status_code == 404


async def test_ids_are_given_or_generated_and_unique_in_the_project(client: httpx.AsyncClient) -> None:
    only_new = {"If-None-Match": "*"}
    assert (await client.put("/v1/agents/A0-1002", json=BODY, headers=only_new)).status_code == 201
    assert (await client.put("/v1/agents/A0-1002", json=BODY, headers=only_new)).status_code == 412
    assert (await client.put("/v1/agents/new", json=BODY, headers={"If-Match": "*"})).status_code == 412
    ids = [(await client.post("/v1/agents", json=BODY)).json()["id"] for _ in range(3)]
    assert ids == ["A0-1001", "A0-1003", "A0-1004"]
    other = (await client.post("/v1/projects", json={"name": "other"})).json()["id"]
    for params, body in (({"project_id": other}, BODY), ({}, {**BODY, "project_id": other})):
        assert (await client.post("/v1/agents", json=body, params=params)).json()["project_id"] == other
    listed = await client.get("/v1/agents", params={"project_id": other})
    assert [agent["id"] for agent in listed.json()["items"]] == ["A0-1001", "A0-1002"]


async def test_agents_page_in_the_order_of_their_ids(client: httpx.AsyncClient) -> None:
    for agent_id in ("c", "a", "b", "d"):
        await client.put(f"/v1/agents/{agent_id}", json={**BODY, "active": agent_id != "b"})
    first = (await client.get("/v1/agents", params={"limit": 3})).json()
    rest = (await client.get("/v1/agents", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [agent["id"] for agent in first["items"] + rest["items"]] == ["a", "b", "c", "d"]
    assert rest["next_cursor"] is None
    active = (await client.get("/v1/agents", params={"active": True})).json()["items"]
    assert [agent["id"] for agent in active] == ["a", "c", "d"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"daily_capacity": 1}, "/name"),
        ({"name": "A"}, "/daily_capacity"),
        ({"name": "A", "daily_capacity": -1}, "/daily_capacity"),
        ({"name": "A", "daily_capacity": 1.5}, "/daily_capacity"),
        ({"name": " ", "daily_capacity": 1}, "/name"),
        ({"name": "A\0", "daily_capacity": 1}, "/name"),
        ({"name": "A", "daily_capacity": 1, "email": "nobody"}, "/email"),
        ({"name": "A", "daily_capacity": 1, "boss": True}, "/boss"),
        ({"name": "A", "daily_capacity": 1, "working_hours": {"days": []}}, "/working_hours/days"),
        (
            {"name": "A", "daily_capacity": 1, "working_hours": {"days": ["monday"], "begin": "9"}},
            "/working_hours/begin",
        ),
        (
            {"name": "A", "daily_capacity": 1, "working_hours": {"days": ["monday"], "begin": "18:00"}},
            "/working_hours",
        ),
    ],
)
async def test_what_is_wrong_with_an_agent_is_said(client: httpx.AsyncClient, body: object, pointer: str) -> None:
    refused = await client.post("/v1/agents", json=body)
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == [pointer]
    assert (await client.put(f"/v1/agents/{'x' * 201}", json=BODY)).status_code == 422


async def test_an_agent_with_leads_is_not_deleted(desk: Desk) -> None:
    first, second = await desk.hire(5, 5)
    cohort = await desk.cohort(await desk.leads(2))
    await desk.assign(cohort, [first])
    refused = await desk.http.delete(f"/v1/agents/{first}")
    assert (refused.status_code, refused.json()["detail"].partition(";")[0]) == (409, f"{first} still has 2 leads")
    await desk.assign(cohort, [second])
    assert (await desk.http.delete(f"/v1/agents/{first}")).status_code == 204
    assert [entry["agent_id"] for entry in await desk.entries("L000000")] == [first, second], "history stays"


async def test_capacity_is_of_the_day_in_the_project_s_time_zone(desk: Desk) -> None:
    """Leads of yesterday do not count; nor do those that were taken back."""
    (agent,) = await desk.hire(10)
    answer = await desk.assign(await desk.cohort(await desk.leads(3)))
    shown = (await desk.http.get(f"/v1/agents/{agent}")).json()
    assert (shown["capacity_used_today"], shown["capacity_left_today"]) == (3, 7)
    project = await Project.get(desk.project_id)
    assert project is not None
    yesterday = day_of(project, datetime.now(UTC)) - (datetime.now(UTC) - day_of(project, datetime.now(UTC)))
    one = await Pipeline.find_one({"job_id": answer["job_id"]})
    assert one is not None
    await Pipeline.get_motor_collection().update_one({"_id": one.id}, {"$set": {"opened_at": yesterday}})
    assert (await desk.http.get(f"/v1/agents/{agent}")).json()["capacity_used_today"] == 2
    await desk.post(f"/v1/jobs/{answer['job_id']}/undo")
    assert (await desk.http.get(f"/v1/agents/{agent}")).json()["capacity_used_today"] == 0


@pytest.mark.parametrize(
    ("zone", "now", "began"),
    [
        ("UTC", "2026-03-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"),
        ("Asia/Tokyo", "2026-03-01T14:59:59+00:00", "2026-02-28T15:00:00+00:00"),
        ("Asia/Tokyo", "2026-03-01T15:00:00+00:00", "2026-03-01T15:00:00+00:00"),
        ("Europe/Paris", "2026-03-29T12:00:00+00:00", "2026-03-28T23:00:00+00:00"),  # the clock is put on at 2
        ("America/New_York", "2026-11-01T12:00:00+00:00", "2026-11-01T04:00:00+00:00"),  # and back
    ],
)
def test_when_a_day_began(zone: str, now: str, began: str) -> None:
    moment = datetime.fromisoformat(now)
    project = Project.model_construct(id="PRJ-1", owner="ada", name="P", time_zone=zone)
    assert day_of(project, moment) == datetime.fromisoformat(began)


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-03-02T10:00:00+00:00", "2026-03-02T10:00:00+00:00"),  # a Monday, 11:00 in Paris
        ("2026-03-02T05:00:00+00:00", "2026-03-02T08:00:00+00:00"),  # before work
        ("2026-03-02T17:00:00+00:00", "2026-03-04T08:00:00+00:00"),  # after it; Tuesday is free
        ("2026-03-06T12:00:00+00:00", "2026-03-09T08:00:00+00:00"),  # a Friday that is free
        ("2026-03-28T12:00:00+00:00", "2026-03-30T07:00:00+00:00"),  # over the change of the clock
    ],
)
def test_a_task_falls_due_within_working_hours(moment: str, expected: str) -> None:
    hours = WorkingHours(days=["monday", "wednesday"], begin="09:00", end="17:00")
    assert next_working_moment(datetime.fromisoformat(moment), hours, "Europe/Paris") == datetime.fromisoformat(
        expected
    )


async def test_the_template_decides_about_tasks(desk: Desk) -> None:
    http = desk.http
    shown = await http.get("/v1/task-template")
    assert (shown.json()["rev"], shown.headers["etag"], len(shown.json()["tasks"])) == (0, '"0"', 1)
    tasks = [
        {"kind": "call", "title": "Call", "due_in_hours": 2},
        {"kind": "mail", "title": "Write $title", "due_in_hours": 0.5},
    ]
    put = await http.put("/v1/task-template", json={"tasks": tasks}, headers={"If-Match": '"0"'})
    assert (put.status_code, put.json()["tasks"], put.json()["rev"]) == (200, tasks, 1)
    assert (await http.put("/v1/task-template", json=put.json())).json()["rev"] == 1
    assert (await http.put("/v1/task-template", json={"tasks": []}, headers={"If-Match": '"0"'})).status_code == 412
    wrong = await http.put("/v1/task-template", json={"tasks": [{"kind": "call", "title": "", "due_in_hours": -1}]})
    assert {error["pointer"] for error in wrong.json()["errors"]} == {"/tasks/0/title", "/tasks/0/due_in_hours"}
    (agent,), (lead,) = await desk.hire(1), await desk.leads(1)
    await desk.assign(await desk.cohort([lead]))
    call, mail = await desk.tasks(lead)
    assert [(task["kind"], task["title"]) for task in (call, mail)] == [("call", "Call"), ("mail", "Write $title")]
    assert [task["kind"] for task in (await http.get(f"/v1/agents/{agent}/tasks")).json()["items"]] == ["mail", "call"]
    await http.put("/v1/task-template", json={"tasks": []})
    (other,) = await desk.leads(1, "M")
    await desk.assign(await desk.cohort([other]))
    assert await desk.tasks(other) == []


async def test_a_task_is_done(desk: Desk) -> None:
    (agent,), (lead,) = await desk.hire(1), await desk.leads(1)
    await desk.assign(await desk.cohort([lead]))
    (task,) = await desk.tasks(lead)
    path = f"/v1/tasks/{task['id']}"
    assert (await desk.http.get(path)).json() == task
    done = await desk.http.patch(path, json={"state": "done"}, headers={"If-Match": '"1"'})
    assert (done.json()["state"], done.json()["pii_id"], done.headers["etag"]) == ("done", lead, '"2"')
    assert (await desk.http.patch(path, json={"state": "done"})).json()["rev"] == 2
    assert (await desk.http.patch(path, json={"state": "open"}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await desk.http.patch(path, json={"state": "odd"})).status_code == 422
    assert (await desk.http.patch("/v1/tasks/none", json={"state": "done"})).status_code == 404
    found = await desk.http.get(f"/v1/agents/{agent}/tasks", params={"state": "done"})
    assert [one["id"] for one in found.json()["items"]] == [task["id"]]
    assert (await desk.http.get(f"/v1/agents/{agent}/tasks")).json()["items"] == []


async def test_deleting_and_beginning_at_the_same_moment_exclude_each_other(desk: Desk) -> None:
    """Whoever is second finds what the first one wrote."""
    (agent,) = await desk.hire(1)
    before = await Agent.find_one({"agent_id": agent})
    await desk.assign(await desk.cohort([]))
    after = await Agent.find_one({"agent_id": agent})
    assert before is not None
    assert after is not None
    assert (after.jobs_begun, after.rev) == (before.jobs_begun + 1, before.rev)
