"""Pages of a list: `?limit=` and `?cursor=` in, `{"items": [...], "next_cursor": ...}` out."""

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from bson import ObjectId
from bson.errors import InvalidId
from litestar.params import QueryParameter
from pydantic import BaseModel

from muster.errors import Invalid

MAXIMUM_LIMIT = 1000

Limit = Annotated[int, QueryParameter(ge=1, le=MAXIMUM_LIMIT, description="How many items at most, 1 to 1000.")]
Cursor = Annotated[str | None, QueryParameter(max_length=4096, description="`next_cursor` of the page before.")]
DEFAULT_LIMIT = 100

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page; `next_cursor` is null on the last."""

    items: list[Item]
    next_cursor: str | None = None


def encode_cursor(values: Sequence[str | int | float | datetime]) -> str:
    """The position after the last item of a page: the values that the list is ordered by."""
    plain = [[_stamp(value)] if isinstance(value, datetime) else value for value in values]
    text = json.dumps(plain, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type) -> tuple[Any, ...]:
    """The values of a cursor, which must have exactly these types. Raises Invalid on anything else."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        plain = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
        if not isinstance(plain, list):
            raise _unknown_cursor()
        values = tuple(_moment(value[0]) if isinstance(value, list) else value for value in plain)
        "".join(value for value in values if isinstance(value, str)).encode()  # lone surrogates have no UTF-8
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, OverflowError):
        raise _unknown_cursor() from None
    if len(values) != len(types) or any(type(value) is not type_ for value, type_ in zip(values, types, strict=True)):
        raise _unknown_cursor()
    if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
        raise _unknown_cursor()
    return values


def object_id(text: str) -> ObjectId:
    """An id within a cursor. Raises Invalid."""
    try:
        return ObjectId(text)
    except InvalidId:
        raise _unknown_cursor() from None


def page_of(rows: Sequence[Item], limit: int, position: Any) -> tuple[list[Item], str | None]:
    """Cut `limit + 1` fetched rows down to a page; `position(row)` gives the cursor's values of the last row."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return items, encode_cursor(position(items[-1])) if more else None


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment.astimezone(UTC)


def _unknown_cursor() -> Invalid:
    return Invalid("The cursor is not one that this list gave out; start again without it.")
