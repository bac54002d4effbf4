"""Change streams, read ahead: while one batch is applied the next one gathers. That of `profiles` is the watcher's."""

import asyncio
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from bson import ObjectId, Timestamp
from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo.change_stream import ChangeStream
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError

from muster.records.documents import Profile

READ_AHEAD = 10_000  # events; a full queue holds the reader back, and the oplog keeps the rest
AWAIT_MS = 500
ENDS_WITHIN = 2.0  # seconds that we wait for the reader; it may hang as long as MongoDB does not answer

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


class Happening(Protocol):
    """What a stream hands out, with its position."""

    @property
    def token(self) -> Mapping[str, Any]:
        """The position after it."""
        ...


AnyHappening = TypeVar("AnyHappening", bound=Happening)


class ReadAhead(Generic[AnyHappening]):
    """Open as a context manager. `token` is the position after everything handed out, also on a quiet stream.

    A subclass says which stream it is, and how its documents are read. A thread of its own reads with PyMongo: to ask
    Motor for every single event costs more than to apply it.
    """

    def __init__(self, token: Mapping[str, Any] | None) -> None:
        self.token = token
        self._items: deque[AnyHappening | Mapping[str, Any] | BaseException] = deque()
        self._room = threading.Condition()
        self._stopping = False
        self._arrived = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._reader: threading.Thread | None = None

    def _watch(self) -> "ChangeStream[dict[str, Any]]":
        """The stream from `token` on."""
        raise NotImplementedError

    def _event(self, document: Mapping[str, Any]) -> AnyHappening:
        """What a document of the stream tells. Raises StreamEnded."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        changes = await asyncio.to_thread(self._open)
        self._reader = threading.Thread(target=self._read, args=(changes,), name="change stream", daemon=True)
        self._reader.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._room:
            self._stopping = True
            self._room.notify()
        if self._reader is not None:
            await asyncio.shield(asyncio.to_thread(self._reader.join, ENDS_WITHIN))

    async def events(self, limit: int, *, wait: float) -> list[AnyHappening]:
        """What has come in, at most `limit`; none when nothing comes within `wait` seconds.

        Raises what ended the stream, after everything before it was handed out.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):  # up to Python 3.11 `wait_for` may swallow a cancellation
                await self._arrived.wait()
        events: list[AnyHappening] = []
        with self._room:
            while self._items and len(events) < limit:
                match self._items[0]:
                    case BaseException() as error:
                        if events:
                            break  # first what came before it
                        raise error
                    case Mapping() as token:
                        self.token = token
                    case event:
                        self.token = event.token
                        events.append(event)
                self._items.popleft()
            if not self._items:
                self._arrived.clear()
            self._room.notify()
        return events

    def _open(self) -> "ChangeStream[dict[str, Any]]":
        """From here on nothing is missed."""
        with _telling():
            changes = self._watch()
            first = changes.try_next()
        if first is not None:
            self._put(self._event(first))
        elif self.token is None:
            self.token = changes.resume_token
        return changes

    def _read(self, changes: "ChangeStream[dict[str, Any]]") -> None:
        idle: Mapping[str, Any] | None = None
        try:
            while not self._stopping:
                with _telling():
                    document = changes.try_next()
                if document is not None:
                    self._put(self._event(document))
                elif changes.resume_token is not None and changes.resume_token != idle:
                    idle = changes.resume_token
                    self._put(idle)
        except BaseException as error:  # noqa: BLE001  handed to the consumer, in its place among the events
            self._put(error)
        finally:
            with suppress(PyMongoError):
                changes.close()

    def _put(self, item: AnyHappening | Mapping[str, Any] | BaseException) -> None:
        with self._room:
            while len(self._items) >= READ_AHEAD and not self._stopping:
                self._room.wait()
            if self._stopping:
                return
            self._items.append(item)
            if len(self._items) == 1:
                self._loop.call_soon_threadsafe(self._arrived.set)


@contextmanager
def _telling() -> Iterator[None]:
    """Tell an error that ends the stream from those after which it can be opened again where it was."""
    try:
        yield
    except OperationFailure as error:
        reason = _ENDS_THE_STREAM.get(error.code or 0)
        if reason is None:
            raise
        raise StreamEnded(reason) from error


class Stream(ReadAhead[Event]):
    """The change stream of `profiles`. `stages` are those that choose which events come in."""

    def __init__(self, token: Mapping[str, Any] | None, stages: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(token)
        self._pipeline = [*stages, *_PROJECTION]

    def _watch(self) -> "ChangeStream[dict[str, Any]]":
        collection: Collection[dict[str, Any]] = Profile.get_motor_collection().delegate
        return collection.watch(self._pipeline, resume_after=self.token, max_await_time_ms=AWAIT_MS)

    def _event(self, document: Mapping[str, Any]) -> Event:
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
    """The UUID of the collection of profiles."""
    return await deployment_of(Profile.get_motor_collection())


async def deployment_of(collection: AsyncIOMotorCollection[dict[str, Any]]) -> str:
    """The UUID of a collection: the same for as long as a resume token of it means anything."""
    reply = await collection.database.command("listCollections", filter={"name": collection.name})
    first = reply["cursor"]["firstBatch"]
    return str(first[0]["info"]["uuid"]) if first else ""


_POSITION = re.compile(r"82([0-9A-F]{8})([0-9A-F]{8})")


def moment_of(token: Mapping[str, Any] | None) -> Timestamp | None:
    """The cluster time up to which a stream was read: what is older stands before this position. None when unknown.

    A resume token begins with it, in the order-preserving form that indexes have too: the type, then two numbers.
    """
    found = _POSITION.match(str(token["_data"])) if token and "_data" in token else None
    return Timestamp(int(found[1], 16), int(found[2], 16)) if found else None
