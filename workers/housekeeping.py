"""What workers do beside their actors: chores that return every few seconds, and what goes on all the time.

Dramatiq has no clock; each of these runs in whichever worker gets its lease.
"""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from muster.agents import by_hand
from muster.attio import marks
from muster.cohorts import audit, changes, generations
from muster.cohorts import jobs as evaluations
from muster.jobs import leases, service
from muster.settings import Settings
from muster.webhooks.relay import relay

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that may be done twice and must not be left out: its lease only spares double work."""

    lease: str
    work: Callable[[], Awaitable[object]]
    every: timedelta


CHORES: Sequence[Chore] = (
    Chore("jobs:sweep", service.sweep, timedelta(seconds=5)),
    Chore("cohorts:settle", evaluations.settle_ended_runs, timedelta(seconds=5)),
    Chore("cohorts:differences", changes.write_left_behind, timedelta(seconds=5)),
    Chore("cohorts:purge", generations.purge, timedelta(seconds=60)),
    Chore("attio:marks", marks.look_after_all, timedelta(seconds=5)),
    Chore("cohorts:audit", audit.audit, timedelta(seconds=15)),
)


@dataclass(frozen=True, slots=True)
class Follower:
    """Work without an end, under a lease that it takes itself."""

    name: str
    follow: Callable[[Settings], Awaitable[object]]


FOLLOWERS: Sequence[Follower] = (Follower("webhooks", relay), Follower("agents", by_hand.follow))
AFTER_ERROR = 1.0  # seconds


async def keep_house(settings: Settings) -> None:
    """Do every chore in its rhythm, and follow what is to be followed, until cancelled."""
    async with asyncio.TaskGroup() as group:  # unlike gather, it waits until all have ended that it cancels
        for chore in CHORES:
            group.create_task(_repeat(chore))
        for follower in FOLLOWERS:
            group.create_task(_always(follower, settings))


async def _always(follower: Follower, settings: Settings) -> None:
    while True:
        try:
            await follower.follow(settings)
        except Exception:  # noqa: BLE001  the edge of this process: it must go on whatever it meets
            _log.warning("%s broke off; it goes on in %s s.", follower.name, AFTER_ERROR, exc_info=True)
        await asyncio.sleep(AFTER_ERROR)


async def _repeat(chore: Chore) -> None:
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    while True:
        try:
            if await leases.take(chore.lease, holder, ttl=3 * chore.every):
                await chore.work()
        except Exception:  # noqa: BLE001  the edge of this process: the next round must come whatever one meets
            _log.warning("%s failed; it is tried again in %s.", chore.lease, chore.every, exc_info=True)
        await asyncio.sleep(chore.every.total_seconds())
