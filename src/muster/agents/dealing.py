"""Who is dealt how many leads of a job: by its strategy, what is left of today, and where a rotation stands."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import UpdateOne

from muster.agents.asked import Asked
from muster.agents.capacity import day_of, left_today
from muster.agents.documents import Agent, Reservation, Rotation
from muster.agents.service import agents_of
from muster.agents.strategies import after, quotas, within_a_period
from muster.projects.documents import Project


@dataclass(frozen=True, slots=True)
class Deal:
    """How the first `limit` leads are dealt: the arguments of `strategies.deal`. What is behind them waits."""

    weights: list[int]
    dealt: list[int]
    ends: list[int] | None
    limit: int

    @property
    def counts(self) -> list[int]:
        """How many leads each agent is dealt."""
        if self.ends is not None:
            return self.ends
        then = after(self.weights, self.dealt, self.limit)
        return [count - before for count, before in zip(then, self.dealt, strict=True)]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is left of today, and what other jobs have set aside of it."""

    day: datetime
    left: Sequence[int]
    standing: Mapping[str, list[Reservation]]


async def decide(
    project: Project, asked: Asked, leads: int, *, now: datetime, session: AsyncIOMotorClientSession
) -> tuple[Deal, Capacity | None]:
    """How so many leads are dealt, as things are now. Writes nothing."""
    capacity = await _capacity(project, asked, now, session) if asked.respect_capacity else None
    limits = None if capacity is None else capacity.left
    weights = [weight if limits is None or limits[place] else 0 for place, weight in enumerate(asked.weights)]
    if not any(weights):
        nobody = [0] * len(weights)
        return Deal(nobody, nobody, nobody, 0), capacity
    if asked.goes_on:
        goes_on = Deal(weights, await _dealt_before(project, asked, weights, session), None, leads)
        if limits is None or all(count <= limit for count, limit in zip(goes_on.counts, limits, strict=True)):
            return goes_on, capacity
    ends = quotas(weights, leads, limits)
    none = [0] * len(weights)
    if limits is not None and ends != quotas(weights, leads):
        weights = ends  # somebody is at the limit: fair is what is left
    return Deal(weights, none, ends, sum(ends)), capacity


async def begin(
    project: Project, job_id: str, asked: Asked, leads: int, *, now: datetime, session: AsyncIOMotorClientSession
) -> Deal:
    """The same for a job that begins, in a transaction: others see what it takes, and no agent of it goes unnoticed."""
    deal, capacity = await decide(project, asked, leads, now=now, session=session)
    agents = Agent.get_motor_collection()
    mine = {"project_id": project.id, "agent_id": {"$in": asked.agent_ids}}
    await agents.update_many(mine, {"$inc": {"jobs_begun": 1}}, session=session)
    if capacity is not None:
        await agents.bulk_write(
            [
                _reserving(project.id, agent_id, capacity, Reservation(job_id=job_id, day=capacity.day, leads=count))
                for agent_id, count in zip(asked.agent_ids, deal.counts, strict=True)
            ],
            session=session,
        )
    if deal.ends is None:
        then = within_a_period(deal.weights, after(deal.weights, deal.dealt, leads))
        await Rotation.get_motor_collection().update_one(
            {"_id": _rotation_id(project, asked, deal.weights)},
            {"$set": {"project_id": project.id, "weights": deal.weights, "dealt": then}},
            upsert=True,
            session=session,
        )
    return deal


async def _capacity(project: Project, asked: Asked, now: datetime, session: AsyncIOMotorClientSession) -> Capacity:
    known = await agents_of(project.id, asked.agent_ids, session)
    present = [known[agent_id] for agent_id in asked.agent_ids if agent_id in known]
    day = day_of(project, now)
    left, standing = await left_today(present, day, session) if present else ([], {})
    by_agent = dict(zip((agent.agent_id for agent in present), left, strict=True))
    return Capacity(day, [by_agent.get(agent_id, 0) for agent_id in asked.agent_ids], standing)


def _reserving(project_id: str, agent_id: str, capacity: Capacity, own: Reservation) -> UpdateOne:
    kept = [*capacity.standing.get(agent_id, ()), *([own] if own.leads else [])]
    values = [reservation.model_dump() for reservation in kept]
    return UpdateOne({"project_id": project_id, "agent_id": agent_id}, {"$set": {"reservations": values}})


async def _dealt_before(
    project: Project, asked: Asked, weights: list[int], session: AsyncIOMotorClientSession
) -> list[int]:
    """What the rotation of these agents has dealt; it begins anew when their weights have changed."""
    found = await Rotation.find_one({"_id": _rotation_id(project, asked, weights)}, session=session)
    return found.dealt if found is not None and found.weights == weights else [0] * len(weights)


def _rotation_id(project: Project, asked: Asked, weights: Sequence[int]) -> str:
    """Of the agents that take part: who has no capacity left today does not come back to a heap of leads tomorrow."""
    taking = "\n".join(agent_id for agent_id, weight in zip(asked.agent_ids, weights, strict=True) if weight)
    return f"{project.id}|{asked.strategy}|{hashlib.sha256(taking.encode()).hexdigest()}"
