"""What happens to a lead that is handed to an agent, for many leads in one transaction: all of it for each, or nothing.

The open pipeline entry is closed and the open tasks that belong to it are cancelled; a new entry is opened for the
agent, with the tasks of the template; `lead.agent_id` is set, which raises the profile's `rev` by one. Profiles are
written first: whoever writes one of them at the same moment makes the transaction fail before it has done much.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import UpdateMany

from muster.agents.documents import Agent, Pipeline, PlannedTask, Reason, Task, WaitingLead, pipeline_id
from muster.agents.service import agents_of
from muster.agents.tasks import dated, stored_tasks
from muster.records.documents import Profile

ERASED = "This profile was erased after the job had begun."
NO_LEAD = "This profile has no lead."

SHOWN = {"pii_id": 1, "rev": 1, "lead.agent_id": 1}


class Outcome(Enum):
    """What became of one lead."""

    ASSIGNED = auto()
    REASSIGNED = auto()
    UNCHANGED = auto()
    LEFT_ALONE = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Lot:
    """A lead, None where it was erased, and the agent that it was dealt to."""

    pii_id: str | None
    agent_id: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a lot. `profile` is None where there is none."""

    outcome: Outcome
    profile: ObjectId | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Handing:
    """What is the same for all leads of a job."""

    job_id: str
    project_id: str
    time_zone: str
    reassign: bool
    tasks: Sequence[PlannedTask]


@dataclass(frozen=True, slots=True)
class Move:
    """A lead on its way to an agent: the profile as it was read."""

    profile: ObjectId
    rev: int
    before: str | None
    agent_id: str


async def hand_over(
    session: AsyncIOMotorClientSession, handing: Handing, lots: Sequence[Lot], now: datetime
) -> list[Result]:
    """What became of each lot, in their order. Within the session's transaction."""
    found = await profiles_of(session, handing.project_id, [lot.pii_id for lot in lots if lot.pii_id is not None])
    agents = await agents_of(handing.project_id, sorted({lot.agent_id for lot in lots}), session)
    results = [_judge(lot, found.get(lot.pii_id or ""), agents.get(lot.agent_id), handing) for lot in lots]
    moves = [
        Move(profile["_id"], profile["rev"], profile["lead"].get("agent_id"), lot.agent_id)
        for lot, result in zip(lots, results, strict=True)
        if result.outcome in {Outcome.ASSIGNED, Outcome.REASSIGNED} and (profile := found[lot.pii_id or ""]) is not None
    ]
    if moves:
        await _move(session, handing, moves, agents, now)
    # So that an erasure of the same profile conflicts with us, and what is said of the failure does not outlive it.
    await touch(session, [result.profile for result in results if result.outcome is Outcome.FAILED and result.profile])
    return results


