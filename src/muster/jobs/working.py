"""Working on a job: claim it, report progress and checkpoints, end it. Whoever lost the lease writes nothing more."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from muster.errors import Conflict, MusterError, NotFound, Unavailable
from muster.jobs import leases
from muster.jobs.documents import UNFINISHED, Job, Lease, job_from
from muster.tasks import stop
from muster.transactions import end_session, name_of

LEASE_TTL = timedelta(seconds=15)
MAXIMUM_ATTEMPTS = 3  # in a row that end with a dead worker and without progress
MOST_LISTED = 1_000  # failures on a job

LAST_ATTEMPT = "jobs:last-attempt"  # the lease that the third ones take turns with

# A missing or null expires_at sorts below every date.
NO_LIVE_LEASE: dict[str, Any] = {"$lte": ["$lease.expires_at", "$$NOW"]}
IS_DUE: dict[str, Any] = {"$lte": ["$due_at", "$$NOW"]}

_log = logging.getLogger(__name__)


class Busy(Conflict):
    """Somebody else works on the job right now."""


class Done(Conflict):
    """The job has ended, or waits only to be ended by the sweep."""


class Cancelled(Conflict):
    """The owner cancelled the job while we worked on it."""


class Fenced(Conflict):
    """Our lease on the job ran out and somebody else took over: what we still write must not count."""


class Waits(Conflict):
    """The job waits for somebody else, and nobody works on it meanwhile: the sweep sends it again when it is due.

    Raised inside of `claim` it gives the worker back; `resume_after` is how long, from now on.
    """

    resume_after: timedelta

    def __init__(self, detail: str, resume_after: timedelta) -> None:
        super().__init__(detail)
        self.resume_after = resume_after


@dataclass
class Claimed:
    """A job in work. Set `result` before leaving; every method raises Fenced once the lease is lost."""

    job: Job
    ttl: timedelta
    result: dict[str, Any] | None = None
    retryable: bool = False  # although it succeeds: some of its items failed
    _lost: bool = field(default=False, repr=False)

    @property
    def fence(self) -> int:
        """The number of this attempt's lease: higher than that of every attempt before."""
        return self.job.lease.fence

    async def progress(self, done: int, total: int | None = None, *, result: Mapping[str, Any] | None = None) -> None:
        """Report how far the work is, and with what so far. Raises Cancelled when the owner wants no more of it."""
        ahead = {"$gt": [done, "$furthest"]}
        found = await self._update(
            {
                "progress": {"done": done, "total": "$progress.total" if total is None else total},
                "furthest": {"$max": ["$furthest", done]},
                "attempts_since_progress": {"$cond": [ahead, 0, "$attempts_since_progress"]},
                "rev": {"$add": ["$rev", 1]},
                **({} if result is None else {"result": {"$literal": dict(result)}}),
            }
        )
        if found.cancel_requested:
            raise Cancelled(f"{self.job.id} was cancelled.")

    async def checkpoint(
        self,
        value: Any,
        *,
        failures: Sequence[Mapping[str, Any]] = (),
        session: AsyncIOMotorClientSession | None = None,
    ) -> None:
        """Keep where the next attempt shall go on: any BSON value, read from `job.checkpoint`. A new one is progress.

        `failures`, `{pii_id, detail}` each, are those since the last checkpoint; the job lists the first 1,000. With
        `session` all of it stands exactly when the transaction's effects stand.
        """
        same = {"$eq": ["$checkpoint", {"$literal": value}]}
        listed = {"$concatArrays": ["$failures", {"$literal": [dict(failure) for failure in failures[:MOST_LISTED]]}]}
        kept = {
            "checkpoint": {"$literal": value},
            "failures": {"$slice": [listed, MOST_LISTED]},
            "attempts_since_progress": {"$cond": [same, "$attempts_since_progress", 0]},
        }
        self.job.checkpoint = (await self._update(kept, session=session)).checkpoint

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncIOMotorClientSession]:
        """A session for all transactions of this attempt, on record, so that whoever comes after a kill can end it."""
        jobs = Job.get_motor_collection()
        async with await jobs.database.client.start_session() as session:
            name = name_of(session)
            await self._update({"session": name})
            try:
                yield session
            finally:  # the driver gives a session that ended to whoever asks next: nobody shall end it under them
                with suppress(PyMongoError):
                    await jobs.update_one({"_id": self.job.id, "session": name}, {"$set": {"session": None}})

    async def renew(self, *, session: AsyncIOMotorClientSession | None = None) -> None:
        """Hold on to the job. Within a transaction: nothing in it stands unless the lease is still ours."""
        await self._update({}, session=session)

    async def _update(self, values: dict[str, Any], *, session: AsyncIOMotorClientSession | None = None) -> Job:
        ttl_ms = round(self.ttl / timedelta(milliseconds=1))
        return await self._write({"lease.expires_at": {"$add": ["$$NOW", ttl_ms]}, **values}, session=session)

    async def _write(self, values: dict[str, Any], *, session: AsyncIOMotorClientSession | None = None) -> Job:
        """Write under our fence."""
        found = None
        if not self._lost:
            found = await Job.get_motor_collection().find_one_and_update(
                {"_id": self.job.id, "lease.holder": self.job.lease.holder, "lease.fence": self.fence},
                [{"$set": values}],
                return_document=ReturnDocument.AFTER,
                session=session,
            )
        if found is None:
            self._lost = True
            raise Fenced(f"{self.job.id} is worked on by somebody else since our lease ran out.")
        return job_from(found)

    async def _end(self, **values: Any) -> None:
        """Give the lease back, in the same write as what became of the job. The fence stays."""
        await self._write({**values, "lease.holder": None, "lease.expires_at": None, "rev": {"$add": ["$rev", 1]}})

    async def _hold(self) -> None:
        """Renew in the background until cancelled or lost."""
        while not self._lost:
            await asyncio.sleep(self.ttl.total_seconds() / 3)
            try:
                await self.renew()
            except Fenced:
                _log.warning("Lost the lease on %s (fence %d).", self.job.id, self.fence)
            except PyMongoError as error:  # the lease may still hold when MongoDB is back
                _log.warning("Could not renew the lease on %s: %s", self.job.id, error)


