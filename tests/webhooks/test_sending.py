"""From deliveries to endpoints: signed, tried again, in order; one endpoint's trouble is nobody else's."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier

from muster.cohorts.documents import Change
from muster.records import service as records
from muster.webhooks import posting, retries, sending
from muster.webhooks.batches import Entry
from muster.webhooks.documents import Delivery, Webhook
from muster.webhooks.drafts import Draft, drafts_for
from muster.webhooks.relay import write_deliveries
from muster.webhooks.signatures import KEY_FILE
from tests.waiting import until
from tests.webhooks.conftest import Clock, World, only_relaying, send_what_is_due
from tests.webhooks.conftest import sending as sender_of
from tests.webhooks.receiver import Receiver, Reply, receiving


async def make(world: World, webhook: dict[str, Any], count: int, *, cohorts: int = 1) -> Sequence[str]:
    """So many deliveries, a change each, dealt to so many cohorts, as the relay makes them; their ids."""
    profiles = await world.profiles(count)
    made = [await world.cohort(f"cohort {number}") for number in range(cohorts)]
    drafts: list[Draft] = []
    for index, profile in enumerate(profiles):
        (entry,) = await world.tell(made[index % cohorts], [("entered", profile)])
        stored = await Change.get_motor_collection().find_one({"_id": entry})
        assert stored is not None
        drafts += [draft for draft in await drafts_for([Entry.of(stored)]) if draft.webhook == webhook["id"]]
    client = Delivery.get_motor_collection().database.client
    async with await client.start_session() as session:
        await write_deliveries(drafts, datetime.now(UTC), session)
    return [draft.id for draft in drafts]


async def test_standard_webhooks_libraries_verify_a_delivery(world: World, receiver: Receiver) -> None:
    """By the published library, and by the words of the specification."""
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 1)
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
    (one,) = receiver.received
    assert Verifier(webhook["secret"]).verify(one.body, dict(one.headers))["type"] == "cohort.entered"
    key = base64.b64decode(webhook["secret"].removeprefix("whsec_"))
    signed = f"{one.headers['webhook-id']}.{one.headers['webhook-timestamp']}.".encode() + one.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert one.headers["webhook-signature"] == f"v1,{expected}"
    assert (one.path, one.headers["content-type"]) == ("/hook?key=1", "application/json")
    assert one.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_the_old_secret_signs_beside_the_new_one_for_a_day(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    answer = await world.http.post(f"/v1/webhooks/{webhook['id']}/rotate-secret")
    fresh = answer.json()["secret"]
    assert fresh != webhook["secret"]
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        await make(world, webhook, 1)
        await send_what_is_due(sender)
        clock.advance(days=1, seconds=1)
        await make(world, webhook, 1)
        await send_what_is_due(sender)
    first, second = (one.headers["webhook-signature"].split() for one in receiver.received)
    assert (len(first), len(second)) == (2, 1)
    for secret in (webhook["secret"], fresh):
        Verifier(secret).verify(receiver.received[0].body, dict(receiver.received[0].headers))


async def test_what_fails_is_tried_again_in_order_under_the_same_id(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first pause nothing overtakes: the endpoint rests until the failed one is tried again."""
    monkeypatch.setattr(retries.random, "uniform", lambda _least, most: most)
    webhook = await world.webhook(receiver.url)
    ids = await make(world, webhook, 5)
    receiver.replies += [Reply(), Reply(503, body=b"not now")]
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        await send_what_is_due(sender)
        assert receiver.ids == list(ids[:2])
        failed = (await world.deliveries(webhook, state="pending"))[0]
        (attempt,) = failed["attempts"]
        assert (attempt["status"], attempt["response"]) == (503, "not now")
        assert attempt["error"] == "The endpoint answered 503."
        assert (await world.shown(webhook))["failing_since"] is not None
        clock.advance(seconds=4)
        await send_what_is_due(sender)
        clock.advance(seconds=1.5)
        await send_what_is_due(sender)
        assert len(receiver.received) == 2
        clock.advance(seconds=1)
        await send_what_is_due(sender)
    assert receiver.ids == [ids[0], ids[1], *ids[1:]]
    assert {delivery["state"] for delivery in await world.deliveries(webhook)} == {"delivered"}
    assert (await world.shown(webhook))["failing_since"] is None


