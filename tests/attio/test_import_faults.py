"""Imports while everything fails that can. The invariant: files, metadata rows, profile parts and cohort members are as
many as there are distinct records, less those that are reported; at most one commit; a second run completes the first.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from muster.attio import connection, folders, importing, storing
from muster.attio.importing import run_job
from muster.attio.requests import Patience
from muster.cohorts.documents import Cohort
from muster.jobs import service as jobs
from muster.jobs.documents import Job
from muster.jobs.working import Fenced
from muster.resources import Resources
from muster.sandbox.attio_world import generated_world
from tests.attio import importing_world
from tests.attio.importing_world import Importing, pieces

RECORDS = 640  # a full page and a short one
QUICK = Patience(tries=4, first_pause=0.02, longest_pause=0.1, answer_within=2.0)


@pytest.fixture
async def world(clean: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Importing]:
    """Many companies; nobody waits long for another try."""
    monkeypatch.setattr(importing, "client_of", partial(connection.client_of, patience=QUICK))
    async with importing_world.importing(clean, tmp_path, generated_world(RECORDS, 0)) as opened:
        yield opened


async def whole(world: Importing, job: Job, *, cohort: bool = True) -> None:
    """What the import brought is the same everywhere, and is all that Attio has had all the while."""
    assert job.state == "succeeded", job.error
    assert job.result is not None
    rows = world.sandbox.world.objects["companies"]
    there = {rows.row(place)["id"]["record_id"] for place in range(len(rows))} & world.at_first
    brought = [item["id"] for item in await pieces(job.id)]
    stored = await world.stored()
    assert len(brought) == len(set(brought))
    assert set(brought) >= there
    assert stored.files.keys() == stored.rows.keys() >= set(brought)
    with_part = {pii_id for pii_id, profile in stored.profiles.items() if profile.company is not None}
    assert {row.pii_id for row in stored.rows.values()} == with_part
    result = job.result
    done = result["imported"] + result["updated"] + result["unchanged"]
    assert done + result["failed"] == len(brought) == job.progress.done
    assert world.git("status", "--porcelain") == ""
    assert len(world.commits()) == 1
    assert int(world.git("rev-list", "--count", "HEAD")) == 1
    if cohort:
        saved = await Cohort.get(result["cohort_id"])
        assert saved is not None
        assert saved.member_count == done
        assert await Cohort.find({"project_id": world.project_id}).count() == 1


async def test_what_another_try_mends_is_not_to_be_seen_in_the_end(world: Importing) -> None:
    """Each request meets three of these, one after the other, and is answered then."""
    await world.fault("rate_limited", match="/attributes", retry_after="past")
    for kind in ("html_error", "no_data"):
        await world.fault(kind, match="/attributes")
    for retry_after in ("date", "none"):
        await world.fault("rate_limited", match="/query", retry_after=retry_after)
    await world.fault("silent", match="/query", seconds=5)
    for kind in ("dropped", "html", "truncated"):
        await world.fault(kind, match="/query", skip=1)
    await whole(world, await world.do(source="companies", save_as_cohort={"name": "All of them"}))
    assert world.sandbox.faults.waiting == []


@pytest.mark.parametrize("kind", ["rows_go", "rows_come", "repeated", "missing"])
async def test_rows_that_move_between_two_pages_are_neither_lost_nor_doubled(world: Importing, kind: str) -> None:
    await world.fault(kind, match="/query", skip=1, count=30)
    await whole(world, await world.do(source="companies", save_as_cohort={"name": "All of them"}))


async def test_a_revoked_key_ends_it_and_a_second_import_completes_what_the_first_left(world: Importing) -> None:
    await world.fault("revoked", match="/query", skip=1, times=-1)
    failed = await world.do(source="companies", save_as_cohort={"name": "All of them"})
    assert failed.state == "failed"
    assert failed.error is not None
    assert "401" in failed.error
    assert failed.progress.total is None  # nobody knew
    assert failed.result is not None
    assert failed.result | {"files": 0} == {
        **dict.fromkeys(("updated", "unchanged", "failed", "files", "conflicts"), 0),
        "imported": failed.progress.done,
        "commit": None,
        "cohort_id": None,
    }
    stored = await world.stored()
    kept = {item["id"] for item in await pieces(failed.id)}
    assert 0 < len(kept) < RECORDS
    assert stored.files.keys() == stored.rows.keys() == kept
    assert len(stored.profiles) == len(kept) == failed.progress.done
    assert world.commits() == []
    assert await Cohort.find({"project_id": world.project_id}).count() == 0

    world.sandbox.faults.waiting.clear()
    job = await world.do(source="companies", save_as_cohort={"name": "All of them"})
    assert job.result is not None
    assert job.result["imported"] == RECORDS - len(kept)
    assert job.result["unchanged"] == len(kept)
    await whole(world, job)
    assert len(world.git("ls-tree", "-r", "--name-only", "HEAD").splitlines()) == RECORDS


async def test_a_failed_job_that_is_tried_again_goes_on_and_counts_nothing_twice(world: Importing) -> None:
    await world.fault("server_error", match="/query", skip=1, times=-1)
    failed = await world.do(source="companies", save_as_cohort={"name": "All of them"})
    assert failed.state == "failed"
    assert failed.error is not None
    assert "Muster asked 4 times" in failed.error
    assert "Execution id: sandbox-" in failed.error
    world.sandbox.faults.waiting.clear()
    await jobs.retry(importing_world.OWNER, failed.id)
    await run_job(failed.id, world.settings)
    job = await world.job(failed.id)
    assert job.result is not None
    assert job.result["imported"] == job.result["files"] == RECORDS
    await whole(world, job)


async def test_git_trouble_loses_no_file_and_the_next_import_commits_them(world: Importing) -> None:
    world.root.mkdir(parents=True)
    (world.root / ".git").write_text("this is no repository")
    job = await world.do(source="companies", save_as_cohort={"name": "All of them"})
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert (job.result["imported"], job.result["commit"]) == (RECORDS, None)
    assert [failure["detail"] for failure in job.failures if "not committed" in failure["detail"]]
    assert len((await world.stored()).files) == RECORDS
    (world.root / ".git").unlink()
    again = await world.do(source="companies")
    assert again.result is not None
    assert (again.result["unchanged"], again.result["files"]) == (RECORDS, 0)
    assert again.result["commit"] == world.git("rev-parse", "HEAD")
    await whole(world, again, cohort=False)


async def test_a_full_disk_fails_the_job_and_a_retry_completes_it(
    world: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    def until_it_is_full(*arguments: Any) -> None:
        nonlocal written
        written += 1
        if written > 550:
            raise OSError(errno.ENOSPC, "No space left on device")
        folders.replace_file(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("muster.attio.files.replace_file", until_it_is_full)
        failed = await world.do(source="companies", save_as_cohort={"name": "All of them"})
    assert failed.state == "failed"
    assert failed.error is not None
    assert "disk" in failed.error.lower() or "space" in failed.error.lower()
    assert world.commits() == []
    await jobs.retry(importing_world.OWNER, failed.id)
    await run_job(failed.id, world.settings)
    await whole(world, await world.job(failed.id))


async def test_a_worker_that_slept_while_another_took_over_writes_nothing_more(
    world: Importing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one is held up between the parts and the metadata of its second batch."""
    job = await world.begin(source="companies", save_as_cohort={"name": "All of them"})
    reached, go_on = asyncio.Event(), asyncio.Event()
    batches = 0

    async def held_up(*arguments: Any, **more: Any) -> Any:
        nonlocal batches
        batches += 1
        if batches == 2:
            reached.set()
            await go_on.wait()
        return await upsert_parts(*arguments, **more)

    upsert_parts = storing.upsert_parts
    monkeypatch.setattr(storing, "upsert_parts", held_up)
    first = asyncio.create_task(run_job(job.id, world.settings))
    await reached.wait()
    ran_out = [{"$set": {"lease.expires_at": {"$subtract": ["$$NOW", 1_000]}}}]
    await Job.get_motor_collection().update_one({"_id": job.id}, ran_out)
    await run_job(job.id, world.settings)
    go_on.set()
    with pytest.raises(Fenced):
        await first
    await whole(world, await world.job(job.id))