@asynccontextmanager
async def claim(job_id: str, *, ttl: timedelta = LEASE_TTL) -> AsyncIterator[Claimed]:
    """Work on a job, alone. Raises Busy or Done when it is not to be had, NotFound when there is none.

    Leaving normally, the job has succeeded with `claimed.result`. What is raised inside decides otherwise, and is
    raised on: Cancelled cancels it; Waits lets it rest; a MusterError fails it with its sentence, any other error with
    a general one; a server that went away (MongoDB, Redis, network) or our own shutdown leaves it to the next attempt.
    """
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    async with _taken(job_id, holder, ttl) as job:
        claimed = Claimed(job, ttl)
        holding = asyncio.create_task(claimed._hold())  # noqa: SLF001  the class and its only user are one thing
        try:
            yield claimed
            await _succeed(claimed)
        except BaseException as error:
            await _record(claimed, error)
            raise
        finally:
            await stop(holding)


@asynccontextmanager
async def _taken(job_id: str, holder: str, ttl: timedelta) -> AsyncIterator[Job]:
    """The job with a new fence; its last attempt under a lease that all last attempts share.

    A job that kills its workers takes others along that only happened to run beside it. One by one, the guilty goes
    into quarantine and the others get through.
    """
    await _end_what_was_left_open(job_id)
    job = await _take(job_id, holder, ttl, attempts={"$lt": MAXIMUM_ATTEMPTS - 1})
    if job is not None:
        yield job
        return
    await _refuse(job_id)
    alone = await leases.take(LAST_ATTEMPT, holder, ttl)
    if alone is None:
        raise Busy(f"The last attempt at {job_id} waits until that at another job is over.")
    holding = asyncio.create_task(_hold_on(alone))
    try:
        job = await _take(job_id, holder, ttl, attempts=MAXIMUM_ATTEMPTS - 1)
        if job is None:
            raise Busy(f"{job_id} is being worked on.")
        yield job
    finally:
        await stop(holding)
        with suppress(PyMongoError):  # then it runs out
            await leases.release(alone)


async def _end_what_was_left_open(job_id: str) -> None:
    """A transaction of an attempt that was killed; else MongoDB keeps what it wrote from everybody for a minute."""
    jobs = Job.get_motor_collection()
    left: dict[str, Any] = {"_id": job_id, "session": {"$type": "string"}, "$expr": NO_LIVE_LEASE}
    if (job := await jobs.find_one(left, {"session": 1})) is not None:
        await end_session(jobs, job["session"])


