"""Leads handed to agents through REST: who gets which, what comes of each lead, what is refused."""

from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId

from muster.agents import assignments
from muster.agents.asked import Asked
from muster.agents.beginning import freeze
from muster.agents.documents import LeftLead
from muster.jobs.documents import Job
from muster.jobs.service import claim
from muster.projects.service import project_of
from muster.records.documents import Profile, RollPiece
from tests.agents.conftest import Desk, what_does_not_fit, whom_leads_are_with


async def test_leads_go_round(desk: Desk) -> None:
    """Lead i to agent i mod n, in the order of the pii_id, not of the list."""
    agents, leads = await desk.hire(5, 50, 1), await desk.leads(10)
    answer = await desk.assign(await desk.cohort(leads[::-1]))
    assert answer["per_agent"] == {agents[0]: 4, agents[1]: 3, agents[2]: 3}
    assert (answer["assigned_count"], answer["failed_count"], answer["failures"]) == (10, 0, [])
    assert await whom_leads_are_with(desk.project_id) == {lead: agents[n % 3] for n, lead in enumerate(leads)}
    assert await what_does_not_fit(desk.project_id) == []


@pytest.mark.parametrize(("leads", "shares"), [(100, (50, 30, 20)), (7, (4, 2, 1)), (1, (1, 0, 0)), (0, (0, 0, 0))])
async def test_leads_go_by_capacity(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, leads: int, shares: tuple[int]
) -> None:
    monkeypatch.setattr(assignments, "HERE", 1_000)
    agents = await desk.hire(50, 30, 20)
    answer = await desk.assign(await desk.cohort(await desk.leads(leads)), strategy="capacity_weighted")
    assert answer["per_agent"] == dict(zip(agents, shares, strict=True))
    fairness = answer["fairness"]
    assert [each["share"] for each in fairness["agents"]] == pytest.approx([leads * 0.5, leads * 0.3, leads * 0.2])
    assert fairness["maximum_deviation"] == pytest.approx(max(abs(each["deviation"]) for each in fairness["agents"]))
    assert fairness["maximum_deviation"] < 1
    assert [each["daily_capacity"] for each in fairness["agents"]] == [50, 30, 20]


async def test_what_comes_of_a_lead(desk: Desk) -> None:
    """One entry, one task, `lead.agent_id`, and a revision more; at the next agent the first entry is closed."""
    (first, second), (lead,) = await desk.hire(5, 5), await desk.leads(1, status="open")
    cohort = await desk.cohort([lead])
    before = await desk.lead(lead)
    one = await desk.assign(cohort, [first])
    now = await desk.lead(lead)
    assert now["agent_id"] == first
    assert now["status"] == "open"
    assert now["rev"] == before["rev"] + 1
    assert now["updated_at"] > before["updated_at"]
    (entry,) = await desk.entries(lead)
    assert entry == {
        "agent_id": first,
        "state": "open",
        "closed_at": None,
        "reason": None,
        "closed_by": None,
        "job_id": one["job_id"],
        "opened_at": entry["opened_at"],
    }
    (task,) = await desk.tasks(lead)
    assert (task["kind"], task["state"], task["agent_id"], task["job_id"]) == (
        "follow_up",
        "open",
        first,
        one["job_id"],
    )
    assert task["due_at"] > entry["opened_at"]
    two = await desk.assign(cohort, [second])
    assert (two["assigned_count"], two["reassigned"]) == (1, 1)
    assert (await desk.lead(lead))["rev"] == before["rev"] + 2
    old, new = await desk.entries(lead)
    assert (old["state"], old["reason"], old["closed_by"], old["closed_at"]) == (
        *("closed", "reassigned", two["job_id"]),
        new["opened_at"],
    )
    assert (new["agent_id"], new["state"]) == (second, "open")
    assert [task["state"] for task in await desk.tasks(lead)] == ["cancelled", "open"]


async def test_leads_that_are_with_their_agent_already_stay_as_they_are(desk: Desk) -> None:
    leads, agents = await desk.leads(6), await desk.hire(1, 1)
    cohort = await desk.cohort(leads)
    await desk.assign(cohort)
    before = await Profile.find({"project_id": desk.project_id}).sort("_id").to_list()
    again = await desk.assign(cohort)
    assert (again["assigned_count"], again["unchanged"], again["reassigned"]) == (0, 6, 0)
    assert again["per_agent"] == dict.fromkeys(agents, 3)
    assert await Profile.find({"project_id": desk.project_id}).sort("_id").to_list() == before
    assert await what_does_not_fit(desk.project_id) == []


