"""One batch of records, written and stored: its files first, then profile parts, then metadata with the checkpoint.

The order makes every crash harmless. A file without metadata, or a part without, is found again when the batch is done
anew, and taken for what it is; metadata, the import's piece and the checkpoint stand together or not at all. So what is
in the metadata has its file and its part.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection

from muster.attio import files
from muster.attio.company_names import CompanyNames
from muster.attio.documents import AttioImport, ImportPiece, import_key
from muster.attio.files import FileDraft, Written
from muster.attio.joining import owners_of
from muster.attio.lists import lists_of, without_lists
from muster.attio.metadata import Entry, Row, counted, entry_of, record
from muster.attio.models import Attribute
from muster.attio.parts import part_of
from muster.attio.reading import Reading
from muster.attio.selecting import Batch, Found
from muster.attio.state import State
from muster.attio.values import name_of, simplify
from muster.jobs.working import Claimed
from muster.projects.repository import Repository
from muster.records.bulk import Line, upsert_parts
from muster.transactions import in_transaction


@dataclass(slots=True)
class Scene:
    """What all batches of an import share. `refreshes`: what is not to be had is gone, and not a failure."""

    project_id: str
    job_id: str
    repository: Repository
    names: CompanyNames
    reading: Callable[[str], Awaitable[Reading]]
    list_attributes: Callable[[str], Awaitable[Sequence[Attribute]]]
    refreshes: bool = False
    resumes: bool = False  # an earlier attempt has stored something


@dataclass(slots=True)
class Filed:
    """A batch whose files are written: each record with what became of its file, and what was known of it."""

    batch: Batch
    drafts: list[FileDraft] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    rows: dict[str, Row] = field(default_factory=dict)


async def write_files(scene: Scene, batch: Batch) -> Filed:
    """Write the files of a batch, without what an earlier attempt has stored. Raises GitTrouble."""
    if scene.resumes:
        await _leave_out_stored(scene, batch)
    rows = await _rows_of(scene.project_id, batch)
    drafts = [await _draft(scene, found, rows.get(_key(scene, found))) for found in batch.found]
    written = await files.write(scene.repository, drafts, datetime.now(UTC)) if drafts else []
    return Filed(batch, drafts, written, rows)


async def _leave_out_stored(scene: Scene, batch: Batch) -> None:
    ids = [*(found.attio_id for found in batch.found), *(missing.attio_id for missing in batch.missing)]
    pieces = ImportPiece.get_motor_collection().find(
        {"import_id": scene.job_id, "items.id": {"$in": ids}}, {"items.id": 1}
    )
    stored = {item["id"] async for piece in pieces for item in piece["items"]}
    batch.found = [found for found in batch.found if found.attio_id not in stored]
    batch.missing = [missing for missing in batch.missing if missing.attio_id not in stored]


async def _rows_of(project_id: str, batch: Batch) -> dict[str, Row]:
    keys = [import_key(project_id, found.object_type, found.attio_id) for found in batch.found]
    found = _rows().find({"_id": {"$in": keys}})
    return {row["_id"]: row | {"attributes": _as_json(row["attributes"])} async for row in found}


def _as_json(value: Any) -> Any:
    """What MongoDB gives back as JSON's own types: its whole numbers of 64 bits are a class of their own."""
    match value:
        case bool():
            return value
        case int():
            return int(value)
        case dict():
            return {name: _as_json(item) for name, item in value.items()}
        case list():
            return [_as_json(item) for item in value]
        case _:
            return value


async def _draft(scene: Scene, found: Found, row: Row | None) -> FileDraft:
    if found.entry is None:
        attributes = simplify(found.record.values, (await scene.reading(found.object_slug)).attributes)
    else:
        described = await scene.list_attributes(found.list_slug or "")
        parent = {"parent_object": found.object_slug, "parent_record_id": found.record.record_id}
        attributes = parent | simplify(found.entry.entry_values, described)
    return FileDraft(
        record_id=found.attio_id,
        object_type=found.object_type,
        name=name_of(found.record.values),
        web_url=found.record.web_url,
        attributes=attributes,
        path=row["local_file_path"] if row else None,
        attributes_before=row["attributes"] if row else None,
    )


async def store(scene: Scene, filed: Filed, state: State, claimed: Claimed) -> None:
    """Store a batch whose files are written, and count it in the state. Raises Fenced."""
    if not filed.batch:  # an earlier attempt has stored all of it
        return
    batch, missing = filed.batch, filed.batch.missing
    whose = await owners_of(scene.project_id, batch.found)
    entries = [
        entry_of(scene.project_id, found, of_file, filed.rows.get(_key(scene, found)), whose[found.record.record_id])
        for found, of_file in zip(batch.found, zip(filed.drafts, filed.written, strict=True), strict=True)
    ]
    lines = [*await _parts(scene, entries), *await without_lists(scene.project_id, missing)]
    await claimed.renew()
    await upsert_parts(scene.project_id, lines)
    after = replace(state, counts=counted(state.counts, entries, missing, refreshes=scene.refreshes))
    await in_transaction(_rows(), lambda session: record(claimed, entries, missing, after, session))
    state.counts = after.counts


async def _parts(scene: Scene, entries: Sequence[Entry]) -> list[Line]:
    """The part of each profile, once however often its record stands in a list."""
    filed = {entry.whose.pii_id: entry for entry in entries if entry.error is None}
    names = await scene.names.of([entry.found for entry in filed.values()])
    lists = await lists_of(scene.project_id, [entry.found for entry in entries])
    lines: list[Line] = []
    for pii_id, entry in filed.items():
        one = entry.found
        reading = await scene.reading(one.object_slug)
        part = part_of(
            one.record.values,
            reading.attributes,
            reading.fields,
            company_names=names,
            lists=lists.get(one.record.record_id, ()),
            simple=entry.values["attributes"] if one.entry is None else None,
        )
        lines.append((pii_id, {reading.part: part}))
    return lines


def _key(scene: Scene, found: Found) -> str:
    return import_key(scene.project_id, found.object_type, found.attio_id)


def _rows() -> AsyncIOMotorCollection[dict[str, Any]]:
    return AttioImport.get_motor_collection()
