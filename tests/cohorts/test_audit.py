"""The audit finds what is wrong, says so until it is right, and accuses nobody under a stream of writes."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from bson import Timestamp

from muster.cohorts import audit, by_hand, service, watcher
from muster.cohorts.documents import Audit, Cohort, Membership, WatchState, generation_id, row_id
from muster.cohorts.generations import row
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.cohorts.snapshot import open_snapshot
from muster.cohorts.stream import moment_of
from muster.records.documents import Profile
from tests.cohorts.conftest import Workspace, watching
from tests.waiting import until


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher says often how far it is, and the audit looks often."""
    monkeypatch.setattr(watcher, "SAVE_TOKEN_EVERY", 0.1)
    monkeypatch.setattr(audit, "LOOKS_EVERY", 0.05)


async def known() -> Audit:
    found = await Audit.get("memberships")
    assert found is not None
    return found


async def finds(count: int) -> bool:
    """One round, and whether there are that many differences on record now."""
    await audit.audit()
    return len((await known()).differences) == count


async def everything_was_compared() -> bool:
    """Whether the watcher has done what it does first, which would put right what a test makes wrong."""
    found = await WatchState.find_one()
    return found is not None and found.full_evaluations == 1


async def profile_of(pii_id: str) -> Any:
    return await Profile.get_motor_collection().find_one({"pii_id": pii_id})


def generation_of(cohort: Cohort) -> str:
    return generation_id(cohort.id, cohort.active.number if cohort.active else 0)


async def put_in(cohort: Cohort, pii_id: str) -> None:
    """A row that should not be there, and a count with it."""
    now = datetime.now(UTC)
    profile = (await profile_of(pii_id))["_id"]
    wrong = row(generation_of(cohort), profile, is_member=True, entered_at=now, cause="record", as_of=Timestamp(1, 1))
    await Membership.get_motor_collection().insert_one(wrong)
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$inc": {"member_count": 1}})


async def take_out(cohort: Cohort, pii_id: str) -> None:
    """A row that should be there is not, nor in the count."""
    profile = (await profile_of(pii_id))["_id"]
    gone = await Membership.get_motor_collection().delete_one({"_id": row_id(generation_of(cohort), profile)})
    assert gone.deleted_count == 1
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$inc": {"member_count": -1}})


async def miscount(cohort: Cohort, _pii_id: str) -> None:
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$inc": {"member_count": 5}})


