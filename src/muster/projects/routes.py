"""`/v1/projects`, and the project that every other route works in."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from muster.api import etags
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from muster.projects import service
from muster.projects.documents import Project
from muster.projects.schemas import NewProject, ProjectAnswer, ProjectPatch

AnyRequest = Request[Any, Any, Any]


ProjectId = Annotated[
    str | None, QueryParameter(description="The project; by default the owner's default project.", max_length=100)
]
OnlyProjectId = Annotated[str | None, QueryParameter(description="Only of this project; else of all.", max_length=100)]


async def provide_project(owner: NamedDependency[str], project_id: ProjectId = None) -> str:
    """The id of the project that a request works in, which is the caller's. A dependency named `project`."""
    return (await service.project_of(owner, project_id)).id


async def provide_named_project(owner: NamedDependency[str], project_id: OnlyProjectId = None) -> str | None:
    """The id of the project that a request names, if any, which is the caller's. A dependency named `named_project`."""
    return None if project_id is None else (await service.project_of(owner, project_id)).id


@post("/v1/projects", summary="Make a project", tags=["projects"])
async def create_project(owner: NamedDependency[str], data: JSONBody[NewProject]) -> Response[ProjectAnswer]:
    """Make a project."""
    project = await service.create_project(owner, **data.model_dump())
    answer = _answer(project)
    answer.headers["Location"] = f"/v1/projects/{project.id}"
    return answer


@get("/v1/projects", summary="List projects", tags=["projects"])
async def list_projects(
    owner: NamedDependency[str], cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[ProjectAnswer]:
    """The caller's projects, the oldest first."""
    after = decode_cursor(cursor, datetime, str) if cursor else None
    found = await service.list_projects(owner, after, limit + 1)
    items, next_cursor = page_of(found, limit, lambda project: (project.created_at, project.id))
    return Page(items=[ProjectAnswer.of(project) for project in items], next_cursor=next_cursor)


@get("/v1/projects/{project_id:str}", summary="Show a project", tags=["projects"])
async def show_project(request: AnyRequest, owner: NamedDependency[str], project_id: FromPath[str]) -> Response[Any]:
    """One project."""
    project = await service.project_of(owner, project_id)
    if etags.not_modified(request, project.rev):
        return etags.unchanged(project.rev)
    return _answer(project)


@patch("/v1/projects/{project_id:str}", summary="Change a project", tags=["projects"])
async def patch_project(
    request: AnyRequest, owner: NamedDependency[str], project_id: FromPath[str], data: JSONBody[ProjectPatch]
) -> Response[ProjectAnswer]:
    """Change what is given: name, description, time zone."""
    values = data.model_dump(exclude_none=True)
    return _answer(await service.patch_project(owner, project_id, values, etags.expected_revs(request)))


@delete("/v1/projects/{project_id:str}", summary="Delete an empty project", tags=["projects"])
async def delete_project(request: AnyRequest, owner: NamedDependency[str], project_id: FromPath[str]) -> None:
    """Delete a project that holds nothing any more; 409 names what it holds."""
    await service.delete_project(owner, project_id, etags.expected_revs(request))


def _answer(project: Project) -> Response[ProjectAnswer]:
    return Response(ProjectAnswer.of(project), headers={"ETag": etags.etag(project.rev)})


ROUTES = (create_project, list_projects, show_project, patch_project, delete_project)
