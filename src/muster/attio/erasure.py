"""What an erasure takes of Attio: the metadata of a profile's imports at once, their files by a job.

The transaction of an erasure cannot delete files. It puts a job on record that does, and the workers are told at once:
files and kept copies are deleted and that is committed. Earlier commits of the repository still hold them, and
so does Attio: who must be gone for good is deleted there first, and the history rewritten (`git filter-repo`).
"""

from collections.abc import Mapping, Sequence

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession as Session

from muster.attio.documents import AttioImport, AttioMark
from muster.attio.files import kept_copies
from muster.attio.turns import turn
from muster.jobs.documents import Job
from muster.jobs.service import claim, create_job, send
from muster.projects.documents import Project
from muster.projects.repository import delete, remove, repository_of
from muster.settings import Settings

PREFIX, KIND = "ERA", "erase_files"


async def erase(session: Session, project_id: str, _profile: ObjectId, pii_id: str) -> Mapping[str, int]:
    """Take out what is imported of a profile, and have its files deleted; how many of both."""
    rows = AttioImport.get_motor_collection()
    named = {"project_id": project_id, "pii_id": pii_id}
    found = await rows.find(named, {"local_file_path": 1}, session=session).to_list(None)
    if not found:
        return {"attio_imports": 0, "files": 0}
    await rows.delete_many(named, session=session)
    marks = AttioMark.get_motor_collection()
    await marks.delete_many({"_id": {"$in": [row["_id"] for row in found]}}, session=session)
    paths = [row["local_file_path"] for row in found if row.get("local_file_path")]
    project = await Project.get(project_id, session=session)
    if paths and project is not None:
        await create_job(PREFIX, KIND, project_id, project.owner, {"paths": paths}, session=session)
    return {"attio_imports": len(found), "files": len(paths)}


async def hurry(project_id: str) -> None:
    """Tell the workers of the jobs that erasures put on record; who dies before leaves them to the sweep."""
    waiting = {"project_id": project_id, "kind": KIND, "state": "queued", "sent_at": None}
    for job in await Job.find(waiting).to_list():
        await send(job)


async def run_job(job_id: str, settings: Settings) -> None:
    """Delete the files that a job names, and commit that. Raises Busy or Done when the job is not to be had.

    When git refuses, the files are deleted all the same, and the job fails with the reason; a retry commits.
    """
    async with claim(job_id) as claimed, turn(claimed.job.project_id, job_id):
        project_id = claimed.job.project_id
        repository = repository_of(settings, project_id)
        paths = await _unused(project_id, claimed.job.arguments.get("paths", []))
        await claimed.progress(0, len(paths))
        copies = await kept_copies(repository, paths)
        commit = await remove(
            repository, [*paths, *copies], "Remove the files of an erased profile", {"Muster-Job": job_id}
        )
        claimed.result = {"files": len(paths), "kept_copies": len(copies), "commit": commit}
    # A path says a name.
    await Job.get_motor_collection().update_one({"_id": job_id}, {"$unset": {"arguments.paths": ""}})


async def _unused(project_id: str, paths: Sequence[str]) -> list[str]:
    """Without those that an import has written again since: the erased came back from Attio."""
    used = {"project_id": project_id, "local_file_path": {"$in": list(paths)}}
    rows = AttioImport.get_motor_collection().find(used, {"_id": 0, "local_file_path": 1})
    again = {row["local_file_path"] async for row in rows}
    return [path for path in paths if path not in again]


async def forget_repository(settings: Settings, project_id: str) -> None:
    """Delete the repository of a project that is gone, with all of its history."""
    await delete(repository_of(settings, project_id))