async def profiles_of(
    session: AsyncIOMotorClientSession, project_id: str, pii_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The profiles of these ids: `_id`, `rev`, and of the lead its agent."""
    query = {"project_id": project_id, "pii_id": {"$in": list(pii_ids)}}
    profiles = await Profile.get_motor_collection().find(query, SHOWN, session=session).to_list(None)
    return {profile["pii_id"]: profile for profile in profiles}


async def profiles_by_id(
    session: AsyncIOMotorClientSession, profiles: Sequence[ObjectId]
) -> dict[ObjectId, dict[str, Any]]:
    """The same of these profiles, by `_id`."""
    found = Profile.get_motor_collection().find({"_id": {"$in": list(profiles)}}, SHOWN, session=session)
    return {profile["_id"]: profile for profile in await found.to_list(None)}


async def touch(session: AsyncIOMotorClientSession, profiles: Sequence[ObjectId]) -> None:
    """Write profiles without changing their records."""
    if profiles:
        query = {"_id": {"$in": list(profiles)}}
        await Profile.get_motor_collection().update_many(query, {"$inc": {"touched": 1}}, session=session)


async def take_hold(session: AsyncIOMotorClientSession, project_id: str, pii_id: str | None) -> None:
    """The same of one profile, known by its id."""
    mine = {"project_id": project_id, "pii_id": pii_id}
    await Profile.get_motor_collection().update_one(mine, {"$inc": {"touched": 1}}, session=session)


async def close(
    session: AsyncIOMotorClientSession, profiles: Sequence[ObjectId], reason: Reason, by: str | None, now: datetime
) -> None:
    """Close the open entries of these leads, and cancel the open tasks that belong to them."""
    mine = {"profile": {"$in": list(profiles)}, "state": "open"}
    await Pipeline.get_motor_collection().update_many(
        mine,
        {"$set": {"state": "closed", "closed_at": now, "reason": reason.value, "closed_by": by}},
        session=session,
    )
    await Task.get_motor_collection().update_many(
        mine,
        {"$set": {"state": "cancelled", "cancelled_by": by or "hand", "updated_at": now}, "$inc": {"rev": 1}},
        session=session,
    )


async def set_agents(session: AsyncIOMotorClientSession, moves: Mapping[str | None, Sequence[ObjectId]]) -> None:
    """Set `lead.agent_id` of profiles, by agent; None takes it away. Each `rev` rises by one."""
    always = {"$inc": {"rev": 1}, "$currentDate": {"updated_at": True}}
    writes = [
        UpdateMany(
            {"_id": {"$in": list(profiles)}},
            always | ({"$unset": {"lead.agent_id": ""}} if agent_id is None else {"$set": {"lead.agent_id": agent_id}}),
        )
        for agent_id, profiles in moves.items()
    ]
    await Profile.get_motor_collection().bulk_write(writes, ordered=False, session=session)


def opened(
    project_id: str, job_id: str, profile: ObjectId, agent_id: str, now: datetime, **more: Any
) -> dict[str, Any]:
    """A new entry, as it is inserted."""
    return {
        "_id": pipeline_id(job_id, profile),
        "project_id": project_id,
        "profile": profile,
        "agent_id": agent_id,
        "state": "open",
        "opened_at": now,
        "closed_at": None,
        "reason": None,
        "job_id": job_id,
        "closed_by": None,
        **more,
    }


def _judge(lot: Lot, profile: Mapping[str, Any] | None, agent: Agent | None, handing: Handing) -> Result:
    if profile is None:
        return Result(Outcome.FAILED, None, ERASED)
    lead = profile.get("lead")
    if lead is None:
        return Result(Outcome.FAILED, profile["_id"], NO_LEAD)
    before = lead.get("agent_id")
    if before == lot.agent_id:
        return Result(Outcome.UNCHANGED, profile["_id"])
    if before is not None and not handing.reassign:
        return Result(Outcome.LEFT_ALONE, profile["_id"])
    if agent is None or not agent.active:
        deleted = f"The agent {lot.agent_id} was deleted."
        inactive = f"The agent {lot.agent_id} is not active any more."
        return Result(Outcome.FAILED, profile["_id"], deleted if agent is None else inactive)
    return Result(Outcome.ASSIGNED if before is None else Outcome.REASSIGNED, profile["_id"])


async def _move(
    session: AsyncIOMotorClientSession,
    handing: Handing,
    moves: Sequence[Move],
    agents: Mapping[str, Agent],
    now: datetime,
) -> None:
    by_agent: dict[str | None, list[ObjectId]] = defaultdict(list)
    for move in moves:
        by_agent[move.agent_id].append(move.profile)
    await set_agents(session, by_agent)
    profiles = [move.profile for move in moves]
    await close(session, profiles, Reason.REASSIGNED, handing.job_id, now)
    await Pipeline.get_motor_collection().insert_many(
        [
            opened(
                *(handing.project_id, handing.job_id, move.profile, move.agent_id, now),
                before=move.before,
                rev=move.rev + 1,
            )
            for move in moves
        ],
        session=session,
    )
    due = {
        agent_id: dated(handing.tasks, agents[agent_id], now, handing.time_zone) for agent_id in by_agent if agent_id
    }
    tasks = [
        task
        for move in moves
        for task in stored_tasks(
            handing.project_id, handing.job_id, move.profile, move.agent_id, due=due[move.agent_id], now=now
        )
    ]
    if tasks:
        await Task.get_motor_collection().insert_many(tasks, session=session)
    await WaitingLead.get_motor_collection().delete_many({"_id": {"$in": profiles}}, session=session)
