"""The members of a cohort as a file: streamed, in bounded memory, all of one moment."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pymongo import ASCENDING

from muster.cohorts.documents import Cohort, Membership, generation_id, ids_of
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.errors import Conflict
from muster.records.documents import Profile
from muster.records.exporting import BESIDE_FIELDS, ExportFormat, Writer, projection, selected, writer_of
from muster.records.importing import CSV, NDJSON
from muster.records.registry import registry

PROFILES_AT_ONCE = 1_000

_MEDIA_TYPES = {"csv": CSV, "ndjson": NDJSON}
_ROW = {"_id": 0, "profile": 1, **dict.fromkeys(BESIDE_FIELDS, 1)}


@dataclass(frozen=True, slots=True)
class Export:
    """A file on its way. Whoever stops reading closes `chunks`, and with it the cursors."""

    name: str
    media_type: str
    chunks: AsyncGenerator[bytes, None]


async def export(owner: str, cohort_id: str, *, file_format: ExportFormat, fields: str | None) -> Export:
    """The members with the named fields (comma-separated; None: all), in the order of their profiles.

    What can go wrong at the beginning is raised here: NotFound, Invalid for an unknown field, Conflict while the first
    evaluation runs. Everything is read in one snapshot, which MongoDB keeps for five minutes: when that is over, or
    the server goes, `chunks` raises, and the file must not look whole.
    """
    cohort = await cohort_of(owner, cohort_id)
    known = await registry(cohort.project_id)
    names = selected(fields, known)
    writer = writer_of(file_format, names, known)
    chunks = _chunks(cohort_id, writer, projection(names))
    first = await anext(chunks)
    return Export(f"{cohort_id}.{file_format}", _MEDIA_TYPES[file_format], _all(first, chunks))


async def _all(first: bytes, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(chunks):
        yield first
        async for chunk in chunks:
            yield chunk


async def _chunks(cohort_id: str, writer: Writer, shown: dict[str, int]) -> AsyncGenerator[bytes, None]:
    """The header with the first profiles, then the others."""
    chunk = writer.header()
    async with open_snapshot() as snapshot, aclosing(_profiles(cohort_id, shown, snapshot)) as batches:
        async for profiles in batches:
            yield chunk + writer.lines(profiles)
            chunk = b""
    if chunk:
        yield chunk


async def _profiles(
    cohort_id: str, shown: dict[str, int], snapshot: Snapshot
) -> AsyncGenerator[list[dict[str, Any]], None]:
    """The members as they are in the snapshot, with since when and why. One whose profile was erased is left out."""
    cohort = await Cohort.find_one({"_id": cohort_id}, session=snapshot.session)
    if cohort is None or cohort.active is None:
        raise Conflict(f"{cohort_id} is being evaluated for the first time; there is nothing to export yet.")
    rows = Membership.get_motor_collection().find(
        {"_id": ids_of(generation_id(cohort_id, cohort.active.number)), "in": True},
        _ROW,
        session=snapshot.session,
        sort=[("_id", ASCENDING)],
        batch_size=PROFILES_AT_ONCE,
    )
    try:
        while batch := await rows.to_list(PROFILES_AT_ONCE):
            ids = [row["profile"] for row in batch]
            found = Profile.get_motor_collection().find({"_id": {"$in": ids}}, shown, session=snapshot.session)
            profiles = {profile["_id"]: profile async for profile in found}
            yield [{**profiles[row["profile"]], **row} for row in batch if row["profile"] in profiles]
    finally:
        await rows.close()
