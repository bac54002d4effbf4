"""kill -9 of the worker at random points of an import, over and over: the same end state every time.

Each time a project of its own imports the same companies and saves them as a cohort. What comes of it is told in one
value: files, metadata, profile parts, members, counts, commits. The first import is let alone, the others are killed.
"""

import asyncio
import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pydantic import SecretStr

from muster.attio import connection, imports
from muster.attio.documents import AttioImport, ImportPiece
from muster.attio.import_schemas import ImportIn
from muster.cohorts.documents import Cohort, Membership
from muster.jobs.documents import FINISHED, Job
from muster.projects.service import create_project
from muster.records.documents import Profile
from muster.resources import Resources
from muster.sandbox.attio import KEY, AttioSandbox
from muster.sandbox.attio_world import generated_world
from muster.sandbox.serving import serving
from muster.settings import Settings, process_environment
from tests.waiting import until

OWNER = "importer"
WORKER = Path(__file__).parents[1] / "attio" / "importing_process.py"
_log = logging.getLogger(__name__)

MOST_KILLS = 2  # of one import: three deaths in a row without progress mean quarantine

EndState = Mapping[str, Any]


@dataclass(slots=True)
class Kills:
    """What was killed where, and what came of it."""

    records: int
    seconds: float = 0.0  # that an import takes which nobody kills
    imports: int = 0
    killed: int = 0  # of these, at least once amid their work
    at: list[int] = field(default_factory=list)  # records stored at the moment of each kill
    phases: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)


@asynccontextmanager
async def sandboxed(resources: Resources, folder: Path, records: int) -> AsyncIterator[Settings]:
    """Settings that lead to a sandbox with so many companies."""
    sandbox = AttioSandbox(generated_world(records, 0), rate=100_000)
    async with serving(sandbox) as address:
        yield resources.settings.model_copy(update={"attio_base_url": f"{address}/v2", "data_dir": folder})


async def suffer_kills(settings: Settings, records: int, times: int, random: Random) -> Kills:
    """Import until so many were killed amid their work; every end state is compared with that of one let alone."""
    kills = Kills(records)
    log = settings.data_path / "importing.log"
    job = await _import(settings, log)
    expected = await end_state(settings, job)
    kills.seconds = _seconds(job)
    assert expected["files"] == expected["rows"] == expected["parts"] == expected["members"] == records, expected
    while kills.killed < times:
        job = await _begin(settings)
        deaths = 0
        for _ in range(random.randint(1, MOST_KILLS)):
            if not await _killed(settings, job, log, random.uniform(0, kills.seconds), kills):
                break
            deaths += 1
        await _work(settings, job, log)
        ended = await _ended(job)
        found = await end_state(settings, ended)
        if not deaths:  # it was quicker than the first one: kill the next ones sooner
            kills.seconds = min(kills.seconds, _seconds(ended))
        kills.killed += deaths > 0
        kills.imports += 1
        if found != expected:
            differing = {name: (value, found[name]) for name, value in expected.items() if found[name] != value}
            kills.different.append(f"import {kills.imports} ({job.id}): {differing}")
        _log.info("%d of %d imports killed, %d differ: %s", kills.killed, times, len(kills.different), kills.phases)
    return kills


def _seconds(job: Job) -> float:
    assert job.started_at is not None
    assert job.finished_at is not None
    return (job.finished_at - job.started_at).total_seconds()


async def _import(settings: Settings, log: Path) -> Job:
    job = await _begin(settings)
    await _work(settings, job, log)
    return await _ended(job)


async def _begin(settings: Settings) -> Job:
    project = await create_project(OWNER, name="Killed")
    await connection.connect(OWNER, project.id, SecretStr(KEY), settings)
    body = {"source": "companies", "project_id": project.id, "save_as_cohort": {"name": "All of them"}}
    return await imports.begin(OWNER, ImportIn.model_validate(body), settings)


