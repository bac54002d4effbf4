"""A large cohort as an experiment: its configuration, freezing, handing over, results; how quick, in how much memory.

The other side is a process of its own, which unpacks what it is sent and answers with a result for each persona. Beside
it what one would write first: read all members, make one JSON of them, post it. Memory is what this process holds more
than before, at its highest.

usage: python -m benchmarks.experiments [PROFILES]
"""

import asyncio
import gc
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import OWNER, machine, workspace
from benchmarks.results import keep
from muster.cohorts import service as cohorts
from muster.cohorts.documents import Cohort, Membership, generation_id, ids_of
from muster.cohorts.schemas import CohortIn
from muster.embedded.ports import free_port
from muster.experiments import results, run_service, runs, service
from muster.experiments.configuration import PersonaWriter, fields_of, read
from muster.experiments.documents import Experiment, ExperimentRun
from muster.experiments.schemas import ExperimentIn
from muster.experiments.snapshot import freeze
from muster.jobs.service import claim
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.sandbox.modal import Modal, create_app
from muster.sandbox.serving import serving
from muster.settings import Settings

SERVE = "--serve"
HAND_OVER = "hand over, wait, store results"


@dataclass
class Took:
    """How long something took, and the most memory that it needed, in MB."""

    seconds: float = 0.0
    memory: float = 0.0


async def main(profiles: int) -> None:
    """Print a table, and keep it."""
    async with workspace(profiles) as (resources, _), other_side() as address:
        update = {"modal_url": f"{address}/modal", "modal_key": "key", "modal_secret": "secret"}
        settings = Settings.model_validate({**resources.settings.model_dump(), **update})
        cohort = await settled(
            await cohorts.create(OWNER, CohortIn(name="All", kind="dynamic", rule="lead.score >= 0"))
        )
        body = ExperimentIn.model_validate({"name": "Large", "cohort_id": cohort.id, "config": {"question": "Why?"}})
        experiment = await service.create(OWNER, body, settings)
        took, size = await whole_run(experiment, settings)
        naive, naive_size = Took(), 0
        async with measured(naive):
            naive_size = await straightforward(experiment, cohort, address)
        section = table(profiles, cohort.member_count, size, took, (naive, naive_size))
        print(section)
        keep(section)


