"""What came of a run, persona by persona: stored once, listed, summed up, written to a file."""

import csv
import io
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import UpdateOne

from muster.api.paging import decode_cursor, page_of
from muster.experiments.allocation import Ratio, check_ratio
from muster.experiments.documents import HELD_OUT, ExperimentRun, Part, Persona, ids_between
from muster.experiments.wire import Refusal
from muster.records.cells import guarded, write_moment
from muster.records.service import profile

PER_WRITE = 1_000
LARGEST_RESULT = 1_000_000  # bytes of one persona's
LONGEST_STATE = 50  # characters
MOST_COLUMNS = 500  # of a CSV, beside those of every persona
MOST_MEASURES = 200
COMPLETED = "completed"  # the state of a result that names none

FileFormat = Literal["csv", "ndjson"]
_SHOWN = {"_id": 0, "number": 1, "pii_id": 1, "name": 1, "arm": 1, "state": 1, "result": 1, "result_at": 1}
_COLUMNS = ("pii_id", "name", "arm", "state", "result_at")


async def store(run: ExperimentRun, first: int, results: Sequence[bytes | memoryview]) -> None:
    """Keep results, those of the personas from number `first` on. A persona keeps the one that came first.

    Whoever was erased gets none. Raises Refusal for one that is too large, before any is kept.
    """
    snapshot = run.snapshot or ""
    for number, result in enumerate(results, first):
        if len(bytes(result)) > LARGEST_RESULT:
            raise Refusal(f"The result of persona {number} is larger than {LARGEST_RESULT:,} bytes.")
    now = datetime.now(UTC)
    for start in range(0, len(results), PER_WRITE):
        ids = ids_between(snapshot, first + start, first + start + PER_WRITE)
        waiting = _personas().find(
            {"_id": ids, "result": {"$exists": False}, "is_erased": {"$ne": True}}, {"number": 1}
        )
        writes = []
        async for persona in waiting:
            place = persona["number"] - first
            if place < len(results):
                text = bytes(results[place]).decode()
                values = {"result": text, "state": state_of(text), "result_at": now}
                # The condition again: another process may have it since, or an erasure.
                wanted = {"_id": persona["_id"], "result": {"$exists": False}, "is_erased": {"$ne": True}}
                writes.append(UpdateOne(wanted, {"$set": values}))
        if writes:
            await _personas().bulk_write(writes, ordered=False)


def state_of(result: str) -> str:
    """What a result says of itself, by `state` or `status`."""
    read = msgspec.json.decode(result)
    state = (read.get("state") or read.get("status")) if isinstance(read, dict) else None
    return state[:LONGEST_STATE] if isinstance(state, str) and state.isprintable() else COMPLETED


async def stored_count(run: ExperimentRun, part: Part | None = None) -> int:
    """How many personas of a run, or of one part, have a result."""
    first, end = (part.first, part.first + part.count) if part else (0, HELD_OUT)
    return await _personas().count_documents(
        {"_id": ids_between(run.snapshot or "", first, end), "result": {"$exists": True}}
    )


async def is_complete(run: ExperimentRun, part: Part) -> bool:
    """Whether nobody in a part waits for a result any more."""
    ids = ids_between(run.snapshot or "", part.first, part.first + part.count)
    waiting = {"_id": ids, "result": {"$exists": False}, "is_erased": {"$ne": True}}
    return await _personas().find_one(waiting, {"_id": 1}) is None


async def page(
    run: ExperimentRun, *, state: str | None, arm: str | None, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of results, in the order in which the personas were sent."""
    first = decode_cursor(cursor, int)[0] + 1 if cursor else 0
    query: dict[str, Any] = {"_id": ids_between(run.snapshot or "", max(0, min(first, HELD_OUT)), HELD_OUT)}
    query["result"] = {"$exists": True}
    if state is not None:
        query["state"] = state
    if arm is not None:
        query["arm"] = arm
    rows = await _personas().find(query, _SHOWN).sort("_id", 1).limit(limit + 1).to_list(None)
    return page_of(rows, limit, lambda row: (row["number"],))


async def of_profile(
    project_id: str, pii_id: str, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of what came of a profile, in all runs that took it. Raises NotFound for an unknown profile."""
    found = await profile(project_id, pii_id)
    query: dict[str, Any] = {"profile": found.id, "result": {"$exists": True}}
    if cursor is not None:
        query["_id"] = {"$gt": decode_cursor(cursor, str)[0]}
    shown = {**_SHOWN, "_id": 1, "experiment": 1, "run": 1}
    rows = await _personas().find(query, shown).sort("_id", 1).limit(limit + 1).to_list(None)
    return page_of(rows, limit, lambda row: (row["_id"],))


@dataclass(slots=True)
class Measure:
    """A number that results carry, summed up as it streams by (Welford)."""

    count: int = 0
    mean: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf
    _squares: float = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self._squares += before * (value - self.mean)
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)

    @property
    def deviation(self) -> float | None:
        """The standard deviation of the population that these are a sample of; None of fewer than two."""
        return math.sqrt(self._squares / (self.count - 1)) if self.count > 1 else None


