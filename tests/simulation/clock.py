"""The database server's clock as membership goes by it: here it goes as fast as the simulation wants, or stands still.

Production reads it in two places: `generations.server_time` and `snapshot.open_snapshot`. Both are put in place of
here, wherever they are imported, and nothing of production knows.
"""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any
from unittest import mock

from muster.cohorts import generations, snapshot
from muster.cohorts.snapshot import Snapshot


@dataclass
class Clock:
    """Goes on by a few milliseconds with each look at it, unless it stands still, and by leaps when told to."""

    now: datetime
    random: Random = field(default_factory=Random)
    stands_still: bool = False
    switches: int = 0  # transactions under way that put a generation in place

    def look(self) -> datetime:
        """What time it is."""
        if not self.stands_still:
            self.now += timedelta(milliseconds=self.random.randint(1, 3))
        return self.now

    def leap(self, by: timedelta) -> bool:
        """Let time pass; False when it cannot, for no transaction lasts longer than a minute."""
        if self.switches:
            return False
        self.now += by
        return True


@contextmanager
def moved(clock: Clock) -> Iterator[None]:
    """All of Muster goes by this clock for as long as the block lasts."""
    server_time, open_snapshot, put_in_place = (
        generations.server_time,
        snapshot.open_snapshot,
        generations.put_in_place,
    )

    async def time_here() -> datetime:
        await server_time()
        return clock.look()

    @asynccontextmanager
    async def snapshot_here() -> AsyncIterator[Snapshot]:
        async with open_snapshot() as opened:
            yield replace(opened, now=clock.look())

    async def switch_here(*arguments: Any, **more: Any) -> Any:
        clock.switches += 1
        try:
            return await put_in_place(*arguments, **more)
        finally:
            clock.switches -= 1

    with ExitStack() as stack:
        for mine, theirs in ((time_here, server_time), (snapshot_here, open_snapshot), (switch_here, put_in_place)):
            stack.enter_context(everywhere(theirs, mine))
        yield


@contextmanager
def everywhere(theirs: Callable[..., Any], mine: Callable[..., Any]) -> Iterator[None]:
    """Put a function in place of another one in every module of Muster that has it."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("muster.") and getattr(module, theirs.__name__, None) is theirs:
                stack.enter_context(mock.patch.object(module, theirs.__name__, mine))
        yield
