"""Dynamic becomes static with the members that readers see; static becomes dynamic as its rule says; in races too."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts import by_hand, evaluation, jobs, service, stream, watcher
from muster.cohorts.decisions import Decisions
from muster.cohorts.documents import Change, Cohort, Kind, Membership
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.errors import Conflict
from muster.jobs.documents import Job
from tests.cohorts.conftest import Workspace
from tests.waiting import until

SENTINELS = itertools.count()
RULE = "lead.score > 50"


async def convert(cohort: Cohort, kind: Kind, **more: Any) -> Cohort:
    change = CohortPatch.model_validate({"kind": kind.value, **more})
    return await service.patch("ada", cohort.id, change, expected_revs=None)


async def passes(live: Workspace) -> None:
    """Wait until the watcher has applied everything written before this."""
    sentinel = await Cohort.find_one({"name": "Sentinel"}) or await live.cohort("lead.stage != null", name="Sentinel")
    name = f"S{next(SENTINELS)}"
    await live.put(**{name: {"lead": {"stage": "now"}}})
    await until(lambda: _are(live, sentinel, {name}))
    await live.erase(name)
    await until(lambda: _are(live, sentinel, set()))


async def _are(live: Workspace, cohort: Cohort, expected: set[str]) -> bool:
    return await live.members(cohort) == expected


async def _is_long(things: list[Any], length: int) -> bool:
    return len(things) >= length


async def is_counted(cohort: Cohort) -> bool:
    """Whether the count is that of the rows, and the history ends with them."""
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert found.active is not None
    rows = Membership.find({"generation": f"{cohort.id}|{found.active.number}", "in": True})
    return found.member_count == await rows.count()


async def test_static_members_stay_whatever_records_do(live: Workspace) -> None:
    await live.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}})
    cohort = await live.cohort(RULE)
    await passes(live)
    static = await convert(cohort, Kind.STATIC)
    assert (static.kind, static.state, static.member_count, static.run) == ("static", "ready", 1, None)
    assert static.rule is not None
    await live.put(ann={"lead": {"score": 1.0}}, bob={"lead": {"score": 99.0}})
    await passes(live)
    assert await live.members(cohort) == {"ann"}
    await by_hand.add("ada", cohort.id, ["bob"])
    dynamic = await convert(cohort, Kind.DYNAMIC)
    assert (dynamic.kind, await live.members(cohort), dynamic.member_count) == ("dynamic", {"bob"}, 1)
    await live.put(ann={"lead": {"score": 99.0}})
    await until(lambda: _are(live, cohort, {"ann", "bob"}))


@pytest.mark.parametrize("is_amid_it", [False, True])
async def test_what_the_watcher_decided_before_does_not_move_a_static_cohort(
    live: Workspace, monkeypatch: pytest.MonkeyPatch, is_amid_it: bool
) -> None:
    """The cohort is converted before the watcher's transaction, or amid it; one enters and one leaves."""
    await live.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}})
    cohort, other = await live.cohort(RULE), await live.cohort(RULE)
    await passes(live)
    write = watcher.write
    busy, queued, decided, converted = (asyncio.Event() for _ in range(4))

    async def write_late(decisions: Decisions, session: AsyncIOMotorClientSession) -> None:
        if not queued.is_set():  # so that the next two changes come as one batch
            busy.set()
            await queued.wait()
        elif not decided.is_set():
            assert {move["change"] for move in decisions.changes} == {"entered", "left"}
            if is_amid_it:
                await Cohort.find_one({"_id": cohort.id}, session=session)  # the transaction sees no later moment
            decided.set()
            await converted.wait()
        await write(decisions, session)

    monkeypatch.setattr(watcher, "write", write_late)
    await live.put(cid={"lead": {"score": 99.0}})
    await asyncio.wait_for(busy.wait(), 60)
    read: list[stream.Event] = []
    put = stream.ReadAhead._put

    def put_noticed(self: stream.ReadAhead[Any], item: Any) -> None:
        put(self, item)
        if isinstance(item, stream.Event):
            read.append(item)

    monkeypatch.setattr(stream.ReadAhead, "_put", put_noticed)
    await live.put(ann={"lead": {"score": 1.0}}, bob={"lead": {"score": 99.0}})
    await until(lambda: _is_long(read, 2))
    queued.set()
    await asyncio.wait_for(decided.wait(), 60)
    await convert(cohort, Kind.STATIC)
    converted.set()
    await until(lambda: _are(live, other, {"bob", "cid"}))
    await passes(live)
    assert await live.members(cohort) == {"ann", "cid"}
    assert await is_counted(cohort)
    assert await Change.find({"cohort": cohort.id}).count() == 1


