"""Slices: the change stream split by profile, each slice followed by one watcher at a time, under a lease of its own.

Processes share the slices evenly, and take over what a dead one held. One slice is right until one watcher is too
slow; changing their number starts every slice anew, and waits until no watcher of the old number holds a lease.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bson import ObjectId, Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession
from prometheus_client import Gauge
from pymongo.errors import PyMongoError

from muster.cohorts.documents import RegistryVersion, WatchState
from muster.cohorts.stream import moment_of
from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.tasks import stop
from muster.transactions import in_transaction

LEASE_TTL = timedelta(seconds=10)
LOOKS_EVERY = 1.0  # seconds between two looks at who holds what
SILENT_AFTER = 30.0  # seconds without a sign of life that health reports

_TAKES = "slices"  # counts takes: each writes it, so that those of two numbers of slices exclude each other
_PROCESS = "watching:"

_GAUGES = {
    "lag_ms": Gauge("muster_watcher_lag_seconds", "From the newest applied change of a record to its memberships"),
    "seen_seconds_ago": Gauge("muster_watcher_seen_seconds", "Since the last sign of life of the slowest slice"),
    "ticked_seconds_ago": Gauge("muster_watcher_tick_seconds", "Since when cohorts over time have not seen it pass"),
    "events": Gauge("muster_watcher_events", "Changes of records that were applied since the first start"),
    "full_evaluations": Gauge("muster_watcher_full_evaluations", "How often everything was compared with its rule"),
}

log = structlog.get_logger(__name__)

Follow = Callable[[Lease, "Slice"], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Slice:
    """The profiles whose id falls on `index` of `count`. An ObjectId ends in a counter, so they spread evenly."""

    index: int = 0
    count: int = 1

    @property
    def name(self) -> str:
        """Of its lease and of its state: "watcher:0", or "watcher:1/4" of four."""
        return f"watcher:{self.index}" if self.count == 1 else f"watcher:{self.index}/{self.count}"

    def holds(self, profile: ObjectId) -> bool:
        """Whether a profile is in it."""
        return self.count == 1 or profile.binary[-1] % self.count == self.index

    @property
    def stages(self) -> list[dict[str, Any]]:
        """The stages of a change stream's pipeline that let through its events, and those of no profile."""
        if self.count == 1:
            return []
        last_byte = {"$substrBytes": [{"$toString": "$documentKey._id"}, 22, 2]}
        ours = [f"{byte:02x}" for byte in range(256) if byte % self.count == self.index]
        of_no_profile = {"documentKey": {"$exists": False}}
        return [{"$match": {"$or": [of_no_profile, {"$expr": {"$in": [last_byte, ours]}}]}}]


ALL = Slice()


def slices_of(count: int) -> list[Slice]:
    """All slices of a number of them."""
    return [Slice(index, count) for index in range(count)]


async def share(follow: Follow, count: int, holder: str | None = None) -> None:
    """Follow as many slices as are this process's fair share, for ever; stand by for the others.

    Cancel to stop; leases are given back. `follow` works under a lease until it raises or is cancelled.
    """
    holder = holder or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    running: dict[Slice, asyncio.Task[None]] = {}
    try:
        while True:
            for part in [part for part, task in running.items() if task.done()]:
                running.pop(part).result()
            with suppress(PyMongoError):  # `follow` speaks of it
                mine = await _fair_share(holder, count)
                for part in list(running)[mine:]:  # another process came: let it have them
                    await stop(running.pop(part))
                for part in slices_of(count):
                    if part not in running and len(running) < mine and (lease := await _take(part, holder)):
                        running[part] = asyncio.create_task(_follow(follow, lease, part))
            timer = asyncio.create_task(asyncio.sleep(LOOKS_EVERY))
            await asyncio.wait({timer, *running.values()}, return_when=asyncio.FIRST_COMPLETED)
            await stop(timer)
    finally:
        for task in running.values():
            await stop(task)


async def _follow(follow: Follow, lease: Lease, part: Slice) -> None:
    await log.ainfo("Following the change stream", slice=part.name, fence=lease.fence)
    try:
        await follow(lease, part)
    finally:
        with suppress(PyMongoError):
            await asyncio.shield(leases.release(lease))


