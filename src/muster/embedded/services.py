"""One service of the supervisor: started, watched, started again when it dies, stopped."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muster.embedded import processes
from muster.errors import StartError

STEADY = 30.0  # seconds; a service that lived this long starts with a clean slate
TRIES_TO_START = 3  # before the first "ready"; afterwards a service is started again for ever
SLOW = 15.0  # seconds; whoever is not ready by then is told about
LONGEST_PAUSE = 15.0  # seconds

Ready = Callable[[], Coroutine[Any, Any, None]]  # returns when a service serves


def explain_exit(code: int) -> str:
    """What an exit code says about a Python service."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What to run. `name` is what a person sees; `ready` waits until it serves; `patience` is seconds to stop in."""

    name: str
    command: Sequence[str | Path]
    log: Path
    environment: Mapping[str, str]
    ready: Ready
    patience: float = 5.0
    explain: Callable[[int], str] = explain_exit


@dataclass(slots=True)
class Keeper:
    """Keeps one service running. `tell` gets a sentence for the terminal whenever something is wrong."""

    service: Service
    tell: Callable[[str], None]
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0  # in a row

    async def keep(self) -> None:
        """Run the service until cancelled. Raises StartError when it never comes up in the first place."""
        while True:
            processes.rotate(self.service.log)
            began = time.monotonic()
            code = await self._run_once()
            self.failures = 1 if time.monotonic() - began > STEADY else self.failures + 1
            what = f"{self.service.name} ended ({self.service.explain(code)})"
            if not self.ready.is_set() and self.failures >= TRIES_TO_START:
                raise StartError(f"{what} and does not start. {self.last_words()}")
            pause = min(0.1 * 2 ** min(self.failures, 10), LONGEST_PAUSE)
            again = f"it is started again in {pause:.1f} s"
            repeated = (
                f" {self.failures} times in a row. {self.last_words()}" if self.failures >= TRIES_TO_START else ""
            )
            self.tell(f"{what}{repeated}; {again}")
            await asyncio.sleep(pause)

    async def _run_once(self) -> int:
        process = await processes.spawn(
            self.service.command, log=self.service.log, environment=self.service.environment
        )
        try:
            if await answers_before_it_ends(process, self.service.ready()):
                self.ready.set()
            return await process.wait()
        finally:
            await processes.stop(process, patience=self.service.patience)

    def last_words(self) -> str:
        """What its log says last, and where the log is."""
        words = processes.last_line(self.service.log)
        return f"Its last words: {words!r}, log: {self.service.log}" if words else f"Log: {self.service.log}"


async def answers_before_it_ends(process: asyncio.subprocess.Process, answering: Coroutine[Any, Any, None]) -> bool:
    """Wait until a process answers (True) or ends (False)."""
    waiting = asyncio.ensure_future(answering)
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
        return waiting.done()
    finally:
        waiting.cancel()
        ended.cancel()


@asynccontextmanager
async def kept(services: Sequence[Service], tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Keep services running for the length of a block, which begins when all of them are ready.

    They start at once and stop at once: what depends on what nests. Raises an ExceptionGroup around a StartError.
    """
    keepers = [Keeper(service, tell) for service in services]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keeper.keep(), name=keeper.service.name) for keeper in keepers]
        for keeper in keepers:
            await _ready(keeper, tell)
        yield
        for task in tasks:
            task.cancel()


async def _ready(keeper: Keeper, tell: Callable[[str], None]) -> None:
    while True:
        try:
            async with asyncio.timeout(SLOW):
                await keeper.ready.wait()
        except TimeoutError:
            tell(f"{keeper.service.name} runs but does not serve yet. {keeper.last_words()}")
        else:
            return


async def run_once(service: Service) -> None:
    """Run a service that is to end by itself. Raises StartError, with its last words, when it fails."""
    processes.rotate(service.log)
    process = await processes.spawn(service.command, log=service.log, environment=service.environment)
    try:
        code = await process.wait()
    finally:
        await processes.stop(process, patience=service.patience)
    if code != 0:
        words = processes.last_line(service.log).removeprefix("Error: ")
        raise StartError(f"{service.name} failed ({service.explain(code)}). {words} (log: {service.log})")
