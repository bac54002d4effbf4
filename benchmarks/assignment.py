"""Handing leads to agents, beside one lead at a time; what a request with 99 leads takes; memory, and visible progress.

The straightforward way gives the same guarantees: one transaction for each lead closes the open entry, opens one, makes
the task, sets `lead.agent_id` and keeps how far it is; so it goes on after a crash, and hands nobody over twice.

usage: python -m benchmarks.assignment [LEADS] [LEADS_ONE_BY_ONE] [REQUESTS] [--keep]
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from motor.motor_asyncio import AsyncIOMotorClientSession

from benchmarks.bench import OWNER, machine, median, milliseconds, percentile, workspace
from benchmarks.results import keep
from muster.agents import assigning, assignments, service, undoing
from muster.agents.documents import Agent, Pipeline, Task
from muster.agents.schemas import AssignIn
from muster.agents.strategies import Strategy
from muster.api.auth import issue_token
from muster.app import create_app
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import CohortIn
from muster.cohorts.service import create
from muster.jobs.documents import Job
from muster.jobs.service import job_of
from muster.projects.documents import Project
from muster.records.bulk import upsert_parts
from muster.records.documents import Profile
from muster.resources import Resources
from muster.transactions import in_transaction

CAPACITIES = (50, 30, 20, 45, 5, 60, 25, 15)
PER_REQUEST = 99
LOOK_EVERY = 0.02  # seconds


@dataclass
class Watch:
    """What somebody sees who looks at a job all the time."""

    longest_gap: float = 0.0  # seconds without anything new
    reports: int = 0
    largest_memory: float = 0.0  # MB
    _last: float = field(default_factory=time.perf_counter)
    _rev: int = 0

    def see(self, job: Job) -> None:
        """One look."""
        if job.rev != self._rev:
            self.longest_gap = max(self.longest_gap, time.perf_counter() - self._last)
            self._last, self._rev = time.perf_counter(), job.rev
            self.reports += 1


@asynccontextmanager
async def watched(job_id: str) -> AsyncIterator[Watch]:
    """Look for as long as the block lasts."""
    watch = Watch()

    async def look() -> None:
        while True:
            watch.see(await job_of(OWNER, job_id))
            await asyncio.sleep(LOOK_EVERY)

    looking = asyncio.create_task(look())
    try:
        yield watch
    finally:
        looking.cancel()


async def main(leads: int, one_by_one: int, requests: int, *, kept: bool) -> None:
    """Print everything, and keep it."""
    async with workspace(0) as (resources, project):
        hired = [{"name": f"Agent {number}", "daily_capacity": size} for number, size in enumerate(CAPACITIES)]
        ids = [(await service.create(project, values)).agent_id for values in hired]
        some = await people(project, leads, "L", first=one_by_one)
        cohort = await everybody()
        before = peak()
        lines = ["| what | leads | seconds | leads a second |", "|---|---:|---:|---:|"]

        def row(what: str, count: int, seconds: float) -> float:
            lines.append(f"| {what} | {count:,} | {seconds:,.1f} | {count / seconds:,.0f} |")
            return count / seconds

        body = AssignIn(agent_ids=ids, strategy=Strategy.CAPACITY_WEIGHTED)
        slow = row("one at a time, a transaction each", one_by_one, await naively(project, ids, some))
        await forget(resources)
        first, watch = await assigned(cohort, body)
        ratio = row("**a job**, leads that were with nobody", leads, first) / slow
        moved, again = await assigned(cohort, body.model_copy(update={"agent_ids": ids[::-1]}))
        row("a job that moves most of them to another agent", leads, moved)
        same, _ = await assigned(cohort, body.model_copy(update={"agent_ids": ids[::-1]}))
        row("a job that finds all with their agents", leads, same)
        second = (await Job.find({"kind": assigning.KIND}).sort("created_at").to_list())[1]
        took_back = await milliseconds(lambda: undone(second))
        row("taking the second one back", (second.result or {})["assigned_count"], took_back / 1000)
        dry = await milliseconds(lambda: assignments.assign(OWNER, cohort, body.model_copy(update={"dry_run": True})))
        row("a dry run", leads, dry / 1000)
        after = peak()
        took = await through_http(resources, project, ids, requests)
        section = [
            "## Assignment",
            "",
            f"`python -m benchmarks.assignment {leads} {one_by_one} {requests}`: {machine()}.",
            f"{os.getloadavg()[1]:.0f} processes wanted its cores in the last five minutes.",
            "",
            *lines,
            "",
            f"- a job is **{ratio:.1f} times** as fast as one lead at a time, at the same guarantees",
            f"- progress: {watch.reports:,} reports seen in the first job, {again.reports:,} in the second; never",
            f"  longer than {max(watch.longest_gap, again.longest_gap):.2f} s without a new one, from begin to end",
            f"- peak memory of the process: {before:,.0f} MB before, {after:,.0f} MB after all of it",
            f"- a request with {PER_REQUEST} leads, through HTTP: median {median(took):,.0f} ms,",
            f"  p95 {percentile(took, 95):,.0f} ms ({len(took)} requests)",
        ]
        print("\n".join(section))
        if kept:
            keep("\n".join(section))


async def people(project: Project, count: int, prefix: str, first: int | None = None) -> list[str]:
    """So many profiles, as large as people usually are; the ids of the first of them."""
    for start in range(0, count, 1_000):
        await upsert_parts(
            project.id, [_person(f"{prefix}{number:07}") for number in range(start, min(start + 1_000, count))]
        )
    return [f"{prefix}{number:07}" for number in range(count if first is None else first)]


def _person(pii_id: str) -> tuple[str, dict[str, Any]]:
    lead = {"status": "open", "score": 50.0, "source": "web", "tags": ["new"]}
    return pii_id, {"lead": lead, "contact": {"name": f"Name {pii_id}", "email": f"{pii_id}@x.org", "country": "FR"}}


async def everybody() -> str:
    """A cohort of all, once it is ready."""
    made = await create(OWNER, CohortIn(name="all", kind="dynamic", rule="lead.score == 50"))
    while (cohort := await Cohort.get(made.id)) is None or cohort.state != "ready":  # noqa: ASYNC110  another task's
        await asyncio.sleep(0.1)
    return made.id


async def assigned(cohort: str, body: AssignIn) -> tuple[float, Watch]:
    """How many seconds a job takes, from its begin to its end, and what was seen of it."""
    job = await assignments.assign(OWNER, cohort, body)
    assert isinstance(job, Job)  # noqa: S101  not a dry run
    async with watched(job.id) as watch:
        taken = await milliseconds(lambda: assigning.run_job(job.id))
    ended = await job_of(OWNER, job.id)
    if ended.state != "succeeded" or (ended.result or {}).get("failed_count"):
        raise SystemExit(f"{job.id} {ended.state}: {ended.error or ended.result}")
    return taken / 1000, watch


async def undone(job: Job) -> None:
    """Take a job back."""
    undo = await undoing.start(OWNER, job.id, within=60)
    if undo.state == "queued":
        await undoing.run_job(undo.id)


async def naively(project: Project, agent_ids: list[str], pii_ids: list[str]) -> float:
    """One lead at a time; seconds."""
    state = Pipeline.get_motor_collection().database["one_by_one"]
    await state.insert_one({"_id": "job", "done": 0})
    started = time.perf_counter()
    for number, pii_id in enumerate(pii_ids):
        agent_id = agent_ids[number % len(agent_ids)]

        async def hand_over(
            session: AsyncIOMotorClientSession, pii_id: str = pii_id, agent_id: str = agent_id, number: int = number
        ) -> None:
            profiles, entries = Profile.get_motor_collection(), Pipeline.get_motor_collection()
            now = datetime.now(UTC)
            lead = await profiles.find_one({"project_id": project.id, "pii_id": pii_id}, session=session)
            if lead is None or lead["lead"].get("agent_id") == agent_id:
                return
            whose = {"project_id": project.id, "agent_id": agent_id}
            await Agent.get_motor_collection().find_one(whose, session=session)
            entry: dict[str, Any] = {"profile": lead["_id"], "state": "open"}
            await entries.update_one(entry, {"$set": {"state": "closed", "closed_at": now}}, session=session)
            await entries.insert_one({**entry, **whose, "_id": f"one|{pii_id}", "opened_at": now}, session=session)
            due = now + timedelta(days=1)
            task = {**entry, **whose, "_id": f"one|{pii_id}", "due_at": due, "created_at": now, "kind": "follow_up"}
            await Task.get_motor_collection().insert_one(task, session=session)
            change = {"$set": {"lead.agent_id": agent_id, "updated_at": now}, "$inc": {"rev": 1}}
            await profiles.update_one({"_id": lead["_id"]}, change, session=session)
            await state.update_one({"_id": "job"}, {"$set": {"done": number + 1}}, session=session)

        await in_transaction(Profile.get_motor_collection(), hand_over)
    return time.perf_counter() - started


async def forget(resources: Resources) -> None:
    """As if nobody had been handed over yet."""
    for name in ("pipelines", "tasks"):
        await resources.database[name].delete_many({})
    await resources.database["profiles"].update_many({}, {"$unset": {"lead.agent_id": ""}})


async def through_http(resources: Resources, project: Project, agent_ids: list[str], requests: int) -> list[float]:
    """Milliseconds of each request, the cohorts made before."""
    cohorts = []
    for number in range(requests):
        members = await people(project, PER_REQUEST, f"R{number:03}-")
        cohorts.append((await create(OWNER, CohortIn(name="few", kind="static", members=members))).id)
    settings = resources.settings.model_copy(update={"auth_secret": None})
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {issue_token(settings, OWNER, 3600)}"}
    async with (
        app.lifespan(),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://muster.benchmark", headers=headers, timeout=60
        ) as client,
    ):

        async def one(cohort: str) -> None:
            answer = await client.post(f"/v1/cohorts/{cohort}/assign", json={"agent_ids": agent_ids})
            if answer.status_code != 200 or answer.json()["assigned_count"] != PER_REQUEST:
                raise SystemExit(answer.text)

        return [await milliseconds(lambda cohort=cohort: one(cohort)) for cohort in cohorts]


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    defaults = [100_000, 3_000, 30]
    asyncio.run(main(*(numbers + defaults[len(numbers) :]), kept="--keep" in sys.argv))
