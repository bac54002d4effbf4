"""Agents and their tasks over HTTP."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED

from muster.agents import assignment_routes, service, tasks
from muster.agents.documents import Agent, TaskState
from muster.agents.schemas import (
    AgentIn,
    AgentOut,
    AgentPatch,
    TaskOut,
    TaskPatch,
    TaskTemplateIn,
    TaskTemplateOut,
)
from muster.api.etags import etag, expected_revs, must_exist, must_not_exist, not_modified, unchanged
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.projects.documents import Project
from muster.projects.service import project_of

AnyRequest = Request[Any, Any, Any]
ProjectId = Annotated[
    str | None, QueryParameter(description="The project; by default the owner's default project.", max_length=100)
]


@post("/v1/agents", summary="Create an agent", tags=["agents"])
async def create_agent(
    owner: NamedDependency[str], data: JSONBody[AgentIn], project_id: ProjectId = None
) -> Response[AgentOut]:
    """Under the next id of the project that is free, such as `A0-1001`."""
    project = await project_of(owner, data.project_id or project_id)
    agent = await service.create(project, data.values())
    answer = await _answer(project, agent, HTTP_201_CREATED)
    answer.headers["Location"] = f"/v1/agents/{agent.agent_id}"
    return answer


@put("/v1/agents/{agent_id:str}", summary="Create or replace an agent", tags=["agents"])
async def put_agent(
    request: AnyRequest,
    owner: NamedDependency[str],
    agent_id: FromPath[str],
    data: JSONBody[AgentIn],
    project_id: ProjectId = None,
) -> Response[AgentOut]:
    """Under an id of one's own. 201 when the agent is new; `If-None-Match: *` only creates."""
    project = await project_of(owner, data.project_id or project_id)
    agent, is_new = await service.put(
        project,
        agent_id,
        data.values(),
        revs=expected_revs(request),
        create=not must_exist(request),
        only_create=must_not_exist(request),
    )
    return await _answer(project, agent, HTTP_201_CREATED if is_new else HTTP_200_OK)


@patch("/v1/agents/{agent_id:str}", summary="Change an agent", tags=["agents"])
async def patch_agent(
    request: AnyRequest,
    owner: NamedDependency[str],
    agent_id: FromPath[str],
    data: JSONBody[AgentPatch],
    project_id: ProjectId = None,
) -> Response[AgentOut]:
    """Change what is given. `"active": false` keeps an agent from getting leads."""
    project = await project_of(owner, project_id)
    agent = await service.patch(project, agent_id, data.values(), revs=expected_revs(request))
    return await _answer(project, agent)


@get("/v1/agents/{agent_id:str}", summary="Show an agent", tags=["agents"])
async def show_agent(
    request: AnyRequest, owner: NamedDependency[str], agent_id: FromPath[str], project_id: ProjectId = None
) -> Response[Any]:
    """One agent, with what is left of today's capacity. The ETag follows what can be changed, not that."""
    project = await project_of(owner, project_id)
    agent = await service.agent_of(project.id, agent_id)
    if not_modified(request, agent.rev):
        return unchanged(agent.rev)
    return await _answer(project, agent)


@get("/v1/agents", summary="List agents", tags=["agents"])
async def list_agents(
    *,
    owner: NamedDependency[str],
    project_id: ProjectId = None,
    active: Annotated[bool | None, QueryParameter(description="Only those who are active, or are not.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[AgentOut]:
    """The agents of a project in the order of their ids."""
    project = await project_of(owner, project_id)
    agents, following = await service.list_agents(project, active=active, limit=limit, cursor=cursor)
    return Page(items=await service.shown(project, agents), next_cursor=following)


@delete("/v1/agents/{agent_id:str}", summary="Delete an agent", tags=["agents"])
async def delete_agent(
    request: AnyRequest, owner: NamedDependency[str], agent_id: FromPath[str], project_id: ProjectId = None
) -> None:
    """409 while leads are with the agent, or a job hands some over. What the agent had before stays on record."""
    await service.delete(await project_of(owner, project_id), agent_id, revs=expected_revs(request))


@get("/v1/agents/{agent_id:str}/tasks", summary="List an agent's tasks", tags=["agents"])
async def list_agent_tasks(
    *,
    owner: NamedDependency[str],
    agent_id: FromPath[str],
    project_id: ProjectId = None,
    task_state: Annotated[TaskState, QueryParameter(name="state", description="In this state.")] = "open",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[TaskOut]:
    """What an agent has to do, by when it is due."""
    project = await project_of(owner, project_id)
    await service.agent_of(project.id, agent_id)
    found, following = await tasks.tasks_of_agent(project.id, agent_id, task_state, limit=limit, cursor=cursor)
    names = await tasks.names_of(found)
    return Page(items=[TaskOut.of(task, names.get(task.profile)) for task in found], next_cursor=following)


@get("/v1/tasks/{task_id:str}", summary="Show a task", tags=["agents"])
async def show_task(request: AnyRequest, owner: NamedDependency[str], task_id: FromPath[str]) -> Response[Any]:
    """One task."""
    task, _ = await tasks.task_of(owner, task_id)
    if not_modified(request, task.rev):
        return unchanged(task.rev)
    return Response(await _task(task), headers={"ETag": etag(task.rev)})


@patch("/v1/tasks/{task_id:str}", summary="Change a task", tags=["agents"])
async def patch_task(
    request: AnyRequest, owner: NamedDependency[str], task_id: FromPath[str], data: JSONBody[TaskPatch]
) -> Response[TaskOut]:
    """`{"state": "done"}`, or `cancelled`, or `open` again."""
    task, _ = await tasks.task_of(owner, task_id)
    changed = await tasks.set_state(task, data.state, expected_revs(request))
    return Response(await _task(changed), headers={"ETag": etag(changed.rev)})


@get("/v1/task-template", summary="Show the tasks that assigned leads bring", tags=["agents"])
async def show_template(
    request: AnyRequest, owner: NamedDependency[str], project_id: ProjectId = None
) -> Response[Any]:
    """The project's template: what an agent has to do about each lead that it is handed."""
    template = await tasks.template_of((await project_of(owner, project_id)).id)
    if not_modified(request, template.rev):
        return unchanged(template.rev)
    return Response(TaskTemplateOut.of(template), headers={"ETag": etag(template.rev)})


@put("/v1/task-template", summary="Replace the tasks that assigned leads bring", tags=["agents"])
async def put_template(
    request: AnyRequest, owner: NamedDependency[str], data: JSONBody[TaskTemplateIn], project_id: ProjectId = None
) -> Response[TaskTemplateOut]:
    """For assignments that begin from now on. An empty list brings none."""
    project = await project_of(owner, project_id)
    planned = [task.model_dump() for task in data.tasks]
    template = await tasks.put_template(project.id, planned, expected_revs(request))
    return Response(TaskTemplateOut.of(template), headers={"ETag": etag(template.rev)})


async def _answer(project: Project, agent: Agent, status_code: int = HTTP_200_OK) -> Response[AgentOut]:
    (shown,) = await service.shown(project, [agent])
    return Response(shown, status_code=status_code, headers={"ETag": etag(agent.rev)})


async def _task(task: Any) -> TaskOut:
    return TaskOut.of(task, (await tasks.names_of([task])).get(task.profile))


ROUTES: list[HTTPRouteHandler] = [
    create_agent,
    put_agent,
    patch_agent,
    show_agent,
    list_agents,
    delete_agent,
    list_agent_tasks,
    show_task,
    patch_task,
    show_template,
    put_template,
    *assignment_routes.ROUTES,
]