RULES = {
    "plain": "lead.score > 50",
    "in Python": "lead.score / 2 > 25",
    "over a cohort": "$in_cohort('COH-1') or lead.score > 50",
    "over time": 'lead.score > 50 and $now - lead.created_at > t"P30D"',
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize(
    ("corrupt", "whom"), [(put_in, "P10"), (take_out, "P60"), (miscount, "P0")], ids=["surplus", "missing", "count"]
)
async def test_what_is_wrong_is_reported_until_it_is_right(  # noqa: PLR0917  fixtures
    live: Workspace,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    rule: str,
    corrupt: Callable[[Cohort, str], Awaitable[None]],
    whom: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watcher, "TICK_SECONDS", 0.2)
    long_ago = datetime.now(UTC) - timedelta(days=300)
    scores = range(0, 100, 10)
    await live.put(**{f"P{score}": {"lead": {"score": float(score), "created_at": long_ago}} for score in scores})
    await service.create("ada", CohortIn(name="Inner", kind="static", members=["P0", "P90"]))
    cohort = await live.cohort(rule)
    await until(everything_was_compared)
    assert await finds(0)
    capsys.readouterr()
    await corrupt(cohort, whom)
    await until(lambda: finds(1))
    found = await known()
    (difference,) = found.differences
    about = None if corrupt is miscount else (await profile_of(whom))["_id"]
    assert (difference.cohort, difference.profile, found.found) == (cohort.id, about, 1)
    said = capsys.readouterr().out + caplog.text
    assert cohort.id in said
    assert about is None or str(about) in said
    assert whom not in said, "an id of ours names nobody, a pii_id does"
    standing = await audit.standing()
    assert (standing["status"], standing["differences"], standing["cohorts"]) == ("differences", 1, [cohort.id])
    await service.evaluate_now("ada", cohort.id)
    await until(lambda: finds(0))
    assert (await known()).found == 1


async def test_health_and_metrics_tell(client: httpx.AsyncClient) -> None:
    ready = (await client.get("/health/ready")).json()
    assert ready["checks"]["audit"] == {"status": "not started"}
    now = datetime.now(UTC)
    difference = {"cohort": "COH-1", "profile": None, "stored": 2, "right": 1, "found_at": now}
    stored = {"_id": "memberships", "looks": 70, "found": 3, "differences": [difference], "looked_at": now}
    await Audit.get_motor_collection().insert_one(stored)
    ready = (await client.get("/health/ready")).json()
    assert (ready["status"], ready["checks"]["audit"]["status"]) == ("ok", "differences")
    assert ready["checks"]["audit"]["cohorts"] == ["COH-1"]
    metrics = (await client.get("/metrics")).text
    for line in ("muster_audit_looks 70.0", "muster_audit_found 3.0", "muster_audit_differences 1.0"):
        assert line in metrics


async def test_without_a_watcher_nobody_is_accused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs may be right as soon as one comes."""
    monkeypatch.setattr(audit, "PATIENCE", 0.2)
    await workspace.put(ann={"lead": {"score": 90.0}})
    await workspace.cohort("lead.score > 50")
    await workspace.put(ann={"lead": {"score": 10.0}})
    assert await finds(0)
    assert (await known()).looks > 1
    async with watching():
        await workspace.settles()
        assert await finds(0)


async def test_no_false_alarm_under_a_stream_of_writes(live: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "TICK_SECONDS", 0.3)
    chance = random.Random(3)
    names = [f"P{number}" for number in range(60)]
    inner = await service.create("ada", CohortIn(name="Inner", kind="static"))
    cohorts = [
        await live.cohort(rule)
        for rule in (
            "lead.score > 50",
            "not (lead.score > 50)",
            f"$in_cohort('{inner.id}') and lead.score < 80",
            '$now - lead.last_activity_at > t"P30D"',
        )
    ]
    writing = True

    async def write() -> None:
        while writing:
            name = chance.choice(names)
            if chance.random() < 0.1:
                await live.erase(name)
            elif chance.random() < 0.1:
                await by_hand.add("ada", inner.id, [name])
            else:
                soon = datetime.now(UTC) - timedelta(days=30) + timedelta(seconds=chance.uniform(-2, 2))
                await live.put(**{name: {"lead": {"score": float(chance.randrange(100)), "last_activity_at": soon}}})

    async def edit() -> None:
        while writing:
            change = CohortPatch(rule=f"lead.score > {chance.randrange(100)}")
            await service.patch("ada", cohorts[0].id, change, expected_revs=None)

    writers = [asyncio.create_task(act()) for act in (write, write, edit)]
    for _ in range(8):
        await audit.audit()
    writing = False
    await asyncio.gather(*writers)
    found = await known()
    assert (found.found, found.differences) == (0, [])
    assert found.looks > 200


async def test_a_position_in_the_stream_tells_its_time(live: Workspace) -> None:
    async def state() -> WatchState | None:
        return await WatchState.find_one({"token": {"$ne": None}})

    found = await until(state)
    assert found is not None
    before = found.token
    async with open_snapshot() as snapshot:
        pass

    async def is_later() -> bool:
        found = await state()
        moment = moment_of(found.token if found else None)
        return moment is not None and moment > snapshot.as_of

    assert (moment_of(before) or Timestamp(0, 0)).time > 1_600_000_000
    await live.put(ann={"lead": {}})
    await until(is_later)
    assert moment_of(None) is moment_of({"_data": "nothing like it"}) is None
