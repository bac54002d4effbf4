"""What goes wrong while leads are assigned: one lead or one agent is lost, and nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import OperationFailure, PyMongoError

from muster.agents import assigning, assignments, cascade, patience
from muster.jobs.documents import Job
from muster.records.documents import Profile
from muster.transactions import name_of
from tests.agents.conftest import Desk, what_does_not_fit, whom_leads_are_with


async def test_an_agent_that_goes_meanwhile(desk: Desk) -> None:
    """Its leads are failures, and a retry gives them to it when it is back."""
    (stays, leaves), leads = await desk.hire(1, 1), await desk.leads(100)
    body = {"agent_ids": [stays, leaves]}
    job_id = (await desk.post(f"/v1/cohorts/{await desk.cohort(leads)}/assign", body)).json()["job_id"]
    refused = await desk.http.delete(f"/v1/agents/{leaves}")
    assert (refused.status_code, job_id in refused.json()["detail"]) == (409, True)
    await desk.http.patch(f"/v1/agents/{leaves}", json={"active": False})
    await assignments.run_job(job_id)
    job = await desk.job(job_id)
    assert (job["state"], job["result"]["assigned_count"], job["result"]["failed_count"]) == ("succeeded", 50, 50)
    assert {failure["detail"] for failure in job["failures"]} == {f"The agent {leaves} is not active any more."}
    await desk.http.patch(f"/v1/agents/{leaves}", json={"active": True})
    await desk.post(f"/v1/jobs/{job_id}/retry")
    await assignments.run_job(job_id)
    assert list((await whom_leads_are_with(desk.project_id)).values()) == [stays, leaves] * 50
    assert await what_does_not_fit(desk.project_id) == []


@pytest.mark.parametrize("code", [17419, 388])
async def test_a_lead_that_cannot_be_written_takes_nobody_along(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """MongoDB refuses a profile that grows too large; all others of its transaction are assigned, and nobody twice."""
    (agent,), leads = await desk.hire(1), await desk.leads(60)
    profile = await Profile.find_one({"pii_id": leads[7]})
    assert profile is not None
    set_agents = cascade.set_agents

    async def refuse(session: Any, moves: Mapping[str | None, Sequence[ObjectId]]) -> None:
        await set_agents(session, moves)
        if any(profile.id in profiles for profiles in moves.values()):
            raise OperationFailure("too large", code)

    monkeypatch.setattr(cascade, "set_agents", refuse)
    answer = await desk.assign(await desk.cohort(leads))
    assert (answer["assigned_count"], answer["failed_count"]) == (59, 1)
    assert answer["failures"][0]["pii_id"] == leads[7]
    assert "too large" in answer["failures"][0]["detail"]
    assert await what_does_not_fit(desk.project_id) == []
    assert [lead for lead, whom in (await whom_leads_are_with(desk.project_id)).items() if whom != agent] == [leads[7]]


async def test_a_lead_that_others_keep_writing_is_assigned_all_the_same(desk: Desk) -> None:
    """Two writers of one lead, as fast as they can; no write of theirs is lost, and no other lead waits for it."""
    await desk.hire(1)
    leads = await desk.leads(60)
    profiles, going, written = Profile.get_motor_collection().delegate, True, 0

    def write() -> int:
        count = 0
        while going:
            profiles.update_one({"pii_id": leads[20]}, {"$inc": {"lead.score": 1}})
            count += 1
        return count

    writing = [asyncio.create_task(asyncio.to_thread(write)) for _ in range(2)]
    try:
        answer = await desk.assign(await desk.cohort(leads))
    finally:
        going = False
        written = sum(await asyncio.gather(*writing))
    assert (answer["assigned_count"], answer["failures"]) == (60, [])
    assert (await desk.lead(leads[20]))["score"] == written
    assert await what_does_not_fit(desk.project_id) == []


async def test_a_write_conflict_that_does_not_end_is_a_failure(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this lead alone; a retry assigns it."""
    monkeypatch.setattr(patience, "PATIENCE", 0.2)
    await desk.hire(1)
    leads = await desk.leads(60)
    hot = await Profile.find_one({"pii_id": leads[20]})
    assert hot is not None
    set_agents, tries = cascade.set_agents, 0

    async def beside_others(session: Any, moves: Mapping[str | None, Sequence[ObjectId]]) -> None:
        nonlocal tries
        if any(hot.id in profiles for profiles in moves.values()):
            tries += 1
            raise OperationFailure("WriteConflict", 112, {"errorLabels": ["TransientTransactionError"]})
        await set_agents(session, moves)

    monkeypatch.setattr(cascade, "set_agents", beside_others)
    answer = await desk.assign(await desk.cohort(leads))
    assert (answer["assigned_count"], answer["failed_count"]) == (59, 1)
    assert answer["failures"][0]["pii_id"] == leads[20]
    assert "write conflict" in answer["failures"][0]["detail"]
    assert tries > 8
    assert await what_does_not_fit(desk.project_id) == []
    monkeypatch.setattr(cascade, "set_agents", set_agents)
    await desk.post(f"/v1/jobs/{answer['job_id']}/retry")
    await assignments.run_job(answer["job_id"])
    assert (await desk.job(answer["job_id"]))["result"]["assigned_count"] == 60
    assert await what_does_not_fit(desk.project_id) == []


