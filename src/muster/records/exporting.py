"""Profiles as lines of a file, in the forms that the import reads: importing them again restores the same values."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from muster.errors import Invalid, Problem
from muster.records.cells import WRITERS, guarded, write_moment
from muster.rules import PARTS, FieldType
from muster.rules.suggestions import closest

ExportFormat = Literal["csv", "ndjson"]

BESIDE_FIELDS = ("entered_at", "cause")
"""What may be asked for beside fields: since when and why a profile is a member. The import ignores it."""

_BESIDE: Mapping[str, Callable[[Any], str]] = {"entered_at": write_moment, "cause": guarded}


def selected(wanted: str | None, registry: Mapping[str, FieldType]) -> list[str]:
    """The fields that a comma-separated list names, in its order, once each; all of them, by part, without a list.

    Raises Invalid, pointing at what is no field by its place in the list.
    """
    if wanted is None:
        order = {part: place for place, part in enumerate(PARTS)}
        return sorted(registry, key=lambda name: (order[name.partition(".")[0]], name))
    names = [name.strip() for name in wanted.split(",")]
    known = {*registry, *BESIDE_FIELDS}
    problems = [
        Problem(f"There is no field {name[:100]!r}.", f"/fields/{place}", suggestion=closest(name, known))
        for place, name in enumerate(names)
        if name not in known and name != "pii_id"
    ]
    if problems:
        raise Invalid("The fields to export do not fit; GET /v1/fields lists them all.", problems[:100])
    return list(dict.fromkeys(name for name in names if name != "pii_id"))


def projection(fields: Iterable[str]) -> dict[str, int]:
    """What must be read of a profile to write these fields. A part that is there shows, also without any of them."""
    return {"_id": 1, "pii_id": 1, **{name: 1 for name in fields if name not in BESIDE_FIELDS}}


class Writer(Protocol):
    """Turns profiles into lines: stored documents, with `entered_at` and `cause` put in where they are asked for."""

    def header(self) -> bytes: ...
    def lines(self, profiles: Iterable[Mapping[str, Any]]) -> bytes: ...


class CsvWriter:
    """A header `pii_id,lead.status,…`, then a record per profile. An empty cell: there is no value."""

    def __init__(self, fields: Sequence[str], registry: Mapping[str, FieldType]) -> None:
        self._names = ["pii_id", *fields]
        self._cells = [_cell(name, registry) for name in fields]

    def header(self) -> bytes:
        """The names of the columns."""
        return self._written([self._names])

    def lines(self, profiles: Iterable[Mapping[str, Any]]) -> bytes:
        """A record per profile."""
        return self._written([self._record(profile) for profile in profiles])

    def _record(self, profile: Mapping[str, Any]) -> list[str]:
        record = [guarded(profile["pii_id"])]
        for part, name, write in self._cells:
            value = (profile.get(part) or {}).get(name) if part else profile.get(name)
            record.append("" if value is None else write(value))
        return record

    @staticmethod
    def _written(records: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows(records)  # so that a lone \r or \n in a cell is quoted too
        return text.getvalue().encode()


def _cell(name: str, registry: Mapping[str, FieldType]) -> tuple[str, str, Callable[[Any], str]]:
    """Part, field and writer of a column; what stands beside the fields has no part."""
    if name in BESIDE_FIELDS:
        return "", name, _BESIDE[name]
    part, _, field = name.partition(".")
    return part, field, WRITERS[registry[name]]


class NdjsonWriter:
    """A line is a profile: every part of which a field is asked for, null where there is none."""

    def __init__(self, fields: Sequence[str]) -> None:
        self._parts = [part for part in PARTS if any(name.startswith(f"{part}.") for name in fields)]
        self._beside = [name for name in fields if name in BESIDE_FIELDS]
        self._encode = msgspec.json.Encoder().encode

    def header(self) -> bytes:
        """There is none."""
        return b""

    def lines(self, profiles: Iterable[Mapping[str, Any]]) -> bytes:
        """A line per profile."""
        return b"".join([self._encode(self._profile(profile)) + b"\n" for profile in profiles])

    def _profile(self, profile: Mapping[str, Any]) -> dict[str, Any]:
        return {name: profile.get(name) for name in ("pii_id", *self._parts, *self._beside)}


def writer_of(file_format: ExportFormat, fields: Sequence[str], registry: Mapping[str, FieldType]) -> Writer:
    """The writer of a format."""
    return CsvWriter(fields, registry) if file_format == "csv" else NdjsonWriter(fields)
