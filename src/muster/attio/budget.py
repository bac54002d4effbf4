"""One pace for everything that this process asks of a workspace.

Attio allows 100 reads a second, sometimes fewer, and weighs queries over a window that every token of the workspace
shares, other programs' too. No count of ours can know that. So the pace listens: a 429 halves it and makes everybody
wait for as long as Attio says; a hundred answers in peace raise it by one. Processes that share a workspace come to
share its rate in the same way, each hearing its own 429s. A count in Redis, which may forget everything, would know
less than Attio's answers do, and cost a round trip for each request.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

FASTEST, SLOWEST = 50.0, 1.0  # requests a second; half of what Attio allows one process, and what always goes
RAISE_AFTER = 10  # answers in peace
RAISE_BY = 1.0  # requests a second

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Budget:
    """How fast a workspace may be asked now. Share one with `budget_of`."""

    rate: float = FASTEST  # requests a second
    _next: float = 0.0  # by the monotonic clock: when the next request may go
    _paused_until: float = 0.0
    _in_peace: int = field(default=0, repr=False)

    async def turn(self) -> None:
        """Return when the next request may go."""
        while True:
            slot = max(time.monotonic(), self._next, self._paused_until)
            self._next = slot + 1 / self.rate
            if (wait := slot - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if time.monotonic() >= self._paused_until:  # else a 429 came meanwhile: a new turn, behind the pause
                return

    def answered(self) -> None:
        """An answer came in peace."""
        self._in_peace += 1
        if self._in_peace >= RAISE_AFTER and self.rate < FASTEST:
            self.rate = min(FASTEST, self.rate + RAISE_BY)
            self._in_peace = 0

    def limited(self, seconds: float) -> None:
        """Attio answered 429: go at half the pace, and not before so many seconds have passed."""
        now = time.monotonic()
        if now >= self._paused_until:  # what was under way together counts once
            self.rate = max(SLOWEST, self.rate / 2)
            _log.info("Attio limits the rate: on with %.1f requests a second.", self.rate)
        self._in_peace = 0
        self._paused_until = max(self._paused_until, now + seconds)


_BUDGETS: WeakValueDictionary[str, Budget] = WeakValueDictionary()


def budget_of(name: str) -> Budget:
    """The budget of this name, a workspace's id; the same one for as long as anybody holds it."""
    found = _BUDGETS.get(name)
    if found is None:
        _BUDGETS[name] = found = Budget()
    return found
