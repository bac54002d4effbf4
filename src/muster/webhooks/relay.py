"""The relay: follows changes and ended jobs, and makes deliveries of them for the webhooks that want to know.

One process at a time holds its lease. What it makes of a batch is one transaction with its position, on the condition
that the lease still holds: whatever is killed, and whenever, nothing is left out and nothing is made twice. While no
webhook is active it follows nothing and costs nothing.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId, Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from muster.cohorts.documents import Change
from muster.cohorts.generations import server_time
from muster.cohorts.snapshot import open_snapshot
from muster.cohorts.stream import StreamEnded, deployment_of
from muster.jobs import leases
from muster.jobs.documents import FINISHED, Job, Lease
from muster.settings import Settings
from muster.transactions import commit
from muster.webhooks.addresses import Policy
from muster.webhooks.batches import Entry
from muster.webhooks.documents import KEEP, RELAY, Delivery, RelayState, Webhook
from muster.webhooks.drafts import Draft, drafts_for
from muster.webhooks.entries import LONG_AGO, Entries, JobEnd, Seen
from muster.webhooks.posting import Poster
from muster.webhooks.sending import Sender
from muster.webhooks.signatures import open_vault

LEASE = "webhooks"
LEASE_TTL = timedelta(seconds=10)
LOOK_EVERY = 0.5  # seconds, while no webhook is active or another process relays
SILENT_AFTER = 30.0  # seconds without a sign of life that health reports
EVENTS_PER_BATCH = 1_000
GATHER = 0.1  # seconds; a burst comes in pieces, and shall travel together
SAVE_EVERY = 10.0  # seconds, where nothing is made
# How far before the last position lost history is read again. The clocks of those who number changes may differ.
MARGIN = timedelta(hours=1)

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another process relays by now."""


async def relay(settings: Settings, holder: str | None = None) -> None:
    """Relay and send for ever, or stand by while another process does. Cancel to stop; the lease is given back."""
    holder = holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    policy = Policy(settings.webhooks_allow_private)
    while True:
        lease = await leases.take(LEASE, holder, LEASE_TTL) if await any_active() else None
        if lease is None:
            await asyncio.sleep(LOOK_EVERY)
            continue
        try:
            async with Poster(policy) as poster:
                await Relay(lease, Sender(open_vault(settings), poster)).work()
        except* LeaseLost:
            _log.warning("Another process took over the webhooks.")
        finally:
            with suppress(PyMongoError):
                await asyncio.shield(leases.release(lease))


async def standing() -> dict[str, Any]:
    """How the relay does, for health: whether it works, how far behind it was, and whether it lost its history."""
    state = await RelayState.get(RELAY)
    if not await any_active():
        return {"status": "idle"}
    silent = (datetime.now(UTC) - state.saved_at).total_seconds() if state else None
    return {
        "status": "ok" if silent is not None and silent < SILENT_AFTER else "silent",
        "lag_ms": round(state.lag_ms, 1) if state else None,
        "seen_seconds_ago": round(silent, 1) if silent is not None else None,
        "lost_histories": state.lost_histories if state else 0,
        "last_lost_history": state.lost_history_reason if state else None,
    }


