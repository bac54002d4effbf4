"""Slices: watchers share the profiles, take over from each other, and never follow two divisions at once."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from typing import Self

import httpx
import pytest
from bson import ObjectId

from muster.cohorts import slices, watcher
from muster.cohorts.documents import Change, WatchState
from muster.cohorts.slices import Slice, slices_of
from muster.jobs.documents import Lease
from tests.cohorts.conftest import Workspace
from tests.waiting import until


class Process:
    """A watching process, as far as its leases are concerned."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.task = name, asyncio.create_task(watcher.watch(name, count))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def held_by() -> dict[str, str]:
    """Who holds which slice."""
    return {lease.id: lease.holder async for lease in Lease.find({"_id": {"$regex": "^watcher:"}}) if lease.holder}


async def shares(*expected: int) -> None:
    """Wait until processes hold so many slices each."""

    async def look() -> bool:
        holders = list((await held_by()).values())
        return sorted(holders.count(holder) for holder in set(holders)) == sorted(expected)

    await until(look)


def test_every_profile_is_in_one_slice_and_they_are_of_a_size() -> None:
    ids = [ObjectId() for _ in range(10_000)]
    for count in (1, 2, 3, 7):
        sizes = [sum(part.holds(profile) for profile in ids) for part in slices_of(count)]
        assert sum(sizes) == len(ids)
        assert max(sizes) < 1.2 * len(ids) / count


async def test_processes_share_the_slices_and_keep_everything_right(workspace: Workspace) -> None:
    """Changes of all profiles, while one process joins and another goes."""
    choices = random.Random(2)
    await workspace.cohort("lead.score > 50")
    await workspace.cohort("lead.score * 2 > 150 and contact == null")

    async def write() -> None:
        for _ in range(15):
            await workspace.put(
                **{f"p{choices.randrange(200)}": {"lead": {"score": choices.random() * 100}} for _ in range(20)}
            )

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(Process("one", 4))
        await shares(4)
        second = await stack.enter_async_context(Process("two", 4))
        await asyncio.gather(shares(2, 2), write())
        first.task.cancel()
        await asyncio.gather(shares(4), write())
        await workspace.settles()
        assert set((await held_by()).values()) == {"two"}
        assert not second.task.done()
    states = await WatchState.find().to_list()
    assert {state.id for state in states} == {part.name for part in slices_of(4)}
    assert all(state.events > 0 for state in states)
    entered = await Change.find({"change": "entered"}).count()
    left = await Change.find({"change": "left"}).count()
    assert entered - left == sum([len(await workspace.members(cohort)) for cohort in ("COH-1", "COH-2")])


async def test_another_number_of_slices_waits_for_the_old_watchers(workspace: Workspace) -> None:
    """Two divisions at once would have two writers for one profile."""
    cohort = await workspace.cohort("lead.score > 50")
    async with Process("new", 2):
        await shares(2)
        async with Process("old", 1):
            await workspace.put(ann={"lead": {"score": 80.0}})
            await workspace.settles()
            assert set((await held_by()).values()) == {"new"}
    async with Process("old", 1):
        await shares(1)
        await workspace.put(ann={"lead": {"score": 8.0}}, bob={"lead": {"score": 88.0}})
        await workspace.settles()
    assert await workspace.members(cohort) == {"bob"}
    assert (await slices.standing())["slices"] == 1


async def test_a_stalled_watcher_of_another_division_commits_nothing(workspace: Workspace) -> None:
    """Its lease ran out; those who divide anew delete it."""
    await workspace.cohort("lead.score > 50")
    stale = await slices._take(Slice(0, 1), "stalled")
    assert stale is not None
    await Lease.find_one({"_id": stale.id}).update({"$set": {"expires_at": stale.expires_at.replace(year=2020)}})
    assert await slices._take(Slice(0, 2), "new") is not None
    with pytest.raises(watcher.LeaseLost):
        await watcher.Watcher(stale).follow()


async def test_metrics_tell_how_far_behind_watchers_are(workspace: Workspace, client: httpx.AsyncClient) -> None:
    """Read from the database when somebody asks, and left out where it is not known yet."""
    before = (await client.get("/metrics")).text
    assert "muster_watcher_lag_seconds NaN" in before
    async with Process("one", 1):
        await workspace.cohort("lead.score > 50")
        await workspace.put(ann={"lead": {"score": 80.0}})
        await workspace.settles()

        async def told() -> bool:
            text = (await client.get("/metrics")).text
            return "muster_watcher_events 1.0" in text and "muster_watcher_full_evaluations 1.0" in text

        await until(told)


async def test_who_ends_in_order_leaves_no_session_to_be_ended(workspace: Workspace) -> None:
    """The driver gives it to whoever asks next, and they would lose what they read by it."""
    await workspace.settles()
    async with Process("one", 1):
        await shares(1)
        assert await until(lambda: WatchState.find_one({"_id": "watcher:0", "session": {"$ne": None}}))
    state = await WatchState.get("watcher:0")
    assert state is not None
    assert state.session is None
