"""The change stream as the watcher reads it, without a server."""

import asyncio

import pytest

from muster.cohorts.stream import Stream


@pytest.mark.parametrize("steps", range(4))
async def test_whoever_is_cancelled_as_an_event_arrives_ends(steps: int) -> None:
    """At every step of the event's way to the reader: a watcher told to stop at that moment must not go on."""
    stream = Stream(None)
    reading = asyncio.create_task(stream.events(10, wait=60))
    await asyncio.sleep(0)
    stream._put({"_data": "a position"})
    for _ in range(steps):
        await asyncio.sleep(0)
    if reading.cancel():  # it had not ended yet
        with pytest.raises(asyncio.CancelledError):
            await reading
