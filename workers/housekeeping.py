"""Chores that return every few seconds. Dramatiq has no clock; each runs in whichever worker gets its lease."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from muster.cohorts import changes, generations
from muster.cohorts import jobs as evaluations
from muster.jobs import leases, service

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
)


async def keep_house() -> None:
    """Do every chore in its rhythm, until cancelled."""
    await asyncio.gather(*(_repeat(chore) for chore in CHORES))


async def _repeat(chore: Chore) -> None:
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    while True:
        try:
            if await leases.take(chore.lease, holder, ttl=3 * chore.every):
                await chore.work()
        except Exception:  # noqa: BLE001  the edge of this process: the next round must come whatever one meets
            _log.warning("%s failed; it is tried again in %s.", chore.lease, chore.every, exc_info=True)
        await asyncio.sleep(chore.every.total_seconds())
