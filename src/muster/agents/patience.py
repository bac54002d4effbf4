"""Transactions over many leads: which errors are a single lead's, and how long one is tried again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import BulkWriteError, DocumentTooLarge, PyMongoError

from muster.transactions import commit

FIRST_SIZE, SMALLEST, LARGEST = 50, 10, 250  # leads of a transaction
QUICK, SLOW = 0.1, 0.25  # seconds that one may take before the next is larger, or smaller: progress every half second
PATIENCE = 5.0  # seconds in which a single lead is tried again that others keep writing
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.2  # seconds between two tries

# The server's codes: a write conflict, an entry that somebody else opened; a document above 16 MB, a transaction that
# is larger than the cache.
_CHANGES = {112, 11000}
_TOO_LARGE = {10334, 17419, 17420, 388}

T = TypeVar("T")


def next_size(size: int, seconds: float) -> int:
    """How many leads the next transaction has, when one of this size took so long."""
    if seconds < QUICK:
        return min(LARGEST, 2 * size)
    return max(SMALLEST, size // 2) if seconds > SLOW else size


async def patiently(
    session: AsyncIOMotorClientSession, write: Callable[[AsyncIOMotorClientSession], Awaitable[T]], *, alone: bool
) -> T:
    """A transaction, tried again while that may help; for a lead alone also while others keep writing it.

    What one lead among several causes is raised at once: `is_of_a_lead` knows it.
    """
    deadline, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
    while True:
        try:
            return await commit(session, write, hopeless=is_of_a_lead)
        except PyMongoError as error:
            if not alone or not _codes_of(error) & _CHANGES or time.monotonic() > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def is_of_a_lead(error: PyMongoError) -> bool:
    """Whether one lead caused this, and not the server or the network: the others can do without it."""
    return isinstance(error, DocumentTooLarge) or bool(_codes_of(error) & (_CHANGES | _TOO_LARGE))


def detail_of(error: PyMongoError) -> str:
    """What to say of a lead that could not be written."""
    if _codes_of(error) & _CHANGES:
        return f"Others kept writing this lead for {PATIENCE:g} seconds (a write conflict, tried again and again)."
    return "With this agent the profile would be too large for MongoDB; shorten its longest values."


def _codes_of(error: PyMongoError) -> set[int]:
    failed = error.details.get("writeErrors", ()) if isinstance(error, BulkWriteError) else ()
    code = getattr(error, "code", None)
    return {each["code"] for each in failed} | ({code} if isinstance(code, int) else set())
