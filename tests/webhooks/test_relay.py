"""From changes and jobs to deliveries: nothing lost, nothing doubled, in order."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts import service as cohorts
from muster.cohorts.documents import Change
from muster.cohorts.schemas import CohortIn
from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.jobs.service import claim, create_job, retry
from muster.webhooks import relay
from muster.webhooks.documents import RELAY, Delivery, RelayState
from tests.cohorts.conftest import watching
from tests.waiting import until
from tests.webhooks.conftest import EVERYTHING, World, only_relaying, relaying
from tests.webhooks.receiver import Receiver


async def told(webhook: dict[str, Any]) -> list[ObjectId]:
    """The changes that a webhook's deliveries tell of, in their order."""
    found = Delivery.find({"webhook": webhook["id"]}).sort("number")
    return [entry async for delivery in found for entry in delivery.entries]


def tells(webhook: dict[str, Any], count: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(await told(webhook)) >= count

    return look


async def test_a_record_s_change_reaches_the_endpoint(world: World, receiver: Receiver) -> None:
    """From the write of a record to the POST, with nothing in between that anybody asks for."""
    cohort = (
        await world.http.post("/v1/cohorts", json={"name": "Hot", "kind": "dynamic", "rule": "lead.score > 50"})
    ).json()
    webhook = await world.webhook(receiver.url)
    async with watching(), relaying(world.settings):
        await world.http.put("/v1/leads/ann", json={"score": 80})

        async def arrived() -> bool:
            return len(receiver.received) == 1

        await until(arrived)
        await world.http.put("/v1/leads/ann", json={"score": 8})

        async def left() -> bool:
            return len(receiver.received) == 2

        await until(left)
    entered, gone = (one.payload for one in receiver.received)
    assert (entered["type"], gone["type"]) == ("cohort.entered", "cohort.left")
    change = entered["data"]["changes"][0]
    assert entered["data"] == {
        "project_id": world.project_id,
        "cohort_id": cohort["id"],
        "cohort_name": "Hot",
        "changes": [{"pii_id": "ann", "change": "entered", "cause": "record", "at": change["at"], "run_id": None}],
    }
    assert entered["timestamp"] == change["at"]
    assert [delivery["state"] for delivery in await world.deliveries(webhook)] == ["delivered", "delivered"]
    assert [delivery["id"] for delivery in await world.deliveries(webhook)] == receiver.ids


async def test_the_first_fill_of_a_cohort_tells_nothing(world: World, receiver: Receiver) -> None:
    """Nor does a second evaluation that finds what is there."""
    await world.profiles(50)
    webhook = await world.webhook(receiver.url)
    async with only_relaying():
        made = await world.http.post("/v1/cohorts", json={"name": "All", "kind": "dynamic", "rule": "lead != null"})
        assert made.json()["member_count"] == 50
        await world.http.post(f"/v1/cohorts/{made.json()['id']}/evaluate")
        sentinel = await world.cohort()
        (profile, *_) = await world.profiles(50)
        entries = await world.tell(sentinel, [("entered", profile)])
        await until(tells(webhook, 1))
    assert await told(webhook) == entries


async def test_a_burst_travels_together_in_order_and_each_change_once(world: World, receiver: Receiver) -> None:
    """A thousand changes of one cohort: ten deliveries of a hundred, sent one after the other."""
    cohort, profiles = await world.cohort(), await world.profiles(1000)
    webhook = await world.webhook(receiver.url)
    async with relaying(world.settings):
        entries = await world.tell(cohort, [("entered", profile) for profile in profiles])

        async def all_delivered() -> bool:
            return len(await world.deliveries(webhook, state="delivered")) >= 10

        await until(all_delivered)
    assert await told(webhook) == entries
    assert [delivery["change_count"] for delivery in await world.deliveries(webhook)] == [100] * 10
    assert [pii_id for one in receiver.received for pii_id in one.pii_ids] == [f"P{n:04}" for n in range(1000)]
    assert receiver.most_at_once == 1, "a cohort's deliveries do not overtake each other"


async def test_each_webhook_gets_what_it_asked_for(world: World, receiver: Receiver) -> None:
    mine, other = await world.cohort("mine"), await world.cohort("other")
    (profile,) = await world.profiles(1)
    everything = await world.webhook(receiver.url, events=EVERYTHING)
    entering = await world.webhook(receiver.url, events=["cohort.entered"])
    limited = await world.webhook(receiver.url, cohort_ids=[mine.id])
    paused = await world.webhook(receiver.url)
    await world.http.patch(f"/v1/webhooks/{paused['id']}", json={"active": False})
    async with only_relaying():
        first = await world.tell(mine, [("entered", profile), ("left", profile)])
        second = await world.tell(other, [("entered", profile)])
        await until(tells(everything, 3))
        await until(tells(limited, 2))
    assert await told(everything) == [*first, *second]
    assert await told(entering) == [first[0], second[0]]
    assert await told(limited) == first
    assert await told(paused) == []


async def test_another_owner_s_cohort_is_not_told(world: World, receiver: Receiver) -> None:
    theirs = await cohorts.create("bob", CohortIn(name="theirs", kind="static"))
    mine, webhook = await world.cohort(), await world.webhook(receiver.url)
    (profile,) = await world.profiles(1)
    async with only_relaying():
        await world.tell(theirs, [("entered", profile)])
        entries = await world.tell(mine, [("entered", profile)])
        await until(tells(webhook, 1))
    assert await told(webhook) == entries


async def test_what_happened_before_a_webhook_was_made_or_while_it_was_off_is_not_told(
    world: World, receiver: Receiver
) -> None:
    """Whether the relay follows then or not."""
    cohort, (profile,) = await world.cohort(), await world.profiles(1)
    older = await world.webhook(receiver.url)
    await world.tell(cohort, [("entered", profile)])
    webhook = await world.webhook(receiver.url)
    between = await world.tell(cohort, [("left", profile)])
    path = f"/v1/webhooks/{webhook['id']}"
    async with only_relaying():
        await until(tells(older, 2))
        assert await told(webhook) == between
        await world.http.patch(path, json={"active": False})
        await world.tell(cohort, [("entered", profile)])
        await until(tells(older, 3))
        await world.http.patch(path, json={"active": True})
        after = await world.tell(cohort, [("left", profile)])
        await until(tells(webhook, 2))
    assert await told(webhook) == [*between, *after]


async def test_ended_jobs_are_told(world: World, receiver: Receiver) -> None:
    """Once for every end: a job that is tried again ends again."""
    cohort = await world.cohort()
    webhook = await world.webhook(receiver.url, events=["job.finished"])
    limited = await world.webhook(receiver.url, events=["job.finished"], cohort_ids=[cohort.id])
    async with relaying(world.settings):
        job = await create_job("RUN", "evaluate", world.project_id, "ada", {})
        about = await create_job("RUN", "evaluate", world.project_id, "ada", {"cohort_id": cohort.id})
        bobs = await create_job("RUN", "evaluate", "PRJ-of-bob", "bob", {})
        async with claim(bobs.id):
            pass
        await world.http.post(f"/v1/jobs/{job.id}/cancel")
        await retry("ada", job.id)
        async with claim(job.id) as claimed:
            claimed.result = {"imported": 3}
        async with claim(about.id):
            pass

        async def arrived() -> bool:
            return len(receiver.received) == 4

        await until(arrived)
    ended = [one.payload["data"] for one in receiver.received if one.payload["data"]["job_id"] == job.id]
    assert {data["state"] for data in ended} == {"cancelled", "succeeded"}
    (succeeded,) = (data for data in ended if data["state"] == "succeeded")
    assert (succeeded["result"], succeeded["kind"], succeeded["cohort_id"]) == ({"imported": 3}, "evaluate", None)
    assert [delivery["job_id"] for delivery in await world.deliveries(limited)] == [about.id]
    assert len(await world.deliveries(webhook)) == 3


async def test_a_relay_that_dies_before_its_commit_leaves_everything_to_the_next(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the deliveries that it wrote and the position."""
    cohort, profiles = await world.cohort(), await world.profiles(250)
    webhook = await world.webhook(receiver.url)
    renew, written = leases.renew, asyncio.Event()

    async def die(lease: Lease, *, session: AsyncIOMotorClientSession | None = None) -> Any:
        if session is not None and await Delivery.get_motor_collection().find_one({}, session=session):
            written.set()
            raise asyncio.CancelledError
        return await renew(lease, session=session)

    async with only_relaying() as dying:
        await until(has_position)
        monkeypatch.setattr(leases, "renew", die)
        entries = await world.tell(cohort, [("entered", profile) for profile in profiles])
        await asyncio.wait_for(written.wait(), 60)
        await asyncio.wait({dying}, timeout=60)
        assert dying.cancelled()
    monkeypatch.undo()
    assert await told(webhook) == []
    async with only_relaying():
        await until(tells(webhook, 250))
    assert await told(webhook) == entries


async def test_two_relays_make_no_more_than_one(world: World, receiver: Receiver) -> None:
    """One stands by. One that slept through the loss of its lease commits nothing."""
    cohort, profiles = await world.cohort(), await world.profiles(100)
    webhook = await world.webhook(receiver.url)
    async with relaying(world.settings, "one"), relaying(world.settings, "two"):
        entries = await world.tell(cohort, [("entered", profile) for profile in profiles])
        await until(tells(webhook, 100))
    async with only_relaying("sleeper") as sleeper:
        assert await leases.take(relay.LEASE, "sleeper", relay.LEASE_TTL), "the same name takes over at once"
        more = await world.tell(cohort, [("left", profile) for profile in profiles])
        await asyncio.wait({sleeper}, timeout=60)
        with pytest.raises(relay.LeaseLost):
            sleeper.result()
        assert await told(webhook) == entries
    async with only_relaying("sleeper"):
        await until(tells(webhook, 200))
    assert await told(webhook) == [*entries, *more]


async def test_a_lost_history_is_noticed_and_nothing_is_told_twice(world: World, receiver: Receiver) -> None:
    """The position is no good any more: what is in `changes` and in no delivery is told, and the stream goes on."""
    cohort, profiles = await world.cohort(), await world.profiles(30)
    webhook = await world.webhook(receiver.url)
    first: list[ObjectId] = []
    async with only_relaying():
        for part in (profiles[:10], profiles[10:]):
            first += await world.tell(cohort, [("entered", profile) for profile in part])
            await until(tells(webhook, len(first)))
    missed = await world.tell(cohort, [("left", profile) for profile in profiles])
    await RelayState.find_one({"_id": RELAY}).update({"$set": {"token": {"_data": "82" + "00" * 20}}})
    async with only_relaying():
        await until(tells(webhook, 60))
        last = await world.tell(cohort, [("entered", profile) for profile in profiles])
        await until(tells(webhook, 90))
    assert await told(webhook) == [*first, *missed, *last]
    assert (await world.http.get("/health/ready")).json()["checks"]["webhooks"]["lost_histories"] == 1


async def test_an_older_position_makes_nothing_twice(world: World, receiver: Receiver) -> None:
    """A restored backup of the relay's state, say: what is cut alike is the same delivery."""
    cohort, profiles = await world.cohort(), await world.profiles(10)
    webhook = await world.webhook(receiver.url)
    async with only_relaying():
        await until(has_position)
        before = await RelayState.get_motor_collection().find_one({"_id": RELAY})
        assert before is not None
        entries = await world.tell(cohort, [("entered", profile) for profile in profiles])
        await until(tells(webhook, 10))
    await RelayState.get_motor_collection().replace_one({"_id": RELAY}, before)
    async with only_relaying():
        entries += await world.tell(cohort, [("left", profile) for profile in profiles])
        await until(tells(webhook, 20))
    assert await told(webhook) == entries


async def test_the_relay_rests_while_nobody_wants_to_know(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an active webhook it gives its lease and its position up, and begins anew with the next one."""
    monkeypatch.setattr(relay, "SAVE_EVERY", 0.1)
    cohort, (profile,) = await world.cohort(), await world.profiles(1)

    async def health() -> dict[str, Any]:
        found: dict[str, Any] = (await world.http.get("/health/ready")).json()["checks"]["webhooks"]
        return found

    async def is_idle() -> bool:
        state = await RelayState.get(RELAY)
        return state is not None and state.token is None and state.start_at is None

    async with relaying(world.settings):
        assert await health() == {"status": "idle"}
        webhook = await world.webhook(receiver.url)
        await until(has_position)
        assert (await health())["status"] == "ok"
        await world.http.delete(f"/v1/webhooks/{webhook['id']}")
        await until(is_idle)
        await world.tell(cohort, [("entered", profile)])
        webhook = await world.webhook(receiver.url)
        entries = await world.tell(cohort, [("left", profile)])
        await until(tells(webhook, 1))
    assert await told(webhook) == entries


async def test_a_change_that_a_long_run_made_is_told(world: World, receiver: Receiver) -> None:
    """Its snapshot is older than the webhook; readers see it now."""
    cohort, (profile,) = await world.cohort(), await world.profiles(1)
    (before,) = await world.tell(cohort, [("entered", profile)])
    webhook = await world.webhook(receiver.url)
    async with only_relaying():
        (now,) = await world.tell(cohort, [("left", profile)])
        await until(tells(webhook, 1))
        old = await Change.get(before)
        new = await Change.get(now)
        assert old is not None
        assert new is not None
        late = {**new.model_dump(exclude={"id", "revision_id"}), "as_of": old.as_of}
        inserted = await Change.get_motor_collection().insert_one({**late, "cause": "rule"})
        await until(tells(webhook, 2))
    assert await told(webhook) == [now, inserted.inserted_id]


async def has_position() -> bool:
    state = await RelayState.get(RELAY)
    return state is not None and (state.token is not None or state.start_at is not None)
