"""Tasks that go on beside others end, and let those who end them end too."""

import asyncio

import pytest

from muster.tasks import stop


async def slow_to_end(ended: asyncio.Event) -> None:
    """Takes its time when cancelled, until told."""
    try:
        await asyncio.Event().wait()
    finally:
        await ended.wait()


async def test_who_stops_a_task_can_be_cancelled_meanwhile() -> None:
    ended = asyncio.Event()
    task = asyncio.create_task(slow_to_end(ended))
    await asyncio.sleep(0)  # it begins
    stopping = asyncio.create_task(stop(task))
    await asyncio.sleep(0)  # so does this
    stopping.cancel()
    ended.set()
    with pytest.raises(asyncio.CancelledError):
        await stopping


async def test_what_ended_a_task_is_told() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(fail())
    await asyncio.wait({task})
    with pytest.raises(ValueError, match="broken"):
        await stop(task)


async def test_a_stopped_task_has_ended() -> None:
    ended = asyncio.Event()
    ended.set()
    task = asyncio.create_task(slow_to_end(ended))
    await stop(task)
    assert task.cancelled()
