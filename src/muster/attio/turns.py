"""Whose turn it is to write what a project has of Attio: files, metadata and profiles, one import or refresh at a time.

Two at once would meet in names of files, in whose address it is, and in commits. An import that waits for its turn is
running, without progress, and can be cancelled.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from pymongo.errors import PyMongoError

from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.jobs.working import LEASE_TTL
from muster.tasks import stop

LOOK_EVERY = 0.2  # seconds between two looks whether it is our turn

_log = logging.getLogger(__name__)


async def _go_on() -> None:
    """Nothing ends the waiting."""


@asynccontextmanager
async def turn(
    project_id: str,
    holder: str,
    *,
    ttl: timedelta = LEASE_TTL,
    waiting: Callable[[], Awaitable[None]] = _go_on,
) -> AsyncIterator[None]:
    """Wait for the turn of `holder` in a project, and keep it. `waiting` is called meanwhile; what it raises ends it.

    Name a job as the holder: its next attempt need not wait until the lease of the killed one has run out.
    """
    name = f"attio:{project_id}"
    while (lease := await leases.take(name, holder, ttl)) is None:
        await waiting()
        await asyncio.sleep(LOOK_EVERY)
    keeping = asyncio.create_task(_keep(lease))
    try:
        yield
    finally:
        await stop(keeping)
        with suppress(PyMongoError):  # then it runs out
            await leases.release(lease)


async def _keep(lease: Lease) -> None:
    """Renew until cancelled. A job that slept so long that it lost its turn has lost its own lease as well."""
    while True:
        await asyncio.sleep(lease.ttl_ms / 3_000)
        try:
            if await leases.renew(lease) is None:
                _log.warning("Lost the turn %s.", lease.id)
                return
        except PyMongoError as error:
            _log.warning("Could not renew the turn %s: %s", lease.id, error)