async def test_leads_with_an_agent_are_left_alone_on_request(desk: Desk) -> None:
    """They are taken out before anything is dealt."""
    (first, second), leads = await desk.hire(1, 1), await desk.leads(6)
    await desk.assign(await desk.cohort(leads[:3]), [second])
    answer = await desk.assign(await desk.cohort(leads), [first, second], reassign=False)
    assert (answer["assigned_count"], answer["left_alone"], answer["per_agent"]) == (3, 3, {first: 2, second: 1})
    assert list((await whom_leads_are_with(desk.project_id)).values()) == [second] * 3 + [first, second, first]


async def test_a_member_without_a_lead_is_a_failure_and_takes_no_turn(desk: Desk) -> None:
    agents, leads = await desk.hire(1, 1), await desk.leads(3)
    await desk.http.put("/v1/contacts/L000000b", json={})
    answer = await desk.assign(await desk.cohort([*leads, "L000000b"]))
    assert answer["failures"] == [{"pii_id": "L000000b", "detail": "This profile has no lead."}]
    assert answer["failed_count"] == 1
    assert answer["per_agent"] == {agents[0]: 2, agents[1]: 1}
    listed = await desk.http.get(f"/v1/jobs/{answer['job_id']}/failures")
    assert listed.json()["items"] == answer["failures"]


async def test_a_retry_tries_failures_only(desk: Desk) -> None:
    await desk.hire(1, 1)
    leads = await desk.leads(4)
    for pii_id in ("none-1", "none-2", "none-3"):
        await desk.http.put(f"/v1/contacts/{pii_id}", json={})
    answer = await desk.assign(await desk.cohort([*leads, "none-1", "none-2", "none-3"]))
    assert answer["failed_count"] == 3
    await desk.http.put("/v1/leads/none-1", json={})
    await desk.http.put("/v1/leads/none-3", json={})
    before = {lead: await desk.lead(lead) for lead in leads}
    assert (await desk.post(f"/v1/jobs/{answer['job_id']}/retry")).status_code == 202
    await assignments.run_job(answer["job_id"])
    job = await desk.job(answer["job_id"])
    assert job["state"] == "succeeded"
    assert job["failures"] == [{"pii_id": "none-2", "detail": "This profile has no lead."}]
    assert (job["result"]["assigned_count"], job["result"]["failed_count"]) == (6, 1)
    assert list(job["result"]["per_agent"].values()) == [3, 3]
    assert {lead: await desk.lead(lead) for lead in leads} == before
    assert await what_does_not_fit(desk.project_id) == []
    await desk.http.put("/v1/leads/none-2", json={})
    await desk.post(f"/v1/jobs/{answer['job_id']}/retry")
    await assignments.run_job(answer["job_id"])
    job = await desk.job(answer["job_id"])
    assert (job["failures"], job["result"]["assigned_count"], job["result"]["failed_count"]) == ([], 7, 0)
    refused = await desk.post(f"/v1/jobs/{answer['job_id']}/retry")
    assert refused.status_code == 409
    assert await LeftLead.find_all().count() == 0


async def test_a_hundred_leads_are_a_job(desk: Desk) -> None:
    """99 are answered, 100 begin; a member more that is no lead, or is left alone, does not count."""
    await desk.hire(1)
    leads = await desk.leads(100)
    assert (await desk.assign(await desk.cohort(leads[:99])))["assigned_count"] == 99
    await desk.http.put("/v1/contacts/other", json={})
    body = {"agent_ids": desk.agents}
    answer = await desk.post(f"/v1/cohorts/{await desk.cohort(leads)}/assign", body)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job_id']}"
    assert answer.json()["job_id"].startswith("CAJ-")
    assert (await desk.job(answer.json()["job_id"]))["state"] == "queued"
    await assignments.run_job(answer.json()["job_id"])
    job = await desk.ended(answer.json()["job_id"])
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 100, "total": 100})
    assert (job["result"]["assigned_count"], job["result"]["unchanged"]) == (1, 99)
    few = await desk.assign(await desk.cohort([*leads[:99], "other"]))
    assert (few["unchanged"], few["failed_count"]) == (99, 1)
    left = await desk.assign(await desk.cohort(leads), reassign=False)
    assert left["left_alone"] == 100
    assert await RollPiece.find_all().count() == 0, "names of people are kept no longer than they are needed"


