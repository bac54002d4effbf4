"""An erased profile is nowhere any more when the answer comes, and stays nowhere whatever was under way."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from muster.app import connect_features
from muster.cohorts import by_hand, evaluation, service, watcher
from muster.cohorts.decisions import Decisions
from muster.cohorts.documents import Change, Cohort, Membership
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.errors import NotFound
from muster.jobs.documents import Job
from muster.jobs.service import create_job
from muster.records import service as records
from muster.records.documents import Profile
from muster.settings import Settings
from tests.cohorts.conftest import Workspace
from tests.waiting import until


@pytest.fixture(autouse=True)
def connected(settings: Settings) -> None:
    """What an erasure takes along is told by the application."""
    connect_features(settings)


async def left_behind() -> dict[str, Any]:
    """Whatever contradicts that erased profiles are nowhere: rows and names without a profile, counts of nobody."""
    profiles = [profile async for profile in Profile.get_motor_collection().find({}, {"pii_id": 1})]
    ids, names = {profile["_id"] for profile in profiles}, {profile["pii_id"] for profile in profiles}
    rows = [row async for row in Membership.get_motor_collection().find()]
    wrong: dict[str, Any] = {}
    async for cohort in Cohort.find():
        generation = f"{cohort.id}|{cohort.active.number if cohort.active else 0}"
        shown = [row["profile"] for row in rows if row["generation"] == generation and row["in"]]
        if set(shown) - ids or cohort.member_count != len(shown):
            wrong[cohort.id] = {"nobody": set(shown) - ids, "count": (cohort.member_count, len(shown))}
    if named := {change.pii_id async for change in Change.find({"pii_id": {"$ne": None}})} - names:
        wrong["changes"] = named
    return wrong


def some(removed: dict[str, int]) -> dict[str, int]:
    """Where anything was."""
    return {place: count for place, count in removed.items() if count}


async def nothing_is_left() -> bool:
    return not await left_behind()


async def test_everything_goes_with_the_answer_and_is_counted(client: httpx.AsyncClient) -> None:
    """No watcher runs here."""
    lines = "\n".join(f'{{"pii_id": "{name}", "lead": {{"score": 90}}}}' for name in ("P1", "P10", "P2"))
    await client.post("/v1/profiles/import", content=lines, headers={"content-type": "application/x-ndjson"})
    dynamic = (await client.post("/v1/cohorts", json={"name": "D", "kind": "dynamic", "rule": "lead != null"})).json()
    static = (await client.post("/v1/cohorts", json={"name": "S", "kind": "static"})).json()
    added = f"/v1/cohorts/{static['id']}/members"
    for key, names in {"one": ["P1"], "other": ["P10"], "wrong": ["P1"]}.items():
        address = added if key != "wrong" else "/v1/cohorts"
        body = {"members": names} if key != "wrong" else {"name": "W", "kind": "dynamic", "members": names}
        await client.post(address, json=body, headers={"Idempotency-Key": key})
    await client.post("/v1/rules/preview", json={"rule": "lead != null"}, headers={"Idempotency-Key": "preview"})
    await client.patch(f"/v1/cohorts/{static['id']}", json={"rule": "lead.score > 1", "kind": "dynamic"})
    await client.patch(f"/v1/cohorts/{static['id']}", json={"kind": "static"})
    job = await create_job("CAJ", "assign", static["project_id"], "ada", {})
    failures = [{"pii_id": "P1", "detail": "No."}, {"pii_id": "P10", "detail": "No."}]
    await job.set({"failures": failures})

    answer = await client.delete("/v1/profiles/P1")
    assert (answer.status_code, answer.json()["pii_id"]) == (200, "P1")
    assert some(answer.json()["removed"]) == {
        "profiles": 1,
        "memberships": 2,
        "changes": 1,
        "job_failures": 1,
        "kept_answers": 1,
    }
    assert await left_behind() == {}
    for cohort in (dynamic, static):
        assert (await client.get(f"/v1/cohorts/{cohort['id']}")).json()["member_count"] == 2
        members = (await client.get(f"/v1/cohorts/{cohort['id']}/members")).json()["items"]
        assert {member["pii_id"] for member in members} == {"P10", "P2"}
    again = await client.post(added, json={"members": ["P10"]}, headers={"Idempotency-Key": "other"})
    assert again.headers["idempotency-replayed"] == "true", "the answer about P10 does not name P1"
    found = await Job.get(job.id)
    assert found is not None
    assert found.failures == [{"pii_id": "P10", "detail": "No."}]
    assert (await client.delete("/v1/profiles/P1")).status_code == 404

    await client.put("/v1/leads/P1", json={"score": 1})
    assert (await client.get("/v1/profiles/P1")).json()["cohorts"] == [], "a successor inherits nothing"


async def test_a_name_in_an_answer_is_found_however_it_stands_there(client: httpx.AsyncClient) -> None:
    names = ["P1", 'a"b', "back\\slash", "é", "o'neil"]
    for name in names:
        await client.put("/v1/leads/" + name, json={})
        body = {"name": "X", "kind": "static", "members": [name, name + "?"]}  # the second is unknown: a sentence
        await client.post("/v1/cohorts", json=body, headers={"Idempotency-Key": f"{names.index(name)} refused"})
        body = {"rule": "lead.name == 'none' or lead != null", "sample": 100}
        await client.post("/v1/rules/preview", json=body, headers={"Idempotency-Key": f"{names.index(name)} preview"})
    answers = [(await client.delete("/v1/profiles/" + name)).json()["removed"]["kept_answers"] for name in names]
    assert sum(answers) == 2 * len(names)
    assert min(answers[:1]) >= len(names), "every preview shows the first"


async def test_what_the_watcher_had_decided_before_does_not_stay(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The profile is erased between the watcher's decision that it enters and its commit."""
    write, decided, erased = watcher.write, asyncio.Event(), asyncio.Event()

    async def write_late(decisions: Decisions, *more: Any) -> None:
        if decisions.inserted and not erased.is_set():
            decided.set()
            await erased.wait()
        await write(decisions, *more)

    await live.put(ann={"lead": {"score": 10.0}})
    cohorts = [await live.cohort("lead.score > 50"), await live.cohort("lead.score > 60")]
    monkeypatch.setattr(watcher, "write", write_late)
    await live.put(ann={"lead": {"score": 90.0}})
    await asyncio.wait_for(decided.wait(), 60)
    assert some(await records.erase(live.project.id, "ann")) == {"profiles": 1}
    erased.set()
    await until(_written_and_gone)
    assert [await live.members(cohort) for cohort in cohorts] == [set(), set()]
    await until(nothing_is_left)


