"""How much of today's capacity agents have used, and what jobs that mind it have set aside."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.agents.documents import Agent, Pipeline, Reason, Reservation
from muster.jobs.documents import UNFINISHED, Job
from muster.projects.documents import Project


def day_of(project: Project, now: datetime) -> datetime:
    """When the present day began in the project's time zone."""
    local = now.astimezone(ZoneInfo(project.time_zone))
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


async def used_since(
    project_id: str,
    agent_ids: Sequence[str],
    day: datetime,
    *,
    but_by: Sequence[str] = (),
    session: AsyncIOMotorClientSession | None = None,
) -> dict[str, int]:
    """How many leads each of these agents was handed since `day` began, but for those that an undo took back.

    `but_by` leaves out what these jobs handed over.
    """
    found = Pipeline.get_motor_collection().aggregate(
        [
            {
                "$match": {
                    "project_id": project_id,
                    "agent_id": {"$in": list(agent_ids)},
                    "state": {"$in": ["open", "closed"]},
                    "opened_at": {"$gte": day},
                    "reason": {"$ne": Reason.UNDONE.value},
                    "job_id": {"$nin": list(but_by)},
                }
            },
            {"$group": {"_id": "$agent_id", "leads": {"$sum": 1}}},
        ],
        session=session,
    )
    return {group["_id"]: group["leads"] async for group in found}


async def left_today(
    agents: Sequence[Agent], day: datetime, session: AsyncIOMotorClientSession
) -> tuple[list[int], Mapping[str, list[Reservation]]]:
    """What each agent can still be handed today, and the reservations that stand, by agent.

    A job that has set capacity aside counts by that, not by what it has handed over so far.
    """
    unfinished = await _unfinished({kept.job_id for agent in agents for kept in agent.reservations}, session)
    standing = {
        agent.agent_id: [kept for kept in agent.reservations if kept.job_id in unfinished and kept.day == day]
        for agent in agents
    }
    reserving = {kept.job_id for kept_by_agent in standing.values() for kept in kept_by_agent}
    ids = [agent.agent_id for agent in agents]
    used = await used_since(agents[0].project_id, ids, day, but_by=sorted(reserving), session=session)
    left = [
        agent.daily_capacity - used.get(agent.agent_id, 0) - sum(kept.leads for kept in standing[agent.agent_id])
        for agent in agents
    ]
    return [max(0, each) for each in left], standing


async def _unfinished(job_ids: set[str], session: AsyncIOMotorClientSession) -> set[str]:
    if not job_ids:
        return set()
    wanted = {"_id": {"$in": sorted(job_ids)}, "state": {"$in": list(UNFINISHED)}}
    return {job["_id"] async for job in Job.get_motor_collection().find(wanted, {"_id": 1}, session=session)}
