"""Marks: what Attio says has changed, until it has been fetched again.

An event holds no values, so it says only where to look. Many events of one record are one mark, whose version rises;
whoever fetches notes the version before and takes the mark away only if it is still the same: an event that comes in
between is never lost. One refresh of a project at a time works on its marks; it is put on record with the first one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession as Session
from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError

from muster.attio.deliveries import Event
from muster.attio.documents import AttioHook, AttioImport, AttioMark, import_key
from muster.jobs.documents import UNFINISHED, Job
from muster.jobs.service import create_job, send
from muster.projects.documents import Project
from muster.transactions import in_transaction

AFTER_FAILURE = timedelta(minutes=15)  # until a refresh that failed is followed by another one
MERGING_PAUSE = timedelta(seconds=30)  # until a record that Attio is merging is looked at again
MOST_TRIES = 20
STAY = 2.0  # seconds that a refresh waits for more events
LONGEST_STAY = 20.0  # seconds after which it ends, though more may come: imports wait for it
LOOK_EVERY = 0.2  # seconds

_DUPLICATE_KEY = 11000
_MILLISECOND = timedelta(milliseconds=1)
_IS_DUE = {"$lte": ["$due_at", "$$NOW"]}

Row = Mapping[str, Any]


async def mark(project_id: str, events: Sequence[Event]) -> int:
    """Mark what is imported and touched by these events; how many records and entries.

    Of a merge both records count, though only one may be imported: which of the two lives on, or whether a third does,
    Attio says when it is asked.
    """
    rows = await _touched(project_id, frozenset[str]().union(*(event.ids for event in events)))
    keys = {row["_id"]: (row["attio_object_type"], row["attio_record_id"], row.get("list_slug")) for row in rows}
    for event in events:
        for row in rows:
            if row["attio_record_id"] in event.merged and row["attio_object_type"] != "list_entry":
                for record_id in event.merged:
                    key = import_key(project_id, row["attio_object_type"], record_id)
                    keys.setdefault(key, (row["attio_object_type"], record_id, None))
    if not keys:
        return 0
    await _raise([_raised(key, project_id, *what) for key, what in keys.items()])
    await _rows().update_many({"_id": {"$in": list(keys)}}, {"$set": {"sync_status": "pending"}})
    return len(keys)


async def _touched(project_id: str, ids: Collection[str]) -> Sequence[Row]:
    """Imports of these records and entries, and entries in which these records stand."""
    wanted = {
        "project_id": project_id,
        "$or": [{name: {"$in": list(ids)}} for name in ("attio_record_id", "subject_id")],
    }
    fields = {"attio_object_type": 1, "attio_record_id": 1, "list_slug": 1}
    found: Sequence[Row] = await _rows().find(wanted, fields).to_list(None)
    return found


async def _raise(updates: Sequence[UpdateOne]) -> None:
    """Raise marks that may not be there yet. Where two make the same one at once, the loser raises it after all."""
    pending = list(updates)
    while pending:
        try:
            await _marks().bulk_write(pending, ordered=True)
            pending = []
        except BulkWriteError as error:
            failed = error.details["writeErrors"][0]
            if failed["code"] != _DUPLICATE_KEY:
                raise
            pending = pending[failed["index"] :]


def _raised(key: str, project_id: str, object_type: str, attio_id: str, list_slug: str | None) -> UpdateOne:
    what = {"project_id": project_id, "object_type": object_type, "attio_id": attio_id, "list_slug": list_slug}
    raised = {"version": {"$add": [{"$ifNull": ["$version", 0]}, 1]}, "tries": 0, "due_at": "$$NOW"}
    update = [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": what}, raised]}}]
    return UpdateOne({"_id": key}, update, upsert=True)


class Marked:
    """The marks of a project, as one refresh works through them: each once, at the version that it had then."""

    def __init__(self, project_id: str) -> None:
        self.project_id = project_id
        self._seen: dict[str, int] = {}
        self._waiting: set[str] = set()

    async def batches(self, size: int) -> AsyncIterator[Sequence[Row]]:
        """What to fetch, in the form of metadata, until nothing new has come for a while.

        A record that is marked anew meanwhile is left to the next refresh: only one version of it is under way.
        """
        began = quiet_since = time.monotonic()
        while time.monotonic() - began < LONGEST_STAY:
            fresh = await _due(self.project_id, size, beside=self._seen)
            if fresh:
                self._seen |= {mark.id: mark.version for mark in fresh}
                yield [_as_row(mark) for mark in fresh]
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > STAY:
                return
            else:
                await asyncio.sleep(LOOK_EVERY)

    def wait_for(self, keys: Iterable[str]) -> None:
        """Note what Attio cannot say yet; it is looked at again later."""
        self._waiting.update(keys)

    async def take_away(self) -> None:
        """Take the marks away that were fetched, unless an event has raised them since."""
        later = {"tries": {"$add": ["$tries", 1]}, "due_at": {"$add": ["$$NOW", MERGING_PAUSE // _MILLISECOND]}}
        changes: list[DeleteOne | UpdateOne] = []
        for key, version in self._seen.items():
            seen = {"_id": key, "version": version}
            if key in self._waiting:
                changes.append(DeleteOne({**seen, "tries": {"$gte": MOST_TRIES}}))
                changes.append(UpdateOne(seen, [{"$set": later}]))
            else:
                changes.append(DeleteOne(seen))
        if changes:
            await _marks().bulk_write(changes, ordered=True)


async def _due(project_id: str, limit: int, *, beside: Collection[str] = ()) -> list[AttioMark]:
    """Up to `limit` marks that are to be looked at now, other than those `beside`."""
    wanted = {"project_id": project_id, "_id": {"$nin": list(beside)}, "$expr": _IS_DUE}
    return await AttioMark.find(wanted).sort("due_at").limit(limit).to_list()


def _as_row(mark: AttioMark) -> Row:
    return {
        "_id": mark.id,
        "project_id": mark.project_id,
        "attio_object_type": mark.object_type,
        "attio_record_id": mark.attio_id,
        "list_slug": mark.list_slug,
    }


async def look_after(project_id: str) -> Job | None:
    """See that a refresh is under way or queued, where there is anything to look at; the job, if it is a new one.

    Safe to call by many at once. After a refresh that failed (the key was revoked, say) a while is waited.
    """
    if not await _due(project_id, 1):
        return None
    hook = await AttioHook.get(project_id)
    before = hook.job_id if hook else None
    last = await Job.get(before) if before else None
    if last is not None:
        if last.state in UNFINISHED:
            return None
        if last.state != "succeeded" and last.finished_at and datetime.now(UTC) - last.finished_at < AFTER_FAILURE:
            return None
    project = await Project.get(project_id)
    if project is None:
        return None
    job = await in_transaction(_rows(), lambda session: _begin(project, before, session))
    if job is not None:
        await send(job)
    return job


async def _begin(project: Project, before: str | None, session: Session) -> Job | None:
    """A new job in place of the one before, unless somebody else was quicker."""
    hooks = AttioHook.get_motor_collection()
    job = await create_job("IMP", "import", project.id, project.owner, ARGUMENTS, session=session)
    if before is None:  # nobody has written the document yet, or written this into it
        await hooks.update_one({"_id": project.id}, {"$setOnInsert": {"job_id": None}}, upsert=True, session=session)
    ours = await hooks.update_one({"_id": project.id, "job_id": before}, {"$set": {"job_id": job.id}}, session=session)
    if ours.modified_count:
        return job
    await Job.get_motor_collection().delete_one({"_id": job.id}, session=session)
    return None


async def look_after_all() -> int:
    """The chore: refreshes for every project that has marks and no refresh; how many were begun."""
    begun = 0
    of_projects: list[dict[str, Any]] = [{"$match": {"$expr": _IS_DUE}}, {"$group": {"_id": "$project_id"}}]
    for found in await _marks().aggregate(of_projects).to_list(None):
        begun += await look_after(found["_id"]) is not None
    return begun


async def forget(project_id: str) -> None:
    """Forget marks and deliveries of a project that is gone."""
    await _marks().delete_many({"project_id": project_id})


ARGUMENTS: dict[str, Any] = {"source": None, "refresh": True, "rows": {}, "marked": True}
"""Of the job: a refresh of what is marked."""


def _rows() -> AsyncIOMotorCollection[dict[str, Any]]:
    return AttioImport.get_motor_collection()


def _marks() -> AsyncIOMotorCollection[dict[str, Any]]:
    return AttioMark.get_motor_collection()