@dataclass(slots=True)
class Group:
    """All results, or those of one arm."""

    count: int = 0
    states: dict[str, int] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)

    def add(self, state: str, values: Mapping[str, float]) -> None:
        """One more result."""
        self.count += 1
        self.states[state] = self.states.get(state, 0) + 1
        for name, value in values.items():
            if name in self.measures or len(self.measures) < MOST_MEASURES:
                self.measures.setdefault(name, Measure()).add(value)


@dataclass(slots=True)
class Summary:
    """All results, those of each arm, and whether the arms are as large as they should be."""

    everybody: Group = field(default_factory=Group)
    arms: dict[str, Group] = field(default_factory=dict)
    ratio: Ratio | None = None


async def summary(run: ExperimentRun) -> Summary:
    """What the results of a run come to, as they are now: whoever was erased is in no number."""
    found = Summary()
    async with aclosing(_all(run)) as rows:
        async for row in rows:
            state, values = row.get("state") or COMPLETED, measures_of(row["result"])
            found.everybody.add(state, values)
            if arm := row.get("arm"):
                found.arms.setdefault(arm, Group()).add(state, values)
    counts = {name: group.count for name, group in found.arms.items()}
    found.ratio = check_ratio(counts, run.weights or {name: float(count) for name, count in run.arm_counts.items()})
    return found


def measures_of(result: str) -> dict[str, float]:
    """The numbers of a result, also those one level deep (`scores.clarity`)."""
    read = msgspec.json.decode(result)
    found: dict[str, float] = {}
    if isinstance(read, dict):
        for name, value in read.items():
            inner = {f"{name}.{below}": each for below, each in value.items()} if isinstance(value, dict) else {}
            for full, each in {name: value, **inner}.items():
                if isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each):
                    found[full] = float(each)
    return found


@dataclass(frozen=True, slots=True)
class Export:
    """A file on its way."""

    name: str
    media_type: str
    chunks: AsyncIterator[bytes]


async def export(run: ExperimentRun, file_format: FileFormat) -> Export:
    """All results as CSV, or as NDJSON with each result as it came."""
    name = f"{run.experiment}-{run.id}.{file_format}"
    if file_format == "ndjson":
        return Export(name, "application/x-ndjson", _ndjson(run))
    return Export(name, "text/csv", _csv(run, await _columns(run)))


async def _ndjson(run: ExperimentRun) -> AsyncGenerator[bytes, None]:
    async with aclosing(_all(run)) as rows:
        async for row in rows:
            line = {
                "run_id": run.id,
                **{name: row.get(name) for name in _COLUMNS},
                "result": msgspec.Raw(row["result"].encode()),
            }
            yield msgspec.json.encode(line) + b"\n"


async def _csv(run: ExperimentRun, columns: Sequence[str]) -> AsyncGenerator[bytes, None]:
    yield _written(["run_id", *_COLUMNS, *(guarded(f"result.{name}") for name in columns)])
    async with aclosing(_all(run)) as rows:
        async for row in rows:
            read = msgspec.json.decode(row["result"])
            values = read if isinstance(read, dict) else {"": read}
            before = [run.id, *(_cell(row.get(name)) for name in _COLUMNS)]
            yield _written([*before, *(_cell(values.get(name)) for name in columns)])


async def _columns(run: ExperimentRun) -> list[str]:
    """The properties that results have, as they first appear."""
    names: dict[str, None] = {}
    async with aclosing(_all(run)) as rows:
        async for row in rows:
            read = msgspec.json.decode(row["result"])
            for name in read if isinstance(read, dict) else ("",):
                if len(names) < MOST_COLUMNS:
                    names.setdefault(name)
    return list(names)


def _cell(value: Any) -> str:
    """Nothing that a spreadsheet runs: what is no number is a text."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return json.dumps(value)
        case datetime():
            return write_moment(value)
        case str():
            return guarded(value)
        case _:
            return guarded(json.dumps(value, ensure_ascii=False))


def _written(record: Sequence[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerow(record)
    return text.getvalue().encode()


async def _all(run: ExperimentRun) -> AsyncGenerator[Mapping[str, Any], None]:
    query = {"_id": ids_between(run.snapshot or "", 0, HELD_OUT), "result": {"$exists": True}}
    rows = _personas().find(query, _SHOWN).sort("_id", 1).batch_size(PER_WRITE)
    try:
        async for row in rows:
            yield row
    finally:
        await rows.close()


def _personas() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Persona.get_motor_collection()
