"""What every benchmark needs: real servers of its own, a workspace, timing, and a table to print."""

import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path

from muster.embedded.mongod import cache_size
from muster.embedded.servers import running_servers
from muster.migrations import migrate
from muster.projects.documents import Project
from muster.records.bulk import upsert_parts
from muster.records.demo import generate
from muster.records.fields import Fields
from muster.records.registry import registry
from muster.resources import Resources, open_resources
from muster.settings import Settings

OWNER = "benchmark"
ANCHOR = date(2026, 1, 1)  # the same workspace on every day
PROFILES_PER_WRITE = 1_000


@asynccontextmanager
async def workspace(profiles: int) -> AsyncIterator[tuple[Resources, Project]]:
    """Embedded servers on disk, with the demo workspace in a project; all gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="muster-benchmark-"))
    try:
        async with running_servers(folder, cache_gigabytes=cache_size()) as addresses:  # as `muster up` has it
            settings = Settings.model_validate(
                {
                    "mongodb_uri": addresses.mongodb_uri,
                    "mongodb_database": "benchmark",
                    "redis_url": addresses.redis_url,
                    "data_dir": folder,
                    "demo": False,
                }
            )
            async with open_resources(settings) as resources:
                await migrate(resources)
                now = datetime.now(UTC)
                project = Project(
                    id="PRJ-1", owner=OWNER, name="Benchmark", is_default=True, created_at=now, updated_at=now
                )
                await project.insert()
                started = time.perf_counter()
                await fill(project, profiles)
                seconds = time.perf_counter() - started
                print(f"{profiles:,} profiles written in {seconds:.1f} s ({profiles / seconds:,.0f} a second)\n")
                yield resources, project
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def fill(project: Project, profiles: int) -> None:
    """Write the demo workspace, normalised as an import would."""
    fields = Fields(await registry(project.id))
    lines = generate(profiles, anchor=ANCHOR)
    while batch := list(islice(lines, PROFILES_PER_WRITE)):
        parts = [
            (line.pop("pii_id"), {part: fields.read_part(part, values).values for part, values in line.items()})
            for line in batch
        ]
        await upsert_parts(project.id, parts)


async def milliseconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1000


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(percent * 10) // 1000) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def machine() -> str:
    """One line about where this ran."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"Python {sys.version.split()[0]}, {datetime.now(UTC):%Y-%m-%d}"
    )