async def test_a_dry_run_says_what_would_happen_and_does_nothing(desk: Desk) -> None:
    (first, second, third), leads = await desk.hire(3, 2, 1), await desk.leads(12)
    await desk.http.put("/v1/contacts/none", json={})
    await desk.assign(await desk.cohort(leads[:6]), [first])
    await desk.assign(await desk.cohort(leads[6:8]), [third])
    cohort = await desk.cohort([*leads, "none"])
    body = {"strategy": "capacity_weighted"}
    jobs, before = await Job.find_all().count(), await Profile.find_all().sort("_id").to_list()
    would = await desk.assign(cohort, [first, second], dry_run=True, **body)
    assert await Job.find_all().count() == jobs
    assert await Profile.find_all().sort("_id").to_list() == before
    did = await desk.assign(cohort, [first, second], **body)
    for name in would:
        assert would[name] == did[name], name
    assert would["per_agent"] == {first: 7, second: 5}
    assert would["unchanged"] == 4
    assert would["reassigned"] == 4
    assert would["failed_count"] == 1


async def test_what_agents_cannot_take_leads_is_named(desk: Desk) -> None:
    cohort = await desk.cohort(await desk.leads(2))
    (good,), (idle,), (off,) = await desk.hire(5), await desk.hire(0), await desk.hire(5, active=False)

    async def refusal(*agents: str, **more: Any) -> tuple[str, dict[str, str]]:
        answer = await desk.post(f"/v1/cohorts/{cohort}/assign", {"agent_ids": agents, **more})
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        return problem["detail"], {error["pointer"]: error["detail"] for error in problem["errors"]}

    assert await refusal() == ("Name at least one agent.", {"/agent_ids": "There is no agent."})
    detail, places = await refusal(good, "A0-nobody", off)
    assert "A0-nobody" in detail
    assert off in detail
    assert places == {
        "/agent_ids/1": f"There is no agent 'A0-nobody' in {desk.project_id}.",
        "/agent_ids/2": f"{off} is not active.",
    }
    assert (await refusal(good, good))[1] == {"/agent_ids/1": f"{good!r} stands here twice."}
    detail, places = await refusal(idle, strategy="capacity_weighted")
    assert idle in detail
    assert list(places) == ["/agent_ids"]
    assert list((await refusal(good, strategy="by_luck"))[1]) == ["/strategy"]
    assert await Job.find({"kind": "assign"}).count() == 0
    assert (await desk.assign(cohort, [good, idle], strategy="capacity_weighted"))["per_agent"] == {good: 2, idle: 0}


async def test_an_empty_cohort_and_one_agent(desk: Desk) -> None:
    (agent,) = await desk.hire(1)
    empty = await desk.assign(await desk.cohort([]))
    assert (empty["assigned_count"], empty["per_agent"], empty["fairness"]["maximum_deviation"]) == (0, {agent: 0}, 0)
    assert (await desk.assign(await desk.cohort(await desk.leads(5))))["per_agent"] == {agent: 5}


async def test_a_rotation_goes_on_across_jobs(desk: Desk) -> None:
    """Thirty runs of one lead do not all reach the first agent; by capacity they reach each by its share."""
    agents, leads = await desk.hire(50, 30, 20), await desk.leads(40)
    for number, lead in enumerate(leads[:30]):
        answer = await desk.assign(await desk.cohort([lead]), rotation="continue")
        assert answer["per_agent"][agents[number % 3]] == 1
    with_whom = list((await whom_leads_are_with(desk.project_id)).values())
    assert [with_whom.count(agent) for agent in agents] == [10, 10, 10]
    for lead in leads[:10]:
        await desk.assign(await desk.cohort([lead]), rotation="continue", strategy="capacity_weighted")
    with_whom = list((await whom_leads_are_with(desk.project_id)).values())[:10]
    assert "".join("ABC"[agents.index(agent or "")] for agent in with_whom) == "ABACABABAC"
    for lead in leads[30:33]:
        assert (await desk.assign(await desk.cohort([lead])))["per_agent"][agents[0]] == 1


