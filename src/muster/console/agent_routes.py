"""The pages of agents: who is handed leads, and the tasks that these bring."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from muster.agents import service, tasks
from muster.agents.documents import Agent, PlannedTask
from muster.agents.schemas import MOST_TASKS, AgentIn, TaskTemplateIn
from muster.agents.service import Revs
from muster.api.paging import Cursor
from muster.console import forms, pages
from muster.console.forms import Notice
from muster.console.languages import WEEK
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.errors import Invalid, MusterError, NotFound, PreconditionFailed, Problem

AnyRequest = Request[Any, Any, Any]
AgentId = Annotated[str, QueryParameter(name="id", max_length=400)]

AGENTS_PER_PAGE = 100
NEW = {"id": "", "name": "", "email": None, "daily_capacity": None, "active": True, "working_hours": None}
EMPTY_TASKS = 1  # lines to fill in behind those that are there
NAMES = ("name", "email", "daily_capacity", "working_hours", "id")  # of the fields that show what is wrong with them


@get("/agents")
async def agents(room: NamedDependency[Room], cursor: Cursor = None) -> Response[Any]:
    """The agents of a project, and the tasks that each assigned lead brings."""
    return await _list(room, cursor=cursor)


async def _list(
    room: Room,
    *,
    cursor: str | None = None,
    typed: dict[str, Any] | None = None,
    planned: list[dict[str, Any]] | None = None,
    problem: MusterError | None = None,
) -> Response[Any]:
    found, following = await service.list_agents(room.project, active=None, limit=AGENTS_PER_PAGE, cursor=cursor)
    template = await tasks.template_of(room.project.id)
    rows = planned if planned is not None else [_line(task) for task in template.tasks]
    empty = min(EMPTY_TASKS, MOST_TASKS - len(rows))
    return Page(
        "agents.html",
        status_code=problem.status if problem else 200,
        room=room,
        section="assign",
        crumbs=[(_("Assign"), "/assign"), (_("Agents"), "")],
        agents=await service.shown(room.project, found),
        next_cursor=following,
        cursor=cursor,
        typed=typed or NEW,
        template_rev=template.rev,
        planned=[*rows, *({"kind": "", "title": "", "due_in_hours": 24} for _row in range(empty))],
        **_what_is_wrong(problem if typed else None),
        task_problems=[] if typed or problem is None else [problem.detail],
    )


@post("/agents", status_code=200)
async def add(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """A new agent, under an id of one's own or the next that is free."""
    typed = await _typed(request)
    agent_id = await forms.text(request, "id")
    try:
        values = forms.checked(AgentIn, typed).values()
        if agent_id:
            made, _new = await service.put(room.project, agent_id, values, revs=None, create=True, only_create=True)
        else:
            made = await service.create(room.project, values)
    except PreconditionFailed:
        detail = "There is an agent with this id already."
        return await _list(room, typed={**typed, "id": agent_id}, problem=Invalid(detail, [Problem(detail, "/id")]))
    except MusterError as error:
        return await _list(room, typed={**typed, "id": agent_id}, problem=error)
    return forms.go(request, "/agents", Notice(_("%(agent)s is there.") % {"agent": made.name}))


@get("/agents/edit")
async def edit(room: NamedDependency[Room], agent_id: AgentId) -> Response[Any]:
    """One agent in a form. An id stands in the query, because it may hold any character."""
    return _agent(room, await service.agent_of(room.project.id, agent_id))


@post("/agents/edit", status_code=200)
async def save(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Change an agent, if it still is as the page showed it."""
    agent_id, typed = await forms.text(request, "id"), await _typed(request)
    try:
        values = forms.checked(AgentIn, typed).values()
        saved = await service.patch(room.project, agent_id, values, revs=await forms.revision(request))
    except NotFound:
        raise
    except MusterError as error:
        return _agent(room, await service.agent_of(room.project.id, agent_id), typed=typed, problem=error)
    return forms.go(request, "/agents", Notice(_("%(agent)s is saved.") % {"agent": saved.name}))


@post("/agents/delete")
async def delete(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Delete an agent whom nothing waits for."""
    agent_id = await forms.text(request, "id")
    try:
        revs: Revs = await forms.revision(request)
        await service.delete(room.project, agent_id, revs=revs)
    except MusterError as error:
        return forms.refused(request, pages.address("/agents/edit", id=agent_id), error)
    return forms.go(request, "/agents", Notice(_("%(agent)s is deleted.") % {"agent": agent_id}))


@post("/agents/tasks", status_code=200)
async def plan_tasks(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Replace the tasks that each assigned lead brings; a line without a title is left out."""
    form = await request.form()
    columns = [[str(each).strip() for each in form.getall(name, [])] for name in ("kind", "title", "due_in_hours")]
    planned = [
        {"kind": kind, "title": title, "due_in_hours": _number(hours)}
        for kind, title, hours in zip(*columns, strict=False)
        if title or kind
    ]
    try:
        body = forms.checked(TaskTemplateIn, {"tasks": planned})
        revs = await forms.revision(request)
        await tasks.put_template(room.project.id, [task.model_dump() for task in body.tasks], revs)
    except MusterError as error:
        return await _list(room, planned=planned, problem=error)
    return forms.go(request, "/agents", Notice(_("Saved. Assignments that begin from now on bring these tasks.")))


def _agent(
    room: Room, agent: Agent, *, typed: dict[str, Any] | None = None, problem: MusterError | None = None
) -> Response[Any]:
    return Page(
        "agent.html",
        status_code=problem.status if problem else 200,
        room=room,
        section="assign",
        crumbs=[(_("Assign"), "/assign"), (_("Agents"), "/agents"), (agent.name, "")],
        agent=agent,
        typed=typed or agent.model_dump(),
        **_what_is_wrong(problem),
    )


def _what_is_wrong(error: MusterError | None) -> dict[str, Any]:
    fields, rest = forms.by_field(forms.problems_of(error), NAMES) if error else ({}, [])
    return {"problems": fields, "other_problems": [problem.detail for problem in rest]}


async def _typed(request: AnyRequest) -> dict[str, Any]:
    """What a form says of an agent, as the API would take it."""
    form = await request.form()
    days = [day for day in WEEK if day in form.getall("days", [])]
    hours = {"days": days, "begin": await forms.text(request, "begin"), "end": await forms.text(request, "end")}
    return {
        "name": await forms.text(request, "name"),
        "email": await forms.text(request, "email") or None,
        "daily_capacity": _number(await forms.text(request, "daily_capacity")),
        "active": bool(await forms.text(request, "active")),
        "working_hours": hours if days else None,
    }


def _line(task: PlannedTask) -> dict[str, Any]:
    hours = task.due_in_hours
    return {**task.model_dump(), "due_in_hours": int(hours) if hours.is_integer() else hours}


def _number(text: str) -> int | float | str:
    """A number as a form writes it; anything else stays what it is, and the schema says what is wrong with it."""
    try:
        return int(text) if text.isascii() and text.isdigit() else float(text)
    except ValueError:
        return text


ROUTES = [agents, add, edit, save, delete, plan_tasks]
