"""The past of cohorts against a record of it: random changes of all kinds, and what readers saw at quiet moments."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from muster.cohorts import by_hand, changes, evaluation, past, service, sizes, undoing
from muster.cohorts.documents import Change, Cohort, Membership, Run
from muster.cohorts.generations import server_time
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.errors import Conflict
from muster.records.documents import Profile
from tests.cohorts.conftest import Workspace, watching
from tests.waiting import until

NAMES = [f"P{number}" for number in range(40)]
RULES = [
    "lead.score > 50",
    "lead.score < 30 or lead.score > 80",
    'lead.stage == "new"',
    'not (lead.stage == "new") and lead.score > 20',
    "lead.score > 1000",
]


@dataclass
class Seen:
    """What readers saw at a quiet moment: each cohort's members by profile and name, and its count."""

    at: datetime
    members: dict[str, dict[Any, str]]
    counts: dict[str, int]


@dataclass
class World:
    """Those who write, and what was seen."""

    live: Workspace
    chance: random.Random
    monkeypatch: pytest.MonkeyPatch
    cohorts: list[str] = field(default_factory=list)
    static: list[str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    leaves_differences: bool = False

    async def begin(self) -> None:
        await self.live.put(**{name: self.parts() for name in NAMES[:20]})
        for rule in RULES[:3]:
            self.cohorts.append((await self.live.cohort(rule)).id)
        self.static.append((await service.create("ada", CohortIn(name="Empty", kind="static"))).id)
        by_rule = CohortIn(name="Kept", kind="static", rule=RULES[0])
        self.static.append((await service.create("ada", by_rule)).id)
        write = changes.write_difference

        async def perhaps(run: Run) -> Run:
            """As if the process ended here, now and then."""
            return run if self.leaves_differences and self.chance.random() < 0.5 else await write(run)

        self.monkeypatch.setattr(evaluation, "write_difference", perhaps)
        self.monkeypatch.setattr(changes, "ENTRIES_PER_TRANSACTION", 3)
        self.monkeypatch.setattr(changes, "ROWS_AT_ONCE", 7)
        self.monkeypatch.setattr(undoing, "ROWS_AT_ONCE", 5)
        self.monkeypatch.setattr(undoing, "CHANGES_AT_ONCE", 4)
        self.monkeypatch.setattr(undoing, "MOST_LOOKS", 2)

    def parts(self) -> dict[str, Any]:
        return {"lead": {"score": float(self.chance.randrange(100)), "stage": self.chance.choice(["new", "old"])}}

    async def write(self) -> None:
        """One change of a record, of a static cohort's members, or of a cohort."""
        chance = self.chance
        kind = chance.choices(["put", "erase", "by hand", "edit", "evaluate", "convert"], [60, 8, 16, 8, 4, 4])[0]
        names = chance.sample(NAMES, chance.randrange(1, 6))
        if kind == "put":
            await self.live.put(**{name: self.parts() for name in names})
        elif kind == "erase":
            await self.live.erase(names[0])
        elif kind == "by hand":
            await self.allowed(chance.choice([by_hand.add, by_hand.remove])("ada", chance.choice(self.static), names))
        elif kind == "edit":
            patch = CohortPatch(rule=chance.choice(RULES))
            await self.allowed(service.patch("ada", chance.choice(self.cohorts), patch, expected_revs=None))
        elif kind == "evaluate":
            await self.allowed(service.evaluate_now("ada", chance.choice(self.cohorts)))
        else:
            patch = CohortPatch(kind=chance.choice(["dynamic", "static"]))
            await self.allowed(service.patch("ada", self.static[1], patch, expected_revs=None))

    async def allowed(self, action: Awaitable[Any]) -> None:
        """What a cohort is not in the state for is no part of this."""
        with suppress(Conflict):
            await action

    async def look(self) -> None:
        """Wait until everything is applied, and keep what readers see."""
        await until(self._nothing_is_evaluated)
        await self.live.settles(seconds=90)
        await until(self._nobody_gone_is_a_member)
        seen = Seen(await server_time(), {}, {})
        async for cohort in Cohort.find():
            assert cohort.active is not None
            rows = Membership.find({"generation": f"{cohort.id}|{cohort.active.number}", "in": True})
            ids = [row.profile async for row in rows]
            named = Profile.get_motor_collection().find({"_id": {"$in": ids}}, {"pii_id": 1})
            seen.members[cohort.id] = {profile["_id"]: profile["pii_id"] async for profile in named}
            seen.counts[cohort.id] = cohort.member_count
            assert len(ids) == cohort.member_count
        self.seen.append(seen)

        async def a_millisecond_has_passed() -> bool:
            return await server_time() > seen.at

        await until(a_millisecond_has_passed)

    async def _nothing_is_evaluated(self) -> bool:
        return await Cohort.find_one({"run": {"$ne": None}}) is None

    async def _nobody_gone_is_a_member(self) -> bool:
        """Erased profiles leave static cohorts, too. (What says of one that it is in no more may stay beside a run.)"""
        present = {profile["_id"] async for profile in Profile.get_motor_collection().find({}, {"_id": 1})}
        cohorts = [cohort async for cohort in Cohort.find()]
        shown = [f"{cohort.id}|{cohort.active.number}" for cohort in cohorts if cohort.active]
        return {row.profile async for row in Membership.find({"generation": {"$in": shown}, "in": True})} <= present

    async def check(self, *, moments: int) -> None:
        """Moments seen so far are told as they were seen; whoever was erased since has no name."""
        present = {profile["_id"] async for profile in Profile.get_motor_collection().find({}, {"_id": 1})}
        for seen in self.chance.sample(self.seen, min(moments, len(self.seen))):
            for cohort, then in seen.members.items():
                expected = sorted(name for profile, name in then.items() if profile in present)
                assert sorted(await members_at(cohort, seen.at)) == expected, (cohort, seen.at)
                assert await size_at(cohort, seen.at) == seen.counts[cohort], (cohort, seen.at)


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_past_moment_is_told_as_it_was_seen(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    world = World(workspace, random.Random(seed), monkeypatch)
    async with watching():
        await world.begin()
        await world.look()
        for _ in range(4):
            await asyncio.gather(*(several(world.write, 6) for _ in range(3)))
            await world.look()
        world.leaves_differences = True
        for _ in range(3):
            await several(world.write, 4)
            edits = [CohortPatch(rule=world.chance.choice(RULES)) for _ in world.cohorts]
            for cohort, edit in zip(world.cohorts, edits, strict=True):
                await service.patch("ada", cohort, edit, expected_revs=None)
            await world.look()
            await world.check(moments=3)
        assert await Run.find({"pending": True}).count() > 0, "no difference was left to be written"
        await world.check(moments=len(world.seen))
        await changes.write_left_behind()
        await world.check(moments=3)
    for cohort in world.seen[-1].members:
        await check_changes(world, cohort)
        await check_sizes(cohort, world.chance)


async def check_changes(world: World, cohort: str) -> None:
    """Replayed from the first fill on, the changes give what was seen at every moment, and their causes are true."""
    runs = {run.id: run async for run in Run.find({"cohort": cohort, "state": "succeeded"})}
    entries = [one async for one in Change.find({"cohort": cohort})]
    entries.sort(key=lambda one: (one.generation, one.run is None, one.as_of, one.at))
    assert [one.at for one in entries] == sorted(one.at for one in entries), "the times follow the order"
    for one in entries:
        if one.run is None:
            assert one.cause in ({"manual", "record"} if cohort in world.static else {"record"})
        else:
            run = runs[one.run]
            assert (one.cause, one.at, one.generation) == ("rule", run.at, run.generation)
    by_run = defaultdict(list)
    for one in entries:
        by_run[one.run].append(one.change)
    for run in runs.values():
        assert not run.pending
        if run.previous is not None:
            found = by_run[run.id]
            assert (run.added, run.removed) == (found.count("entered"), found.count("left")), run.id
            assert run.count_before is not None
            assert run.member_count == run.count_before + run.added - run.removed
    inside: dict[Any, bool] = {}
    for seen in world.seen:
        while entries and entries[0].at <= seen.at:
            one = entries.pop(0)
            # Before its first change nobody knows whether somebody was in the first fill: that says it.
            assert inside.get(one.profile) is not (one.change == "entered"), (cohort, one)
            inside[one.profile] = one.change == "entered"
        for profile, is_member in inside.items():
            assert (profile in seen.members[cohort]) == is_member
    assert entries == []


async def check_sizes(cohort: str, chance: random.Random) -> None:
    """The sizes go from nothing to the present, one change after the other; coarser ones agree with the exact ones."""
    exact = await sizes.sizes("ada", cohort, since=None, until=None, points=1_000)
    assert exact.interval_seconds is None
    assert exact.size_before == 0
    found = await Cohort.get(cohort)
    assert found is not None
    assert exact.items[-1].size == found.member_count
    size = 0
    for point in exact.items:
        size += point.entered - point.left
        assert point.size == size
    for point in chance.sample(exact.items, min(5, len(exact.items))):
        assert await size_at(cohort, point.at) == point.size
        before = point.size - point.entered + point.left
        assert await size_at(cohort, point.at - timedelta(milliseconds=1)) == before
    for points in (1, 2, 7):
        coarse = await sizes.sizes("ada", cohort, since=None, until=None, points=points)
        assert len(coarse.items) <= points
        assert sum(part.entered for part in coarse.items) == sum(part.entered for part in exact.items)
        assert sum(part.left for part in coarse.items) == sum(part.left for part in exact.items)
        told = {point.at: point.size for point in exact.items}
        assert all(told[part.at] == part.size for part in coarse.items)


async def members_at(cohort: str, at: datetime) -> list[str]:
    """Page by page, a few at a time."""
    names: list[str] = []
    cursor = None
    while True:
        items, cursor = await past.page("ada", cohort, at, limit=7, cursor=cursor)
        names += [item.pii_id for item in items]
        if cursor is None:
            return names


async def size_at(cohort: str, at: datetime) -> int:
    """What a chart that ends there shows last."""
    found = await sizes.sizes("ada", cohort, since=None, until=at, points=1_000)
    return found.items[-1].size if found.items else found.size_before


async def several(action: Callable[[], Awaitable[None]], times: int) -> None:
    for _ in range(times):
        await action()
