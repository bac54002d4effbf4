"""Tasks that go on beside others: how they are ended."""

import asyncio
from typing import Any


async def stop(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended. Raises what ended it, unless that is the cancellation.

    To suppress `CancelledError` around an `await` of it would swallow our own cancellation too, should it come just
    then: who waits for us would wait for ever.
    """
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.result()
