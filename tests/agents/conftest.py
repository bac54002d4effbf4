"""A project with leads, a static cohort of them, and agents, beside the routes that assign."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from muster.agents.documents import Pipeline, Task
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import CohortIn
from muster.cohorts.service import create
from muster.jobs.documents import Job
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.service import upsert_parts
from muster.resources import Resources
from tests.waiting import until

Answer = dict[str, Any]


@dataclass
class Desk:
    """Ada's default project, through REST where a test is about that."""

    http: httpx.AsyncClient
    project_id: str
    agents: list[str] = field(default_factory=list)

    async def hire(self, *capacities: int, **more: Any) -> list[str]:
        """An agent for each capacity; their ids."""
        for capacity in capacities:
            body = {"name": f"Agent {len(self.agents)}", "daily_capacity": capacity, **more}
            answer = await self.http.post("/v1/agents", json=body)
            assert answer.status_code == 201, answer.text
            self.agents.append(answer.json()["id"])
        return self.agents[-len(capacities) :]

    async def leads(self, count: int, prefix: str = "L", **lead: Any) -> list[str]:
        """So many profiles with a lead."""
        ids = [f"{prefix}{number:06}" for number in range(count)]
        for start in range(0, count, 1_000):
            await upsert_parts(self.project_id, [(pii_id, {"lead": lead}) for pii_id in ids[start : start + 1_000]])
        return ids

    async def cohort(self, members: Sequence[str]) -> str:
        """A static cohort of these."""
        made: Cohort = await create("ada", CohortIn(name="some", kind="static", members=list(members)))
        return made.id

    async def post(self, path: str, body: Any = None) -> httpx.Response:
        return await self.http.post(path, json=body)

    async def assign(self, cohort: str, agents: Sequence[str] | None = None, **more: Any) -> Answer:
        """A finished assignment in the request."""
        body = {"agent_ids": list(self.agents if agents is None else agents), **more}
        answer = await self.post(f"/v1/cohorts/{cohort}/assign", body)
        assert answer.status_code == 200, answer.text
        found: Answer = answer.json()
        return found

    async def lead(self, pii_id: str) -> Answer:
        answer = await self.http.get(f"/v1/leads/{pii_id}")
        assert answer.status_code == 200, answer.text
        found: Answer = answer.json()
        return found

    async def entries(self, pii_id: str) -> list[Answer]:
        """The pipeline entries of a lead, the oldest first."""
        items: list[Answer] = (await self.http.get(f"/v1/leads/{pii_id}/pipelines")).json()["items"]
        return items

    async def tasks(self, pii_id: str) -> list[Answer]:
        items: list[Answer] = (await self.http.get(f"/v1/leads/{pii_id}/tasks")).json()["items"]
        return items

    async def job(self, job_id: str) -> Answer:
        found: Answer = (await self.http.get(f"/v1/jobs/{job_id}")).json()
        return found

    async def ended(self, job_id: str) -> Answer:
        """A job, once it has ended."""

        async def look() -> Answer | None:
            found = await self.job(job_id)
            return found if found["state"] in {"succeeded", "failed", "cancelled"} else None

        return await until(look)  # type: ignore[return-value]


async def whom_leads_are_with(project_id: str) -> dict[str, str | None]:
    """`lead.agent_id` of every lead, by `pii_id`, as MongoDB has them."""
    found = Profile.get_motor_collection().find({"project_id": project_id, "lead": {"$exists": True}})
    return {profile["pii_id"]: profile["lead"].get("agent_id") async for profile in found}


async def what_does_not_fit(project_id: str, *, tasks_each: int = 1) -> list[str]:
    """What is not as an assigned lead should be, found without any code of Muster: one sentence for each.

    Each lead has exactly one open entry, of the agent in `lead.agent_id`, or none where it is with nobody; its open
    tasks are that agent's; each job that had it made the tasks of the template once.
    """
    wrong: list[str] = []
    profiles = await Profile.get_motor_collection().find({"project_id": project_id}).to_list(None)
    entries: dict[Any, list[Any]] = {}
    async for entry in Pipeline.get_motor_collection().find({"project_id": project_id}):
        entries.setdefault(entry["profile"], []).append(entry)
    tasks: dict[Any, list[Any]] = {}
    async for task in Task.get_motor_collection().find({"project_id": project_id}):
        tasks.setdefault(task["profile"], []).append(task)
    for profile in profiles:
        name, agent = profile["pii_id"], profile.get("lead", {}).get("agent_id")
        mine = entries.pop(profile["_id"], [])
        still_open = [entry["agent_id"] for entry in mine if entry["state"] == "open"]
        if still_open != ([] if agent is None else [agent]):
            wrong.append(f"{name} is with {agent}, its open entries say {still_open}")
        jobs = [entry["job_id"] for entry in mine if entry["job_id"]]
        if len(jobs) != len(set(jobs)):
            wrong.append(f"{name} has two entries of one job: {jobs}")
        its_tasks = tasks.pop(profile["_id"], [])
        by_job: dict[str, int] = {}
        for task in its_tasks:
            by_job[task["job_id"]] = by_job.get(task["job_id"], 0) + 1
        if any(count != tasks_each for count in by_job.values()):
            wrong.append(f"{name} has tasks by job: {by_job}")
        if not set(by_job) <= set(jobs):
            wrong.append(f"{name} has tasks of jobs that never had it: {by_job}, {jobs}")
        open_for = {task["agent_id"] for task in its_tasks if task["state"] == "open"}
        if not open_for <= {agent}:
            wrong.append(f"{name} is with {agent}, and {open_for} have tasks")
    wrong += [f"entries of nobody: {left}" for left in entries.values()]
    wrong += [f"tasks of nobody: {left}" for left in tasks.values()]
    return wrong


@pytest.fixture
async def desk(client: httpx.AsyncClient, clean: Resources, token_for: Callable[[str], str]) -> Desk:  # noqa: ARG001
    """No agents and no leads yet."""
    return Desk(client, (await project_of("ada", None)).id)


async def stored_job(job_id: str) -> Job:
    found = await Job.get(job_id)
    assert found is not None
    return found