async def test_capacity_of_today_is_respected_and_who_waited_longest_comes_first(desk: Desk) -> None:
    first, second = await desk.hire(3, 2)
    late, early = await desk.leads(4, "A"), await desk.leads(4, "B")
    answer = await desk.assign(await desk.cohort(early), respect_capacity=True, strategy="capacity_weighted")
    assert answer["per_agent"] == {first: 2, second: 2}
    assert (answer["unassigned_count"], answer["unassigned"]) == (0, [])
    answer = await desk.assign(await desk.cohort(late[2:]), respect_capacity=True)
    assert answer["per_agent"] == {first: 1, second: 0}
    assert answer["unassigned"] == [late[3]]
    shown = (await desk.http.get(f"/v1/agents/{first}")).json()
    assert (shown["capacity_used_today"], shown["capacity_left_today"]) == (3, 0)
    await desk.http.patch(f"/v1/agents/{second}", json={"daily_capacity": 4})
    everybody = await desk.cohort(late)
    answer = await desk.assign(everybody, respect_capacity=True)
    assert answer["per_agent"] == {first: 0, second: 2}
    assert (await desk.lead(late[3]))["agent_id"] == second, "who waited comes before the order of names"
    assert (await desk.lead(late[0]))["agent_id"] == second
    assert answer["unassigned"] == [late[1]]
    assert answer["left_alone"] == 1, "who has an agent stays there"
    listed = (await desk.http.get(f"/v1/jobs/{answer['job_id']}/unassigned")).json()["items"]
    assert [lead["pii_id"] for lead in listed] == [late[1]]
    assert await what_does_not_fit(desk.project_id) == []


async def test_two_jobs_do_not_use_the_same_capacity(desk: Desk) -> None:
    """What a job has planned counts, also what it has not handed over yet."""
    (agent,), leads = await desk.hire(150), await desk.leads(300)
    body = {"agent_ids": [agent], "respect_capacity": True}
    ids = []
    for part in (leads[:100], leads[100:200], leads[200:]):
        answer = await desk.post(f"/v1/cohorts/{await desk.cohort(part)}/assign", body)
        ids.append(answer.json()["job_id"])
    with suppress(ConnectionError):
        async with claim(ids[0]) as claimed, claimed.session() as session:  # begins, and no more
            await freeze(claimed, Asked.of(claimed.job.arguments), await project_of("ada", None), session)
            raise ConnectionError
    await assignments.run_job(ids[1])
    await assignments.run_job(ids[2])
    await assignments.run_job(ids[0])
    results = [(await desk.job(job_id))["result"] for job_id in ids]
    assert [result["assigned_count"] for result in results] == [100, 50, 0]
    assert [result["unassigned_count"] for result in results] == [0, 50, 100]


async def test_odd_ids_of_agents(desk: Desk) -> None:
    """They are names in a result, and MongoDB has opinions about names."""
    odd = ["a.b", "$x", "x y/ä", "x" * 200]
    for agent_id in odd:
        await desk.http.put("/v1/agents/" + agent_id.replace("/", "%2F"), json={"name": "Odd", "daily_capacity": 1})
    answer = await desk.assign(await desk.cohort(await desk.leads(8)), odd)
    assert answer["per_agent"] == dict.fromkeys(odd, 2)
    assert await what_does_not_fit(desk.project_id) == []


async def test_a_repeated_request_is_answered_once(desk: Desk) -> None:
    await desk.hire(1)
    cohort = await desk.cohort(await desk.leads(3))
    headers = {"Idempotency-Key": "once"}
    body = {"agent_ids": desk.agents}
    answers = [
        (await desk.http.post(f"/v1/cohorts/{cohort}/assign", json=body, headers=headers)).json() for _ in range(2)
    ]
    assert answers[0] == answers[1]
    assert await Job.find({"kind": "assign"}).count() == 1


async def test_a_project_with_agents_is_not_deleted(desk: Desk) -> None:
    made = (await desk.post("/v1/projects", {"name": "second"})).json()["id"]
    agent = (await desk.post("/v1/agents", {"name": "A", "daily_capacity": 1, "project_id": made})).json()
    assert (agent["id"], agent["project_id"]) == ("A0-1001", made)
    refused = await desk.http.delete(f"/v1/projects/{made}")
    assert (refused.status_code, "an agent" in refused.json()["detail"]) == (409, True)
    await desk.http.delete(f"/v1/agents/{agent['id']}", params={"project_id": made})
    assert (await desk.http.delete(f"/v1/projects/{made}")).status_code == 204


def test_object_ids_sort_as_they_are_written() -> None:
    """What `_id`s of entries rest on."""
    ids = [ObjectId() for _ in range(50)]
    assert sorted(ids) == sorted(ids, key=lambda each: each.binary.hex())
