"""The change stream of `profiles`, read ahead: while one batch is applied the next one gathers."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorChangeStream
from pymongo.errors import OperationFailure

from muster.records.documents import Profile

READ_AHEAD = 10_000  # events; a full queue holds the reader back, and the oplog keeps the rest
AWAIT_MS = 500

# Codes after which a stream cannot go on where it was, and what to tell people.
_ENDS_THE_STREAM: Mapping[int, str] = {
    260: "the position in the change stream is no longer valid",
    280: "the change stream broke off",
    286: "the change stream's history no longer reaches back to the saved position",
    40647: "the saved position in the change stream cannot be read",
    50811: "the saved position in the change stream cannot be read",
}

# Names of changed paths, never values: an event stays small however large the change was.
_PROJECTION: list[dict[str, Any]] = [
    {
        "$project": {
            "operationType": 1,
            "documentKey": 1,
            "wallTime": 1,
            "clusterTime": 1,
            "changed": {
                "$concatArrays": [
                    {
                        "$map": {
                            "input": {"$objectToArray": {"$ifNull": ["$updateDescription.updatedFields", {}]}},
                            "in": "$$this.k",
                        }
                    },
                    {"$ifNull": ["$updateDescription.removedFields", []]},
                    {"$ifNull": ["$updateDescription.truncatedArrays.field", []]},
                ]
            },
        }
    }
]


class StreamEnded(Exception):
    """The stream cannot go on from its position; the message says why, for people."""


@dataclass(frozen=True, slots=True)
class Event:
    """One change of one profile. `changed` are document paths; None when anything may have changed."""

    profile: ObjectId
    changed: frozenset[str] | None
    token: Mapping[str, Any]
    written_at: datetime


class Stream:
    """Open as a context manager. `token` is the position after everything handed out, also on a quiet stream.

    `stages` are those that choose which events come in.
    """

    def __init__(self, token: Mapping[str, Any] | None, stages: Sequence[Mapping[str, Any]] = ()) -> None:
        self.token = token
        self._pipeline = [*stages, *_PROJECTION]
        self._queue: asyncio.Queue[Event | Mapping[str, Any] | BaseException] = asyncio.Queue(READ_AHEAD)
        self._reader: asyncio.Task[None] | None = None
        self._changes: AsyncIOMotorChangeStream[dict[str, Any]] | None = None

    async def __aenter__(self) -> Self:
        self._changes = Profile.get_motor_collection().watch(
            self._pipeline, resume_after=self.token, max_await_time_ms=AWAIT_MS
        )
        first = await self._next(self._changes)  # opens the stream: from here on nothing is missed
        if first is not None:
            await self._queue.put(_event(first))
        elif self.token is None:
            self.token = self._changes.resume_token
        self._reader = asyncio.create_task(self._read(self._changes))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader
        if self._changes is not None:
            await self._changes.close()

    async def events(self, limit: int, *, wait: float) -> list[Event]:
        """What has come in, at most `limit`; none when nothing comes within `wait` seconds.

        Raises what ended the stream, after everything before it was handed out.
        """
        events: list[Event] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):  # up to Python 3.11 `wait_for` may swallow a cancellation
                item = await self._queue.get()
            self._take(item, events)
        while events and len(events) < limit and not self._queue.empty():
            self._take(self._queue.get_nowait(), events)
        return events

    def _take(self, item: Event | Mapping[str, Any] | BaseException, into: list[Event]) -> None:
        match item:
            case Event():
                self.token = item.token
                into.append(item)
            case BaseException() if into:
                self._queue.put_nowait(item)  # first what came before it
            case BaseException():
                raise item
            case _:
                self.token = item

    @staticmethod
    async def _next(changes: "AsyncIOMotorChangeStream[dict[str, Any]]") -> Mapping[str, Any] | None:
        try:
            document: Mapping[str, Any] | None = await changes.try_next()
        except OperationFailure as error:
            reason = _ENDS_THE_STREAM.get(error.code or 0)
            if reason is None:
                raise
            raise StreamEnded(reason) from error
        return document

    async def _read(self, changes: "AsyncIOMotorChangeStream[dict[str, Any]]") -> None:
        idle: Mapping[str, Any] | None = None
        try:
            while True:
                document = await self._next(changes)
                if document is not None:
                    await self._queue.put(_event(document))
                elif changes.resume_token != idle:
                    idle = changes.resume_token
                    if idle is not None:
                        await self._queue.put(idle)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  handed to the consumer, in its place in the queue
            await self._queue.put(error)


def _event(document: Mapping[str, Any]) -> Event:
    operation = document["operationType"]
    if operation not in {"insert", "update", "replace", "delete"}:  # drop, rename, invalidate
        raise StreamEnded(f"the collection of profiles is gone ({operation})")
    return Event(
        profile=document["documentKey"]["_id"],
        changed=frozenset(document["changed"]) if operation == "update" else None,
        token=document["_id"],
        written_at=document["wallTime"],
    )


async def deployment_of_profiles() -> str:
    """The UUID of the collection: the same for as long as a resume token of it means anything."""
    profiles = Profile.get_motor_collection()
    reply = await profiles.database.command("listCollections", filter={"name": profiles.name})
    first = reply["cursor"]["firstBatch"]
    return str(first[0]["info"]["uuid"]) if first else ""
