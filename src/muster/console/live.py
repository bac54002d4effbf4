"""What moves while one looks: server-sent events that tell a page that it is out of date.

A live page carries the version of what it shows. Its stream says `changed` as soon as there is another one, and the
page asks for itself again: one way to make a page, whoever wants it. Each event has the version as its id, so a browser
that comes back after a lost connection hears of what it missed, and of nothing else.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Response

from muster.api.events import LOOK_EVERY, Looks, event, server_sent

LAST_EVENT_ID = "last-event-id"
LOOK_PAUSE = 0.5  # seconds between two looks at what a page shows
REST = 10  # a look that takes long is repeated less often: this many times its duration later
LONGEST = 30.0  # seconds; the browser comes back by itself, and then its session is looked at again

Look = Callable[[], Awaitable[str]]
"""Finds the version of what a page would show now."""


def version_of(*shown: object) -> str:
    """Names what a page shows: one that shows it already need not be sent it again."""
    return hashlib.sha256(repr(shown).encode("utf-8", "backslashreplace")).hexdigest()[:16]


async def follow(request: Any, look: Look, seen: str | None) -> Response[Any]:
    """The stream for a page that shows `seen`. Errors of the first look become the answer."""
    known = request.headers.get(LAST_EVENT_ID) or seen
    return server_sent(_changes(look, await look(), known))


async def _changes(look: Look, current: str, known: str | None) -> Looks:
    ends = time.monotonic() + LONGEST
    pause = LOOK_PAUSE
    while True:
        if current != known:
            known = current
            yield event("changed", current, "")
        next_look = time.monotonic() + pause
        while time.monotonic() < next_look:
            await asyncio.sleep(min(LOOK_EVERY.total_seconds(), max(next_look - time.monotonic(), 0)))
            yield None
        if time.monotonic() > ends:
            return
        began = time.monotonic()
        current = await look()
        pause = max(LOOK_PAUSE, REST * (time.monotonic() - began))