async def _take(job_id: str, holder: str, ttl: timedelta, *, attempts: Any) -> Job | None:
    """Take the job's lease. The attempt is counted before any work, or a killer would be tried for ever."""
    attempt = {
        "state": "running",
        "lease": {
            "holder": {"$literal": holder},
            "fence": {"$add": ["$lease.fence", 1]},
            "expires_at": {"$add": ["$$NOW", round(ttl / timedelta(milliseconds=1))]},
        },
        "attempts": {"$add": ["$attempts", {"$cond": [{"$gt": ["$due_at", None]}, 0, 1]}]},  # not when it only waited
        "due_at": None,
        "attempts_since_progress": {"$add": ["$attempts_since_progress", 1]},
        "error": None,
        "sends": 0,
        "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
        "rev": {"$add": ["$rev", 1]},
    }
    found = await Job.get_motor_collection().find_one_and_update(
        {
            "_id": job_id,
            "state": {"$in": list(UNFINISHED)},
            "cancel_requested": False,
            "attempts_since_progress": attempts,
            "$expr": {"$and": [NO_LIVE_LEASE, IS_DUE]},
        },
        [{"$set": attempt}],
        return_document=ReturnDocument.AFTER,
    )
    return None if found is None else job_from(found)


async def _refuse(job_id: str) -> None:
    """Raise why a job is not to be had; return when one more attempt, the last, is left."""
    job = await Job.get(job_id)
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    if job.state not in UNFINISHED:
        raise Done(f"{job_id} has {job.state} already.")
    if job.cancel_requested or job.attempts_since_progress >= MAXIMUM_ATTEMPTS:
        raise Done(f"{job_id} is not tried again: it was cancelled, or only killed its workers.")
    if job.attempts_since_progress < MAXIMUM_ATTEMPTS - 1:
        raise Busy(f"{job_id} is being worked on, or waits.")


async def _hold_on(lease: Lease) -> None:
    """Renew a lease until cancelled; one that is lost only meant to keep suspects apart."""
    while True:
        await asyncio.sleep(lease.ttl_ms / 3_000)
        with suppress(PyMongoError):
            await leases.renew(lease)


async def _succeed(claimed: Claimed) -> None:
    total = {"$ifNull": ["$progress.total", "$progress.done"]}
    await claimed._end(  # noqa: SLF001  as above
        state="succeeded",
        result={"$literal": claimed.result},
        retryable=claimed.retryable,
        error=None,
        finished_at="$$NOW",
        progress={"done": total, "total": total},
    )


async def _record(claimed: Claimed, error: BaseException) -> None:
    """Write what became of an attempt that did not succeed."""
    # Not the last word: a clean end takes back the attempt it counted.
    again = {"state": "queued", "attempts_since_progress": {"$max": [0, {"$add": ["$attempts_since_progress", -1]}]}}
    match error:
        case Fenced():
            return
        case Cancelled():
            outcome: dict[str, Any] = {"state": "cancelled", "finished_at": "$$NOW"}
        case Waits(resume_after=resume_after):
            due_at = {"$add": ["$$NOW", round(resume_after / timedelta(milliseconds=1))]}
            outcome = {**again, "state": "running", "due_at": due_at}
        case PyMongoError() | RedisError() | OSError() | Unavailable():
            sentence = f"The last attempt ended with {type(error).__name__}; the log of the workers has the details."
            outcome = {"state": "queued", "error": {"$literal": sentence}}
        case MusterError():
            outcome = {"state": "failed", "error": {"$literal": error.detail}, "finished_at": "$$NOW"}
        case Exception():
            sentence = f"Muster failed at this ({type(error).__name__}); the log of the workers has the details."
            outcome = {"state": "failed", "error": {"$literal": sentence}, "finished_at": "$$NOW"}
            _log.exception("%s failed unexpectedly.", claimed.job.id)
        case _:  # our own shutdown
            outcome = again
    try:
        await claimed._end(**outcome)  # noqa: SLF001  as above
    except (Fenced, PyMongoError) as lost:  # then the lease runs out and the next attempt decides
        _log.warning("Could not record how an attempt at %s ended: %s", claimed.job.id, lost)
