"""The follow-up tasks of assigned leads: the template that they come from, when they fall due, who has which."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from muster.agents.documents import Agent, PlannedTask, Task, TaskState, TaskTemplate, WorkingHours, task_id
from muster.api import etags
from muster.api.paging import decode_cursor, page_of
from muster.errors import NotFound
from muster.projects.documents import Project
from muster.projects.service import project_of
from muster.records.documents import Profile

FIRST = (PlannedTask(kind="follow_up", title="Get in touch with the lead", due_in_hours=24),)
"""The template of a project that has not said otherwise."""

_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Dated = list[tuple[PlannedTask, datetime]]


async def template_of(project_id: str, session: AsyncIOMotorClientSession | None = None) -> TaskTemplate:
    """The template of a project; the built-in one has revision 0."""
    found = await TaskTemplate.find_one({"_id": project_id}, session=session)
    return found or TaskTemplate(id=project_id, tasks=list(FIRST), rev=0, updated_at=datetime.now(UTC))


async def put_template(
    project_id: str, tasks: Sequence[Mapping[str, Any]], revs: Collection[int] | None = None
) -> TaskTemplate:
    """Replace the template; jobs that begin from now on follow it. Raises PreconditionFailed."""
    templates = TaskTemplate.get_motor_collection()
    while True:
        template = await template_of(project_id)
        if revs is not None and template.rev not in revs:
            raise etags.stale()
        if template.rev and [task.model_dump() for task in template.tasks] == list(tasks):
            return template
        update = {"tasks": {"$literal": list(tasks)}, "rev": template.rev + 1, "updated_at": "$$NOW"}
        same = {"_id": project_id, "rev": template.rev or {"$exists": False}}
        try:
            found = await templates.find_one_and_update(
                same, [{"$set": update}], upsert=not template.rev, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # somebody made it at this moment
            continue
        if found is not None:
            read: TaskTemplate = TaskTemplate.model_validate(found)
            return read


def dated(tasks: Sequence[PlannedTask], agent: Agent, now: datetime, time_zone: str) -> Dated:
    """When the tasks of a lead fall due that is assigned now: within the agent's working hours, where it has some."""
    due = [(task, now + timedelta(hours=task.due_in_hours)) for task in tasks]
    if agent.working_hours is None:
        return due
    return [(task, next_working_moment(at, agent.working_hours, time_zone)) for task, at in due]


def next_working_moment(moment: datetime, hours: WorkingHours, time_zone: str) -> datetime:
    """The moment itself where it lies within working hours, else when these begin next."""
    zone = ZoneInfo(time_zone)
    local = moment.astimezone(zone)
    begin, end = time.fromisoformat(hours.begin), time.fromisoformat(hours.end)
    for days in range(len(_WEEK) + 1):
        day = local.date() + timedelta(days=days)
        if _WEEK[day.weekday()] not in hours.days:
            continue
        begins = datetime.combine(day, begin, zone)
        if days or local < begins:
            return begins.astimezone(UTC)
        if local <= datetime.combine(day, end, zone):
            return moment
    return moment


def stored_tasks(
    project_id: str, job_id: str, profile: ObjectId, agent_id: str, *, due: Dated, now: datetime
) -> list[Any]:
    """The tasks of one assigned lead, as they are inserted."""
    return [
        {
            "_id": task_id(job_id, profile, number),
            "project_id": project_id,
            "profile": profile,
            "agent_id": agent_id,
            "kind": task.kind,
            "title": task.title,
            "state": "open",
            "due_at": due_at,
            "job_id": job_id,
            "rev": 1,
            "created_at": now,
            "updated_at": now,
        }
        for number, (task, due_at) in enumerate(due, 1)
    ]


async def tasks_of_lead(profile: ObjectId, *, limit: int, cursor: str | None) -> tuple[list[Task], str | None]:
    """A page of the tasks about a lead, the oldest first."""
    query: dict[str, Any] = {"profile": profile}
    if cursor is not None:
        at, last = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"created_at": {"$gt": at}}, {"created_at": at, "_id": {"$gt": last}}]
    rows = await Task.find(query).sort("created_at", "_id").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda task: (task.created_at, task.id))


async def tasks_of_agent(
    project_id: str, agent_id: str, state: TaskState, *, limit: int, cursor: str | None
) -> tuple[list[Task], str | None]:
    """A page of an agent's tasks in one state, by when they are due."""
    query: dict[str, Any] = {"project_id": project_id, "agent_id": agent_id, "state": state}
    if cursor is not None:
        at, last = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"due_at": {"$gt": at}}, {"due_at": at, "_id": {"$gt": last}}]
    rows = await Task.find(query).sort("due_at", "_id").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda task: (task.due_at, task.id))


async def task_of(owner: str, number: str) -> tuple[Task, Project]:
    """One task of an owner, with its project. Raises NotFound, also for another owner's."""
    task = await Task.find_one({"_id": number})
    missing = NotFound(f"There is no task {number!r}.")
    if task is None:
        raise missing
    try:
        return task, await project_of(owner, task.project_id)
    except NotFound:
        raise missing from None


async def set_state(task: Task, state: TaskState, revs: Collection[int] | None = None) -> Task:
    """Do a task, give it up, or open it again. Raises NotFound when it went meanwhile, PreconditionFailed."""
    wanted: dict[str, Any] = {"_id": task.id} | ({} if revs is None else {"rev": {"$in": list(revs)}})
    changed = {"state": state, "cancelled_by": None, "updated_at": "$$NOW", "rev": {"$add": ["$rev", 1]}}
    found = await Task.get_motor_collection().find_one_and_update(
        wanted,
        [{"$replaceWith": {"$cond": [{"$eq": ["$state", state]}, "$$ROOT", {"$mergeObjects": ["$$ROOT", changed]}]}}],
        return_document=ReturnDocument.AFTER,
    )
    if found is None:
        if revs is not None and await Task.get(task.id) is not None:
            raise etags.stale()
        raise NotFound(f"There is no task {task.id!r} any more.")
    read: Task = Task.model_validate(found)
    return read


async def names_of(tasks: Sequence[Task]) -> dict[ObjectId, str]:
    """The `pii_id`s of the leads that tasks are about."""
    wanted = {"_id": {"$in": list({task.profile for task in tasks})}}
    found = Profile.get_motor_collection().find(wanted, {"pii_id": 1})
    return {profile["_id"]: profile["pii_id"] async for profile in found}
