"""Jobs as their owners see them: made, sent, listed, cancelled, tried again; and the sweep that loses none of them."""

import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from beanie import SortDirection
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReturnDocument

from muster.api.numbering import next_number
from muster.api.paging import decode_cursor, page_of
from muster.errors import Conflict, NotFound
from muster.jobs.documents import UNFINISHED, Job, JobState, job_from
from muster.jobs.doorbell import ACTOR_OF_KIND, forgot_everything, ring
from muster.jobs.working import (
    IS_DUE,
    MAXIMUM_ATTEMPTS,
    NO_LIVE_LEASE,
    Busy,
    Cancelled,
    Claimed,
    Done,
    Fenced,
    Waits,
    claim,
)

__all__ = [
    "Busy",
    "Cancelled",
    "Claimed",
    "Done",
    "Fenced",
    "Waits",
    "cancel",
    "claim",
    "create_job",
    "forget",
    "job_of",
    "list_jobs",
    "retry",
    "send",
    "sweep",
    "wake",
]

# A message not answered by an attempt is sent again after 10 s, then 20, 40 … up to 10.6 minutes: in a long queue
# nothing is lost yet, and copies only cost one look-up each.
RESEND_AFTER = timedelta(seconds=10)
MAXIMUM_DOUBLINGS = 6

_log = logging.getLogger(__name__)


async def create_job(
    prefix: str,
    kind: str,
    project_id: str,
    owner: str,
    arguments: dict[str, Any],
    *,
    session: AsyncIOMotorClientSession | None = None,
) -> Job:
    """Put a job on record, queued and not yet sent: `send` it, or `claim` it at once in this process.

    Whoever does neither, because the process died, leaves it to the sweep.
    """
    number = await next_number(prefix)
    fresh = {
        "project_id": project_id,
        "owner": owner,
        "kind": kind,
        "arguments": arguments,
        "state": "queued",
        "progress": {"done": 0, "total": None},
        "failures": [],
        "attempts": 0,
        "attempts_since_progress": 0,
        "furthest": 0,
        "lease": {"holder": None, "fence": 0, "expires_at": None},
        "cancel_requested": False,
        "sends": 0,
        "rev": 1,
    }
    made = await Job.get_motor_collection().find_one_and_update(
        {"_id": number},
        [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"$literal": fresh}, {"created_at": "$$NOW"}]}}],
        upsert=True,
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    return job_from(made)


async def send(job: Job) -> None:
    """Tell the workers. When Redis does not listen the job stays queued and the sweep tells them later."""
    if not await ring(ACTOR_OF_KIND[job.kind], job.id):
        return
    await Job.get_motor_collection().update_one(
        {"_id": job.id}, [{"$set": {"sent_at": "$$NOW", "sends": {"$add": ["$sends", 1]}}}]
    )


async def job_of(owner: str, job_id: str) -> Job:
    """One job of an owner. Raises NotFound, also for another owner's."""
    job = await Job.find_one({"_id": job_id, "owner": owner})
    if job is None:
        raise NotFound(f"There is no job {job_id}.")
    return job


async def list_jobs(
    owner: str,
    *,
    limit: int,
    cursor: str | None = None,
    project_id: str | None = None,
    kinds: Collection[str] = (),
    states: tuple[JobState, ...] = (),
) -> tuple[list[Job], str | None]:
    """A page of an owner's jobs, newest first, and the cursor of the next page."""
    query: dict[str, Any] = {"owner": owner}
    if project_id is not None:
        query["project_id"] = project_id
    if kinds:
        query["kind"] = {"$in": list(kinds)}
    if states:
        query["state"] = {"$in": list(states)}
    if cursor is not None:
        created_at, job_id = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"created_at": {"$lt": created_at}}, {"created_at": created_at, "_id": {"$lt": job_id}}]
    newest = (("created_at", SortDirection.DESCENDING), ("_id", SortDirection.DESCENDING))
    rows = await Job.find(query).sort(*newest).limit(limit + 1).to_list()
    return page_of(rows, limit, lambda job: (job.created_at, job.id))


async def cancel(owner: str, job_id: str) -> Job:
    """Cancel a job: at once when nobody works on it, else at its next report of progress.

    Cancelling twice is no error; a job that has ended otherwise raises Conflict.
    """
    jobs = Job.get_motor_collection()
    mine = {"_id": job_id, "owner": owner}
    now = {"state": "cancelled", "cancel_requested": True, "finished_at": "$$NOW", "rev": {"$add": ["$rev", 1]}}
    soon = {"cancel_requested": True, "rev": {"$add": ["$rev", 1]}}
    change = {"$cond": [NO_LIVE_LEASE, now, {"$cond": ["$cancel_requested", {}, soon]}]}
    found = await jobs.find_one_and_update(
        {**mine, "state": {"$in": list(UNFINISHED)}},
        [{"$replaceWith": {"$mergeObjects": ["$$ROOT", change]}}],
        return_document=ReturnDocument.AFTER,
    )
    if found is not None:
        return job_from(found)
    job = await job_of(owner, job_id)
    if job.state != "cancelled":
        raise Conflict(f"{job_id} has {job.state} already; there is nothing left to cancel.")
    return job


