"""Imports as their owners see them: begun, listed, shown; and what others may ask about them."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession as Session

from muster.api.paging import decode_cursor, page_of
from muster.attio.connection import key_of
from muster.attio.documents import AttioImport, ImportPiece
from muster.attio.ending import forget_pieces, pieces_of
from muster.attio.import_schemas import ImportIn
from muster.attio.selecting import TYPE_OF
from muster.cohorts.by_hand import static_cohort
from muster.errors import Conflict, Invalid, NotFound, Problem
from muster.jobs.documents import FINISHED, Job
from muster.jobs.service import create_job, send
from muster.projects.service import project_of
from muster.records import rolls
from muster.settings import Settings

PREFIX, KIND = "IMP", "import"

TAKEN_BY: list[Callable[[str, Sequence[str]], Awaitable[Mapping[str, Sequence[str]]]]] = []
"""Who knows the experiments that take profiles: project and `pii_id`s → ids of experiments. `muster.app` fills it."""


async def begin(owner: str, body: ImportIn, settings: Settings) -> Job:
    """Put an import on record and tell the workers. Raises Invalid, Conflict without a connection."""
    _check(body)
    project = await project_of(owner, body.project_id)
    if body.add_to_cohort is not None:
        await _check_cohort(owner, project.id, body.add_to_cohort)
    if key_of(project.id, settings)[0] is None:
        raise Conflict(f"{project.id} is not connected with Attio; PUT /v1/attio/connection connects it.")
    arguments: dict[str, Any] = {"source": body.source, "list": body.list, "q": body.q, "refresh": body.refresh}
    if body.filter is not None:  # as text: it is full of names that mean something to MongoDB
        arguments["filter"] = msgspec.json.encode(body.filter).decode()
    if body.refresh:
        arguments["rows"] = _rows_of(body)
    if body.record_ids is not None:
        roll = await rolls.keep(project.id, body.record_ids)
        arguments["record_ids"] = {"id": roll.id, "pieces": roll.pieces, "count": roll.count}
    if body.save_as_cohort is not None:
        arguments["save_as_cohort"] = body.save_as_cohort.model_dump()
    if body.add_to_cohort is not None:
        arguments["add_to_cohort"] = body.add_to_cohort
    job = await create_job(PREFIX, KIND, project.id, owner, arguments)
    await send(job)
    return job


def _check(body: ImportIn) -> None:
    """Raise Invalid for what can be known to be wrong without asking Attio."""
    problems: list[Problem] = []
    if body.source is None and not body.refresh:
        problems.append(Problem("Say what to import: companies, people or a list.", "/source"))
    if body.source == "list" and body.list is None and not body.refresh:
        problems.append(Problem("Name the list, by its slug or id.", "/list"))
    if body.source != "list" and body.list is not None:
        problems.append(Problem('A list is named beside `"source": "list"`.', "/list"))
    selectors = [name for name in ("record_ids", "q", "filter") if getattr(body, name) is not None]
    if len(selectors) > 1:
        problems += [Problem("Give one of these.", f"/{name}") for name in selectors]
    if body.refresh:
        problems += [Problem("A refresh fetches all that was imported.", f"/{name}") for name in selectors]
    if body.save_as_cohort is not None and body.add_to_cohort is not None:
        problems += [Problem("Give one of these.", f"/{name}") for name in ("save_as_cohort", "add_to_cohort")]
    if problems:
        raise Invalid(f"The import cannot be done: {problems[0].detail}", problems)


async def _check_cohort(owner: str, project_id: str, cohort_id: str) -> None:
    """Raise Invalid where nothing can be added to a cohort: it is not there, or elsewhere, or not static."""
    try:
        cohort = await static_cohort(owner, cohort_id)
        detail = None if cohort.project_id == project_id else f"There is no cohort {cohort_id} in {project_id}."
    except (NotFound, Conflict) as error:
        detail = error.detail
    if detail is not None:
        raise Invalid(detail, [Problem(detail, "/add_to_cohort")])


def _rows_of(body: ImportIn) -> dict[str, Any]:
    """What a refresh fetches again, as a query over the metadata."""
    match body.source:
        case None:
            return {}
        case "list":
            return {"attio_object_type": "list_entry"} | ({"list_slug": body.list} if body.list else {})
        case source:
            return {"attio_object_type": TYPE_OF[source]}


async def list_imports(
    project_id: str,
    *,
    type_: str | None = None,
    q: str | None = None,
    list_slug: str | None = None,
    sync_status: str | None = None,
    job_id: str | None = None,
    limit: int,
    cursor: str | None,
) -> tuple[list[AttioImport], str | None]:
    """A page of what is imported, in a fixed order. `q` is looked for in names and addresses."""
    query: dict[str, Any] = {"project_id": project_id}
    given = {"attio_object_type": type_, "list_slug": list_slug, "sync_status": sync_status, "job_id": job_id}
    query |= {name: value for name, value in given.items() if value is not None}
    if q:
        words = {"$regex": re.escape(q.strip().replace("\0", "")), "$options": "i"}
        query["$or"] = [{"name": words}, {"addresses": words}, {"attributes.domains": words}, {"attio_record_id": q}]
    if cursor is not None:
        (after,) = decode_cursor(cursor, str)
        query["_id"] = {"$gt": after}
    rows = await AttioImport.find(query).sort("_id").limit(limit + 1).to_list()
    await _with_experiments(project_id, rows)
    return page_of(rows, limit, lambda row: (row.id,))


async def import_of(project_id: str, attio_id: str) -> AttioImport:
    """What is imported under an Attio id. Raises NotFound."""
    found = await AttioImport.find_one({"project_id": project_id, "attio_record_id": attio_id})
    if found is None:
        raise NotFound(f"Nothing with the Attio id {attio_id!r} is imported into {project_id}.")
    await _with_experiments(project_id, [found])
    return found


async def _with_experiments(project_id: str, rows: Sequence[AttioImport]) -> None:
    """Let each say which experiments take its profile, by what is true now."""
    pii_ids = list({row.pii_id for row in rows if row.pii_id is not None})
    for known in TAKEN_BY:
        found = await known(project_id, pii_ids)
        for row in rows:
            row.experiment_ids = list(found.get(row.pii_id or "", ()))


async def profiles_of(project_id: str, import_id: str) -> AsyncIterator[Sequence[str]] | None:
    """The `pii_id`s that an import brought, in batches; None when it is not known. Raises Conflict while it runs."""
    job = await Job.find_one({"_id": import_id, "project_id": project_id, "kind": KIND})
    if job is None:
        return None
    if job.state not in FINISHED:
        raise Conflict(f"{import_id} is under way; make a cohort of it when it has ended.")
    return pieces_of(import_id)


async def forget(session: Session, project_id: str, _profile: ObjectId, pii_id: str) -> Mapping[str, int]:
    """Let no import name a profile any more, within an erasure's transaction."""
    return {"import_pieces": await forget_pieces(session, project_id, pii_id)}


async def forget_imports(project_id: str) -> None:
    """Remove what is known of imports, when the project is gone."""
    for collection in (AttioImport.get_motor_collection(), ImportPiece.get_motor_collection()):
        await collection.delete_many({"project_id": project_id})
