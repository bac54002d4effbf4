"""Values as cells of a CSV, and back: what an export writes, an import reads as the same value.

A text is written as it is, except that

- one that a spreadsheet would run (it begins with `= + - @`, tab or carriage return) gets a `'` in front;
- an empty one is a single `'`, since an empty cell says that there is no value;
- one that looks like either with more `'` in front gets one more, so that taking one off is always right.

A list is joined by `;`. An item that this would tear apart or lose (it holds a `;`, begins with `"`, begins or ends
with white space, or is empty) stands in double quotes, its own doubled; the empty list is a single `;`. The list as a
whole is then a text. Numbers are never touched: -5 stays -5.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from muster.records.values import DoesNotFitError
from muster.rules import FieldType

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TO_GUARD = re.compile(r"'*(?:[=+\-@\t\r]|\Z)")
_GUARDED = re.compile(r"'+(?:[=+\-@\t\r]|\Z)")
_QUOTED_ITEM = re.compile(r'\s*"((?:[^"]|"")*)"\s*(?:;|\Z)')
_PLAIN_ITEM = re.compile(r"([^;]*)(?:;|\Z)")


def guarded(text: str) -> str:
    """A text as a cell: nothing that a spreadsheet runs, and never empty."""
    return "'" + text if _TO_GUARD.match(text) else text


def unguarded(cell: str) -> str:
    """The text of a cell."""
    return cell[1:] if _GUARDED.match(cell) else cell


def _write_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _read_number(cell: str) -> float:
    text = cell.strip()
    if not _NUMBER.fullmatch(text):
        raise DoesNotFitError("This must be a number, such as 12.5.")
    return float(text)


def _write_boolean(value: bool) -> str:
    return "true" if value else "false"


def _read_boolean(cell: str) -> bool:
    text = cell.strip().lower()
    if text not in {"true", "false"}:
        raise DoesNotFitError("This must be true or false.")
    return text == "true"


def write_moment(value: datetime) -> str:
    """RFC 3339 in UTC, with the milliseconds that are stored."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _write_items(items: Sequence[str]) -> str:
    return guarded(";".join(map(_write_item, items)) if items else ";")


def _write_item(item: str) -> str:
    if not item or ";" in item or item.startswith('"') or item != item.strip():
        return '"' + item.replace('"', '""') + '"'
    return item


def _read_items(cell: str) -> list[str]:
    text, items, place = unguarded(cell), [], 0
    while place < len(text):
        if quoted := _QUOTED_ITEM.match(text, place):
            items.append(quoted[1].replace('""', '"'))
            place = quoted.end()
        elif plain := _PLAIN_ITEM.match(text, place):
            items += [plain[1].strip()] if plain[1].strip() else []
            place = plain.end()
    return items


WRITERS: Mapping[FieldType, Callable[[Any], str]] = {
    FieldType.STRING: guarded,
    FieldType.NUMBER: _write_number,
    FieldType.BOOLEAN: _write_boolean,
    FieldType.DATETIME: write_moment,
    FieldType.STRINGS: _write_items,
    FieldType.NUMBERS: lambda items: _write_items([_write_number(item) for item in items]),
}
"""A stored value as a cell."""

READERS: Mapping[FieldType, Callable[[str], Any]] = {
    FieldType.STRING: unguarded,
    FieldType.NUMBER: lambda cell: _read_number(unguarded(cell)),
    FieldType.BOOLEAN: lambda cell: _read_boolean(unguarded(cell)),
    FieldType.DATETIME: lambda cell: unguarded(cell).strip(),
    FieldType.STRINGS: _read_items,
    FieldType.NUMBERS: lambda cell: [_read_number(item) for item in _read_items(cell)],
}
"""A cell that is not empty as the JSON value that it stands for; `Fields.read_part` then reads it as any other."""