async def _fair_share(holder: str, count: int) -> int:
    """How many slices this process may hold: all, divided by the processes that are there; it says that it is one."""
    if count == 1:
        return 1
    await leases.take(_PROCESS + holder, holder, LEASE_TTL)
    alive = {"_id": {"$regex": f"^{_PROCESS}"}, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}
    processes = max(1, await Lease.get_motor_collection().count_documents(alive))
    return -(-count // processes)


async def _take(part: Slice, holder: str) -> Lease | None:
    """The lease of a slice, if it is free and no watcher of another number of slices holds one.

    Leases of other numbers that ran out are deleted: a stalled watcher finds its own no more, and commits nothing.
    """
    collection = Lease.get_motor_collection()
    others: dict[str, Any] = {
        "_id": {"$regex": "^watcher:", "$nin": [each.name for each in slices_of(part.count)]},
        "holder": {"$ne": None},
    }

    async def alone(session: AsyncIOMotorClientSession) -> Lease | None:
        taken = {"$inc": {"version": 1}}
        await RegistryVersion.get_motor_collection().update_one({"_id": _TAKES}, taken, upsert=True, session=session)
        held = {**others, "$expr": {"$gt": ["$expires_at", "$$NOW"]}}
        if await collection.find_one(held, session=session):
            return None
        await collection.delete_many(others, session=session)
        return await leases.take(part.name, holder, LEASE_TTL, session=session)

    found = await collection.find_one({"_id": part.name, "$expr": {"$gt": ["$expires_at", "$$NOW"]}})
    if found is not None and found["holder"] != holder:
        return None  # most looks end here, and write nothing
    return await in_transaction(collection, alone)


async def standing() -> dict[str, Any]:
    """How the watchers do, for health: how far behind, and whether history was lost since they first began."""
    states, count = await _states()
    if not states:
        return {"status": "not started"}
    silent = [(datetime.now(UTC) - state.saved_at).total_seconds() for state in states]
    latest = max(states, key=lambda state: state.full_evaluation_at or datetime.min.replace(tzinfo=UTC))
    return {
        "status": "ok" if len(states) == count and max(silent) < SILENT_AFTER else "silent",
        "slices": count,
        "lag_ms": round(max(state.lag_ms for state in states), 1),
        "seen_seconds_ago": round(max(silent), 1),
        "events": sum(state.events for state in states),
        "ticked_seconds_ago": _ticked_ago(states),
        "full_evaluations": sum(state.full_evaluations for state in states),
        "last_full_evaluation": latest.full_evaluation_reason,
    }


async def _states(session: AsyncIOMotorClientSession | None = None) -> tuple[list[WatchState], int]:
    """The states of the slices that are followed now, and of how many there should be one."""
    newest = await WatchState.find(session=session).sort("-saved_at").limit(1).to_list()
    if not newest:
        return [], 0
    count = int(newest[0].id.partition("/")[2] or 1)
    names = [part.name for part in slices_of(count)]
    return await WatchState.find({"_id": {"$in": names}}, session=session).to_list(), count


async def reached(session: AsyncIOMotorClientSession) -> tuple[Timestamp, datetime | None] | None:
    """Up to which cluster time all changes are applied, as the session sees it, and until when time has passed.

    None when that is not known of every slice.
    """
    states, count = await _states(session)
    positions = [position for state in states if (position := moment_of(state.token)) is not None]
    if not states or len(positions) < count:
        return None
    ticked = [state.ticked_at for state in states if state.ticked_at is not None]
    return min(positions), min(ticked) if len(ticked) == count else None


async def measure() -> None:
    """How the watchers do, for Prometheus."""
    found = await standing()
    for name, gauge in _GAUGES.items():
        value = found.get(name)
        gauge.set(float("nan") if value is None else value / 1000 if name == "lag_ms" else value)


def _ticked_ago(states: list[WatchState]) -> float | None:
    ticked = [state.ticked_at for state in states if state.ticked_at is not None]
    return round((datetime.now(UTC) - min(ticked)).total_seconds(), 1) if len(ticked) == len(states) else None