async def test_a_run_under_way_is_not_wanted_by_a_static_cohort(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}})
    cohort = await live.cohort(RULE)
    insert = evaluation._insert

    async def insert_late(rows: list[dict[str, Any]]) -> None:
        monkeypatch.undo()
        await convert(cohort, Kind.STATIC)
        await insert(rows)

    monkeypatch.setattr(evaluation, "_insert", insert_late)
    await service.patch("ada", cohort.id, CohortPatch(rule="lead.score < 50"), expected_revs=None)
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert (found.kind, found.state, found.run, found.filling) == ("static", "ready", None, None)
    assert await live.members(cohort) == {"ann"}
    assert {job.state async for job in Job.find({"arguments.cohort_id": cohort.id})} == {"succeeded", "cancelled"}
    await by_hand.add("ada", cohort.id, ["bob"])


async def test_the_first_run_still_fills_what_became_static_meanwhile(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await live.put(ann={"lead": {"score": 90.0}})
    monkeypatch.setattr(jobs, "ANSWER_WITHIN", 0.0)
    insert, going_on = evaluation._insert, asyncio.Event()

    async def insert_late(rows: list[dict[str, Any]]) -> None:
        await going_on.wait()
        await insert(rows)

    monkeypatch.setattr(evaluation, "_insert", insert_late)
    cohort = await live.cohort(RULE)
    assert cohort.state == "evaluating"
    static = await convert(cohort, Kind.STATIC)
    assert (static.kind, static.state, static.run) == ("static", "evaluating", cohort.run)
    going_on.set()
    await until(lambda: _are(live, cohort, {"ann"}))
    await live.put(ann={"lead": {"score": 1.0}})
    await passes(live)
    assert await live.members(cohort) == {"ann"}


async def test_a_static_cohort_that_never_had_members_is_empty(workspace: Workspace) -> None:
    cohort = await workspace.cohort(RULE)
    await cohort.set({"active": None, "state": "failed", "error": "Out of luck."})
    static = await convert(cohort, Kind.STATIC)
    assert (static.state, static.error, static.member_count) == ("ready", None, 0)
    await workspace.put(ann={"lead": {}})
    assert (await by_hand.add("ada", cohort.id, ["ann"])).done == 1
    with pytest.raises(Conflict, match="dynamic"):
        await by_hand.add("ada", (await convert(cohort, Kind.DYNAMIC)).id, ["ann"])


async def test_readers_see_the_old_members_until_the_rule_has_been_asked(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody moves in or out by the rule while a cohort that was static is evaluated, nor when that fails."""
    await live.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}}, cid={"lead": {"score": 90.0}})
    static = await service.create("ada", CohortIn(name="S", kind="static", rule=RULE))
    await by_hand.remove("ada", static.id, ["cid"])
    await live.put(ann={"lead": {"score": 10.0}}, bob={"lead": {"score": 90.0}})
    await passes(live)
    fill = evaluation._fill

    async def fail(*arguments: Any, **more: Any) -> Any:
        await fill(*arguments, **more)
        await live.put(ann={"lead": {"score": 20.0}}, cid={"lead": {"score": 95.0}})
        await passes(live)
        raise RuntimeError("out of luck")

    monkeypatch.setattr(evaluation, "_fill", fail)
    dynamic = await convert(static, Kind.DYNAMIC)
    assert (dynamic.state, await live.members(static), dynamic.member_count) == ("failed", {"ann"}, 1)
    monkeypatch.undo()
    await service.evaluate_now("ada", static.id)
    assert await live.members(static) == {"bob", "cid"}


@pytest.mark.parametrize("seed", range(3))
async def test_conversions_beside_live_changes_freeze_what_was_seen(live: Workspace, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"P{number}" for number in range(40)]
    cohort = await live.cohort(RULE)
    writing = True

    async def write_once() -> None:
        some = chance.sample(names, 4)
        await live.put(**{name: {"lead": {"score": float(chance.randrange(100))}} for name in some})

    async def write() -> None:
        while writing:
            await write_once()

    writers = [asyncio.create_task(write()) for _ in range(2)]

    async def edit() -> None:
        change = CohortPatch(rule=f"lead.score > {chance.randrange(100)}")
        await service.patch("ada", cohort.id, change, expected_revs=None)

    async def evaluate() -> None:
        with suppress(Conflict):  # it may be static by now
            await service.evaluate_now("ada", cohort.id)

    others: list[Callable[[], Coroutine[Any, Any, None]]] = [edit, evaluate, write_once]
    for round_ in range(8):
        beside = asyncio.create_task(others[round_ % 3]())
        await convert(cohort, Kind.STATIC)
        seen = await live.members(cohort)
        assert await is_counted(cohort)
        await beside
        await passes(live)
        assert await live.members(cohort) == seen
        assert await is_counted(cohort)
        await convert(cohort, Kind.DYNAMIC)
    writing = False
    await asyncio.gather(*writers)
    await live.settles()
