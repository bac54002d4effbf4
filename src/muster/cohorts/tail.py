"""What is new in the history of cohorts, as it is written: one change stream per process, handed out to all followers.

A follower's queue is bounded. Who does not keep up loses it, and reads on by a stream of its own, as fast as its client
takes it, until it is with the others again.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from pymongo.change_stream import ChangeStream
from pymongo.database import Database
from pymongo.errors import PyMongoError

from muster.cohorts.documents import Change, Cohort, Run
from muster.cohorts.history_schemas import ChangeOut, RunOut
from muster.cohorts.stream import ReadAhead, StreamEnded

AWAIT_MS = 200
QUEUE = 1_000  # news that wait for one follower
NEWS_AT_ONCE = 500
LOOK_EVERY = 0.1  # seconds, for those who have come
WAIT_AFTER_ERROR = 1.0  # seconds

KINDS = {Change.Settings.name: "change", Run.Settings.name: "run", Cohort.Settings.name: "deleted"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """That something was written about a cohort; what, is read when it is told, so that nobody erased is named."""

    kind: str
    id: Any
    cohort: str
    token: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class News:
    """What a follower is told: `kind` is "change", "run" or "deleted", `data` JSON, `position` that after it."""

    cohort: str
    kind: str
    data: str
    position: str


def position_of(token: Mapping[str, Any]) -> str:
    """A resume token as text: the later one is the greater one."""
    return str(token["_data"])


class Notices(ReadAhead[Notice]):
    """Everything new about some cohorts, from a resume token on, or from now."""

    def __init__(self, token: Mapping[str, Any] | None, cohorts: Sequence[str]) -> None:
        super().__init__(token)
        self._cohorts = cohorts

    def _watch(self) -> "ChangeStream[dict[str, Any]]":
        database: Database[dict[str, Any]] = Change.get_motor_collection().database.delegate
        return database.watch(_about(self._cohorts), resume_after=self.token, max_await_time_ms=AWAIT_MS)

    def _event(self, document: Mapping[str, Any]) -> Notice:
        return _notice(document)


async def missed(cohort_id: str, seen: str, upto: str) -> AsyncGenerator[News | None, None]:
    """What happened to one cohort between two positions, as fast as it is taken; None where it takes a while.

    Raises OperationFailure or StreamEnded where that is not known any more.
    """
    watched = Change.get_motor_collection().database.watch(
        _about([cohort_id]), resume_after={"_data": seen}, max_await_time_ms=AWAIT_MS
    )
    async with watched as stream:
        while seen < upto:
            notices: list[Notice] = []
            while len(notices) < NEWS_AT_ONCE and (document := await stream.try_next()) is not None:
                notices.append(_notice(document))
            for news in await told(notices):
                yield news
            if stream.resume_token is not None:
                seen = position_of(stream.resume_token)
            yield None


def _about(cohorts: Sequence[str]) -> list[Mapping[str, Any]]:
    ours = {"$in": list(cohorts)}
    written = [
        {"ns.coll": document.Settings.name, "operationType": "insert", "fullDocument.cohort": ours}
        for document in (Change, Run)
    ]
    gone = {"ns.coll": Cohort.Settings.name, "operationType": "delete", "documentKey._id": ours}
    return [
        {"$match": {"$or": [*written, gone]}},
        {"$project": {"operationType": 1, "ns.coll": 1, "documentKey": 1, "fullDocument.cohort": 1}},
    ]


def _notice(document: Mapping[str, Any]) -> Notice:
    if document["operationType"] not in {"insert", "delete"}:
        raise StreamEnded(f"the database is gone ({document['operationType']})")
    written = document["documentKey"]["_id"]
    cohort = document["fullDocument"]["cohort"] if "fullDocument" in document else written
    return Notice(KINDS[document["ns"]["coll"]], written, cohort, document["_id"])


async def told(notices: Sequence[Notice]) -> list[News]:
    """What these are about; entries of profiles that were erased meanwhile are left out."""
    data: dict[Any, str] = {}
    if entries := _ids(notices, "change"):
        found = Change.get_motor_collection().find({"_id": {"$in": entries}, "pii_id": {"$type": "string"}})
        data |= {entry["_id"]: ChangeOut.of(entry).model_dump_json() async for entry in found}
    if runs := _ids(notices, "run"):
        data |= {run.id: RunOut.of(run).model_dump_json() async for run in Run.find({"_id": {"$in": runs}})}
    data |= {cohort_id: json.dumps({"id": cohort_id}) for cohort_id in _ids(notices, "deleted")}
    return [News(one.cohort, one.kind, data[one.id], position_of(one.token)) for one in notices if one.id in data]


def _ids(notices: Sequence[Notice], kind: str) -> list[Any]:
    return [one.id for one in notices if one.kind == kind]


@dataclass(eq=False)
class Follower:
    """One who wants to know what is new about a cohort. `position` is what its queue goes on behind."""

    cohort: str
    position: str | None = None  # None: not in the stream
    has_lost: bool = False  # the queue was full, or the stream broke off: what came then is missing
    _queue: asyncio.Queue[News] = field(default_factory=lambda: asyncio.Queue(QUEUE))

    def begin(self, position: str) -> None:
        """Go on behind this position with an empty queue."""
        self.position, self._queue = position, asyncio.Queue(QUEUE)

    def take(self, news: News) -> None:
        """Keep it for the client, if there is room."""
        if self._queue.full():
            self.has_lost = True
        else:
            self._queue.put_nowait(news)

    async def next(self, *, wait: float) -> News | None:
        """What comes next; None when nothing does within `wait` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                return await self._queue.get()
        return None


