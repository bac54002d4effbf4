"""Reads of one moment: what an evaluation decides on, and the cluster time that orders the decision."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import OperationFailure

from muster.cohorts.documents import REGISTRY, RegistryVersion

_UNAVAILABLE, _TOO_OLD = 246, 239


def is_gone(error: OperationFailure) -> bool:
    """Whether a snapshot can no longer be read, since minutes have passed or the collection changed: take another."""
    return error.code in {_UNAVAILABLE, _TOO_OLD}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Pass `session` to finds and aggregates: they all see the database as of `as_of`.

    `now` is the server's time at that moment: later than what any transaction that is seen here took for its own, so
    that the times of changes follow their order. `registry_version` is the version of the cohort registry.
    """

    session: AsyncIOMotorClientSession
    as_of: Timestamp
    now: datetime
    registry_version: int


@asynccontextmanager
async def open_snapshot() -> AsyncIterator[Snapshot]:
    """The newest majority-committed moment, so it holds every write that was acknowledged before the call."""
    registry = RegistryVersion.get_motor_collection()
    database = registry.database
    async with await database.client.start_session(snapshot=True) as session:
        # A plain command, because only its reply shows the cluster time without reaching into the driver.
        look = {
            "find": registry.name,
            "filter": {"_id": REGISTRY},
            "projection": {"version": 1, "now": "$$NOW"},
            "limit": 1,
        }
        reply: dict[str, Any] = await database.command(look, session=session, codec_options=database.codec_options)
        as_of = reply["cursor"]["atClusterTime"]
        found = reply["cursor"]["firstBatch"] or [{"version": 0, "now": as_of.as_datetime()}]
        yield Snapshot(session, as_of, found[0]["now"], found[0]["version"])


async def raise_registry_version(session: AsyncIOMotorClientSession | None = None) -> None:
    """Make the watcher read the cohorts anew before it evaluates anything in a snapshot later than this."""
    await RegistryVersion.get_motor_collection().update_one(
        {"_id": REGISTRY}, {"$inc": {"version": 1}}, upsert=True, session=session
    )
