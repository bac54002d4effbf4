"""The pace of all that asks one workspace, by a clock of the test's own."""

import asyncio

import pytest

from muster.attio import budget
from muster.attio.budget import FASTEST, RAISE_AFTER, SLOWEST, Budget, budget_of


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 100.0
        self.sleepers: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleepers.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(budget.asyncio, "sleep", clock.sleep)
    return clock


async def test_requests_keep_their_distance(clock: Clock) -> None:
    pace = Budget(rate=10)
    started = clock.now
    for _ in range(21):
        await pace.turn()
    assert clock.now - started == pytest.approx(2.0)


async def test_a_429_halves_the_pace_once_however_many_were_under_way(clock: Clock) -> None:
    pace = Budget()
    for _ in range(5):
        pace.limited(3)
    assert pace.rate == FASTEST / 2
    before = clock.now
    await pace.turn()
    assert clock.now - before == pytest.approx(3)
    for _ in range(20):
        pace.limited(1)
        clock.now += 2
    assert pace.rate == SLOWEST


async def test_a_pause_that_comes_while_somebody_waits_holds_for_them_too(clock: Clock) -> None:
    pace = Budget(rate=1)
    await pace.turn()
    original = clock.sleep

    async def limited_meanwhile(seconds: float) -> None:
        budget.asyncio.sleep = original  # type: ignore[assignment]
        pace.limited(30)
        await original(seconds)

    budget.asyncio.sleep = limited_meanwhile  # type: ignore[assignment]
    before = clock.now
    await pace.turn()
    assert clock.now - before >= 30


async def test_peace_brings_the_pace_back(clock: Clock) -> None:
    pace = Budget()
    pace.limited(0)
    slow = pace.rate
    for _ in range(RAISE_AFTER):
        pace.answered()
    assert slow < pace.rate <= FASTEST
    for _ in range(10_000):
        pace.answered()
    assert pace.rate == FASTEST
    assert clock.sleepers == []


def test_one_workspace_has_one_pace() -> None:
    ours = budget_of("workspace-1")
    assert budget_of("workspace-1") is ours
    assert budget_of("workspace-2") is not ours


async def test_waiting_can_be_given_up() -> None:
    pace = Budget()
    pace.limited(60)
    waiting = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
