"""Live membership: whatever happens to profiles and cohorts, members become what the rules say."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from muster.cohorts import by_hand, evaluation, service, watcher
from muster.cohorts.decisions import Decisions
from muster.cohorts.documents import Change, Cohort, Membership, WatchState
from muster.cohorts.live_rules import LiveRule
from muster.cohorts.reconciliation import differing
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.cohorts.snapshot import Snapshot
from muster.cohorts.writes import RulesMoved
from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.records.documents import Profile
from tests.cohorts.conftest import SLICE, Workspace, watching
from tests.waiting import until

SENTINELS = itertools.count()
LIFETIME = "transactionLifetimeLimitSeconds"
US = 'contact.country == "US"'


async def changes_of(cohort: Cohort) -> list[tuple[str, str]]:
    """What is on record for a cohort, oldest first: (change, cause)."""
    return [(change.change, change.cause.value) async for change in Change.find({"cohort": cohort.id}).sort("_id")]


async def test_a_record_change_moves_members_in_and_out(live: Workspace) -> None:
    await live.put(ann={"lead": {"score": 80.0}}, bob={"lead": {"score": 10.0}})
    cohort = await live.cohort("lead.score > 50")
    await live.put(ann={"lead": {"score": 1.0}}, bob={"lead": {"score": 99.0}})
    await until(lambda: _is(live, cohort, {"bob"}))
    assert sorted(await changes_of(cohort)) == [("entered", "record"), ("left", "record")]
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert found.member_count == 1
    assert found.rev == cohort.rev, "membership must not change a cohort's ETag"


async def test_parts_that_come_and_go_count_as_changes_of_all_their_fields(live: Workspace) -> None:
    without = await live.cohort("customer == null")
    american = await live.cohort(US)
    await live.put(ann={"lead": {}, "contact": {"country": "US"}})
    await until(lambda: _is(live, american, {"ann"}))
    await until(lambda: _is(live, without, {"ann"}))
    await live.put(ann={"customer": {}, "lead": None})
    await until(lambda: _is(live, without, set()))
    await until(lambda: _is(live, american, set()))


async def test_creating_and_erasing_profiles_count_as_changes(live: Workspace) -> None:
    cohort = await live.cohort("lead.score > 50")
    static = await service.create("ada", CohortIn(name="Kept", kind="static"))
    await live.put(ann={"lead": {"score": 80.0}})
    await until(lambda: _is(live, cohort, {"ann"}))
    await by_hand.add("ada", static.id, ["ann"])
    await live.erase("ann")
    await until(lambda: _is(live, cohort, set()))
    await until(lambda: _is(live, static, set()))
    found = await Cohort.get(static.id)
    assert found is not None
    assert found.member_count == 0
    assert await Membership.count() == 0


async def test_a_profile_created_again_is_a_new_one(live: Workspace) -> None:
    cohort = await live.cohort("lead.score > 50")
    for score in (80.0, 10.0, 90.0):
        await live.put(ann={"lead": {"score": score}})
        await live.erase("ann")
    await live.put(ann={"lead": {"score": 60.0}})
    await live.settles()
    assert await live.members(cohort) == {"ann"}


async def test_changes_that_no_rule_reads_write_nothing(live: Workspace) -> None:
    await live.put(ann={"lead": {"score": 80.0, "status": "new"}})
    cohort = await live.cohort("lead.score > 50")
    await live.put(ann={"lead": {"score": 80.0, "status": "open"}}, bob={"lead": {"score": 51.0}})
    await until(lambda: _is(live, cohort, {"ann", "bob"}))
    assert await changes_of(cohort) == [("entered", "record")]


async def test_a_static_cohort_does_not_follow_its_rule(live: Workspace) -> None:
    await live.put(ann={"lead": {"score": 80.0}})
    static = await service.create("ada", CohortIn(name="Then", kind="static", rule="lead.score > 50"))
    dynamic = await live.cohort("lead.score > 50")
    await live.put(ann={"lead": {"score": 1.0}}, bob={"lead": {"score": 99.0}})
    await until(lambda: _is(live, dynamic, {"bob"}))
    assert await live.members(static) == {"ann"}


async def test_who_is_put_into_a_static_cohort_before_the_watcher_sees_them_stays(workspace: Workspace) -> None:
    dynamic = await workspace.cohort("lead.score > 50")
    static = await service.create("ada", CohortIn(name="Hand", kind="static"))
    async with watching():
        await until(_evaluated(1))
    await workspace.put(ann={"lead": {"score": 80.0}})
    await by_hand.add("ada", static.id, ["ann"])
    async with watching():
        await until(lambda: _is(workspace, dynamic, {"ann"}))
    assert await workspace.members(static) == {"ann"}


async def test_members_added_by_hand_are_counted_once(live: Workspace) -> None:
    await live.put(ann={"lead": {}}, bob={"lead": {}})
    static = await service.create("ada", CohortIn(name="Hand", kind="static"))
    first = await by_hand.add("ada", static.id, ["ann", "bob", "ann", "nobody"])
    again = await by_hand.add("ada", static.id, ["ann"])
    assert (first.done, first.already, first.others) == (2, 0, ["nobody"])
    assert (again.done, again.already) == (0, 1)
    gone = await by_hand.remove("ada", static.id, ["ann", "nobody"])
    assert (gone.done, gone.others) == (1, ["nobody"])
    found = await Cohort.get(static.id)
    assert found is not None
    assert found.member_count == 1
    assert await live.members(static) == {"bob"}


async def test_time_moves_members_without_any_change(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "TICK_SECONDS", 0.1)
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=2) - timedelta(days=30)
    await workspace.put(ann={"lead": {"last_activity_at": soon}})
    cohort = await workspace.cohort('$now - lead.last_activity_at > t"P30D"')
    assert await workspace.members(cohort) == set()
    async with watching():
        await until(lambda: _is(workspace, cohort, {"ann"}))
    assert await changes_of(cohort) == [("entered", "time")]


async def test_what_happened_while_no_watcher_ran_is_caught_up(workspace: Workspace) -> None:
    await workspace.put(ann={"lead": {"score": 80.0}})
    cohort = await workspace.cohort("lead.score > 50")
    async with watching():
        await workspace.put(bob={"lead": {"score": 81.0}})
        await until(lambda: _is(workspace, cohort, {"ann", "bob"}))
    await workspace.put(ann={"lead": {"score": 1.0}}, cid={"lead": {"score": 77.0}})
    await workspace.erase("bob")
    async with watching():
        await workspace.settles()
    assert await workspace.members(cohort) == {"cid"}
    state = await WatchState.get(SLICE)
    assert state is not None
    assert state.full_evaluations == 1, "only the very first start knows no position"


async def test_lost_history_evaluates_everything_and_says_so(workspace: Workspace) -> None:
    await workspace.put(ann={"lead": {"score": 80.0}})
    cohort = await workspace.cohort("lead.score > 50")
    async with watching():
        await until(_evaluated(1))
    await workspace.put(ann={"lead": {"score": 1.0}}, bob={"lead": {"score": 99.0}})
    admin = Profile.get_motor_collection().database.client.admin
    await admin.command(
        {
            "configureFailPoint": "failCommand",
            "mode": {"times": 1},
            "data": {"failCommands": ["aggregate"], "errorCode": 286, "appName": "muster"},
        }
    )
    try:
        async with watching():
            await workspace.settles()
            state = await until(_evaluated(2))
    finally:
        await admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    assert await workspace.members(cohort) == {"bob"}
    assert "history" in (state.full_evaluation_reason or "")


async def test_a_full_evaluation_that_was_killed_is_done_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await workspace.put(ann={"lead": {"score": 80.0}})
    cohorts = [await workspace.cohort("lead.score > 50"), await workspace.cohort("lead.score > 60")]
    await workspace.put(ann={"lead": {"score": 1.0}})
    compared: list[str] = []

    async def compare_one_then_die(live: LiveRule, snapshot: Snapshot, now: datetime) -> list[Any]:
        compared.append(live.cohort_id)
        if len(set(compared)) > 1:
            raise SystemExit
        return await differing(live, snapshot, now)

    monkeypatch.setattr(watcher, "differing", compare_one_then_die)
    lease = await leases.take(SLICE, "dies", timedelta(milliseconds=1))
    assert lease is not None
    with pytest.raises(SystemExit):
        await watcher.Watcher(lease).follow()
    monkeypatch.setattr(watcher, "differing", differing)
    async with watching():
        await until(_evaluated(1))
    assert [await workspace.members(cohort) for cohort in cohorts] == [set(), set()]


async def test_another_deployment_is_noticed(workspace: Workspace) -> None:
    await workspace.put(ann={"lead": {"score": 80.0}})
    cohort = await workspace.cohort("lead.score > 50")
    async with watching():
        await until(_evaluated(1))
    await WatchState.get_motor_collection().update_one({"_id": SLICE}, {"$set": {"deployment": "another"}})
    await workspace.put(ann={"lead": {"score": 1.0}})
    async with watching():
        state = await until(_evaluated(2))
    assert await workspace.members(cohort) == set()
    assert "another one" in (state.full_evaluation_reason or "")


async def test_two_watchers_do_what_one_does(workspace: Workspace) -> None:
    cohort = await workspace.cohort("lead.score > 50")
    async with watching("one"), watching("two"):
        for score in range(0, 100, 5):
            await workspace.put(ann={"lead": {"score": float(score)}})
        await until(lambda: _is(workspace, cohort, {"ann"}))
    assert await changes_of(cohort) == [("entered", "record")]


async def test_a_watcher_whose_lease_was_taken_commits_nothing(workspace: Workspace) -> None:
    cohort = await workspace.cohort("lead.score > 50")
    stale = await leases.take(SLICE, "stalled", timedelta(milliseconds=1))
    assert stale is not None
    stalled = watcher.Watcher(stale)
    following = asyncio.create_task(stalled.follow())
    await until(lambda: WatchState.get(SLICE))
    assert await until(lambda: leases.take(SLICE, "new", timedelta(minutes=1)))
    await workspace.put(ann={"lead": {"score": 99.0}})
    with pytest.raises(watcher.LeaseLost):
        await asyncio.wait_for(following, 20)
    assert await workspace.members(cohort) == set()
    await Lease.get_motor_collection().delete_many({})


async def test_rules_that_move_beside_every_large_batch_hold_up_nobody(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody edits cohorts all the time: what takes long is in vain."""
    cohort = await workspace.cohort("lead.score > 50")
    async with watching():
        await until(_evaluated(1))
    await workspace.put(**{f"p{number}": {"lead": {"score": 80.0}} for number in range(40)})
    write, sizes = watcher.write, list[int]()

    async def write_little(decisions: Decisions, session: Any) -> None:
        sizes.append(len(decisions))
        if len(decisions) > 5:
            raise RulesMoved
        await write(decisions, session)

    monkeypatch.setattr(watcher, "write", write_little)
    async with watching():
        await until(lambda: _is(workspace, cohort, {f"p{number}" for number in range(40)}))
    assert sizes[:4] == [40, 20, 10, 5]
    assert await changes_of(cohort) == [("entered", "record")] * 40


