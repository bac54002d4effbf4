"""Reading all pages of a query that knows neither cursor nor total, while rows come and go.

Pages are asked for by offset, the oldest row first, so what is created meanwhile comes at the end. What is deleted
moves the rest forward, over the border of a page, where it would be missed. So each page begins with the last rows of
the one before: a page whose first row was seen has missed nothing. One that begins with a row never seen before may
have, and the walk goes back until it meets what it knows. A short page is the last one; a second look behind it makes
sure that it was short because nothing follows, and finds what was created during the walk.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from muster.attio.errors import AttioApiError
from muster.tasks import stop

OVERLAP = 20  # rows that two pages share
MOST_STEPS_BACK = 20  # in one walk: an order that changes all the time has no neighbours

_log = logging.getLogger(__name__)

Row = TypeVar("Row")
Fetch = Callable[[int], Awaitable[list[Row]]]
"""The page at an offset."""


async def all_pages(fetch: Fetch[Row], id_of: Callable[[Row], str], page: int) -> AsyncGenerator[list[Row], None]:
    """Every row once, in batches, in the order of the pages; `page` is how many rows a full page has.

    While the caller works on a batch, the page after it is on its way. Of the rows only their ids are kept.
    Raises AttioApiError when pages only repeat themselves.
    """
    seen: set[bytes] = set()
    offset, steps_back, repeated = 0, 0, 0
    coming = asyncio.ensure_future(fetch(offset))
    try:
        while True:
            rows = await coming
            keys = [_compact(id_of(row)) for row in rows]
            if offset and (not keys or keys[0] not in seen) and steps_back < MOST_STEPS_BACK:
                steps_back += 1
                offset = max(0, offset - page // 2)
                _log.info("Rows went away between two pages: looking again from row %d on.", offset)
                coming = asyncio.ensure_future(fetch(offset))
                continue
            fresh = _fresh(rows, keys, seen)
            if not fresh and len(rows) < page:
                return
            repeated = 0 if fresh else repeated + 1
            if repeated > MOST_STEPS_BACK:
                raise AttioApiError("Attio answers with the same rows, whichever page it is asked for.")
            offset += len(rows) - min(OVERLAP, (len(rows) + 1) // 2)
            coming = asyncio.ensure_future(fetch(offset))
            if fresh:
                yield fresh
    finally:
        with suppress(AttioApiError):  # whoever leaves does not want that page any more
            await stop(coming)


def _fresh(rows: list[Row], keys: list[bytes], seen: set[bytes]) -> list[Row]:
    """The rows that were not seen before, now seen."""
    fresh = []
    for row, key in zip(rows, keys, strict=True):
        if key not in seen:
            seen.add(key)
            fresh.append(row)
    return fresh


def _compact(row_id: str) -> bytes:
    """An id in as few bytes as it needs: a UUID in 16."""
    digits = row_id.replace("-", "")
    if len(digits) == 32 and len(row_id) == 36:
        with suppress(ValueError):
            return bytes.fromhex(digits)
    return row_id.encode()
