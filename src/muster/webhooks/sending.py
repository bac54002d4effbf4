"""The sender: takes what is due to its endpoints, each on its own lane, so that a slow one holds up nobody else.

A delivery is recorded after it was sent. Whoever is killed in between leaves it to be sent again, under the same
`webhook-id`: at least once, and the receiver can tell.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo.errors import PyMongoError

from muster.cohorts.generations import server_time
from muster.webhooks import retries
from muster.webhooks.documents import Delivery, DeliveryState, Webhook
from muster.webhooks.payloads import payload_of, written
from muster.webhooks.posting import Answer, Poster
from muster.webhooks.signatures import Vault, WrongKey, signed

LOOK_EVERY = 0.5  # seconds; the relay, which runs beside, rings as soon as it has made something
AT_ONCE = 4  # requests to one endpoint; one while it fails
PER_ROUND = 32  # deliveries of one endpoint that a lane reads at a time
ROUND_SECONDS = 2.0  # after which a lane begins nothing more before it has looked at its webhook again
AFTER_A_BUG = timedelta(minutes=1)

Clock = Callable[[], Awaitable[datetime]]

_log = logging.getLogger(__name__)


@dataclass
class Sender:
    """Sends what is due for as long as `run` runs. One process at a time does, by the relay's lease."""

    vault: Vault
    poster: Poster
    clock: Clock = server_time
    rung: asyncio.Event = field(default_factory=asyncio.Event)
    _lanes: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def ring(self) -> None:
        """Something may be due."""
        self.rung.set()

    async def run(self) -> None:
        """Look for endpoints with something due, and open a lane for each, until cancelled."""
        try:
            while True:
                self.rung.clear()
                await self.look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self.rung.wait()
        finally:
            lanes = list(self._lanes.values())
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def look(self) -> None:
        """Open the lanes that are needed now."""
        awake = {"active": True, "wake_at": {"$lte": await self.clock()}, "_id": {"$nin": list(self._lanes)}}
        async for webhook in _webhooks().find(awake, {"_id": 1}):
            self._lanes[webhook["_id"]] = asyncio.create_task(self._lane(webhook["_id"]))

    async def settle(self) -> None:
        """Wait until the lanes that are open have ended."""
        await asyncio.gather(*self._lanes.values())

    async def _lane(self, webhook_id: str) -> None:
        try:
            while await self._round(webhook_id):
                pass
        except* PyMongoError as group:
            _log.warning("MongoDB does not answer the lane of %s: %s", webhook_id, group.exceptions[0])
        except* Exception:  # noqa: BLE001  the edge of one endpoint's work: the others go on, and this one is tried again
            _log.exception("The lane of %s ended early.", webhook_id)
            await self._put_off(webhook_id)
        finally:
            del self._lanes[webhook_id]

    async def _put_off(self, webhook_id: str) -> None:
        with suppress(PyMongoError):
            later = await self.clock() + AFTER_A_BUG
            await _webhooks().update_one({"_id": webhook_id}, {"$set": {"wake_at": later}})

    async def _round(self, webhook_id: str) -> bool:
        """Send some of what is due; False when nothing is, or the endpoint rests: then it knows when to wake."""
        webhook = await Webhook.get(webhook_id)
        if webhook is None or not webhook.active:
            return False
        now = await self.clock()
        due: list[Delivery] = []
        if webhook.resting_until is None or webhook.resting_until <= now:
            query = {"webhook": webhook_id, "state": DeliveryState.PENDING.value, "due_at": {"$lte": now}}
            due = await Delivery.find(query).sort("number").limit(PER_ROUND).to_list()
        if not due:
            return not await self._sleep(webhook)
        webhook.resting_until = None  # it is over; the next failure sets another
        at_once = asyncio.Semaphore(1 if webhook.failures else AT_ONCE)
        until = time.monotonic() + ROUND_SECONDS
        async with asyncio.TaskGroup() as group:
            for line in _lines(due):
                group.create_task(self._in_order(webhook, line, at_once, until))
        return True

    async def _in_order(
        self, webhook: Webhook, line: Sequence[Delivery], at_once: asyncio.Semaphore, until: float
    ) -> None:
        """Send deliveries one after the other, until the endpoint fails or the round has lasted long enough."""
        for delivery in line:
            async with at_once:
                if not webhook.active or webhook.resting_until is not None or time.monotonic() > until:
                    return
                await self._send(webhook, delivery)

    async def _send(self, webhook: Webhook, delivery: Delivery) -> None:
        payload = await payload_of(delivery)
        now = await self.clock()
        if payload is None:
            await retries.drop(delivery, now)
            return
        try:
            secrets = [self.vault.unlock(webhook.secret, webhook.id)]
            if webhook.previous_secret is not None and webhook.previous_until and now < webhook.previous_until:
                secrets.append(self.vault.unlock(webhook.previous_secret, webhook.id))
        except WrongKey:
            detail = "The secret cannot be read with the key of this data folder; rotate it."
            await retries.record(webhook, delivery, Answer(0.0, error=detail), now)
            return
        body = written(payload)
        answer = await self.poster.post(webhook.url, body.encode(), signed(delivery.id, now, body, secrets))
        await retries.record(webhook, delivery, answer, now)

    async def _sleep(self, webhook: Webhook) -> bool:
        """Note when to look here next; False when somebody asked for a look meanwhile."""
        pending = {"webhook": webhook.id, "state": DeliveryState.PENDING.value}
        first = Delivery.get_motor_collection().aggregate(
            [{"$match": pending}, {"$group": {"_id": None, "due_at": {"$min": "$due_at"}}}]
        )
        wake_at: datetime | None = None
        async for found in first:
            wake_at = max(found["due_at"], webhook.resting_until or found["due_at"])
        slept = await _webhooks().update_one(
            {"_id": webhook.id, "wakes": webhook.wakes}, {"$set": {"wake_at": wake_at}}
        )
        return slept.matched_count == 1


def _lines(due: Sequence[Delivery]) -> Sequence[Sequence[Delivery]]:
    """Deliveries of one cohort go one after the other, those of different ones beside each other."""
    lines: dict[str, list[Delivery]] = {}
    for delivery in due:
        lines.setdefault(delivery.cohort or delivery.id, []).append(delivery)
    return list(lines.values())


def _webhooks() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Webhook.get_motor_collection()