async def test_a_watcher_that_slept_as_it_saved_its_position_puts_none_over_a_later_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stopped at the worst moment: it holds the lease, and is about to write; then it wakes up."""
    await workspace.put(ann={"lead": {"score": 80.0}})
    async with watching():
        await until(_evaluated(1))
    position = watcher.Watcher._write_state
    sleeping = True

    async def write_late(self: watcher.Watcher, *arguments: Any) -> None:
        nonlocal sleeping
        if sleeping:
            sleeping = False
            await Lease.get_motor_collection().update_one({"_id": SLICE}, {"$set": {"expires_at": None}})
            assert await leases.take(SLICE, "new", timedelta(minutes=1))
            await WatchState.get_motor_collection().update_one({"_id": SLICE}, {"$set": {"events": 1_000_000}})
        await position(self, *arguments)

    monkeypatch.setattr(watcher.Watcher, "_write_state", write_late)
    lease = await leases.take(SLICE, "sleeps", timedelta(minutes=1))
    assert lease is not None
    with pytest.raises(watcher.LeaseLost):
        await watcher.Watcher(lease).follow()
    state = await WatchState.get(SLICE)
    assert state is not None
    assert state.events == 1_000_000
    await Lease.get_motor_collection().delete_many({})


async def test_what_a_killed_watcher_left_open_holds_nobody_up(workspace: Workspace) -> None:
    """MongoDB keeps its transaction, and with it the cohort's count, until the next watcher ends it."""
    cohort = await workspace.cohort("lead.score > 50")
    async with watching():
        await until(_evaluated(1))
    client = Profile.get_motor_collection().database.client
    limit = (await client.admin.command({"getParameter": 1, LIFETIME: 1}))[LIFETIME]
    await client.admin.command({"setParameter": 1, LIFETIME: 600})
    try:
        async with await client.start_session() as killed:
            killed.start_transaction()
            count = {"$inc": {"member_count": 7}}
            await Cohort.get_motor_collection().update_one({"_id": cohort.id}, count, session=killed)
            session = {"$set": {"session": killed.session_id["id"].hex()}}
            await WatchState.get_motor_collection().update_one({"_id": SLICE}, session)
            await workspace.put(ann={"lead": {"score": 80.0}})
            async with watching():
                await workspace.settles()
            with pytest.raises(OperationFailure, match="aborted"):
                await killed.commit_transaction()
    finally:
        await client.admin.command({"setParameter": 1, LIFETIME: limit})
    assert await workspace.members(cohort) == {"ann"}


