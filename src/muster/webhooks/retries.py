"""What becomes of a delivery and of its endpoint after an attempt: recorded, and tried again later or not at all."""

import logging
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from muster.webhooks.documents import ATTEMPTS_SHOWN, Delivery, DeliveryState, Webhook
from muster.webhooks.posting import Answer

# Pauses between the attempts at one delivery: eight attempts over a day and a third.
PAUSES: Sequence[timedelta] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
)
JITTER = 0.2  # of a pause, added at random: what failed together is not tried again together

# An endpoint that fails rests, so that a dead one with a long queue is asked rarely; and what comes back within the
# first pause gets everything in order, because nothing else was sent meanwhile.
FIRST_REST = timedelta(seconds=5)
LONGEST_REST = timedelta(minutes=5)
MOST_DOUBLINGS = 6
DISABLE_AFTER = timedelta(days=3)

_log = logging.getLogger(__name__)


def pause(tries: int) -> timedelta | None:
    """How long to wait after so many failed tries; None when that was the last."""
    if tries > len(PAUSES):
        return None
    return PAUSES[tries - 1] * (1 + random.uniform(0, JITTER))


def rest(failures: int) -> timedelta:
    """How long an endpoint is left alone after so many failures in a row."""
    doublings: int = min(failures - 1, MOST_DOUBLINGS)
    return min(FIRST_REST * (1 << doublings), LONGEST_REST)


async def record(webhook: Webhook, delivery: Delivery, answer: Answer, now: datetime) -> None:
    """Write down one attempt. Only the first word about it counts, should another sender be at it too."""
    tries = delivery.tries + 1
    again = None
    if answer.error is None:
        outcome: dict[str, Any] = {"state": DeliveryState.DELIVERED.value, "due_at": None, "ended_at": now}
    else:
        wait = None if answer.is_gone else pause(tries)
        if wait is None:
            outcome = {"state": DeliveryState.FAILED.value, "due_at": None, "ended_at": now}
        else:
            again = now + max(wait, timedelta(seconds=answer.retry_after or 0))
            outcome = {"due_at": again}
    attempt = {
        "at": now,
        "duration_ms": answer.duration_ms,
        "status": answer.status,
        "error": answer.error,
        "response": answer.response,
    }
    written = await Delivery.get_motor_collection().update_one(
        {"_id": delivery.id, "state": DeliveryState.PENDING.value, "attempt_count": delivery.attempt_count},
        {
            "$set": {**outcome, "tries": tries},
            "$inc": {"attempt_count": 1},
            "$push": {"attempts": {"$each": [attempt], "$slice": -ATTEMPTS_SHOWN}},
        },
    )
    if written.matched_count == 0:
        return
    if answer.error is None:
        if webhook.failures:
            await _recovered(webhook)
        return
    _log.info("%s to %s, attempt %d: %s", delivery.id, webhook.id, delivery.attempt_count + 1, answer.error)
    await _failed(webhook, answer, now, again if tries == 1 else None)


async def drop(delivery: Delivery, now: datetime) -> None:
    """End a delivery that has nothing left to tell."""
    await Delivery.get_motor_collection().update_one(
        {"_id": delivery.id, "state": DeliveryState.PENDING.value},
        {"$set": {"state": DeliveryState.DROPPED.value, "due_at": None, "ended_at": now}},
    )


async def _recovered(webhook: Webhook) -> None:
    webhook.failures, webhook.failing_since, webhook.resting_until = 0, None, None
    await Webhook.get_motor_collection().update_one(
        {"_id": webhook.id}, {"$set": {"failures": 0, "failing_since": None, "resting_until": None}}
    )


async def _failed(webhook: Webhook, answer: Answer, now: datetime, again: datetime | None) -> None:
    """Let the endpoint rest, until the first retry if there is one; switch it off when it is gone, or as good as."""
    webhook.failures += 1
    webhook.failing_since = webhook.failing_since or now
    until = again or now + rest(webhook.failures)
    if answer.retry_after:
        until = max(until, now + timedelta(seconds=answer.retry_after))
    webhook.resting_until = max(until, webhook.resting_until or until)
    values: dict[str, Any] = {
        "failures": webhook.failures,
        "failing_since": webhook.failing_since,
        "resting_until": webhook.resting_until,
    }
    change: dict[str, Any] = {"$set": values}
    if answer.is_gone or now - webhook.failing_since >= DISABLE_AFTER:
        since = webhook.failing_since.isoformat(timespec="seconds")
        gone, failing = "The endpoint answered 410: it wants nothing more.", f"The endpoint has failed since {since}: "
        values |= {"active": False, "disabled_reason": gone if answer.is_gone else failing + (answer.error or "")}
        change |= {"$inc": {"rev": 1}, "$currentDate": {"updated_at": True}}
        webhook.active = False
        _log.warning("%s is switched off. %s", webhook.id, values["disabled_reason"])
    await Webhook.get_motor_collection().update_one({"_id": webhook.id, "active": True}, change)
