"""How an import ends, once everything is stored: without whom was erased meanwhile, committed, saved as a cohort."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession as Session

from muster.attio.documents import AttioImport, ImportPiece
from muster.attio.state import State
from muster.cohorts import service as cohorts
from muster.cohorts.by_hand import add_imported
from muster.cohorts.documents import Cohort
from muster.cohorts.jobs import run_job
from muster.errors import Conflict, MusterError, NotFound
from muster.jobs.documents import Job
from muster.jobs.working import Claimed
from muster.projects.repository import GitTrouble, Repository, commit, discard
from muster.records.documents import Profile
from muster.records.rolls import RollWriter

TRAILER = "Muster-Job"
LOOK_EVERY = 0.1  # seconds between two looks whether the cohort is filled


async def end(claimed: Claimed, repository: Repository, state: State) -> dict[str, Any]:
    """The result of an import whose records are all stored."""
    erased = await _without_erased(claimed.job, repository)
    if not state.is_committed:
        await _commit(claimed, repository, state, erased)
    if claimed.job.arguments.get("save_as_cohort"):
        await _save_as_cohort(claimed, state)
    if claimed.job.arguments.get("add_to_cohort"):
        await _add_to_cohort(claimed, state)
    return state.as_result(refreshes=bool(claimed.job.arguments.get("refresh")))


async def pieces_of(import_id: str) -> AsyncIterator[Sequence[str]]:
    """The `pii_id`s that an import brought, piece by piece; a profile may stand in several."""
    pieces = ImportPiece.get_motor_collection().find({"import_id": import_id}, {"items.pii_id": 1}).sort("number", 1)
    async for piece in pieces:
        yield list(dict.fromkeys(item["pii_id"] for item in piece["items"] if item.get("pii_id")))


async def _without_erased(job: Job, repository: Repository) -> list[str]:
    """Take out whoever was erased between the writing of a profile and that of its metadata; the files deleted.

    An erasure takes along what is in the metadata by then, and cannot know what was on its way.
    """
    files: list[str] = []
    async for pii_ids in pieces_of(job.id):
        here: dict[str, Any] = {"project_id": job.project_id, "pii_id": {"$in": list(pii_ids)}}
        found = await Profile.get_motor_collection().find(here, {"_id": 0, "pii_id": 1}).to_list(None)
        for gone in set(pii_ids) - {profile["pii_id"] for profile in found}:
            files += await _take_out(job.project_id, gone, repository)
    return files


async def _take_out(project_id: str, pii_id: str, repository: Repository) -> list[str]:
    rows, named = AttioImport.get_motor_collection(), {"project_id": project_id, "pii_id": pii_id}
    files = [row["local_file_path"] async for row in rows.find(named, {"_id": 0, "local_file_path": 1})]
    await discard(repository, files)
    await rows.delete_many(named)
    await forget_pieces(None, project_id, pii_id)
    return files


async def forget_pieces(session: Session | None, project_id: str, pii_id: str) -> int:
    """Let no import name a profile any more."""
    named = await ImportPiece.get_motor_collection().update_many(
        {"project_id": project_id, "items.pii_id": pii_id},
        {"$set": {"items.$[its].pii_id": None}},
        array_filters=[{"its.pii_id": pii_id}],
        session=session,
    )
    return named.modified_count


async def _commit(claimed: Claimed, repository: Repository, state: State, erased: Sequence[str]) -> None:
    """One commit of all files that changed, also of those that earlier imports could not commit."""
    job, rows = claimed.job, AttioImport.get_motor_collection()
    uncommitted = {"project_id": job.project_id, "uncommitted": True}
    paths = [row["local_file_path"] async for row in rows.find(uncommitted, {"_id": 0, "local_file_path": 1})]
    paths += erased
    failures: list[dict[str, Any]] = []
    if paths:
        try:
            state.commit = await commit(repository, paths, _subject(job, state), {TRAILER: job.id})
        except GitTrouble as trouble:
            sentence = f"The files are written and not committed; the next import commits them. {trouble.detail}"
            failures.append({"detail": sentence})
    state.is_committed = True
    await claimed.checkpoint(state.as_checkpoint(), failures=failures)
    if not failures:  # a crash before this costs the next import a look at files that have not changed
        await rows.update_many(uncommitted, {"$set": {"uncommitted": False}})


def _subject(job: Job, state: State) -> str:
    """What the log shows: "Import 5,000 companies from Attio (IMP-1)"."""
    arguments, count = job.arguments, state.counts.imported + state.counts.updated
    if arguments.get("refresh"):
        return f"Refresh {count:,} {'record' if count == 1 else 'records'} from Attio ({job.id})"
    one, many = {"companies": ("company", "companies"), "people": ("person", "people")}.get(
        arguments["source"], ("list entry", "list entries")
    )
    return f"Import {count:,} {one if count == 1 else many} from Attio ({job.id})"


async def _save_as_cohort(claimed: Claimed, state: State) -> None:
    """Once: the cohort and the checkpoint that knows it are one transaction."""
    job, wanted = claimed.job, claimed.job.arguments["save_as_cohort"]
    if state.cohort_id is None:
        writer = RollWriter(job.project_id)
        async for pii_ids in pieces_of(job.id):
            await writer.add(pii_ids)
        roll = await writer.close()
        state.cohort_id, _ = await cohorts.save_import(
            job.owner,
            job.project_id,
            wanted["name"],
            roll,
            description=wanted.get("description") or "",
            beside=partial(_remember, claimed, state),
        )
    await _fill(claimed, state, state.cohort_id)


async def _add_to_cohort(claimed: Claimed, state: State) -> None:
    """Piece by piece, by the cohort's history as an import. Whoever is in already stays, so it may be done twice."""
    job, cohort_id = claimed.job, claimed.job.arguments["add_to_cohort"]
    added = 0
    try:
        async for pii_ids in pieces_of(job.id):
            added += (await add_imported(job.owner, cohort_id, pii_ids)).done
            await claimed.progress(state.counts.done, state.counts.done)
    except (NotFound, Conflict) as error:  # deleted meanwhile, or made dynamic: the records are imported all the same
        await claimed.checkpoint(state.as_checkpoint(), failures=[{"detail": error.detail}])
        return
    state.cohort_id, state.added = cohort_id, added


async def _fill(claimed: Claimed, state: State, cohort_id: str) -> None:
    """See that the cohort has its members when the import ends. Its run may be that of a worker which died with us."""
    with suppress(NotFound):  # somebody has deleted the cohort since
        while (run := (await cohorts.cohort_of(claimed.job.owner, cohort_id)).run) is not None:
            await claimed.progress(state.counts.done, state.counts.done)
            with suppress(MusterError):  # in other hands, or on record there: the cohort says so
                await run_job(run)
            await asyncio.sleep(LOOK_EVERY)


async def _remember(claimed: Claimed, state: State, cohort: Cohort, session: Session) -> None:
    checkpoint = state.as_checkpoint() | {"cohort_id": cohort.id}
    await claimed.checkpoint(checkpoint, session=session)
