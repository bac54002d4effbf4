"""Watches what watchers keep about themselves: no position goes back, and who lost the lease writes nothing more."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import PyMongoError

from tests.faults.recount import Database

OF_THE_WATCHER = [{"$match": {"ns.coll": {"$in": ["leases", "watch_states"]}, "documentKey._id": "watcher:0"}}]
WATCHERS_LEASE = "watcher:0"  # and the id of what its holder keeps about itself


@dataclass
class Witness:
    """Reads every change of the lease and of the state under it; what it complains of is a sentence each.

    Whoever takes the lease names its own session once. A session that comes without one taking it is a watcher that
    slept, woke up, and wrote over its successor.
    """

    complaints: list[str] = field(default_factory=list)
    _was_taken: bool = False
    _forgiven: list[str] = field(default_factory=list)
    _position: str = ""
    _events: int = 0

    def forgive(self, position: Mapping[str, Any]) -> None:
        """One position may be earlier than the one before: we put it there."""
        self._forgiven.append(position["_data"])

    def see(self, event: dict[str, Any]) -> None:
        """One change of either."""
        changed = event.get("updateDescription", {}).get("updatedFields") or event.get("fullDocument") or {}
        if event["ns"]["coll"] == "leases":
            self._was_taken |= "fence" in changed
            return
        if session := changed.get("session"):
            if not self._was_taken:
                self.complaints.append(f"session {session} wrote without taking the lease")
            self._was_taken = False
        position = changed.get("token._data") or (changed.get("token") or {}).get("_data")
        if position is not None:
            if position < self._position and position not in self._forgiven:
                self.complaints.append(f"the position went back from {self._position} to {position}")
            self._position = position
        events = changed.get("events", self._events)
        if events < self._events:
            self.complaints.append(f"the number of events went back from {self._events} to {events}")
        self._events = events


@asynccontextmanager
async def witnessing(database: Database, witness: Witness) -> AsyncIterator[None]:
    """Let it look for as long as the block lasts; mongod may be killed meanwhile."""

    async def look() -> None:
        after: Any = None
        while True:
            with suppress(PyMongoError):
                async with await database.watch(OF_THE_WATCHER, resume_after=after) as stream:
                    async for event in stream:
                        after = stream.resume_token
                        witness.see(event)
            await asyncio.sleep(0.1)  # until mongod is there again

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
