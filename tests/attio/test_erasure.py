"""Erasure takes what was imported along: metadata at once, files by a job, the repository with its project."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from muster.attio import erasure, imports
from muster.attio.documents import AttioImport, AttioMark
from muster.jobs.documents import Job
from muster.jobs.service import sweep
from muster.projects.repository import GitTrouble
from muster.records import service
from muster.resources import Resources
from muster.sandbox.attio_world import generated_world
from tests.attio.importing_world import OWNER, Importing, importing


@pytest.fixture
async def world(clean: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Importing]:
    """People imported; erasures as the application has them."""
    monkeypatch.setattr(service, "ERASURES", [imports.forget, erasure.erase])
    async with importing(clean, tmp_path, generated_world(2, 6)) as opened:
        await opened.do(source="people")
        yield opened


async def erase_one(world: Importing) -> tuple[AttioImport, Job]:
    """Somebody erased; their metadata as it was, and the job that it left."""
    row = (await AttioImport.find({"name": {"$ne": ""}}).sort("_id").to_list())[0]
    removed = await service.erase(world.project_id, row.pii_id or "")
    assert (removed["attio_imports"], removed["files"]) == (1, 1)
    [job] = await Job.find({"kind": erasure.KIND}).to_list()
    return row, job


async def test_metadata_goes_at_once_and_files_by_a_job(world: Importing) -> None:
    row, job = await erase_one(world)
    assert await AttioImport.find_one({"_id": row.id}) is None
    assert (job.owner, job.state) == (OWNER, "queued")
    path = world.root / str(row.local_file_path)
    copy = path.with_name(f"{path.name}.kept-12345678")
    copy.write_text("as a user had it")
    await erasure.run_job(job.id, world.settings)
    assert not path.exists()
    assert not copy.exists()
    assert world.git("status", "--porcelain") == ""
    assert world.git("ls-files", str(row.local_file_path)) == ""
    assert row.name not in world.git("log", "-1")
    done = await world.job(job.id)
    assert done.result == {"files": 1, "kept_copies": 1, "commit": world.git("rev-parse", "HEAD")}
    assert "paths" not in done.arguments
    assert world.git("show", f"HEAD~1:{row.local_file_path}")  # the history is the user's to rewrite


async def test_the_workers_are_told_at_once(world: Importing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ERASED", [erasure.hurry])
    _, job = await erase_one(world)
    assert job.sent_at is not None
    await erasure.hurry(world.project_id)
    assert (await world.job(job.id)).sends == 1


async def test_the_sweep_hands_the_job_to_a_worker(world: Importing) -> None:
    _, job = await erase_one(world)
    await Job.get_motor_collection().update_one(
        {"_id": job.id}, {"$set": {"created_at": job.created_at.replace(year=2020)}}
    )
    assert await sweep() == 1
    assert (await world.job(job.id)).sent_at is not None


async def test_who_came_back_from_attio_keeps_the_new_file(world: Importing) -> None:
    row, job = await erase_one(world)
    await world.do(source="people")
    again = await AttioImport.find_one({"_id": row.id})
    assert again is not None
    assert again.local_file_path == row.local_file_path
    await erasure.run_job(job.id, world.settings)
    assert (world.root / str(row.local_file_path)).exists()
    done = await world.job(job.id)
    assert done.result is not None
    assert done.result["files"] == 0


async def test_when_git_refuses_the_files_go_all_the_same_and_a_retry_commits(world: Importing) -> None:
    row, job = await erase_one(world)
    world.git("checkout", "--quiet", "--detach")
    with pytest.raises(GitTrouble):
        await erasure.run_job(job.id, world.settings)
    assert not (world.root / str(row.local_file_path)).exists()
    failed = await world.job(job.id)
    assert failed.state == "failed"
    assert "git switch main" in str(failed.error)
    world.git("checkout", "--quiet", "main")
    await Job.get_motor_collection().update_one({"_id": job.id}, {"$set": {"state": "queued"}})
    await erasure.run_job(job.id, world.settings)
    assert world.git("ls-files", str(row.local_file_path)) == ""


async def test_who_was_never_imported_leaves_no_job(world: Importing) -> None:
    await service.put(world.project_id, "P1", {"lead": {}})
    removed = await service.erase(world.project_id, "P1")
    assert (removed["attio_imports"], removed["files"]) == (0, 0)
    assert await Job.find({"kind": erasure.KIND}).to_list() == []


async def test_a_mark_goes_with_what_it_marks(world: Importing) -> None:
    rows = await AttioImport.find_all().to_list()
    marks = [{"_id": row.id, "project_id": world.project_id, "version": 1, "due_at": row.imported_at} for row in rows]
    await AttioMark.get_motor_collection().insert_many(marks)
    row, _ = await erase_one(world)
    left = {mark["_id"] async for mark in AttioMark.get_motor_collection().find({})}
    assert left == {one.id for one in rows} - {row.id}


async def test_a_deleted_project_leaves_no_repository(world: Importing) -> None:
    await erasure.forget_repository(world.settings, world.project_id)
    assert not world.root.exists()
