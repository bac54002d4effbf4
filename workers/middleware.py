"""What a worker process does around its actors: hold MongoDB and Redis open, and stop without losing work."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from dramatiq import Broker, MessageProxy, Middleware, Worker
from dramatiq.asyncio import get_event_loop_thread
from dramatiq.middleware import MiddlewareError, Shutdown, ShutdownNotifications, SkipMessage

from muster.resources import open_resources
from muster.settings import Settings
from workers.housekeeping import keep_house

Answer = TypeVar("Answer")


ENDS_WITHIN = 3.0  # seconds that a stopping process waits for its housekeeping
LATER_MS = 1_000  # when a message that this process will not answer is to be seen by another


class StopAtOnce(ShutdownNotifications):
    """Interrupts every actor when the process is told to stop, and begins no other.

    Dramatiq's worker threads take one more message each while they stop, and nothing would interrupt that one.
    """

    def __init__(self) -> None:
        super().__init__(notify_shutdown=True)
        self.stopping = False

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        self.stopping = True  # first: whoever is not interrupted by the next line sees it
        super().before_worker_shutdown(broker, worker)  # type: ignore[no-untyped-call]

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        super().before_process_message(broker, message)  # type: ignore[no-untyped-call]
        if self.stopping:
            broker.enqueue(message.copy(), delay=LATER_MS)
            raise SkipMessage("This process is stopping.")


def interrupted(_retries: int, error: BaseException) -> bool:
    """Whether an actor ended because its process stops: its message is then for another one."""
    return isinstance(error, Shutdown)


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
            housekeeping = asyncio.create_task(keep_house(self.settings))
            opening.push_async_callback(_end, housekeeping)
            self.opened = opening.pop_all()


async def _end(task: "asyncio.Task[None]") -> None:
    """Stop a task and let it give back what it holds, its leases above all: nobody shall wait for them to run out."""
    task.cancel()
    await asyncio.wait({task}, timeout=ENDS_WITHIN)


def _on_loop(work: Coroutine[Any, Any, Answer]) -> Answer:
    thread = get_event_loop_thread()
    if thread is None:
        raise MiddlewareError("OpenResources stands before AsyncIO in the list of middleware.")
    return thread.run_coroutine(work)
