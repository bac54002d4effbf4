"""kill -9 of workers amid assignments, over and over, with a Redis that forgets and messages that come several times.

Each job moves every lead to another agent. After each one all is counted anew: every lead was handed over exactly once.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from muster.agents import assignments, service
from muster.agents.documents import Pipeline, Task
from muster.agents.schemas import AssignIn
from muster.agents.strategies import Strategy
from muster.cohorts.schemas import CohortIn
from muster.cohorts.service import create
from muster.jobs.documents import FINISHED, Job
from muster.jobs.doorbell import Actor, ring
from muster.projects.documents import Project
from muster.records.bulk import upsert_parts
from muster.records.documents import Profile, RollPiece
from muster.resources import Resources
from muster.settings import process_environment
from tests.waiting import until

HERE = Path(__file__).parent
PATIENCE = 180.0  # seconds
COPIES = 4  # of each message
MOST_KILLS = 8  # of one job
TEAM = 3  # agents; there are two teams, which take turns

log = logging.getLogger(__name__)


@dataclass
class Killed:
    """What was done, and what came of it."""

    leads: int
    kills: int = 0
    jobs: int = 0
    flushes: int = 0
    attempts: list[int] = field(default_factory=list)
    again_after: list[float] = field(default_factory=list)  # seconds from a kill to the first lead after it


@dataclass
class Worker:
    """A worker process group, started again whenever it was killed."""

    resources: Resources
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        environment = {**process_environment(self.resources.settings), "PYTHONPATH": str(HERE)}
        command = (sys.executable, "-m", "dramatiq", "assigning_worker", "--processes", "1", "--threads", "2")
        with (self.folder / "assigning-worker.log").open("ab") as file:
            self.process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)

    def kill(self) -> None:
        """kill -9 of the master and its children."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None


@contextmanager
def working(resources: Resources, folder: Path) -> Iterator[Worker]:
    """A worker that does not run yet; killed at the end."""
    worker = Worker(resources, folder)
    try:
        yield worker
    finally:
        worker.kill()


async def suffer(
    resources: Resources, project: Project, folder: Path, random: Random, *, leads: int, kills: int
) -> Killed:
    """So many kills, over as many jobs as that takes. Fails when a lead is lost, doubled, or not where it belongs."""
    ids = [f"L{number:06}" for number in range(leads)]
    for start in range(0, leads, 1_000):
        await upsert_parts(project.id, [(pii_id, {"lead": {}}) for pii_id in ids[start : start + 1_000]])
    cohort = await create(project.owner, CohortIn(name="all", kind="static", members=ids))
    agents = [
        (await service.create(project, {"name": f"Agent {n}", "daily_capacity": random.randint(1, 50)})).agent_id
        for n in range(2 * TEAM)
    ]
    killed = Killed(leads)
    with working(resources, folder) as worker:
        while killed.kills < kills:
            team = agents[:TEAM] if killed.jobs % 2 == 0 else agents[TEAM:]
            body = AssignIn(agent_ids=team, strategy=random.choice(list(Strategy)))
            job = await assignments.assign(project.owner, cohort.id, body)
            assert isinstance(job, Job)
            await _amid(job, worker, random, killed, min(MOST_KILLS, kills - killed.kills))
            killed.jobs += 1
            await _each_lead_once(project, job.id, killed, team)
            log.info("%s: %d kills so far, all is as it should be.", job.id, killed.kills)
    return killed


async def _amid(job: Job, worker: Worker, random: Random, killed: Killed, kills: int) -> None:
    """Kill the worker at so many places of one job, and let it end."""
    places = sorted(random.sample(range(1, killed.leads * 9 // 10), kills))
    for number, place in enumerate(places):
        await _knock(job.id, worker)
        since = time.monotonic()
        if number and worker.process is not None:
            before = (await _stored(job.id)).progress.done

            async def goes_on(before: int = before) -> bool:
                return (await _stored(job.id)).progress.done > before

            await until(goes_on, seconds=PATIENCE)
            killed.again_after.append(time.monotonic() - since)

        async def is_there(place: int = place) -> bool:
            found = await _stored(job.id)
            assert found.state not in FINISHED, f"{found.id} {found.state} before it could be killed: {found.error}"
            return found.progress.done >= place

        await until(is_there, seconds=PATIENCE)
        worker.kill()
        killed.kills += 1
        if random.random() < 0.5:
            await worker.resources.redis.flushall()
            killed.flushes += 1
    await _knock(job.id, worker)

    async def ended() -> bool:
        return (await _stored(job.id)).state in FINISHED

    await until(ended, seconds=PATIENCE)


async def _knock(job_id: str, worker: Worker) -> None:
    """A worker, and the same message several times."""
    if worker.process is None:
        worker.start()
    for _ in range(COPIES):
        await ring(Actor.ASSIGN_LEADS, job_id)


async def _stored(job_id: str) -> Job:
    found = await Job.get(job_id)
    assert found is not None
    return found


async def _each_lead_once(project: Project, job_id: str, killed: Killed, team: list[str]) -> None:
    """Count what is stored, without asking any code that wrote it."""
    job = await _stored(job_id)
    assert job.state == "succeeded", f"{job_id} {job.state}: {job.error}"
    assert job.result is not None
    assert job.failures == []
    assert job.result["assigned_count"] == killed.leads
    killed.attempts.append(job.attempts)
    with_whom: Counter[str] = Counter()
    revs: Counter[int] = Counter()
    whose: dict[Any, str] = {}
    async for profile in Profile.get_motor_collection().find({"project_id": project.id}):
        whose[profile["_id"]] = profile["lead"]["agent_id"]
        with_whom[profile["lead"]["agent_id"]] += 1
        revs[profile["rev"]] += 1
    assert revs == {killed.jobs + 1: killed.leads}, "each job raises each revision by one"
    assert dict(with_whom) == {agent: count for agent, count in job.result["per_agent"].items() if count}
    assert set(with_whom) <= set(team)
    entries: Counter[Any] = Counter()
    async for entry in Pipeline.get_motor_collection().find({"project_id": project.id, "state": "open"}):
        entries[entry["profile"]] += 1
        assert (entry["agent_id"], entry["job_id"]) == (whose[entry["profile"]], job_id)
    assert entries == dict.fromkeys(whose, 1)
    tasks: Counter[Any] = Counter()
    async for task in Task.get_motor_collection().find({"project_id": project.id, "state": "open"}):
        tasks[task["profile"]] += 1
        assert (task["agent_id"], task["job_id"]) == (whose[task["profile"]], job_id)
    assert tasks == dict.fromkeys(whose, 1)
    for document in (Pipeline, Task):
        count = await document.get_motor_collection().count_documents({"project_id": project.id})
        assert count == killed.jobs * killed.leads
    assert await RollPiece.get_motor_collection().count_documents({}) == 0