async def passes(live: Workspace) -> None:
    """Wait until the watcher has applied everything written before this."""
    sentinel = await Cohort.find_one({"name": "Sentinel"}) or await live.cohort("lead.stage != null", name="Sentinel")
    name = f"S{next(SENTINELS)}"
    await live.put(**{name: {"lead": {"stage": "now"}}})
    await until(lambda: _has(live, sentinel, name))
    await live.erase(name)


@pytest.fixture
def slow_runs(live: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Awaitable[None]]]:
    """Holds every run open between its snapshot and its inserts, where a naive layout goes wrong in every race.

    Meanwhile what stands in the list happens, and the watcher applies it.
    """
    meanwhile: list[Callable[[], Awaitable[None]]] = []
    insert = evaluation._insert

    async def insert_late(rows: list[dict[str, Any]]) -> None:
        if meanwhile:
            for action in meanwhile:
                await action()
            await passes(live)
        await insert(rows)

    monkeypatch.setattr(evaluation, "_insert", insert_late)
    return meanwhile


async def test_a_run_never_overrules_a_later_decision(
    live: Workspace, slow_runs: list[Callable[[], Awaitable[None]]]
) -> None:
    await live.put(
        leaves={"lead": {"score": 90.0}},
        enters={"lead": {"score": 1.0}},
        erased={"lead": {"score": 90.0}},
        stays={"lead": {"score": 90.0}},
        returns={"lead": {"score": 90.0}},
    )
    await passes(live)

    async def meanwhile() -> None:
        slow_runs.clear()
        await live.put(leaves={"lead": {"score": 1.0}}, enters={"lead": {"score": 90.0}}, returns={"lead": None})
        await live.erase("erased")
        await passes(live)
        await live.put(returns={"lead": {"score": 90.0}})

    slow_runs.append(meanwhile)
    cohort = await live.cohort("lead.score > 50")
    assert cohort.state == "ready"
    assert slow_runs == [], "the run was not held open"
    assert await live.members(cohort) == {"enters", "stays", "returns"}
    assert cohort.member_count == 3
    rows = await Membership.find({"generation": f"{cohort.id}|1", "in": True}).count()
    assert rows == 3


