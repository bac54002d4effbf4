"""An import from Attio, beside the way one would write first: one file, one commit, one document at a time.

A stand-in for Attio on this machine serves generated companies in a process of its own; the import runs in another,
as in a worker. The straightforward import fetches the same pages and then, record by record, writes the file, commits
it with GitPython, saves its metadata and its profile. It gets slower with every file that is there, so it is measured
over few records and twice: from the first on, and where half of the files are there already.

usage: python -m benchmarks.attio_import [--records 10000] [--one-by-one 100] [--memory 1000 10000 50000]
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from git import Actor, Repo
from pydantic import SecretStr

from benchmarks.bench import OWNER, machine, workspace
from benchmarks.results import keep
from muster.api.numbering import next_number
from muster.attio import connection, importing, imports
from muster.attio.client import AttioClient
from muster.attio.documents import AttioImport, import_key
from muster.attio.import_schemas import ImportIn
from muster.attio.models import Record
from muster.attio.parts import fields_of, part_of
from muster.attio.reading import attributes_of
from muster.attio.values import name_of, simplify
from muster.jobs.documents import Job
from muster.projects.documents import Project
from muster.projects.service import create_project
from muster.records.registry import registry
from muster.records.service import put
from muster.resources import open_resources
from muster.sandbox.attio import KEY
from muster.settings import Settings, load_settings, process_environment

Timed = Callable[..., Awaitable[Any]]


async def compare(records: int, one_by_one: int, sizes: list[int]) -> None:
    """Measure both, print it, and keep it."""
    async with workspace(0) as (resources, _):
        await next_number("PRJ")  # the workspace's own project has the first one
        async with sandbox(resources.settings, records) as settings:
            ours = await measured(settings, records)
            again = await measured(settings, records, project_id=ours["project_id"])
            first = await straightforward(settings, one_by_one, before=0)
            middle = await straightforward(settings, one_by_one, before=records // 2)
        memory = []
        for size in sizes:
            async with sandbox(resources.settings, size) as settings:
                memory.append(await measured(settings, size))
    section = table([ours, again], one_by_one, first, middle, memory)
    print(section)
    keep(section)


@asynccontextmanager
async def sandbox(settings: Settings, companies: int) -> AsyncIterator[Settings]:
    """A stand-in that has made all of its records already, and the settings that lead to it."""
    command = [sys.executable, "-m", "muster", "sandbox", "--port", "0", "--people", "0", "--rate", "100000"]
    process = await asyncio.create_subprocess_exec(
        *command, "--companies", str(companies), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    lines = process.stdout or asyncio.StreamReader()
    try:
        address = (await lines.readline()).decode().strip().removeprefix("MUSTER_ATTIO_BASE_URL=")
        async with (
            AttioClient(SecretStr(KEY), base_url=address) as client,
            aclosing(client.fetch_all_records("companies")) as pages,
        ):
            check(sum([len(page) async for page in pages]) == companies)
        yield settings.model_copy(update={"attio_base_url": address})
    finally:
        process.terminate()
        await process.communicate()


async def measured(settings: Settings, records: int, project_id: str | None = None) -> dict[str, Any]:
    """An import of everything, in a process of its own."""
    if project_id is None:
        project = await create_project(OWNER, name=f"{records:,} records")
        await connection.connect(OWNER, project.id, SecretStr(KEY), settings)
        project_id = project.id
    job = await imports.begin(OWNER, ImportIn(source="companies", project_id=project_id), settings)
    command = [sys.executable, "-m", "benchmarks.attio_import", "--worker", job.id]
    worker = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, env=process_environment(settings)
    )
    printed, _ = await worker.communicate()
    check(worker.returncode == 0)
    found: dict[str, Any] = json.loads(printed)
    result = found["result"]
    check(result["imported"] + result["unchanged"] == records)
    stored = await AttioImport.find({"project_id": project_id}).count()
    files = sum(1 for _ in (settings.data_path / "projects" / project_id / "attio" / "company").iterdir())
    check(stored == files == records)
    return {**found, "records": records, "project_id": project_id}


async def work(job_id: str) -> None:
    """Do an import as a worker does; print how long it and its steps took, and the most memory."""
    settings, steps = load_settings(), Counter[str]()
    importing.write_files = timed("writing", steps, importing.write_files)  # type: ignore[assignment]
    importing.store = timed("storing", steps, importing.store)  # type: ignore[assignment]
    AttioClient.fetch_records = timed("fetching", steps, AttioClient.fetch_records)  # type: ignore[method-assign]
    async with open_resources(settings):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        started = time.perf_counter()
        await importing.run_job(job_id, settings)
        seconds = time.perf_counter() - started
        job = await Job.find_one({"_id": job_id}) or sys.exit(f"{job_id} is gone")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        found = {"seconds": seconds, "steps": steps, "before": before, "peak": peak, "result": job.result}
        print(json.dumps(found))


def check(holds: bool) -> None:
    """A figure of something that went wrong is none."""
    if not holds:
        sys.exit("The import did not bring what there is.")


def timed(name: str, steps: Counter[str], step: Timed) -> Timed:
    """The same step, its time counted."""

    async def counted(*arguments: Any, **more: Any) -> Any:
        started = time.perf_counter()
        try:
            return await step(*arguments, **more)
        finally:
            steps[name] += time.perf_counter() - started  # type: ignore[assignment]

    return counted


async def straightforward(settings: Settings, records: int, *, before: int) -> float:
    """Seconds for a record, one after the other, where so many files are there already."""
    project = await create_project(OWNER, name="One by one")
    await connection.connect(OWNER, project.id, SecretStr(KEY), settings)
    root = settings.data_path / "straightforward" / project.id
    repository = await asyncio.to_thread(_repository, root, before)
    async with await connection.client_of(project.id, settings) as client:
        attributes = await attributes_of(client, "companies")
        fields = fields_of(attributes, "company", await registry(project.id))
        started = time.perf_counter()
        for record in (await client.fetch_companies())[:records]:
            simple = simplify(record.values, attributes)
            path = await asyncio.to_thread(_commit, repository, record, simple)
            await _save(project, record, simple, path)
            part = part_of(record.values, attributes, fields)
            await put(project.id, f"attio:{record.record_id}", {"company": part})
        return (time.perf_counter() - started) / records


def _repository(root: Path, files: int) -> Repo:
    repository = Repo.init(root)
    folder = root / "attio" / "company"
    folder.mkdir(parents=True)
    for number in range(files):
        (folder / f"other-{number}.json").write_text(json.dumps({"number": number, "says": "x" * 1_000}))
    if files:
        subprocess.run(["git", "-C", str(root), "add", "."], check=True)
        subprocess.run(
            ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "others"], check=True
        )
    return repository


def _commit(repository: Repo, record: Record, simple: dict[str, Any]) -> str:
    author, path = Actor("Somebody", "somebody@example.org"), f"attio/company/{record.record_id}.json"
    name = name_of(record.values)
    says = {"attioRecordId": record.record_id, "name": name, "attributes": simple}
    (Path(repository.working_dir) / path).write_text(json.dumps(says, indent=2))
    repository.index.add([path])
    repository.index.commit(f"Import {name}", author=author, committer=author)
    return path


async def _save(project: Project, record: Record, simple: dict[str, Any], path: str) -> None:
    await AttioImport(
        id=import_key(project.id, "company", record.record_id),
        project_id=project.id,
        attio_record_id=record.record_id,
        attio_object_type="company",
        name=name_of(record.values),
        attio_web_url=record.web_url,
        local_file_path=path,
        attributes=simple,
        imported_at=datetime.now(UTC),
        pii_id=f"attio:{record.record_id}",
        subject_id=record.record_id,
    ).save()


def table(
    imported: list[dict[str, Any]], one_by_one: int, first: float, middle: float, memory: list[dict[str, Any]]
) -> str:
    """What is to be told, as Markdown. `first` and `middle` are seconds for a record, one by one."""
    ours, again = imported
    records = ours["records"]
    each = ours["seconds"] / records
    steps = {name: f"{seconds:.1f} s" for name, seconds in ours["steps"].items()}
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    lines = [
        f"## An import of {records:,} records from Attio",
        "",
        f"`python -m benchmarks.attio_import`: {machine()}; load averages at the end {loads}.",
        f"{records:,} companies from a stand-in on the same machine: files, one commit, metadata and profiles.",
        f"**{middle / each:.0f} times** as fast as one file, one commit and one document after the other where",
        f"{records // 2:,} files are there already, as on average over as many records; {first / each:.0f} times as",
        f"fast as its very first {one_by_one:,}. The steps:",
        f"{', '.join(f'{name} {took}' for name, took in steps.items())},",
        f"{sum(ours['steps'].values()):.1f} s together, within {ours['seconds']:.1f} s.",
        "",
        "| | seconds | ms a record | records a second |",
        "|---|---:|---:|---:|",
        row(f"Muster, {records:,} records", ours["seconds"], each),
        row("the same again, nothing has changed", again["seconds"], again["seconds"] / records),
        row(f"one by one, the first {one_by_one:,}", first * one_by_one, first),
        row(f"one by one, {one_by_one:,} beside {records // 2:,} others", middle * one_by_one, middle),
        "",
        "Memory of the process that imports, in MiB (`ru_maxrss`):",
        "",
        "| records | before | at most | rise | records a second |",
        "|---:|---:|---:|---:|---:|",
    ]
    for one in memory:
        rise, rate = one["peak"] - one["before"], one["records"] / one["seconds"]
        figures = " | ".join(f"{figure:,.0f}" for figure in (one["before"], one["peak"], rise, rate))
        lines.append(f"| {one['records']:,} | {figures} |")
    return "\n".join(lines)


def row(what: str, seconds: float, each: float) -> str:
    """A line of the table."""
    return f"| {what} | {seconds:.1f} | {each * 1000:.2f} | {1 / each:,.0f} |"


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--one-by-one", type=int, default=100)
    parser.add_argument("--memory", type=int, nargs="*", default=[1_000, 10_000, 50_000])
    parser.add_argument("--worker", metavar="JOB", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        asyncio.run(work(arguments.worker))
    else:
        asyncio.run(compare(arguments.records, arguments.one_by_one, arguments.memory))


if __name__ == "__main__":
    main()