async def test_one_that_cannot_be_taken_does_not_hold_up_what_comes_after_it(world: World, receiver: Receiver) -> None:
    """It is left behind after its second failure."""
    webhook = await world.webhook(receiver.url)
    ids = await make(world, webhook, 3)
    receiver.replies += [Reply(500), Reply(500)]
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        for _ in range(3):
            await send_what_is_due(sender)
            clock.advance(seconds=11)
    assert receiver.ids == [ids[0], ids[0], ids[1], ids[2]]
    assert [delivery["state"] for delivery in await world.deliveries(webhook)] == ["pending", "delivered", "delivered"]


async def test_attempts_stretch_over_more_than_a_day_and_then_end(world: World, receiver: Receiver) -> None:
    """Eight of them. An attempt is made when it is due and not before."""
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 1)
    receiver.otherwise = Reply(500)
    clock, waits = Clock(), []
    async with sender_of(world.settings, clock) as sender:
        await send_what_is_due(sender)
        while (await world.deliveries(webhook))[0]["state"] == "pending":
            due = datetime.fromisoformat((await world.deliveries(webhook))[0]["next_attempt_at"])
            wait = due - await clock()
            waits.append(wait)
            clock.ahead += wait - timedelta(seconds=1)
            attempts = len(receiver.received)
            await send_what_is_due(sender)
            assert len(receiver.received) == attempts
            clock.ahead += timedelta(minutes=6)  # its endpoint may rest a little longer
            await send_what_is_due(sender)
            assert len(receiver.received) == attempts + 1
    assert len(receiver.received) == len(retries.PAUSES) + 1 == 8
    assert timedelta(hours=24) < sum(waits, timedelta()) < timedelta(hours=40)
    (delivery,) = await world.deliveries(webhook)
    assert (delivery["state"], delivery["attempt_count"], len(set(receiver.ids))) == ("failed", 8, 1)


async def test_an_endpoint_that_is_gone_is_switched_off_at_once(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 3)
    receiver.replies.append(Reply(410))
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        await send_what_is_due(sender)
        clock.advance(hours=1)
        await send_what_is_due(sender)
        assert len(receiver.received) == 1
        shown = await world.shown(webhook)
        assert (shown["active"], shown["rev"]) == (False, webhook["rev"] + 1)
        assert "410" in shown["disabled_reason"]
        await world.http.patch(f"/v1/webhooks/{webhook['id']}", json={"active": True})
        assert (await world.shown(webhook))["disabled_reason"] is None
        await send_what_is_due(sender)
    states = [delivery["state"] for delivery in await world.deliveries(webhook)]
    assert states == ["failed", "delivered", "delivered"], "what waits is sent when it is switched on again"


async def test_an_endpoint_that_fails_for_days_is_switched_off(world: World, receiver: Receiver) -> None:
    """A long queue is not tried one by one meanwhile: a dead endpoint is asked every five minutes at most."""
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 3)
    receiver.otherwise = Reply(500)
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        while (await world.shown(webhook))["active"]:
            await send_what_is_due(sender)
            clock.advance(hours=12)
    assert timedelta(days=3) <= clock.ahead <= timedelta(days=5)
    reason = (await world.shown(webhook))["disabled_reason"]
    assert reason.startswith("The endpoint has failed since ")
    assert reason.endswith("The endpoint answered 500.")


