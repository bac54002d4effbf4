"""Jobs that overlap, beside people who edit, erase and move the same leads: in the end everything fits."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from muster.agents import assigning, freezing
from muster.agents.documents import Pipeline, Task
from muster.agents.patience import next_size
from muster.jobs.service import Cancelled
from muster.records.documents import Profile
from tests.agents.conftest import Desk, what_does_not_fit, whom_leads_are_with
from tests.agents.test_by_hand import following
from tests.waiting import until

LEADS = 400


async def begun(desk: Desk, cohort: str, agents: Sequence[str], **more: object) -> str:
    """A job of a worker, on record."""
    answer = await desk.post(f"/v1/cohorts/{cohort}/assign", {"agent_ids": list(agents), **more})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


async def test_two_jobs_on_the_same_cohort(desk: Desk) -> None:
    """Each hands every lead over once; who is second has it. Totals agree with what is stored."""
    agents = await desk.hire(3, 2, 5, 1)
    cohort = await desk.cohort(await desk.leads(LEADS))
    jobs = [
        await begun(desk, cohort, agents[:2]),
        await begun(desk, cohort, agents[2:], strategy="capacity_weighted"),
    ]
    await asyncio.gather(*map(assigning.run_job, jobs))
    assert await what_does_not_fit(desk.project_id) == []
    for job_id in jobs:
        job = await desk.job(job_id)
        assert (job["state"], job["failures"]) == ("succeeded", [])
        entries = await Pipeline.find({"job_id": job_id}).to_list()
        assert job["result"]["assigned_count"] == LEADS == len(entries)
        assert job["result"]["per_agent"] == Counter(entry.agent_id for entry in entries)
        assert await Task.find({"job_id": job_id}).count() == LEADS
    assert sum([(await desk.job(job_id))["result"]["reassigned"] for job_id in jobs]) == LEADS
    revs = [profile.rev for profile in await Profile.find({"project_id": desk.project_id}).to_list()]
    assert set(revs) == {3}


async def test_jobs_beside_live_edits(desk: Desk) -> None:
    """Scores change, leads are moved by hand, erased, replaced: no edit is lost, and every lead fits at the end."""
    draw = random.Random(6)
    agents = await desk.hire(1, 2, 3)
    leads = await desk.leads(LEADS)
    cohort = await desk.cohort(leads)
    jobs = [await begun(desk, cohort, agents[:2]), await begun(desk, cohort, agents[1:])]
    erased: set[str] = set()
    scores: dict[str, float] = {}
    running = [asyncio.create_task(assigning.run_job(job_id)) for job_id in jobs]

    async def edit(some: list[str]) -> None:
        number = 0
        while not all(job.done() for job in running):
            number += 1
            lead = draw.choice(some)
            dice = draw.random()
            if dice < 0.7:
                answer = await desk.http.patch(f"/v1/leads/{lead}", json={"score": number})
                if answer.status_code == 200:
                    scores[lead] = number
            elif dice < 0.9:
                await desk.http.patch(f"/v1/leads/{lead}", json={"agent_id": draw.choice(agents)})
            elif lead not in erased and len(erased) < LEADS // 10:
                erased.add(lead)
                scores.pop(lead, None)
                assert (await desk.http.delete(f"/v1/profiles/{lead}")).status_code == 200

    async with following(desk):
        await asyncio.gather(edit(leads[::2]), edit(leads[1::2]), *running)

        async def all_fits() -> bool:
            return await what_does_not_fit(desk.project_id) == []

        await until(all_fits)
    assert erased
    assert (await whom_leads_are_with(desk.project_id)).keys() == set(leads) - erased
    for lead, score in scores.items():
        assert (await desk.lead(lead))["score"] == score
    for job_id in jobs:
        result = (await desk.job(job_id))["result"]
        names = ("assigned_count", "unchanged", "left_alone", "failed_count")
        assert sum(result[name] for name in names) == LEADS
        assert result["failed_count"] <= len(erased)


async def test_many_small_jobs_at_once_share_one_rotation_and_one_capacity(desk: Desk) -> None:
    """Twelve requests of one lead each: nobody gets the turn of another one, and nobody more than the day allows."""
    agents, leads = await desk.hire(4, 3, 2), await desk.leads(12)
    cohorts = [await desk.cohort([lead]) for lead in leads]
    more = {"rotation": "continue", "respect_capacity": True}
    answers = await asyncio.gather(*(desk.assign(cohort, **more) for cohort in cohorts))
    with_whom = Counter((await whom_leads_are_with(desk.project_id)).values())
    assert [with_whom[agent] for agent in agents] == [4, 3, 2]
    assert with_whom[None] == 3 == sum(answer["unassigned_count"] for answer in answers)
    await desk.http.patch(f"/v1/agents/{agents[0]}", json={"daily_capacity": 100})
    await desk.http.patch(f"/v1/agents/{agents[1]}", json={"daily_capacity": 100})
    more_leads = await desk.leads(10, "M")
    cohorts = [await desk.cohort([lead]) for lead in more_leads]
    await asyncio.gather(*(desk.assign(cohort, **more) for cohort in cohorts))
    found = await whom_leads_are_with(desk.project_id)
    assert Counter(found[lead] for lead in more_leads) == {agents[0]: 5, agents[1]: 5}
    assert await what_does_not_fit(desk.project_id) == []


async def test_a_job_is_cancelled_between_two_leads(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done stays; a retry does the rest."""
    agents, leads = await desk.hire(1, 1), await desk.leads(200)
    job_id = await begun(desk, await desk.cohort(leads), agents)
    report = assigning.Attempt._report

    async def cancel_soon(self: assigning.Attempt, done: int) -> None:
        if done:
            assert (await desk.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200
        await report(self, done)

    monkeypatch.setattr(assigning.Attempt, "_report", cancel_soon)
    with pytest.raises(Cancelled):
        await assigning.run_job(job_id)
    job = await desk.job(job_id)
    assert (job["state"], job["progress"]) == ("cancelled", {"done": 50, "total": 200})
    assert job["result"]["assigned_count"] == 50
    assert await what_does_not_fit(desk.project_id) == []
    monkeypatch.setattr(assigning.Attempt, "_report", report)
    await desk.post(f"/v1/jobs/{job_id}/retry")
    await assigning.run_job(job_id)
    assert (await desk.job(job_id))["result"]["assigned_count"] == 200
    assert list((await whom_leads_are_with(desk.project_id)).values()) == agents * 100
    assert await what_does_not_fit(desk.project_id) == []


def test_progress_is_reported_at_least_every_half_second() -> None:
    """By smaller transactions where they are slow, down to ten leads."""
    size, sizes = 250, []
    for _ in range(8):
        size = next_size(size, seconds=size * 0.01)
        sizes.append(size)
    assert sizes[-1] * 0.01 < 0.5
    assert next_size(10, 9.0) == 10
    assert next_size(200, 0.01) == 250


async def test_a_million_is_sorted_in_files(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order is the same however many runs there are."""
    monkeypatch.setattr(freezing, "LINES_IN_MEMORY", 7)
    agents, leads = await desk.hire(1, 1), await desk.leads(60)
    shuffled = random.Random(3).sample(leads, len(leads))
    await desk.assign(await desk.cohort(shuffled))
    assert list((await whom_leads_are_with(desk.project_id)).values()) == agents * 30
