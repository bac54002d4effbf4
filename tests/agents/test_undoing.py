"""The way back: leads return to whom they were with, if anybody, unless somebody touched them since."""

import pytest

from muster.agents import undoing
from tests.agents.conftest import Desk, what_does_not_fit, whom_leads_are_with


async def test_leads_return_to_whom_they_were_with(desk: Desk) -> None:
    """Some were with nobody, some with an agent, some with one whom Muster does not know."""
    first, second = await desk.hire(1, 1)
    leads = await desk.leads(3) + await desk.leads(3, "M") + await desk.leads(3, "N", agent_id="elsewhere")
    await desk.assign(await desk.cohort(leads[3:6]), [first])
    before = await whom_leads_are_with(desk.project_id)
    revs = {lead: (await desk.lead(lead))["rev"] for lead in leads}
    done = await desk.assign(await desk.cohort(leads), [second])
    assert (done["assigned_count"], done["reassigned"]) == (9, 6)
    answer = await desk.post(f"/v1/jobs/{done['job_id']}/undo")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["undone_count"], answer.json()["failures"]) == (9, [])
    assert await whom_leads_are_with(desk.project_id) == before
    assert {lead: (await desk.lead(lead))["rev"] for lead in leads} == {lead: rev + 2 for lead, rev in revs.items()}
    undo = answer.json()["job_id"]
    entries = [(entry["agent_id"], entry["state"], entry["reason"]) for entry in await desk.entries(leads[3])]
    assert entries == [(first, "closed", "reassigned"), (second, "closed", "undone"), (first, "open", None)]
    assert [task["state"] for task in await desk.tasks(leads[3])] == ["open", "cancelled"], (
        "the former task is open again"
    )
    assert [entry["state"] for entry in await desk.entries(leads[0])] == ["closed"]
    assert (await desk.job(undo))["result"]["undoes"] == done["job_id"]
    assert all("is with elsewhere" in wrong for wrong in await what_does_not_fit(desk.project_id))


async def test_what_somebody_touched_since_is_listed_and_stays(desk: Desk) -> None:
    first, second = await desk.hire(1, 1)
    scored, moved, worked, erased, calm = leads = await desk.leads(5)
    done = await desk.assign(await desk.cohort(leads), [first])
    await desk.http.patch(f"/v1/leads/{scored}", json={"score": 5})
    await desk.assign(await desk.cohort([moved]), [second])
    (task,) = await desk.tasks(worked)
    await desk.http.patch(f"/v1/tasks/{task['id']}", json={"state": "done"})
    await desk.http.delete(f"/v1/profiles/{erased}")
    answer = (await desk.post(f"/v1/jobs/{done['job_id']}/undo")).json()
    assert (answer["undone_count"], answer["failed_count"]) == (1, 3)
    assert {failure["pii_id"]: failure["detail"] for failure in answer["failures"]} == {
        scored: undoing.TOUCHED,
        moved: undoing.ELSEWHERE,
        worked: undoing.BEGUN,
    }
    assert await whom_leads_are_with(desk.project_id) == {scored: first, moved: second, worked: first, calm: None}
    listed = (await desk.http.get(f"/v1/jobs/{answer['job_id']}/failures")).json()["items"]
    assert {failure["pii_id"] for failure in listed} == {scored, moved, worked}
    assert await what_does_not_fit(desk.project_id) == []


async def test_a_former_agent_that_is_gone(desk: Desk) -> None:
    first, second = await desk.hire(1, 1)
    cohort = await desk.cohort(await desk.leads(2))
    await desk.assign(cohort, [first])
    done = await desk.assign(cohort, [second])
    assert (await desk.http.delete(f"/v1/agents/{first}")).status_code == 204
    answer = (await desk.post(f"/v1/jobs/{done['job_id']}/undo")).json()
    assert (answer["undone_count"], answer["failed_count"]) == (0, 2)
    assert first in answer["failures"][0]["detail"]
    assert await what_does_not_fit(desk.project_id) == []


async def test_what_cannot_be_undone_is_refused(desk: Desk) -> None:
    await desk.hire(1)
    done = await desk.assign(await desk.cohort(await desk.leads(2)))
    undone = (await desk.post(f"/v1/jobs/{done['job_id']}/undo")).json()
    for job_id, said in ((done["job_id"], undone["job_id"]), (undone["job_id"], "only an assignment")):
        refused = await desk.post(f"/v1/jobs/{job_id}/undo")
        assert (refused.status_code, said in refused.json()["detail"]) == (409, True)
    assert (await desk.post("/v1/jobs/CAJ-77/undo")).status_code == 404
    body = {"agent_ids": desk.agents}
    waiting = (await desk.post(f"/v1/cohorts/{await desk.cohort(await desk.leads(100))}/assign", body)).json()["job_id"]
    assert (await desk.post(f"/v1/jobs/{waiting}/undo")).status_code == 409


async def test_a_long_undo_is_a_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where an attempt broke off."""
    await desk.hire(1, 1)
    leads = await desk.leads(130)
    done = [await desk.assign(await desk.cohort(leads[:65])), await desk.assign(await desk.cohort(leads[65:]))]
    monkeypatch.setattr(undoing, "HERE", 10)
    answer = await desk.post(f"/v1/jobs/{done[0]['job_id']}/undo")
    assert answer.status_code == 202
    take_back, batches = undoing.Undo._take_back, 0

    async def break_off(self: undoing.Undo, *rest: object) -> None:
        nonlocal batches
        batches += 1
        if batches == 2:
            raise ConnectionError
        await take_back(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(undoing.Undo, "_take_back", break_off)
    with pytest.raises(ConnectionError):
        await undoing.run_job(answer.json()["job_id"])
    assert (await desk.job(answer.json()["job_id"]))["progress"] == {"done": 50, "total": 65}
    await undoing.run_job(answer.json()["job_id"])
    job = await desk.job(answer.json()["job_id"])
    assert (job["state"], job["result"]["undone_count"], job["progress"]["done"]) == ("succeeded", 65, 65)
    with_whom = await whom_leads_are_with(desk.project_id)
    assert [lead for lead, agent in with_whom.items() if agent is None] == leads[:65]
    assert await what_does_not_fit(desk.project_id) == []