async def test_retry_after_is_minded(world: World, receiver: Receiver) -> None:
    """By the whole endpoint, as seconds or as a date."""
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 2)
    date = (datetime.now(UTC) + timedelta(minutes=30)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    receiver.replies += [Reply(429, {"Retry-After": "600"}), Reply(503, {"Retry-After": date})]
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        for minutes, received in ((0, 1), (9.5, 1), (1, 2), (15, 2), (16, 4)):
            clock.advance(minutes=minutes)
            await send_what_is_due(sender)
            assert len(receiver.received) == received, minutes


async def test_a_slow_endpoint_holds_up_nobody_else(world: World, receiver: Receiver) -> None:
    """While one never answers, with no more than a few requests open to it, the other gets everything."""
    async with receiving() as slow, sender_of(world.settings) as sender:
        slow.otherwise = Reply(hang=True)
        stuck, webhook = await world.webhook(slow.url), await world.webhook(receiver.url)
        await make(world, stuck, 20, cohorts=20)
        ids = await make(world, webhook, 20, cohorts=20)
        running = asyncio.create_task(sender.run())

        async def through() -> bool:
            return len(receiver.received) == 20 and slow.most_at_once == sending.AT_ONCE

        await until(through)
        assert receiver.most_at_once <= sending.AT_ONCE
        running.cancel()
        await asyncio.wait({running})
    assert sorted(receiver.ids) == sorted(ids)


async def test_an_answer_that_never_comes_is_a_failure(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "ANSWER_WITHIN", 0.3)
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 1)
    receiver.otherwise = Reply(hang=True)
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
    (delivery,) = await world.deliveries(webhook)
    assert delivery["attempts"][0]["error"].startswith("There was no answer within")