@pytest.mark.parametrize("seed", range(3))
async def test_runs_beside_live_changes_corrupt_nothing(
    live: Workspace, slow_runs: list[Callable[[], Awaitable[None]]], seed: int
) -> None:
    """Creations, edits and evaluations race with writes; at rest everything equals the oracle's recount."""
    chance = random.Random(seed)
    names = [f"P{number}" for number in range(120)]

    def parts() -> dict[str, Any]:
        return {
            "lead": {"score": float(chance.randrange(100)), "tags": chance.sample(["a", "b", "c"], 2)},
            "contact": {"country": chance.choice(["US", "FR", "DE"])} if chance.random() < 0.8 else None,
        }

    await live.put(**{name: parts() for name in names})
    writing = True

    async def write_one() -> None:
        name = chance.choice(names)
        if chance.random() < 0.1:
            await live.erase(name)
        else:
            await live.put(**{name: parts()})

    async def write() -> None:
        while writing:
            await write_one()

    await passes(live)
    slow_runs.append(write_one)
    writers = [asyncio.create_task(write()) for _ in range(3)]
    rules = ["lead.score > 50", US, 'not (contact.country in ["US", "FR"])', '"a" in lead.tags and lead.score < 70']
    cohorts = [await live.cohort(rule) for rule in rules]
    for round_ in range(8):
        cohort = cohorts[round_ % len(cohorts)]
        change = CohortPatch(rule=f"lead.score > {chance.randrange(100)} or {chance.choice(rules)}")
        await asyncio.gather(
            service.patch("ada", cohort.id, change, expected_revs=None),
            service.evaluate_now("ada", cohorts[(round_ + 1) % len(cohorts)].id),
            live.cohort(chance.choice(rules)),
        )
    writing = False
    await asyncio.gather(*writers)
    await live.settles()
    # At rest, and it stays: one more change goes through the whole path, and nothing else moves.
    await live.put(last={"lead": {"score": 100.0}})
    await live.settles()
    assert await live.differences() == []


async def _has(workspace: Workspace, cohort: Cohort, name: str) -> bool:
    return name in await workspace.members(cohort)


async def _is(workspace: Workspace, cohort: Cohort, expected: set[str]) -> bool:
    return await workspace.members(cohort) == expected


def _evaluated(times: int) -> Callable[[], Awaitable[WatchState | None]]:
    """A look at whether everything was evaluated so many times."""

    async def look() -> WatchState | None:
        state = await WatchState.get(SLICE)
        return state if state is not None and state.full_evaluations >= times else None

    return look
