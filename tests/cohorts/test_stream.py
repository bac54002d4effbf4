"""The change stream as the watcher reads it, without a server."""

import asyncio
from datetime import UTC, datetime

import pytest
from bson import ObjectId

from muster.cohorts.stream import Event, Stream, StreamEnded


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


async def test_what_came_before_the_end_is_handed_out_first() -> None:
    """Also when both wait already as somebody asks."""
    stream = Stream(None)
    event = Event(ObjectId(), None, {"_data": "a position"}, datetime.now(UTC))
    for item in (event, StreamEnded("it is over")):
        stream._put(item)
    assert await stream.events(10, wait=60) == [event]
    assert stream.token == event.token
    with pytest.raises(StreamEnded):
        await stream.events(10, wait=60)
