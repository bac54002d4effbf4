"""`POST /v1/profiles/import`: a stream of NDJSON or CSV into profiles, in bounded memory, line by line in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from muster.errors import Invalid, Problem
from muster.records.bulk import UpsertCounts, upsert_parts
from muster.records.cells import READERS, unguarded
from muster.records.fields import Fields
from muster.records.lines import LONGEST_LINE, Line, LineError, LineSplitter, Row, RowReader
from muster.records.rolls import RollWriter
from muster.records.updates import Changes, FieldChanges, PartChange
from muster.records.values import DoesNotFitError, read_pii_id
from muster.rules import PARTS
from muster.rules.suggestions import closest

NDJSON, CSV = "application/x-ndjson", "text/csv"
MEDIA_TYPES = (NDJSON, CSV)

BATCH_LINES = 1_000
BATCH_BYTES = 4_000_000
MOST_LISTED = 1_000  # failed lines in the answer; `failed_count` counts them all

# What an exported or answered profile carries beside its parts; in a line it is ignored.
_IGNORED = frozenset({"pii_id", "rev", "cohorts", "experiment_ids", "created_at", "updated_at", "entered_at", "cause"})


@dataclass(frozen=True, slots=True)
class Change:
    """What one line asks for, or why it cannot be taken; `size` is that of the line, in bytes."""

    number: int
    size: int
    pii_id: str = ""
    changes: Changes = field(default_factory=dict)
    error: str | None = None


class Reader(Protocol):
    """Turns chunks of a body into changes, in order."""

    def feed(self, chunk: bytes) -> Iterator[Change]: ...
    def finish(self) -> Iterator[Change]: ...


@dataclass(slots=True)
class ImportReport:
    """How an import went: the answer's counts, and the first failed lines."""

    upserted: int = 0
    unchanged: int = 0
    failed_count: int = 0
    failed: list[tuple[int, str]] = field(default_factory=list)

    def fail(self, number: int, detail: str) -> None:
        """Count a failed line, and list it while the list is short."""
        self.failed_count += 1
        if len(self.failed) < MOST_LISTED:
            self.failed.append((number, detail))

    def add(self, counts: UpsertCounts) -> None:
        """Count a batch that was written."""
        self.upserted += counts.upserted
        self.unchanged += counts.unchanged


async def import_lines(
    project_id: str, reader: Reader, chunks: AsyncIterator[bytes], roll: RollWriter | None = None
) -> ImportReport:
    """Read changes from the chunks and write them in batches, the next batch read while one is being written.

    Whose lines were taken comes on the `roll`, where one is kept. When the chunks break off in the middle, whole
    batches were written, and of the line that broke off nothing.
    """
    report, batch, size = ImportReport(), list[tuple[str, Changes]](), 0
    writing: asyncio.Task[UpsertCounts] | None = None
    try:
        async for change in _changes(reader, chunks):
            if change.error is not None:
                report.fail(change.number, change.error)
                continue
            batch.append((change.pii_id, change.changes))
            size += change.size
            if len(batch) >= BATCH_LINES or size >= BATCH_BYTES:
                if writing is not None:
                    report.add(await writing)
                writing = asyncio.create_task(_write(project_id, batch, roll))
                batch, size = [], 0
    finally:
        if writing is not None:
            report.add(await writing)
    if batch:
        report.add(await _write(project_id, batch, roll))
    return report


async def _write(project_id: str, batch: Sequence[tuple[str, Changes]], roll: RollWriter | None) -> UpsertCounts:
    counts = await upsert_parts(project_id, batch)
    if roll is not None:
        await roll.add([pii_id for pii_id, _ in batch])
    return counts


async def _changes(reader: Reader, chunks: AsyncIterator[bytes]) -> AsyncIterator[Change]:
    read = 0
    async for chunk in chunks:
        for change in reader.feed(chunk):
            yield change
            read += 1
            if read % 100 == 0:
                await asyncio.sleep(0)  # reading is Python's work: let other requests in between
    for change in reader.finish():
        yield change


