"""Server-sent events without end: signs of life, and an end when the process is told to stop."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import timedelta

from litestar.response import ServerSentEvent, ServerSentEventMessage

from muster.api.serving import stopping

LOOK_EVERY = timedelta(milliseconds=250)  # how often a source has to say that there is nothing
SIGN_OF_LIFE_EVERY = timedelta(seconds=15)  # keeps proxies from closing a quiet stream
RECONNECT_AFTER = timedelta(seconds=1)

Looks = AsyncGenerator[ServerSentEventMessage | None, None]
"""Events as they come, and None whenever none came for `LOOK_EVERY`: then a sign of life may go out, or the end."""


def server_sent(looks: Looks) -> ServerSentEvent:
    """The answer that sends what a source sees, until the source ends, the client goes, or this process stops."""
    return ServerSentEvent(_sent(looks))


async def _sent(looks: Looks) -> AsyncIterator[ServerSentEventMessage]:
    last = time.monotonic()
    async with aclosing(looks):
        async for message in looks:
            if message is not None:
                yield message
                last = time.monotonic()
            elif time.monotonic() - last >= SIGN_OF_LIFE_EVERY.total_seconds():
                yield ServerSentEventMessage(data=None, comment="still there")
                last = time.monotonic()
            if stopping():
                return


def event(name: str, event_id: str | int, data: str) -> ServerSentEventMessage:
    """One event. A client that loses the connection comes back with the id of the last one that it has seen."""
    retry = round(RECONNECT_AFTER / timedelta(milliseconds=1))
    return ServerSentEventMessage(event=name, id=event_id, data=data, retry=retry)
