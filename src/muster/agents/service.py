"""Agents: who they are, changed and deleted, and what is asked of them before leads are handed over."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from muster.agents.capacity import day_of, used_since
from muster.agents.documents import (
    Agent,
    LeftLead,
    Pipeline,
    Rotation,
    Task,
    TaskTemplate,
    WaitingLead,
)
from muster.agents.schemas import AgentOut
from muster.api import etags
from muster.api.documents import Counter
from muster.api.paging import decode_cursor, page_of
from muster.errors import Conflict, Invalid, NotFound, PreconditionFailed, Problem
from muster.jobs.documents import UNFINISHED, Job
from muster.projects.documents import Project
from muster.records.values import DoesNotFitError, read_pii_id
from muster.transactions import in_transaction

PREFIX = "A0"
FIRST_NUMBER = 1001

Revs = Collection[int] | None


async def create(project: Project, values: Mapping[str, Any]) -> Agent:
    """A new agent under the next number that nobody has, such as "A0-1001"."""
    while True:
        agent_id = f"{PREFIX}-{await _next_number(project.id)}"
        try:
            return await _insert(project.id, agent_id, values)
        except DuplicateKeyError:  # somebody gave this id by hand
            continue


async def put(
    project: Project, agent_id: str, values: Mapping[str, Any], *, revs: Revs, create: bool, only_create: bool
) -> tuple[Agent, bool]:
    """The agent of this id with these values, and whether it is new. Raises Invalid, PreconditionFailed."""
    try:
        read_pii_id(agent_id)
    except DoesNotFitError:
        detail = "An agent's id has 1 to 200 characters, no control characters."
        raise Invalid(detail, [Problem(detail)]) from None
    while True:
        if revs is None and create:
            try:
                return await _insert(project.id, agent_id, values), True
            except DuplicateKeyError:
                if only_create:
                    raise PreconditionFailed(f"If-None-Match: there is an agent {agent_id!r} already.") from None
        try:
            return await patch(project, agent_id, values, revs=revs), False
        except NotFound:
            if not create or revs is not None:
                raise etags.stale() from None
            # Deleted a moment ago: it is new again.


async def patch(project: Project, agent_id: str, values: Mapping[str, Any], *, revs: Revs = None) -> Agent:
    """Set what is given. Changing nothing leaves the revision. Raises NotFound, PreconditionFailed."""
    while True:
        agent = await agent_of(project.id, agent_id)
        if revs is not None and agent.rev not in revs:
            raise etags.stale()
        stored = agent.model_dump()
        changed = {name: {"$literal": value} for name, value in values.items() if stored[name] != value}
        if not changed:
            return agent
        found = await _agents().find_one_and_update(
            {"_id": agent.id, "rev": agent.rev},
            [{"$set": {**changed, "updated_at": "$$NOW", "rev": {"$add": ["$rev", 1]}}}],
            return_document=ReturnDocument.AFTER,
        )
        if found is not None:
            return _read(found)


async def delete(project: Project, agent_id: str, *, revs: Revs = None) -> None:
    """Delete an agent whom nothing waits for. Raises Conflict while leads are with it, NotFound, PreconditionFailed."""

    async def take_out(session: AsyncIOMotorClientSession) -> None:
        agent = await agent_of(project.id, agent_id, session)
        if revs is not None and agent.rev not in revs:
            raise etags.stale()
        mine = {"project_id": project.id, "agent_id": agent_id, "state": "open"}
        leads = await Pipeline.get_motor_collection().count_documents(mine, session=session)
        if leads:
            them = "a lead" if leads == 1 else f"{leads:,} leads"
            raise Conflict(f"{agent_id} still has {them}; assign them to others first, or switch the agent off.")
        uses = {"project_id": project.id, "state": {"$in": list(UNFINISHED)}, "arguments.agents.id": agent_id}
        if job := await Job.get_motor_collection().find_one(uses, {"_id": 1}, session=session):
            raise Conflict(f"{job['_id']} hands leads to {agent_id}; wait until it ends, or cancel it.")
        await _agents().delete_one({"_id": agent.id}, session=session)

    await in_transaction(_agents(), take_out)


async def agent_of(project_id: str, agent_id: str, session: AsyncIOMotorClientSession | None = None) -> Agent:
    """One agent of a project. Raises NotFound."""
    found = await _agents().find_one({"project_id": project_id, "agent_id": agent_id}, session=session)
    if found is None:
        raise NotFound(f"There is no agent {agent_id!r} in {project_id}.")
    return _read(found)


async def agents_of(
    project_id: str, agent_ids: Sequence[str], session: AsyncIOMotorClientSession | None = None
) -> dict[str, Agent]:
    """Those of these agents that exist, by their ids."""
    query = {"project_id": project_id, "agent_id": {"$in": list(agent_ids)}}
    return {found["agent_id"]: _read(found) async for found in _agents().find(query, session=session)}


async def list_agents(
    project: Project, *, active: bool | None, limit: int, cursor: str | None
) -> tuple[list[Agent], str | None]:
    """A page of a project's agents, in the order of their ids."""
    query: dict[str, Any] = {"project_id": project.id} | ({} if active is None else {"active": active})
    if cursor is not None:
        query["agent_id"] = {"$gt": decode_cursor(cursor, str)[0]}
    rows = await _agents().find(query).sort("agent_id", 1).limit(limit + 1).to_list(None)
    return page_of([_read(row) for row in rows], limit, lambda agent: (agent.agent_id,))