async def _written_and_gone() -> bool:
    """A cohort, or both in one batch, saw it enter, and leave."""
    return await Change.count() >= 2 and await Membership.count() == 0


async def test_a_run_under_way_does_not_bring_it_back(live: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    await live.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 90.0}})
    insert = evaluation._insert

    async def insert_late(rows: list[dict[str, Any]]) -> None:
        monkeypatch.undo()
        await records.erase(live.project.id, "ann")
        await insert(rows)

    monkeypatch.setattr(evaluation, "_insert", insert_late)
    cohort = await live.cohort("lead.score > 50")
    await until(nothing_is_left)
    await live.settles()
    assert await live.members(cohort) == {"bob"}


async def test_a_member_added_by_hand_at_that_moment_does_not_stay(live: Workspace) -> None:
    static = await service.create("ada", CohortIn(name="S", kind="static"))
    for _ in range(20):
        await live.put(ann={"lead": {}})
        await asyncio.gather(by_hand.add("ada", static.id, ["ann"]), records.erase(live.project.id, "ann"))
        assert await left_behind() == {}
    assert await live.members(static) == set()


@pytest.mark.parametrize("seed", range(2))
async def test_erasures_beside_everything_else_leave_nothing(live: Workspace, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"P{number}" for number in range(40)]
    rules = ["lead.score > 50", "lead.score < 70", "lead != null"]
    cohorts = [await live.cohort(rule) for rule in rules]
    static = await service.create("ada", CohortIn(name="S", kind="static"))
    await live.put(**{name: {"lead": {"score": 60.0}} for name in names})

    async def repeat(act: Callable[[], Awaitable[object]], times: int) -> None:
        for _ in range(times):
            await act()

    async def write() -> None:
        await live.put(**{name: {"lead": {"score": float(chance.randrange(100))}} for name in chance.sample(names, 5)})

    async def erase() -> None:
        name = chance.choice(names)
        try:
            removed = await records.erase(live.project.id, name)
        except NotFound:
            return
        assert removed["profiles"] == 1

    async def add() -> None:
        await by_hand.add("ada", static.id, chance.sample(names, 5))

    async def edit() -> None:
        change = CohortPatch(rule=f"lead.score > {chance.randrange(100)} or {chance.choice(rules)}")
        await service.patch("ada", chance.choice(cohorts).id, change, expected_revs=None)

    await asyncio.gather(repeat(write, 40), repeat(erase, 60), repeat(add, 15), repeat(edit, 6))
    await live.settles(seconds=90)
    await until(nothing_is_left)