async def test_a_sender_that_dies_after_the_post_sends_again_under_the_same_id(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once; the receiver can tell."""
    webhook = await world.webhook(receiver.url)
    ids = await make(world, webhook, 2)
    record, sent = retries.record, asyncio.Event()

    async def stall(*_: Any) -> None:
        sent.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(retries, "record", stall)
    async with sender_of(world.settings) as sender:
        running = asyncio.create_task(sender.run())
        await asyncio.wait_for(sent.wait(), 60)
        running.cancel()
        await asyncio.wait({running})
    monkeypatch.setattr(retries, "record", record)
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
    assert receiver.ids == [ids[0], *ids]


async def test_two_senders_record_one_outcome(world: World, receiver: Receiver) -> None:
    """One that lost the lease while it waited for an answer: its word comes second, and does not count."""
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 1)
    receiver.replies += [Reply(), Reply(500)]
    receiver.answers_from = 2
    async with sender_of(world.settings) as one, sender_of(world.settings) as other:
        await asyncio.gather(one.look(), other.look())
        await asyncio.gather(one.settle(), other.settle())
    assert len(receiver.received) == 2
    (delivery,) = await world.deliveries(webhook)
    assert (delivery["state"], delivery["attempt_count"]) in {("delivered", 1), ("pending", 1)}


async def test_a_delivery_is_sent_again_on_request(world: World, receiver: Receiver) -> None:
    """A delivered one, and a failed one: at once, though the endpoint rests."""
    webhook = await world.webhook(receiver.url)
    ids = await make(world, webhook, 2)
    receiver.replies += [Reply(), Reply(500)]
    path = f"/v1/webhooks/{webhook['id']}/deliveries"
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
        for delivery_id in ids:
            answer = await world.http.post(f"{path}/{delivery_id}/resend")
            assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        await send_what_is_due(sender)
    assert receiver.ids == [*ids, *ids]
    assert [delivery["attempt_count"] for delivery in await world.deliveries(webhook)] == [2, 2]
    await world.http.patch(f"/v1/webhooks/{webhook['id']}", json={"active": False})
    assert (await world.http.post(f"{path}/{ids[0]}/resend")).status_code == 409


async def test_a_test_event_is_sent_like_any_other(world: World, receiver: Receiver) -> None:
    webhook = await world.webhook(receiver.url)
    answer = await world.http.post(f"/v1/webhooks/{webhook['id']}/test")
    assert answer.status_code == 202
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
    (one,) = receiver.received
    assert one.id == answer.json()["id"]
    assert (one.payload["type"], one.payload["data"]["webhook_id"]) == ("webhook.test", webhook["id"])


async def test_an_erased_profile_is_named_in_nothing_any_more(world: World, receiver: Receiver) -> None:
    """Neither in what waits, nor in what an endpoint answered; a delivery of nobody else is dropped."""
    webhook = await world.webhook(receiver.url)
    first, second = await make(world, webhook, 2)
    receiver.replies.append(Reply(500, body=b"I cannot take P0000"))
    clock = Clock()
    async with sender_of(world.settings, clock) as sender:
        await send_what_is_due(sender)
        await records.erase(world.project_id, "P0000")
        clock.advance(minutes=20)
        await send_what_is_due(sender)
    assert receiver.ids == [first, second]
    assert [delivery["state"] for delivery in await world.deliveries(webhook)] == ["dropped", "delivered"]
    stored = await Delivery.get_motor_collection().find().to_list(None)
    assert "P0000" not in str(stored)
    shown = await world.http.get(f"/v1/webhooks/{webhook['id']}/deliveries/{first}")
    assert shown.json()["payload"] is None


async def test_of_an_erased_profile_only_its_leaving_is_told(world: World, receiver: Receiver) -> None:
    """Somebody less, and not who."""
    cohort, profiles = await world.cohort(), await world.profiles(2)
    webhook = await world.webhook(receiver.url)
    async with only_relaying():
        await world.tell(cohort, [("entered", profiles[0]), ("entered", profiles[1]), ("left", profiles[0])])

        async def made() -> bool:
            return len(await world.deliveries(webhook)) == 2

        await until(made)
    await records.erase(world.project_id, "P0000")
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
    assert [one.pii_ids for one in receiver.received] == [["P0001"], [None]]


async def test_secrets_of_another_data_folder_are_told_apart(world: World, receiver: Receiver, tmp_path: Any) -> None:
    """Nothing is sent unsigned; the delivery says why."""
    webhook = await world.webhook(receiver.url)
    await make(world, webhook, 1)
    async with sender_of(world.settings.model_copy(update={"data_dir": tmp_path})) as sender:
        await send_what_is_due(sender)
    assert receiver.received == []
    (delivery,) = await world.deliveries(webhook)
    assert "key of this data folder" in delivery["attempts"][0]["error"]
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600


async def test_a_bug_in_one_lane_stops_no_other(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Say, what nobody thought of in one payload: it is logged, and looked at again a minute later."""
    broken, webhook = await world.webhook(receiver.url), await world.webhook(receiver.url)
    await make(world, broken, 1)
    await make(world, webhook, 1)
    payload_of = sending.payload_of

    async def stumble(delivery: Delivery) -> Any:
        if delivery.webhook == broken["id"]:
            raise KeyError("unthought")
        return await payload_of(delivery)

    monkeypatch.setattr(sending, "payload_of", stumble)
    async with sender_of(world.settings) as sender:
        await send_what_is_due(sender)
    assert len(receiver.received) == 1
    assert "unthought" in caplog.text
    found = await Webhook.get(broken["id"])
    assert found is not None
    assert found.wake_at is not None
    assert found.wake_at > datetime.now(UTC) + timedelta(seconds=30)


async def test_what_is_made_while_a_lane_ends_is_not_forgotten(world: World, receiver: Receiver) -> None:
    """A sender that found nothing more does not go to sleep over a wish that came meanwhile."""
    webhook = await world.webhook(receiver.url)
    async with sender_of(world.settings) as sender:
        stored = await Webhook.get(webhook["id"])
        assert stored is not None
        await make(world, webhook, 1)
        assert not await sender._sleep(stored)
        await send_what_is_due(sender)
        assert len(receiver.received) == 1
        stored = await Webhook.get(webhook["id"])
        assert stored is not None
        assert stored.wake_at is None
