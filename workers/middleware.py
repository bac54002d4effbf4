"""What a worker process holds open while it runs actors."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from dramatiq import Broker, Middleware, Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import MiddlewareError

from muster.resources import open_resources
from muster.settings import Settings
from workers.housekeeping import keep_house

Answer = TypeVar("Answer")


class OpenResources(Middleware):
    """Opens MongoDB and Redis, binds the documents, and keeps house, all on the event loop of the actors."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.opened = AsyncExitStack()

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002  Dramatiq's signature
        try:
            _on_loop(self._open())
        except Exception as error:
            # Dramatiq swallows every other exception here, and would run actors on nothing.
            raise MiddlewareError(f"This worker cannot start: {error}") from error

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002  as above
        _on_loop(self.opened.aclose())

    async def _open(self) -> None:
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(open_resources(self.settings))
            housekeeping = asyncio.create_task(keep_house())
            opening.callback(housekeeping.cancel)
            self.opened = opening.pop_all()


def _on_loop(work: Coroutine[Any, Any, Answer]) -> Answer:
    thread = get_event_loop_thread()
    if thread is None:
        raise MiddlewareError("OpenResources stands before AsyncIO in the list of middleware.")
    return thread.run_coroutine(work)
