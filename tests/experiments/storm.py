"""Runs through a proxy that gets everything wrong, while their workers are killed; and what must be true afterwards."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from muster.experiments import run_service, service
from muster.experiments.documents import ExperimentRun, Persona
from muster.experiments.schemas import ExperimentIn
from muster.jobs import service as jobs
from muster.jobs.documents import FINISHED, Job
from muster.sandbox.modal import Call, Modal
from muster.settings import Settings, process_environment
from muster.tasks import stop
from tests.experiments.proxy import Proxy

HERE = Path(__file__).parent
AT_ONCE = 12  # runs under way


@dataclass
class Workers:
    """A worker process group that is killed and started again."""

    settings: Settings
    log: Path
    process: "subprocess.Popen[bytes] | None" = None
    kills: int = 0

    def start(self) -> None:
        top = HERE.parents[1]
        environment = {**process_environment(self.settings), "PYTHONPATH": f"{HERE}:{top}:{top / 'src'}"}
        options = ("--processes", "1", "--threads", "8", "--worker-fork-timeout", "2000")
        command = [sys.executable, "-m", "dramatiq", "storm_worker", *options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@dataclass
class Storm:
    """So many runs of one owner over these cohorts, one seed."""

    owner: str
    settings: Settings
    modal: Modal
    proxy: Proxy
    chance: Random
    log: Path
    cohorts: Sequence[str]
    started: list[str] = field(default_factory=list)  # jobs
    tried_again: int = 0
    seconds: float = 0.0
    kills: int = 0

    async def rage(self, runs: int, kill_after: Callable[[], int]) -> None:
        """Start so many runs, a few at a time, and wait until all have succeeded. Meanwhile their workers are killed,
        each time after so many requests.
        """
        workers = Workers(self.settings, self.log)
        began = time.monotonic()
        workers.start()
        killing = asyncio.create_task(self._kill(workers, kill_after))
        try:
            while len(self.started) < runs or await self._unfinished():
                while len(self.started) < runs and len(await self._unfinished()) < AT_ONCE:
                    await self._start(len(self.started))
                await self._try_failed_again()
                await asyncio.sleep(0.05)
                assert time.monotonic() - began < 60 + 20 * runs, "the storm does not end"
        finally:
            await stop(killing)
            workers.kill()
            self.seconds = time.monotonic() - began

    async def _kill(self, workers: Workers, kill_after: Callable[[], int]) -> None:
        while True:
            then = self.proxy.did.total() + kill_after()
            while self.proxy.did.total() < then:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.2 * self.chance.random())
            workers.kill()
            self.kills += 1
            workers.start()

    async def _start(self, number: int) -> None:
        cohort = self.chance.choice(self.cohorts)
        dispatch = {"partBytes": self.chance.choice([2_000, 64_000_000])}  # one part, or several
        config = {"seed": number, "personas": {"sample": self.chance.randrange(5, 40)}, "dispatch": dispatch}
        body = ExperimentIn.model_validate({"name": f"Storm {number}", "cohort_id": cohort, "config": config})
        experiment = await service.create(self.owner, body, self.settings)
        _, job = await run_service.start(self.owner, experiment.id, self.settings)
        self.started.append(job.id)

    async def _unfinished(self) -> list[Job]:
        return await Job.find({"_id": {"$in": self.started}, "state": {"$ne": "succeeded"}}).to_list()

    async def _try_failed_again(self) -> None:
        """As a person would: a 401, an outage, or three killed workers in a row have ended a run, and are over."""
        for job in await self._unfinished():
            if job.state in FINISHED:
                assert job.state in {"failed", "quarantined"}, f"{job.id} is {job.state}: {job.error}"
                await jobs.retry(self.owner, job.id)
                self.tried_again += 1

    async def verify(self) -> None:
        """Exactly one execution for each run and part; each persona in it once; each result on record, once."""
        calls: Mapping[str, Call] = {call.key: call for call in self.modal.calls.values()}
        assert len(calls) == len(self.modal.calls), "the other side worked twice on something"
        found = await ExperimentRun.find({"job": {"$in": self.started}}).to_list()
        assert len(found) == len(self.started)
        expected = {f"{run.id}/{part.number}" for run in found for part in run.parts}
        assert calls.keys() == expected
        for run in found:
            await self._verify_run(run, [calls[f"{run.id}/{part.number}"] for part in run.parts])

    async def _verify_run(self, run: ExperimentRun, calls: Sequence[Call]) -> None:
        personas = await Persona.find({"run": run.id}).sort("_id").to_list()
        assert len({persona.snapshot for persona in personas}) == 1, "an abandoned snapshot is left"
        assert len(personas) == run.persona_count
        sent = [persona for call in calls for persona in call.personas]
        assert sent == [json.loads(persona.sent or "null") for persona in personas]
        assert len({persona.pii_id for persona in personas} - {None}) == len(personas)
        told = [result for call in calls for result in call.results]
        assert [result_of(persona) for persona in personas] == told
        assert run.result_count == len(personas)

    @property
    def repeats(self) -> int:
        """How many requests brought what the other side had already."""
        return sum(count - 1 for count in self.modal.posts.values())


def result_of(persona: Persona) -> Any:
    return json.loads(persona.result or "null")
