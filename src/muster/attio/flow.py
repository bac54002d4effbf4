"""Fetching, writing and storing at the same time: while one batch is stored, the next is written and another fetched.

Between the steps stand short queues, so that whoever is quick waits, and memory holds a few batches at most.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Generic, TypeVar

from muster.jobs.working import Cancelled
from muster.tasks import stop

WAITING = 2  # batches between two steps

Fetched = TypeVar("Fetched")
Written = TypeVar("Written")


class Flow(Generic[Fetched, Written]):
    """Batches on their way."""

    def __init__(
        self,
        batches: AsyncGenerator[Fetched, None],
        write: Callable[[Fetched], Awaitable[Written]],
        store: Callable[[Written], Awaitable[None]],
    ) -> None:
        """`store` gets one batch at a time, in order; when it raises Cancelled it has stored that one."""
        self._batches, self._write, self._store = batches, write, store
        self._fetched: asyncio.Queue[Fetched | None] = asyncio.Queue(WAITING)
        self._written: asyncio.Queue[Written | None] = asyncio.Queue(WAITING)
        self._trouble: Exception | None = None
        self._is_cancelled = False
        self.is_all_fetched = False

    async def run(self) -> None:
        """Until all is stored. Whatever ends it early, what is written is stored first, so that no file stays alone.

        When it is fetching or writing that breaks off, everything that was fetched before is stored. Only an error of
        `store` itself, Cancelled aside, ends it at once.
        """
        fetching = asyncio.create_task(self._fetching())
        writing = asyncio.create_task(self._writing())
        try:
            while (batch := await self._written.get()) is not None:
                await self._store(batch)
        except Cancelled:
            self._is_cancelled = True
            await stop(fetching)
            if not writing.done():
                await self._fetched.put(None)
            while (batch := await self._written.get()) is not None:
                with suppress(Cancelled):
                    await self._store(batch)
            raise
        finally:
            await stop(fetching)
            await stop(writing)
        if self._trouble is not None:
            raise self._trouble

    async def _fetching(self) -> None:
        try:
            async with aclosing(self._batches) as batches:
                async for batch in batches:
                    await self._fetched.put(batch)
            self.is_all_fetched = True
        except Exception as error:  # noqa: BLE001  raised by `run`, once what came before it is stored
            self._trouble = error
        await self._fetched.put(None)

    async def _writing(self) -> None:
        try:
            while (batch := await self._fetched.get()) is not None:
                if not self._is_cancelled:
                    await self._written.put(await self._write(batch))
        except Exception as error:  # noqa: BLE001  as above
            self._trouble = error
        await self._written.put(None)