async def retry(owner: str, job_id: str) -> Job:
    """Queue a failed or cancelled job again; it goes on from its checkpoint. Raises Conflict for any other.

    One that succeeded but for some of its items tries these again; their failures are listed anew.
    """
    succeeded = {"$eq": ["$state", "succeeded"]}
    ended = {"state": {"$in": ["failed", "cancelled", "quarantined"]}}
    found = await Job.get_motor_collection().find_one_and_update(
        {"_id": job_id, "owner": owner, "$or": [ended, {"state": "succeeded", "retryable": True}]},
        [
            {
                "$set": {
                    "retries": {"$add": [{"$ifNull": ["$retries", 0]}, {"$cond": [succeeded, 1, 0]}]},
                    "failures": {"$cond": [succeeded, [], "$failures"]},
                    "retryable": False,
                    "state": "queued",
                    "error": None,
                    "attempts_since_progress": 0,
                    "cancel_requested": False,
                    "due_at": None,
                    "sent_at": None,
                    "sends": 0,
                    "finished_at": None,
                    "rev": {"$add": ["$rev", 1]},
                }
            }
        ],
        return_document=ReturnDocument.AFTER,
    )
    if found is None:
        job = await job_of(owner, job_id)
        raise Conflict(f"{job_id} is {job.state}; only a job that failed, wholly or in part, can be tried again.")
    job = job_from(found)
    await send(job)
    return job


async def wake(job_id: str) -> None:
    """Let a job that waits go on at once, because what it waits for is there."""
    found = await Job.get_motor_collection().find_one_and_update(
        {"_id": job_id, "state": {"$in": list(UNFINISHED)}, "$expr": {"$and": [NO_LIVE_LEASE, {"$not": [IS_DUE]}]}},
        [{"$set": {"due_at": "$$NOW"}}],
        return_document=ReturnDocument.AFTER,
    )
    if found is not None:
        await send(job_from(found))


async def forget(
    session: AsyncIOMotorClientSession, project_id: str, _profile: ObjectId, pii_id: str
) -> Mapping[str, int]:
    """Take a profile out of the failures that jobs of its project list, within an erasure's transaction."""
    named = await Job.get_motor_collection().update_many(
        {"project_id": project_id, "failures.pii_id": pii_id},
        {"$pull": {"failures": {"pii_id": pii_id}}, "$inc": {"rev": 1}},
        session=session,
    )
    return {"job_failures": named.modified_count}


async def sweep() -> int:
    """Look after every unfinished job that nobody works on; the number of messages sent.

    Ends those that were to be cancelled, quarantines those that only kill their workers, and sends the others again.
    """
    jobs = Job.get_motor_collection()
    abandoned = {"state": {"$in": list(UNFINISHED)}, "$expr": NO_LIVE_LEASE}
    ended = {"finished_at": "$$NOW", "lease.holder": None, "lease.expires_at": None, "rev": {"$add": ["$rev", 1]}}
    await jobs.update_many({**abandoned, "cancel_requested": True}, [{"$set": {"state": "cancelled", **ended}}])
    quarantined = await jobs.update_many(
        {**abandoned, "attempts_since_progress": {"$gte": MAXIMUM_ATTEMPTS}},
        [{"$set": {"state": "quarantined", "error": {"$ifNull": ["$error", _QUARANTINED]}, **ended}}],
    )
    if quarantined.modified_count:
        _log.error("Quarantined %d jobs that only killed their workers.", quarantined.modified_count)

    waited = {"$subtract": ["$$NOW", {"$ifNull": ["$sent_at", "$created_at"]}]}
    patience = {
        "$multiply": [
            round(RESEND_AFTER / timedelta(milliseconds=1)),
            {"$pow": [2, {"$min": ["$sends", MAXIMUM_DOUBLINGS]}]},
        ]
    }
    rested = {"$lt": [{"$ifNull": ["$sent_at", "$created_at"]}, "$due_at"]}  # and was not sent since
    due: dict[str, Any] = {"$or": [rested, {"$gte": [waited, patience]}]}
    if await forgot_everything():
        due = NO_LIVE_LEASE
    sent = 0
    query = {**abandoned, "$expr": {"$and": [NO_LIVE_LEASE, IS_DUE, due]}, "kind": {"$in": list(ACTOR_OF_KIND)}}
    async for job in Job.find(query).sort("created_at"):
        await send(job)
        sent += 1
    return sent


_QUARANTINED = (
    f"{MAXIMUM_ATTEMPTS} attempts in a row ended with a dead worker and without progress, so the job is not tried "
    "again by itself. Look into the log of the workers, then retry it."
)