class NdjsonReader:
    """A line is a profile: `{"pii_id": "P1", "lead": {…}, "contact": null}`. A part that is named replaces."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._lines = LineSplitter()
        self._decode = msgspec.json.Decoder().decode

    def feed(self, chunk: bytes) -> Iterator[Change]:
        """The changes of the lines that end in this chunk."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[Change]:
        """The change of the last line, when it does not end in a line feed."""
        return self._read(self._lines.finish())

    def _read(self, lines: Iterator[Line]) -> Iterator[Change]:
        for line in lines:
            if line.content is None:
                yield Change(line.number, 0, error=f"The line is longer than {LONGEST_LINE:,} bytes.")
            elif line.content and not line.content.isspace():
                try:
                    pii_id, changes = self._profile(self._json(line.content))
                    yield Change(line.number, len(line.content), pii_id, changes)
                except (LineError, DoesNotFitError) as error:
                    yield Change(line.number, 0, error=str(error))

    def _json(self, content: bytes) -> dict[str, Any]:
        try:
            value = self._decode(content)
        except UnicodeDecodeError:
            raise LineError("The line is not UTF-8.") from None
        except RecursionError:
            raise LineError("The line nests too deeply.") from None
        except (msgspec.DecodeError, ValueError) as error:
            raise LineError(f"The line is not JSON: {str(error).removeprefix('JSON is malformed: ')}.") from None
        if not isinstance(value, dict):
            raise LineError("The line is not a JSON object.")
        return value

    def _profile(self, value: Mapping[str, Any]) -> tuple[str, Changes]:
        if "pii_id" not in value:
            raise LineError("The line has no pii_id.")
        pii_id = read_pii_id(value["pii_id"])
        changes: dict[str, PartChange] = {}
        for name, content in value.items():
            if name in PARTS:
                changes[name] = None if content is None else self._part(name, content)
            elif name not in _IGNORED:
                suggestion = closest(name, PARTS)
                problem = Problem("A profile has no such part.", pointer=f"/{name[:100]}", suggestion=suggestion)
                raise LineError(_in_place(problem))
        return pii_id, changes

    def _part(self, part: str, content: Any) -> Mapping[str, Any]:
        read = self._fields.read_part(part, content, f"/{part}")
        if read.problems:
            raise LineError(_in_words(read.problems))
        return read.values


class CsvReader:
    """A header `pii_id,lead.status,…`, then a record per profile. Sets the named fields; an empty cell leaves its."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._lines = LineSplitter()
        self._rows = RowReader()
        self._columns: list[tuple[str, str, Callable[[str], Any]]] | None = None  # part, field, reader of a cell
        self._id_column = 0

    def feed(self, chunk: bytes) -> Iterator[Change]:
        """The changes of the records that end in this chunk. Raises Invalid when the header does not hold."""
        for line in self._lines.feed(chunk):
            yield from self._read(self._rows.feed(line), len(line.content or b""))

    def finish(self) -> Iterator[Change]:
        """The change of the last record. Raises Invalid when there was not even a header."""
        for line in self._lines.finish():
            yield from self._read(self._rows.feed(line), len(line.content or b""))
        yield from self._read(self._rows.finish(), 0)
        if self._columns is None:
            raise Invalid("The CSV has no header; its first line names the columns, such as `pii_id,lead.status`.")

    def _read(self, rows: Iterator[Row], size: int) -> Iterator[Change]:
        for row in rows:
            if self._columns is None:
                self._read_header(row)
                continue
            try:
                pii_id, changes = self._profile(self._columns, row.cells)
                yield Change(row.number, size, pii_id, changes)
            except (LineError, DoesNotFitError) as error:
                yield Change(row.number, 0, error=str(error))

    def _read_header(self, row: Row) -> None:
        if isinstance(row.cells, LineError):
            raise Invalid(f"The CSV's header cannot be read: {row.cells}")
        names = [name.strip() for name in row.cells]
        known = self._fields.registry
        problems = [
            Problem(f"Column {number} is {name[:100]!r}, which is no field.", suggestion=closest(name, known))
            for number, name in enumerate(names, start=1)
            if name not in _IGNORED and name not in known
        ]
        problems += [
            Problem(f"Column {number} is {name!r} again.")
            for number, name in enumerate(names, start=1)
            if name in names[: number - 1]
        ]
        if "pii_id" not in names:
            problems.append(Problem("There is no column pii_id; columns are separated by commas."))
        if problems:
            raise Invalid("The CSV's header does not fit.", problems[:100])
        self._id_column = names.index("pii_id")
        self._columns = [("", "", str) if name in _IGNORED else (*_split(name), READERS[known[name]]) for name in names]

    def _profile(
        self, columns: list[tuple[str, str, Callable[[str], Any]]], cells: list[str] | LineError
    ) -> tuple[str, Changes]:
        if isinstance(cells, LineError):
            raise cells
        if len(cells) != len(columns):
            raise LineError(f"The line has {len(cells)} cells, the header {len(columns)}.")
        pii_id = read_pii_id(unguarded(cells[self._id_column]))
        parts: dict[str, dict[str, Any]] = {}
        for (part, name, read), cell in zip(columns, cells, strict=True):
            if cell and part:
                try:
                    parts.setdefault(part, {})[name] = read(cell)
                except DoesNotFitError as error:
                    raise LineError(_in_place(Problem(str(error), pointer=f"/{part}/{name}"))) from None
        changes: dict[str, PartChange] = {}
        for part, values in parts.items():
            normalised = self._fields.read_part(part, values, f"/{part}")
            if normalised.problems:
                raise LineError(_in_words(normalised.problems))
            changes[part] = FieldChanges(normalised.values)
        return pii_id, changes


def _split(name: str) -> tuple[str, str]:
    part, _, field_name = name.partition(".")
    return part, field_name


def _in_words(problems: list[Problem]) -> str:
    return " ".join(_in_place(problem) for problem in problems[:10])


def _in_place(problem: Problem) -> str:
    said = f"{problem.pointer} does not fit: {problem.detail}"
    return f"{said} Did you mean {problem.suggestion}?" if problem.suggestion else said
