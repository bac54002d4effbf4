"""The metadata of a batch: a row for each record or entry, the piece of the import, and the checkpoint, together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import bson
from motor.motor_asyncio import AsyncIOMotorClientSession as Session
from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import UpdateOne

from muster.attio.documents import AttioImport, ImportPiece, import_key
from muster.attio.files import FileDraft, Written
from muster.attio.joining import Whose
from muster.attio.selecting import Found, Missing
from muster.attio.state import Counts, State
from muster.jobs.working import Claimed
from muster.records.values import DoesNotFitError, read_pii_id

LARGEST_ROW = 8_000_000  # bytes of BSON; MongoDB takes twice as much

Row = dict[str, Any]


@dataclass(slots=True)
class Entry:
    """One record or entry on its way into the metadata."""

    found: Found
    row: Row | None
    values: dict[str, Any]
    whose: Whose
    written: Written
    error: str | None
    remark: str | None

    @property
    def is_new(self) -> bool:
        return self.row is None

    @property
    def differs(self) -> bool:
        """Whether what Attio says is not what is stored."""
        row = self.row or {}
        return self.written.outcome != "unchanged" or any(row.get(name) != value for name, value in self.values.items())

    @property
    def was_marked(self) -> bool:
        """Whether it was said to be out of date, or wrong."""
        return self.row is not None and self.row.get("sync_status") != "synced"


def entry_of(project_id: str, found: Found, filed: tuple[FileDraft, Written], row: Row | None, whose: Whose) -> Entry:
    """A record whose file is written, as its metadata shall say."""
    draft, written = filed
    values: dict[str, Any] = {
        "project_id": project_id,
        "attio_record_id": found.attio_id,
        "attio_object_type": found.object_type,
        "name": draft.name,
        "attio_web_url": draft.web_url,
        "local_file_path": written.path,
        "attributes": dict(draft.attributes),
        "list_slug": found.list_slug,
        "pii_id": whose.pii_id,
        "subject_id": found.record.record_id,
        "parent_object": found.object_slug if found.entry else None,
        "addresses": list(whose.addresses),
        "conflict": whose.conflict,
    }
    error = written.error
    if error is None and len(bson.encode(values)) > LARGEST_ROW:
        error = f"It is larger than {LARGEST_ROW:,} bytes."
    if error is None:
        try:
            read_pii_id(whose.pii_id)
        except DoesNotFitError as wrong:
            error = f"Its id cannot name a profile: {wrong}"
    remark = f"Your own edit of {written.path} was put aside as {written.kept}." if written.kept else None
    return Entry(found, row, values, whose, written, error, remark)


def counted(before: Counts, entries: Sequence[Entry], missing: Sequence[Missing], *, refreshes: bool) -> Counts:
    """The counts after a batch. In a refresh what is not to be had is gone, and not a failure."""
    after = replace(before)
    for entry in entries:
        if entry.error is not None:
            after.failed += 1
            continue
        after.imported += entry.is_new
        after.updated += not entry.is_new and entry.differs
        after.unchanged += not entry.is_new and not entry.differs
        after.conflicts += entry.whose.conflict is not None
        after.files += entry.is_new or entry.differs
    if refreshes:
        after.gone += len(missing)
    else:
        after.failed += len(missing)
    after.pieces += 1
    return after


async def record(
    claimed: Claimed, entries: Sequence[Entry], missing: Sequence[Missing], after: State, session: Session
) -> None:
    """The transaction of a batch. Raises Fenced."""
    job = claimed.job
    failures = [failure for entry in entries for failure in _failures(entry)]
    failures += [{"record_id": each.attio_id, "detail": each.detail} for each in missing]
    await claimed.checkpoint(after.as_checkpoint(), failures=failures, session=session)  # Fenced before anything else
    if updates := [update for entry in entries for update in _updates(job.id, entry)]:
        await _rows().bulk_write(updates, ordered=False, session=session)
    for status in ("error", "pending"):
        of_status = [each for each in missing if each.pending == (status == "pending")]
        await _mark(job.project_id, of_status, status, session)
    items = [{"id": entry.found.attio_id, "pii_id": None if entry.error else entry.whose.pii_id} for entry in entries]
    items += [{"id": each.attio_id, "pii_id": None} for each in missing]
    number = after.counts.pieces - 1
    piece = {"_id": f"{job.id}|{number}", "import_id": job.id, "number": number}
    await ImportPiece.get_motor_collection().insert_one(
        {**piece, "project_id": job.project_id, "items": items}, session=session
    )


def _updates(job_id: str, entry: Entry) -> list[UpdateOne]:
    key = import_key(entry.values["project_id"], entry.found.object_type, entry.found.attio_id)
    if entry.error is not None:  # what is stored of it stays, and says that it is not what Attio has
        wrong = {"sync_status": "error", "sync_error": entry.error}
        return [] if entry.is_new else [UpdateOne({"_id": key}, {"$set": wrong})]
    synced = {"sync_status": "synced", "sync_error": None}
    if not entry.is_new and not entry.differs:
        return [UpdateOne({"_id": key}, {"$set": synced})] if entry.was_marked else []
    changed = {**entry.values, **synced, "imported_at": entry.written.imported_at}
    changed |= {"uncommitted": True, "job_id": job_id}
    return [UpdateOne({"_id": key}, {"$set": changed, "$setOnInsert": {"experiment_ids": []}}, upsert=True)]


async def _mark(project_id: str, missing: Sequence[Missing], status: str, session: Session) -> None:
    """Say of what is stored that Attio has it no longer. File and profile stay: nobody here deleted them."""
    updates = [
        UpdateOne(
            {"_id": import_key(project_id, each.object_type, each.attio_id)},
            {"$set": {"sync_status": status, "sync_error": each.detail}},
        )
        for each in missing
    ]
    if updates:
        await _rows().bulk_write(updates, ordered=False, session=session)


def _failures(entry: Entry) -> list[dict[str, Any]]:
    named = {"record_id": entry.found.attio_id, "pii_id": entry.whose.pii_id}
    return [
        {**named, "detail": detail}
        for detail in (entry.error, None if entry.error else entry.whose.conflict, entry.remark)
        if detail
    ]


def _rows() -> AsyncIOMotorCollection[dict[str, Any]]:
    return AttioImport.get_motor_collection()
