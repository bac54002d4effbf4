"""Waiting for a condition, the only way that tests wait for anything."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T]], *, seconds: float = 90) -> T:
    """Look again and again until the answer is truthy, and give it back. Fails, showing the last answer, in the end."""
    answer: T | None = None
    try:
        async with asyncio.timeout(seconds):
            while not (answer := await look()):
                await asyncio.sleep(0.02)  # between two looks at a condition
    except TimeoutError:
        raise AssertionError(f"Still {answer!r} after {seconds} s.") from None
    return answer