@dataclass
class Tail:
    """The stream that all followers of this process share; it runs while there are any. `_token` is how far it got."""

    _followers: dict[str, set[Follower]] = field(default_factory=dict)
    _token: Mapping[str, Any] | None = None
    _has_new: bool = False
    _reading: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def follow(self, cohort_id: str) -> AsyncIterator[Follower]:
        """Follow a cohort for as long as the block lasts. The follower gets a position once the stream includes it."""
        follower = Follower(cohort_id)
        if cohort_id not in self._followers:
            self._followers[cohort_id], self._has_new = set(), True
        elif self._token is not None and not self._has_new:
            follower.begin(position_of(self._token))
        self._followers[cohort_id].add(follower)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_for_ever())
        try:
            yield follower
        finally:
            self._followers[cohort_id].discard(follower)
            if not self._followers[cohort_id]:
                del self._followers[cohort_id]
            if not self._followers and self._reading is not None:
                self._reading.cancel()
                self._reading = self._token = None

    def catch_up(self, follower: Follower) -> str:
        """Begin its queue anew with what is handed out from now on; the position that all of this is behind."""
        position = position_of(self._token) if self._token is not None else follower.position or ""
        follower.begin(position)
        follower.has_lost = False
        return position

    async def _read_for_ever(self) -> None:
        while True:
            try:
                await self._read()
            except StreamEnded as ended:
                await log.awarning("Followers of cohorts begin anew", reason=str(ended))
                self._token = None
                for follower in self._all():
                    follower.position, follower.has_lost = None, True
            except PyMongoError as error:
                await log.awarning("MongoDB does not answer the followers of cohorts", error=str(error))
                await asyncio.sleep(WAIT_AFTER_ERROR)

    async def _read(self) -> None:
        """Hand out what is new, until somebody follows one more cohort: the next stream has it, from the same token."""
        self._has_new = False
        async with Notices(self._token, sorted(self._followers)) as stream:
            while not self._has_new:
                news = await told(await stream.events(NEWS_AT_ONCE, wait=LOOK_EVERY))
                # From here on without a pause: a position tells exactly what was handed out before it.
                self._token = stream.token
                for one in news:
                    for follower in self._followers.get(one.cohort, ()):
                        follower.take(one)
                if self._token is not None and not self._has_new:
                    self._let_begin(position_of(self._token))

    def _let_begin(self, position: str) -> None:
        for follower in self._all():
            if follower.position is None:
                follower.begin(position)

    def _all(self) -> list[Follower]:
        return [follower for followers in self._followers.values() for follower in followers]


TAIL = Tail()