async def shown(project: Project, agents: Sequence[Agent]) -> list[AgentOut]:
    """Agents with what they have used of today's capacity."""
    ids = [agent.agent_id for agent in agents]
    used = await used_since(project.id, ids, day_of(project, datetime.now(UTC)))
    return [AgentOut.of(agent, used.get(agent.agent_id, 0)) for agent in agents]


async def chosen(project: Project, agent_ids: Sequence[str]) -> list[Agent]:
    """The agents to hand leads to, in this order. Raises Invalid, naming those who cannot take any."""
    if not agent_ids:
        raise Invalid("Name at least one agent.", [Problem("There is no agent.", pointer="/agent_ids")])
    known = await agents_of(project.id, list(dict.fromkeys(agent_ids)))
    problems = []
    for place, agent_id in enumerate(agent_ids):
        detail = None
        if agent_id in agent_ids[:place]:
            detail = f"{agent_id!r} stands here twice."
        elif agent_id not in known:
            detail = f"There is no agent {agent_id!r} in {project.id}."
        elif not known[agent_id].active:
            detail = f"{agent_id} is not active."
        if detail:
            problems.append(Problem(detail, pointer=f"/agent_ids/{place}"))
    if problems:
        raise Invalid(" ".join(problem.detail for problem in problems[:10]), problems)
    agents = [known[agent_id] for agent_id in agent_ids]
    if not sum(agent.daily_capacity for agent in agents):
        names = ", ".join(agent_ids[:10]) + (" …" if len(agent_ids) > 10 else "")
        detail = f"The daily capacity of {names} is 0 in all: nobody could take a lead."
        raise Invalid(detail, [Problem(detail, pointer="/agent_ids")])
    return agents


async def holdings(project_id: str) -> list[str]:
    """What a project holds of agents, in words."""
    count = await _agents().count_documents({"project_id": project_id})
    return [f"{count:,} agents" if count > 1 else "an agent"] if count else []


async def forget_project(project_id: str) -> None:
    """Remove what is kept about agents and assignments of a project that is gone."""
    for document in (Pipeline, Task, Rotation, WaitingLead, LeftLead):
        await document.get_motor_collection().delete_many({"project_id": project_id})
    await TaskTemplate.get_motor_collection().delete_one({"_id": project_id})
    await Counter.get_motor_collection().delete_one({"_id": _counter(project_id)})


async def erase(
    session: AsyncIOMotorClientSession, _project_id: str, profile: ObjectId, _pii_id: str
) -> Mapping[str, int]:
    """Take a lead's pipeline entries, tasks and traces in jobs out, within an erasure's transaction."""
    removed = {}
    for place, document in {"pipelines": Pipeline, "tasks": Task}.items():
        gone = await document.get_motor_collection().delete_many({"profile": profile}, session=session)
        removed[place] = gone.deleted_count
    await WaitingLead.get_motor_collection().delete_one({"_id": profile}, session=session)
    await LeftLead.get_motor_collection().delete_many({"profile": profile}, session=session)
    return removed


async def _insert(project_id: str, agent_id: str, values: Mapping[str, Any]) -> Agent:
    now = datetime.now(UTC)
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    agent = Agent(id=ObjectId(), project_id=project_id, agent_id=agent_id, created_at=now, updated_at=now, **values)
    await _agents().insert_one(agent.model_dump(by_alias=True, exclude={"revision_id"}))
    return agent


async def _next_number(project_id: str) -> int:
    while True:
        try:
            counter = await Counter.get_motor_collection().find_one_and_update(
                {"_id": _counter(project_id)},
                {"$inc": {"value": 1}},
                upsert=True,
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError:  # two took the first number at once; the loser counts on
            continue
        return FIRST_NUMBER - 1 + int(counter["value"])


def _counter(project_id: str) -> str:
    return f"{PREFIX}|{project_id}"


def _read(stored: Mapping[str, Any]) -> Agent:
    agent: Agent = Agent.model_validate(stored)
    return agent


def _agents() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Agent.get_motor_collection()