def _start(settings: Settings, job: Job, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as opened:
        return subprocess.Popen(
            [sys.executable, str(WORKER), job.id], env=process_environment(settings), stdout=opened, stderr=opened
        )


async def _killed(settings: Settings, job: Job, log: Path, after: float, kills: Kills) -> bool:
    """Let a worker begin, and kill it so many seconds later; whether it was still at work."""
    process = _start(settings, job, log)
    attempts = (await _job(job)).attempts

    async def has_begun() -> bool:
        return (await _job(job)).attempts > attempts or process.poll() is not None

    await until(has_begun)
    await asyncio.wait({waiting := asyncio.ensure_future(asyncio.to_thread(process.wait))}, timeout=after)
    if process.poll() is not None:
        await waiting
        return False
    os.kill(process.pid, signal.SIGKILL)  # the fault itself
    await waiting
    now = await _job(job)
    kills.at.append(now.progress.done)
    checkpoint = now.checkpoint or {}
    phase = "before anything is stored"
    for name, sign in (
        ("while storing", checkpoint),
        ("before the commit is on record", checkpoint.get("is_stored")),
        ("before the cohort", checkpoint.get("is_committed")),
        ("while the cohort is filled", checkpoint.get("cohort_id")),
        ("after the end", now.state in FINISHED),
    ):
        phase = name if sign else phase
    kills.phases[phase] += 1
    return now.state not in FINISHED


async def _work(settings: Settings, job: Job, log: Path) -> None:
    if (await _job(job)).state in FINISHED:
        return
    process = _start(settings, job, log)
    assert await asyncio.to_thread(process.wait, 300) == 0, log.read_text()[-3_000:]


async def _job(job: Job) -> Job:
    found = await Job.get(job.id)
    assert found is not None
    return found


async def _ended(job: Job) -> Job:
    found = await _job(job)
    assert found.state == "succeeded", f"{job.id}: {found.state}, {found.error}"
    return found


async def end_state(settings: Settings, job: Job) -> EndState:
    """Everything that an import leaves, without what differs from project to project and from moment to moment."""
    root = settings.data_path / "projects" / job.project_id
    files = {}
    for file in sorted(root.glob("attio/**/*")):
        if file.is_file():
            files[str(file.relative_to(root))] = json.loads(file.read_text()) | {"importedAt": None}
    rows = await AttioImport.find({"project_id": job.project_id}).sort("attio_record_id").to_list()
    profiles = await Profile.find({"project_id": job.project_id}).sort("pii_id").to_list()
    pieces = await ImportPiece.find({"import_id": job.id}).to_list()
    brought = sorted((item["id"], item["pii_id"]) for piece in pieces for item in piece.items)
    cohorts = await Cohort.find({"project_id": job.project_id}).to_list()
    members = 0
    for cohort in cohorts:
        assert cohort.active is not None, cohort
        counted = await Membership.find({"generation": f"{cohort.id}|{cohort.active.number}", "in": True}).count()
        assert cohort.member_count == counted
        members += counted
    result = dict(job.result or {})
    has_commit = result.pop("commit") == _git(root, "rev-parse", "HEAD")
    has_cohort = [cohort.id for cohort in cohorts] == [result.pop("cohort_id")]
    varying = {"id", "revision_id", "project_id", "imported_at", "job_id"}
    return {
        "files": len(files),
        "contents": _digest(files),
        "rows": len(rows),
        "metadata": _digest([row.model_dump(exclude=varying) for row in rows]),
        "parts": sum(profile.company is not None for profile in profiles),
        "profiles": _digest([(profile.pii_id, profile.company, profile.rev) for profile in profiles]),
        "brought": _digest(brought),
        "members": members,
        "result": result,
        "progress": (job.progress.done, job.progress.total),
        "failures": job.failures,
        "commit": has_commit,
        "cohort": has_cohort,
        "commits": _git(root, "rev-list", "--count", "HEAD"),
        "status": _git(root, "status", "--porcelain"),
        "in the commit": len(_git(root, "ls-tree", "-r", "--name-only", "HEAD").splitlines()),
        "the repository is sound": _git(root, "fsck", "--strict"),
    }


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
