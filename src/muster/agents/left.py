"""The leads that a job left: they failed and can be tried again, or wait for capacity."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.agents.cascade import Outcome, Result
from muster.agents.documents import LeftLead, WaitingLead
from muster.agents.schemas import LeftLeadOut, WaitingLeadOut
from muster.api.paging import decode_cursor, object_id, page_of
from muster.jobs.documents import Job
from muster.records.documents import Profile

KEPT_FOR = timedelta(days=30)

Placed = tuple[int, int | None, Result | None]
"""A place on the roll, the agent that it was dealt to, and what became of it."""


async def keep(session: AsyncIOMotorClientSession, job: Job, placed: Sequence[Placed]) -> None:
    """Put down those that failed, to be tried again. Nobody can try one again that is erased."""
    expires_at = datetime.now(UTC) + KEPT_FOR
    kept = [
        {
            "_id": left_id(job.id, place),
            "project_id": job.project_id,
            "job_id": job.id,
            "profile": result.profile,
            "agent": agent,
            "detail": result.detail,
            "expires_at": expires_at,
        }
        for place, agent, result in placed
        if result is not None and result.outcome is Outcome.FAILED and result.profile is not None
    ]
    if kept:
        await LeftLead.get_motor_collection().insert_many(kept, session=session)


def left_id(job_id: str, place: int) -> str:
    """Sorts by the place."""
    return f"{job_id}|{place:09d}"


def failures_of(pii_ids: Sequence[str | None], results: Sequence[Result | None]) -> list[dict[str, Any]]:
    """What the job lists of them. An erased one keeps no name."""
    return [
        {"pii_id": pii_id if result.profile is not None else None, "detail": result.detail}
        for pii_id, result in zip(pii_ids, results, strict=True)
        if result is not None and result.outcome is Outcome.FAILED
    ]


async def left_by(job: Job, *, limit: int, cursor: str | None) -> tuple[list[LeftLeadOut], str | None]:
    """A page of the leads that failed, in the order in which they were met. Whoever was erased since is left out."""
    query: dict[str, Any] = {"job_id": job.id}
    if cursor is not None:
        query["_id"] = {"$gt": decode_cursor(cursor, str)[0]}
    rows = await LeftLead.find(query).sort("_id").limit(limit + 1).to_list()
    rows, following = page_of(rows, limit, lambda left: (left.id,))
    names = await _names([left.profile for left in rows])
    items = [LeftLeadOut(pii_id=names[left.profile], detail=left.detail) for left in rows if left.profile in names]
    return items, following


async def waiting_since(job: Job, *, limit: int, cursor: str | None) -> tuple[list[WaitingLeadOut], str | None]:
    """A page of the leads for which a job found no capacity, and that wait still, the longest first."""
    query: dict[str, Any] = {"job_id": job.id}
    if cursor is not None:
        since, last = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"since": {"$gt": since}}, {"since": since, "_id": {"$gt": object_id(last)}}]
    rows = await WaitingLead.find(query).sort("since", "_id").limit(limit + 1).to_list()
    rows, following = page_of(rows, limit, lambda lead: (lead.since, str(lead.id)))
    names = await _names([lead.id for lead in rows])
    return [WaitingLeadOut(pii_id=names[lead.id], since=lead.since) for lead in rows if lead.id in names], following


async def _names(profiles: Sequence[ObjectId]) -> dict[ObjectId, str]:
    found = Profile.get_motor_collection().find({"_id": {"$in": list(profiles)}}, {"pii_id": 1})
    return {profile["_id"]: profile["pii_id"] async for profile in found}