async def test_what_a_killed_attempt_left_open_is_ended(desk: Desk) -> None:
    """MongoDB would keep its documents from everybody else for a minute."""
    await desk.hire(1)
    leads = await desk.leads(100)
    body = {"agent_ids": desk.agents}
    job_id = (await desk.post(f"/v1/cohorts/{await desk.cohort(leads)}/assign", body)).json()["job_id"]
    profiles = Profile.get_motor_collection()
    async with await profiles.database.client.start_session() as dead:
        dead.start_transaction()
        await profiles.update_many({"project_id": desk.project_id}, {"$inc": {"rev": 1}}, session=dead)
        await Job.get_motor_collection().update_one({"_id": job_id}, {"$set": {"session": name_of(dead)}})
        await assignments.run_job(job_id)
        with suppress(PyMongoError):
            await dead.abort_transaction()
    job = await desk.job(job_id)
    assert (job["state"], job["result"]["assigned_count"], job["failures"]) == ("succeeded", 100, [])
    stored = await Job.get(job_id)
    assert stored is not None
    assert stored.session is None
    assert await what_does_not_fit(desk.project_id) == []


async def test_an_erasure_takes_everything_along(desk: Desk) -> None:
    await desk.hire(1)
    lead, other = await desk.leads(2)
    await desk.http.put("/v1/contacts/none", json={})
    answer = await desk.assign(await desk.cohort([lead, other, "none"]))
    for pii_id in (lead, "none"):
        removed = (await desk.http.delete(f"/v1/profiles/{pii_id}")).json()["removed"]
        assert (removed["pipelines"], removed["tasks"]) == ((1, 1) if pii_id == lead else (0, 0))
    assert (await desk.job(answer["job_id"]))["failures"] == []
    assert (await desk.http.get(f"/v1/jobs/{answer['job_id']}/failures")).json()["items"] == []
    assert (await desk.http.get(f"/v1/leads/{lead}/pipelines")).status_code == 404
    assert await what_does_not_fit(desk.project_id) == []
    await desk.leads(1)
    assert await desk.entries(lead) == [], "who comes back inherits nothing"


async def test_a_lead_erased_while_the_job_runs_is_a_failure_without_a_name(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place stays its own, so that nobody else's agent changes."""
    agents, leads = await desk.hire(1, 1), await desk.leads(120)
    body = {"agent_ids": agents}
    job_id = (await desk.post(f"/v1/cohorts/{await desk.cohort(leads)}/assign", body)).json()["job_id"]
    monkeypatch.setattr("muster.agents.assigning.FIRST_SIZE", 50)
    writes = 0
    report = assigning.Attempt._report

    async def erase_between(self: assigning.Attempt, done: int) -> None:
        nonlocal writes
        writes += 1
        if writes == 2:  # after the first transaction: one that is done, one that is not
            assert 0 < done < 110
            for lead in (leads[0], leads[110]):
                assert (await desk.http.delete(f"/v1/profiles/{lead}")).status_code == 200
        await report(self, done)

    monkeypatch.setattr(assigning.Attempt, "_report", erase_between)
    await assignments.run_job(job_id)
    job = await desk.job(job_id)
    assert job["state"] == "succeeded"
    assert (job["result"]["assigned_count"], job["result"]["failed_count"]) == (119, 1)
    assert job["failures"] == [{"pii_id": None, "detail": "This profile was erased after the job had begun."}]
    expected = {lead: agents[n % 2] for n, lead in enumerate(leads) if n not in {0, 110}}
    assert await whom_leads_are_with(desk.project_id) == expected
    assert await what_does_not_fit(desk.project_id) == []
