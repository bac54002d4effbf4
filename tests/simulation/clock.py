"""The database server's clock as membership goes by it: here it goes as fast as the simulation wants, or stands still.

Production reads it in two places: `generations.server_time`, for runs and for members by hand, and the time that a
renewal of the watcher's lease answers. Both are put in place of here, and nothing of production knows.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from unittest import mock

from muster.cohorts import generations, watcher


@dataclass
class Clock:
    """Goes on by a few milliseconds with each look at it, unless it stands still, and by leaps when told to."""

    now: datetime
    random: Random = field(default_factory=Random)
    stands_still: bool = False
    leaps: int = 0
    ticked: int = -1  # the leap that the last whole tick of the watcher began after
    follower: watcher.Watcher | None = None

    def look(self) -> datetime:
        """What time it is."""
        if not self.stands_still:
            self.now += timedelta(milliseconds=self.random.randint(0, 3))
        return self.now

    def leap(self, by: timedelta) -> int:
        """Let time pass; the answer is the number of this leap."""
        self.now += by
        self.leaps += 1
        return self.leaps


@contextmanager
def moved(clock: Clock) -> Iterator[None]:
    """Everything in `muster.cohorts` goes by this clock for as long as the block lasts."""
    server_time = generations.server_time
    renew, tick = watcher.Watcher._renew, watcher.Watcher._tick

    async def time_here() -> datetime:
        await server_time()
        return clock.look()

    async def renew_here(self: watcher.Watcher) -> datetime:
        await renew(self)
        clock.follower = self
        return clock.look()

    async def tick_here(self: watcher.Watcher) -> None:
        leaps = clock.leaps
        await tick(self)
        clock.ticked = max(clock.ticked, leaps)

    with mock.patch.multiple(watcher.Watcher, _renew=renew_here, _tick=tick_here):
        users = [module for name, module in sys.modules.items() if name.startswith("muster.")]
        patched = [module for module in users if getattr(module, "server_time", None) is server_time]
        for module in patched:
            module.server_time = time_here  # type: ignore[attr-defined]
        try:
            yield
        finally:
            for module in patched:
                module.server_time = server_time  # type: ignore[attr-defined]