@dataclass
class Relay:
    """One holder of the lease, from taking it to losing it, or until no webhook is active."""

    lease: Lease
    sender: Sender | None = None
    state: RelayState = field(default_factory=lambda: RelayState(id=RELAY, saved_at=datetime.now(UTC)))
    _saved_at: float = 0.0

    async def work(self) -> None:
        """Relay, send, and hold on to the lease, until no webhook is active. Raises LeaseLost, in a group."""
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(self._hold())]
            if self.sender is not None:
                beside.append(group.create_task(self.sender.run()))
            await self.follow()
            for task in beside:
                task.cancel()

    async def _hold(self) -> None:
        while True:
            await asyncio.sleep(LEASE_TTL.total_seconds() / 3)
            if await leases.renew(self.lease) is None:
                raise LeaseLost

    async def follow(self) -> None:
        """Go on from the saved position; without one, begin where the oldest webhook does."""
        database = Change.get_motor_collection().database
        async with await database.client.start_session() as session:
            saved = await RelayState.get(RELAY)
            self.state = saved or self.state
            deployment = await deployment_of(Change.get_motor_collection())
            reason = None
            if self.state.deployment not in ("", deployment):
                reason = "the collection of changes is another one than before"
            self.state.deployment = deployment
            if reason or not (self.state.token or self.state.start_at):
                await self._catch_up(session, reason)
            while await any_active():
                try:
                    await self._follow_stream(session)
                except StreamEnded as ended:
                    await self._catch_up(session, str(ended))
            self.state.token = self.state.start_at = None  # the next webhook begins anew, with what happens then
            await self._commit(session)

    async def _follow_stream(self, session: AsyncIOMotorClientSession) -> None:
        async with Entries(self.state.token, self.state.start_at) as stream:
            while True:
                seen = await stream.events(EVENTS_PER_BATCH, wait=SAVE_EVERY)
                if seen and len(seen) < EVENTS_PER_BATCH:
                    await asyncio.sleep(GATHER)
                    seen += await stream.events(EVENTS_PER_BATCH - len(seen), wait=0)
                if stream.token is not None:
                    self.state.token, self.state.start_at = dict(stream.token), None
                if seen:
                    await self._apply(session, seen)
                if time.monotonic() - self._saved_at >= SAVE_EVERY:
                    await self._commit(session)
                    if not await any_active():
                        return

    async def _apply(self, session: AsyncIOMotorClientSession, seen: Sequence[Seen]) -> None:
        if drafts := await drafts_for([one.what for one in seen]):
            self.state.lag_ms = max(0.0, (datetime.now(UTC) - seen[-1].written_at) / timedelta(milliseconds=1))
            await self._commit(session, drafts)

    async def _commit(self, session: AsyncIOMotorClientSession, drafts: Sequence[Draft] = ()) -> None:
        """Make deliveries and keep the position, in one transaction; then tell the sender. Raises LeaseLost."""
        now = await server_time()
        self.state.saved_at, self._saved_at = now, time.monotonic()
        state = self.state.model_dump(by_alias=True, exclude={"id", "revision_id"})

        async def write(inside: AsyncIOMotorClientSession) -> None:
            await write_deliveries(drafts, now, inside)
            await RelayState.get_motor_collection().update_one(
                {"_id": RELAY}, {"$set": state}, upsert=True, session=inside
            )
            if await leases.renew(self.lease, session=inside) is None:  # last, so that a stall holds it shortest
                raise LeaseLost

        await commit(session, write)
        if drafts and self.sender is not None:
            self.sender.ring()

    async def _catch_up(self, session: AsyncIOMotorClientSession, reason: str | None) -> None:
        """Read what happened from the collections themselves, then follow the stream from that very moment on.

        `reason` says why history was lost; None: there was no position to lose. What is in a delivery already is not
        told again, so whoever is killed in here leaves the next to do all of it again.
        """
        since = await oldest_since()
        if reason:
            _log.warning("The relay lost its place (%s): it reads the changes of before again.", reason)
            since = max(since, self.state.saved_at)
            self.state.lost_histories += 1
            self.state.lost_history_reason, self.state.lost_history_at = reason, datetime.now(UTC)
        since = max(since, datetime.now(UTC) - KEEP + 2 * MARGIN) - MARGIN  # of older ones nobody knows what was told
        self.state.token = self.state.start_at = None  # before all is done there is no position to go on from
        async with open_snapshot() as snapshot:
            begin = ObjectId.from_datetime(since)
            found = Change.get_motor_collection().find({"_id": {"$gte": begin}}, session=snapshot.session).sort("_id")
            while part := await found.to_list(EVENTS_PER_BATCH):
                await self._make_untold(session, [Entry.of(change) for change in part])
            ended = {"state": {"$in": list(FINISHED)}, "finished_at": {"$gte": since}}
            jobs = Job.get_motor_collection().find(ended, session=snapshot.session)
            while part := await jobs.to_list(EVENTS_PER_BATCH):
                await self._make_untold(
                    session, [JobEnd(job["_id"], job["state"], job["finished_at"], LONG_AGO) for job in part]
                )
            as_of = snapshot.as_of
        self.state.start_at = Timestamp(as_of.time, as_of.inc + 1)
        await self._commit(session)

    async def _make_untold(self, session: AsyncIOMotorClientSession, happened: Sequence[Entry | JobEnd]) -> None:
        """Deliveries of what no delivery tells yet. The position stays where it was."""
        told = await told_already([one.id for one in happened if isinstance(one, Entry)])
        if drafts := await drafts_for(happened, told):
            await self._commit(session, drafts)


async def any_active() -> bool:
    """Whether anybody wants to be told anything."""
    return await Webhook.get_motor_collection().find_one({"active": True}, {"_id": 1}) is not None


async def oldest_since() -> datetime:
    """Since when the oldest active webhook wants to know; now when there is none."""
    moments = [webhook["since_at"] async for webhook in Webhook.get_motor_collection().find({"active": True})]
    return min(moments, default=datetime.now(UTC))


async def told_already(entries: Sequence[ObjectId]) -> frozenset[tuple[str, ObjectId]]:
    """Which of these changes are in a delivery: (webhook, change)."""
    found = Delivery.get_motor_collection().find({"entries": {"$in": list(entries)}}, {"webhook": 1, "entries": 1})
    return frozenset([(delivery["webhook"], entry) async for delivery in found for entry in delivery["entries"]])


async def write_deliveries(drafts: Sequence[Draft], now: datetime, session: AsyncIOMotorClientSession) -> None:
    """Number the drafts of each webhook, store them, and wake it. One switched off at this moment gets none."""
    by_webhook: dict[str, list[Draft]] = {}
    for draft in drafts:
        by_webhook.setdefault(draft.webhook, []).append(draft)
    writes: list[UpdateOne] = []
    for webhook_id, its_drafts in by_webhook.items():
        wake = {
            "made": {"$add": ["$made", len(its_drafts)]},
            "wakes": {"$add": ["$wakes", 1]},
            "wake_at": {"$max": [now, "$resting_until"]},
        }
        before = await Webhook.get_motor_collection().find_one_and_update(
            {"_id": webhook_id, "active": True}, [{"$set": wake}], {"made": 1}, session=session
        )
        if before is not None:
            for number, draft in enumerate(its_drafts, before["made"] + 1):
                writes.append(UpdateOne({"_id": draft.id}, {"$setOnInsert": draft.stored(number, now)}, upsert=True))
    if writes:
        await Delivery.get_motor_collection().bulk_write(writes, ordered=False, session=session)
