"""Cohorts over `$now`: time alone moves members, exactly those whom it should, and nobody else is looked at."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.cohorts import ticks, watcher
from muster.cohorts.documents import Change, Cohort, WatchState
from muster.cohorts.live_rules import LiveRules, read_live_rules
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.cohorts.ticks import Candidates, Clock
from muster.records.documents import Profile
from muster.rules import oracle
from tests.cohorts.conftest import SLICE, Workspace, watching
from tests.waiting import until

DAY = timedelta(days=1)


@pytest.fixture
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten a second."""
    monkeypatch.setattr(watcher, "TICK_SECONDS", 0.1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Moves what the server's clock says to the watcher."""
    offset = timedelta()

    @asynccontextmanager
    async def later() -> AsyncIterator[Snapshot]:
        async with open_snapshot() as snapshot:
            yield replace(snapshot, now=snapshot.now + offset)

    def advance(by: timedelta) -> None:
        nonlocal offset
        offset += by

    monkeypatch.setattr(watcher, "open_snapshot", later)
    monkeypatch.setattr(ticks, "open_snapshot", later)
    return advance


async def live_rules() -> LiveRules:
    """What the watcher would know now."""
    async with open_snapshot() as snapshot:
        return await read_live_rules(snapshot, LiveRules())


async def all_of(found: AsyncIterator[Candidates]) -> set[Any]:
    """Every profile that a tick would look at."""
    return {profile async for batch in found for profile in batch.profiles}


@pytest.mark.usefixtures("quick_ticks")
async def test_members_come_and_go_as_time_passes(workspace: Workspace, clock: Callable[[timedelta], None]) -> None:
    """Windows of several widths, both ends, nested and by whole days: at every stop what the oracle says then."""
    choices = random.Random(3)
    now = datetime.now(UTC)
    await workspace.put(
        **{
            f"p{n}": {
                "lead": {"created_at": now - choices.random() * 60 * DAY, "score": float(n)},
                "customer": {"first_purchase_at": now + (choices.random() - 0.5) * 40 * DAY},
            }
            for n in range(150)
        }
    )
    recent = await workspace.cohort('$now - lead.created_at < t"P30D"')
    rules = [
        '$now - lead.created_at > t"P45D" or customer.first_purchase_at > $now',
        'lead.created_at >= $today - t"P7D" and lead.score > 20',
        f"not $in_cohort('{recent.id}')",
        "$days_since(lead.created_at) > 20",
        "customer.first_purchase_at.day == $now.day",
    ]
    cohorts = [recent] + [await workspace.cohort(rule) for rule in rules]
    passed = timedelta()
    async with watching():
        await until(_ticked)
        for step in (timedelta(hours=7), DAY, 5 * DAY, timedelta(minutes=1), 20 * DAY):
            clock(step)
            passed += step

            async def right(passed: timedelta = passed) -> bool:
                return not await workspace.differences(datetime.now(UTC) + passed)

            await until(right)
    causes = {change.cause async for change in Change.find({"cohort": {"$in": [cohort.id for cohort in cohorts]}})}
    assert causes == {"time"}


async def test_a_tick_looks_only_at_those_whom_time_may_move(workspace: Workspace) -> None:
    """And misses none: by brute force over two moments."""
    choices = random.Random(5)
    now = datetime.now(UTC)
    await workspace.put(**{f"p{n}": {"lead": {"created_at": now - choices.random() * 40 * DAY}} for n in range(400)})
    for days in (3, 10, 30):
        await workspace.cohort(f'$now - lead.created_at < t"P{days}D"')
    live = await live_rules()
    rules = live.time_dependent
    clock = Clock()
    clock.passed(rules, now)
    later = now + timedelta(hours=12)
    found = await all_of(ticks.candidates(clock, live, later))
    profiles = [profile async for profile in Profile.get_motor_collection().find()]
    moved = {
        profile["_id"]
        for profile in profiles
        for each in rules
        if each.rule is not None and oracle(each.rule)(profile, now) != oracle(each.rule)(profile, later)
    }
    assert moved
    assert moved <= found
    assert len(found) < 40, "three windows of half a day among forty days"


async def test_a_run_that_took_long_is_caught_up_from_its_own_now(workspace: Workspace) -> None:
    """Readers see it later than the clock that it went by; what passed in between no earlier tick has shown it."""
    soon = datetime.now(UTC) - 30 * DAY + timedelta(seconds=30)
    await workspace.put(ann={"lead": {"created_at": soon}})
    cohort = await workspace.cohort('$now - lead.created_at > t"P30D"')
    began = datetime.now(UTC)
    await Cohort.get_motor_collection().update_one(
        {"_id": cohort.id}, {"$set": {"active.now": began, "active.placed_at": began + timedelta(minutes=5)}}
    )
    live = await live_rules()
    (rule,) = live.time_dependent
    between = Clock(ticked_at=began + timedelta(minutes=4))  # of other cohorts, while this one was filled
    assert await all_of(ticks.candidates(between, live, began + timedelta(minutes=6)))
    long_after = Clock(ticked_at=began + timedelta(hours=1))
    assert long_after.last_seen(rule) == began + timedelta(hours=1)
    assert not await all_of(ticks.candidates(long_after, live, began + timedelta(hours=2)))


@pytest.mark.usefixtures("quick_ticks")
async def test_windows_that_passed_while_no_watcher_ran_are_caught_up(
    workspace: Workspace, clock: Callable[[timedelta], None]
) -> None:
    now = datetime.now(UTC)
    await workspace.put(ann={"lead": {"created_at": now - 29 * DAY}}, bob={"lead": {"created_at": now - 10 * DAY}})
    cohort = await workspace.cohort('$now - lead.created_at > t"P30D"')
    async with watching():
        await until(_ticked)
    state = await WatchState.get(SLICE)
    clock(3 * DAY)
    async with watching():
        await until(lambda: _is(workspace, cohort, {"ann"}))
    after = await WatchState.get(SLICE)
    assert state is not None
    assert after is not None
    assert state.full_evaluations == after.full_evaluations == 1, "found by their windows, not by looking at everybody"


@pytest.mark.usefixtures("quick_ticks")
async def test_a_slow_look_holds_up_no_change_of_a_record(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison of a whole cohort runs beside the stream, not before it."""
    hot = await workspace.cohort("lead.score > 50")
    await workspace.cohort("$days_since(lead.created_at) > 20")
    held, looking = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any) -> list[Any]:
        looking.set()
        await held.wait()
        return []

    async with watching():
        await until(_ticked)
        monkeypatch.setattr(ticks, "differing", slow)
        await asyncio.wait_for(looking.wait(), 60)
        await workspace.put(ann={"lead": {"score": 99.0}})
        await until(lambda: _is(workspace, hot, {"ann"}))
        held.set()


async def _ticked() -> bool:
    state = await WatchState.get(SLICE)
    return state is not None and state.ticked_at is not None


async def _is(live: Workspace, cohort: Cohort, members: set[str]) -> bool:
    return await live.members(cohort) == members
