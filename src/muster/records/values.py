"""Single values at ingress: each read by the type of its field into its one stored form, or refused."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from muster.rules import FieldType

LARGEST_NUMBER = 2.0**53  # beyond it, a double no longer holds every whole number
LONGEST_STRING = 500_000  # characters
LONGEST_LIST = 10_000  # items
LONGEST_PII_ID = 200  # characters

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOMENT = re.compile(_DATE.pattern + r"[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})?")

_NOT_A_TIME = 'This must be a time such as "2026-01-31T12:00:00Z".'

Item = TypeVar("Item")


class DoesNotFitError(Exception):
    """A value is not what its field takes. `index` is the place within a list."""

    def __init__(self, sentence: str, index: int | None = None) -> None:
        super().__init__(sentence)
        self.index = index


def read_pii_id(value: Any) -> str:
    """The identifier of a profile: 1 to 200 characters, no control characters."""
    if not isinstance(value, str):
        raise DoesNotFitError("A pii_id is a string.")
    if not 0 < len(value) <= LONGEST_PII_ID:
        raise DoesNotFitError(f"A pii_id has 1 to {LONGEST_PII_ID} characters, this one has {len(value)}.")
    if _CONTROL.search(value):
        raise DoesNotFitError("A pii_id has no control characters.")
    return value


def read_string(value: Any) -> str:
    """Text that BSON can store: no lone surrogates, and no NUL (patterns cannot name it)."""
    if not isinstance(value, str):
        raise DoesNotFitError("This must be a string.")
    if len(value) > LONGEST_STRING:
        raise DoesNotFitError(f"This has {len(value):,} characters; {LONGEST_STRING:,} are the most.")
    if _UNSTORABLE.search(value):
        raise DoesNotFitError("This has a NUL character or half of a surrogate pair, which cannot be stored.")
    return value


def read_number(value: Any) -> float:
    """A finite double within ±2^53."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DoesNotFitError("This must be a number.")
    if not -LARGEST_NUMBER <= value <= LARGEST_NUMBER:  # NaN compares false, so it is refused here too
        raise DoesNotFitError("This must be a number between -2^53 and 2^53.")
    return float(value) + 0.0  # -0.0 becomes 0.0


def read_boolean(value: Any) -> bool:
    """true or false, and nothing that stands for them."""
    if not isinstance(value, bool):
        raise DoesNotFitError("This must be true or false.")
    return value


def read_datetime(value: Any) -> datetime:
    """RFC 3339 with a time zone, or a date (midnight UTC); aware UTC in whole milliseconds, rounded down."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return _milliseconds(value)
    if not isinstance(value, str):
        raise DoesNotFitError(_NOT_A_TIME)
    found = _MOMENT.fullmatch(value)
    if found is None and not _DATE.fullmatch(value):
        raise DoesNotFitError(_NOT_A_TIME)
    if found is not None and found[2] is None:
        raise DoesNotFitError('This time needs its time zone, such as "Z" or "+02:00".')
    try:
        moment = datetime.fromisoformat(value.upper())
        return _milliseconds(moment if found else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):  # the 30th of February, or before the year 1 in UTC
        raise DoesNotFitError(_NOT_A_TIME) from None


def read_strings(value: Any) -> list[str]:
    """A list of strings, without nulls."""
    return _read_list(value, read_string)


def read_numbers(value: Any) -> list[float]:
    """A list of numbers, without nulls."""
    return _read_list(value, read_number)


READERS: Mapping[FieldType, Callable[[Any], Any]] = {
    FieldType.STRING: read_string,
    FieldType.NUMBER: read_number,
    FieldType.BOOLEAN: read_boolean,
    FieldType.DATETIME: read_datetime,
    FieldType.STRINGS: read_strings,
    FieldType.NUMBERS: read_numbers,
}


def _read_list(value: Any, read: Callable[[Any], Item]) -> list[Item]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise DoesNotFitError("This must be a list.")
    if len(value) > LONGEST_LIST:
        raise DoesNotFitError(f"This has {len(value):,} items; {LONGEST_LIST:,} are the most.")
    items = []
    for index, item in enumerate(value):
        try:
            items.append(read(item))
        except DoesNotFitError as error:
            raise DoesNotFitError(str(error), index) from None
    return items


def _milliseconds(moment: datetime) -> datetime:
    utc = moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)
