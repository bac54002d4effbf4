"""Attio records as files of a repository: all in one commit, beside one file and one commit per record.

The way one would write first is GitPython's `index.add` and `index.commit` for each record. It gets slower with every
file that is there, so it does the first records only, in a repository that grows with them: in its favour.

usage: python -m benchmarks.attio_files [RECORDS] [ONE BY ONE]
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from git import Actor, Repo

from benchmarks.bench import machine
from benchmarks.results import keep
from muster.attio.files import FileDraft, write
from muster.attio.models import Attribute, Record
from muster.attio.values import name_of, simplify
from muster.projects.repository import Repository, commit
from muster.sandbox.attio_world import generated_world

BATCH = 500


async def main(records: int, one_by_one: int) -> None:
    """Print what both take for a record, and keep it."""
    drafts = _drafts(records)
    folder = Path(tempfile.mkdtemp(prefix="muster-benchmark-"))
    try:
        repository = Repository(folder / "PRJ-1")
        written, paths = await _timed_writing(repository, drafts)
        committed = await _timed_commit(repository, paths)
        again, _ = await _timed_writing(repository, drafts)
        nothing = await _timed_commit(repository, paths)
        peak = await _peak(Repository(folder / "PRJ-2"), drafts)
        first = await asyncio.to_thread(_one_by_one, folder / "first", drafts[:one_by_one])
        some = drafts[: 4 * one_by_one]
        at_once = await asyncio.to_thread(_index_add, folder / "second", some)
    finally:
        shutil.rmtree(folder)
    ours, theirs = (written + committed) / records, first / one_by_one
    rows = {
        "Muster: files": written,
        "Muster: one commit": committed,
        "Muster: both again, nothing changed": again + nothing,
    }
    lines = [
        f"## Attio records as files, {records:,} records",
        "",
        f"`python -m benchmarks.attio_files {records} {one_by_one}`: generated companies, simplified, to a commit.",
        f"One file and one commit per record take {theirs * 1000:.1f} ms a record over the first {one_by_one:,},",
        f"Muster {ours * 1000:.2f} ms over all {records:,}: {theirs / ours:.0f} times as fast.",
        f"Python's memory rises by {peak / 2**20:.0f} MiB at most. {machine()}.",
        "",
        "| what | seconds | records a second |",
        "|---|---:|---:|",
        *(f"| {name} | {seconds:.2f} | {records / seconds:,.0f} |" for name, seconds in rows.items()),
        f"| GitPython's `index.add`, one commit, first {len(some):,} | {at_once:.2f} | {len(some) / at_once:,.0f} |",
        f"| one file and one commit per record, the first {one_by_one:,} | {first:.2f} | {one_by_one / first:,.0f} |",
    ]
    print("\n".join(lines))
    keep("\n".join(lines))


def _drafts(records: int) -> list[FileDraft]:
    world = generated_world(records, 0)
    attributes = [Attribute.of(raw) for raw in world.attributes["companies"]]
    rows = world.objects["companies"]
    found = [Record.of(rows.row(number)) for number in range(records)]
    return [
        FileDraft(one.record_id, "company", name_of(one.values), one.web_url, simplify(one.values, attributes))
        for one in found
    ]


async def _timed_writing(repository: Repository, drafts: Sequence[FileDraft]) -> tuple[float, list[str]]:
    started, paths, now = time.perf_counter(), [], datetime.now(UTC)
    for start in range(0, len(drafts), BATCH):
        paths += [each.path for each in await write(repository, drafts[start : start + BATCH], now)]
    return time.perf_counter() - started, paths


async def _timed_commit(repository: Repository, paths: Sequence[str]) -> float:
    started = time.perf_counter()
    await commit(repository, paths, f"Import {len(paths):,} companies", {})
    return time.perf_counter() - started


async def _peak(repository: Repository, drafts: Sequence[FileDraft]) -> int:
    tracemalloc.start()
    try:
        _, paths = await _timed_writing(repository, drafts)
        await _timed_commit(repository, paths)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _one_by_one(root: Path, drafts: Sequence[FileDraft]) -> float:
    repository, author = Repo.init(root), Actor("Somebody", "somebody@example.org")
    started = time.perf_counter()
    for draft in drafts:
        path = _plain_file(root, draft)
        repository.index.add([path])
        repository.index.commit(f"Import {draft.name}", author=author, committer=author)
    return time.perf_counter() - started


def _index_add(root: Path, drafts: Sequence[FileDraft]) -> float:
    repository, author = Repo.init(root), Actor("Somebody", "somebody@example.org")
    started = time.perf_counter()
    repository.index.add([_plain_file(root, draft) for draft in drafts])
    repository.index.commit("Import", author=author, committer=author)
    return time.perf_counter() - started


def _plain_file(root: Path, draft: FileDraft) -> str:
    """A file as one would write it first."""
    path = Path("attio", draft.object_type, f"{draft.record_id}.json")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    says = {"attioRecordId": draft.record_id, "name": draft.name, "attributes": dict(draft.attributes)}
    (root / path).write_text(json.dumps(says, indent=2))
    return str(path)


if __name__ == "__main__":
    asyncio.run(main(int((sys.argv[1:] or ["10000"])[0]), int((sys.argv[2:] or ["1000"])[0])))
