"""Ending queries that nobody waits for any more, in MongoDB too.

A task that is cancelled stops waiting, and MongoDB goes on. So a query that may be given up carries a mark as its
comment, and whoever gives it up ends what carries the mark, from whichever process. Users of MongoDB may always end
their own operations.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError

from muster.records.documents import Profile

AGAIN_AFTER = 0.02  # seconds between two tries: what was about to be sent at the first is there at the second

_INTERRUPTED, _CURSOR_NOT_FOUND, _CURSOR_KILLED = 11601, 43, 237


@dataclass(frozen=True, slots=True)
class Mark:
    """What the queries of one preview carry. Those with one key, of one owner, supersede each other."""

    key: str | None
    preview: str = field(default_factory=lambda: secrets.token_hex(12))
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def of(cls, owner: str, key: str | None) -> "Mark":
        """A mark of now. MongoDB logs comments, so the key is kept as a digest."""
        return cls(None if key is None else hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()[:32])

    @property
    def comment(self) -> dict[str, Any]:
        """For `comment=` of a query."""
        return {"preview": self.preview, "key": self.key, "began": self.began}

    async def end(self) -> None:
        """End the queries that carry this mark."""
        await _end({"preview": self.preview})

    async def end_older(self) -> None:
        """End the queries with the same key that began before, where MongoDB lets us see them."""
        if self.key is not None:
            with suppress(OperationFailure):
                await _end({"key": self.key, "began": {"$lt": self.began}})


async def end_with(work: "asyncio.Task[Any]", mark: Mark) -> None:
    """End the queries of a task until it is done: there is nothing in MongoDB then that it has asked for."""
    while not work.done():
        try:
            await mark.end()
        except PyMongoError:
            work.cancel()  # MongoDB does not answer, or does not let us: its own limits of time remain
            break
        await asyncio.wait({work}, timeout=AGAIN_AFTER)
    with suppress(asyncio.CancelledError, Exception):  # how it ended is nobody's concern any more
        await work


def was_ended(error: OperationFailure) -> bool:
    """Whether a query failed because somebody ended it."""
    return error.code in {_INTERRUPTED, _CURSOR_NOT_FOUND, _CURSOR_KILLED}


async def _end(carried: Mapping[str, Any]) -> None:
    """End running queries, and cursors between two batches, whose comment has these values."""
    profiles = Profile.get_motor_collection()
    admin = profiles.database.client.admin
    places = ("command.comment", "cursor.originatingCommand.comment")
    matches = [{f"{place}.{name}": value for name, value in carried.items()} for place in places]
    shown = {"type": 1, "opid": 1, "cursor.cursorId": 1}
    running = admin.aggregate(
        [{"$currentOp": {"idleCursors": True}}, {"$match": {"$or": matches}}, {"$project": shown}]
    )
    for found in await running.to_list(None):
        if found["type"] == "idleCursor":
            await profiles.database.command("killCursors", profiles.name, cursors=[found["cursor"]["cursorId"]])
        else:
            await admin.command("killOp", op=found["opid"])
