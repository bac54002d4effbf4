"""Leases: one holder at a time, by the clock of the MongoDB server, with a fence that outlives every stall.

A lease that ran out is lost only when somebody else takes it. So the test that counts is the fence, not the clock:
whoever writes under a lease renews it in the same transaction, and a holder that was asleep while another took over
finds no document with its fence and commits nothing.
"""

from datetime import datetime, timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from muster.jobs.documents import Lease


async def take(
    name: str, holder: str, ttl: timedelta, *, session: AsyncIOMotorClientSession | None = None
) -> Lease | None:
    """Take a lease that is free, ran out, or is this holder's own; None when another holds it.

    The fence rises each time, so an earlier self of the same holder is shut out too. `holder` should name this very
    process (host, pid and something random).
    """
    ttl_ms = round(ttl / timedelta(milliseconds=1))
    free = {"$or": [{"$lte": ["$expires_at", "$$NOW"]}, {"$eq": ["$holder", {"$literal": holder}]}]}
    taken = {
        "holder": {"$literal": holder},
        "fence": {"$add": [{"$ifNull": ["$fence", 0]}, 1]},
        "ttl_ms": ttl_ms,
        "renewed_at": "$$NOW",
        "expires_at": {"$add": ["$$NOW", ttl_ms]},
    }
    # An upsert may not filter by $expr, hence the condition inside. A missing expires_at sorts below every date.
    update = [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$cond": [free, taken, {}]}]}}]
    leases = Lease.get_motor_collection()
    while True:
        try:
            found = await leases.find_one_and_update(
                {"_id": name}, update, upsert=True, return_document=ReturnDocument.AFTER, session=session
            )
        except DuplicateKeyError:  # two made the lease at once; the loser looks again
            continue
        return Lease.model_validate(found) if found["holder"] == holder else None


async def renew(lease: Lease, *, session: AsyncIOMotorClientSession | None = None) -> datetime | None:
    """Hold on for another ttl. The server's time as written, or None when the lease is lost.

    Within a transaction (`session`) this makes everything else in it conditional on still holding the lease: abort
    on None; a take-over at the same moment conflicts and aborts one of the two.
    """
    held: dict[str, Any] = {"_id": lease.id, "holder": lease.holder, "fence": lease.fence}
    update = [{"$set": {"renewed_at": "$$NOW", "expires_at": {"$add": ["$$NOW", "$ttl_ms"]}}}]
    found = await Lease.get_motor_collection().find_one_and_update(
        held, update, return_document=ReturnDocument.AFTER, session=session
    )
    return None if found is None else Lease.model_validate(found).renewed_at


async def release(lease: Lease) -> bool:
    """Give the lease back at once; False when it was lost already. The fence stays, and rises with the next taker."""
    held = {"_id": lease.id, "holder": lease.holder, "fence": lease.fence}
    result = await Lease.get_motor_collection().update_one(held, {"$set": {"holder": None, "expires_at": None}})
    return result.modified_count == 1