def table(profiles: int, count: int, size: int, took: dict[str, Took], other: tuple[Took, int]) -> str:
    """What is to be told, as Markdown."""
    rows = [
        f"| {what} | {each.seconds:.1f} | {count / each.seconds:,.0f} | {each.memory:,.0f} |"
        for what, each in took.items()
    ]
    naive, naive_size = other
    ratio = naive.memory / max(took[HAND_OVER].memory, 1)
    lines = [
        "## A cohort as an experiment",
        "",
        f"`python -m benchmarks.experiments {profiles}`: a cohort of {count:,} members with all attributes that are",
        f"not personal, {size / 1e6:,.0f} MB of JSON; {machine()}.",
        "",
        "| step | s | personas a second | memory, MB |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        f"Straightforward (all members in a list, one JSON, one POST of {naive_size / 1e6:,.0f} MB; nothing is frozen,",
        f"no result kept): {naive.seconds:.1f} s and {naive.memory:,.0f} MB, {ratio:,.1f} times the memory of handing",
        "over here.",
    ]
    return "\n".join(lines)


async def whole_run(experiment: Experiment, settings: Settings) -> tuple[dict[str, Took], int]:
    """Every step of a run, measured; and the size of the configuration."""
    took = {
        what: Took()
        for what in (
            "stream the configuration",
            "freeze",
            HAND_OVER,
            "sum up",
            "export as CSV",
        )
    }
    size = 0
    async with measured(took["stream the configuration"]):
        chunks = await run_service.configuration_of(OWNER, experiment.id, fields=None, personal=None, first=None)
        async for chunk in chunks:
            size += len(chunk)
    run, job = await run_service.start(OWNER, experiment.id, settings)
    async with claim(job.id) as claimed:
        async with measured(took["freeze"]):
            run = await freeze(run, experiment, claimed)
        config = read(run.config or "{}")
        async with (
            measured(took["hand over, wait, store results"]),
            runs.open_backend(config, run, settings) as backend,
        ):
            await runs.Attempt(run, experiment, config, claimed).go(backend)
    found = await ExperimentRun.get(run.id)
    if found is None or await results.stored_count(found) != found.persona_count:
        raise SystemExit("Results are missing.")
    async with measured(took["sum up"]):
        await results.summary(found)
    async with measured(took["export as CSV"]):
        file = await results.export(found, "csv")
        async for _ in file.chunks:
            pass
    return took, size


async def straightforward(experiment: Experiment, cohort: Cohort, address: str) -> int:
    """All at once; the size of the body."""
    number = cohort.active.number if cohort.active else 0
    rows = await Membership.get_motor_collection().find({"_id": ids_of(generation_id(cohort.id, number))}).to_list(None)
    ids = [row["profile"] for row in rows]
    profiles: list[dict[str, Any]] = []
    for start in range(0, len(ids), 10_000):
        profiles += (
            await Profile.get_motor_collection().find({"_id": {"$in": ids[start : start + 10_000]}}).to_list(None)
        )
    fields = fields_of(read(experiment.config).personas, await registry(experiment.project_id))
    writer = PersonaWriter(fields)
    members = [json.loads(writer.persona(profile, None)[1]) for profile in profiles]
    body = json.dumps({"run_id": "straightforward", "personas": {"count": len(members), "members": members}})
    headers = {"Modal-Key": "key", "Modal-Secret": "secret"}
    async with httpx.AsyncClient(timeout=600) as client:
        call = (await client.post(f"{address}/modal/", content=body.encode(), headers=headers)).json()["call_id"]
        path = f"{address}/modal/result/{call}"
        while (answer := await client.get(path, headers=headers)).status_code == 202:  # noqa: ASYNC110  over HTTP
            await asyncio.sleep(0.2)
        if len(answer.json()["results"]) != len(members):
            raise SystemExit("Results are missing.")
    return len(body)


@asynccontextmanager
async def measured(took: Took) -> AsyncIterator[None]:
    """Measure a block."""
    gc.collect()
    before, started = memory(), time.perf_counter()

    async def look() -> None:
        while True:
            took.memory = max(took.memory, memory() - before)
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        took.seconds = time.perf_counter() - started
        took.memory = max(took.memory, memory() - before)
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking


def memory() -> float:
    """Of this process, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


async def settled(cohort: Cohort) -> Cohort:
    """Once its evaluation is done."""
    while True:
        found = await Cohort.get(cohort.id)
        if found is None or found.state == "failed":
            raise SystemExit(found and found.error)
        if found.state == "ready":
            return found
        await asyncio.sleep(0.2)


@asynccontextmanager
async def other_side() -> AsyncIterator[str]:
    """A process that stands in for Modal, as quick as it can."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.experiments", SERVE, str(port))
    process = await asyncio.create_subprocess_exec(*command)
    address = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient() as client:
            await answered(lambda: client.get(f"{address}/modal/result/x"))
        yield address
    finally:
        process.terminate()
        await process.wait()


async def answered(ask: Callable[[], Awaitable[object]]) -> None:
    """Wait until somebody answers."""
    while True:
        try:
            await ask()
        except httpx.TransportError:
            await asyncio.sleep(0.05)
        else:
            return


async def serve(port: int) -> None:
    """The other side, until it is stopped."""
    modal = Modal(per_second=1e9, run=lambda _, persona: {"state": "completed", "words": len(persona["attributes"])})
    async with serving(create_app(modal), port=port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == [SERVE]:
        with suppress(KeyboardInterrupt):
            asyncio.run(serve(int(sys.argv[2])))
    else:
        asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else 100_000))
