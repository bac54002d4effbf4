"""Where somebody is: the owner, and the project whose things the pages show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from litestar import Request
from litestar.di import NamedDependency

from muster.errors import NotFound
from muster.projects.documents import Project
from muster.projects.service import list_projects, project_of

COOKIE: Final = "muster_project"
MOST_PROJECTS = 200  # in the switcher


@dataclass(frozen=True, slots=True)
class Room:
    """An owner in a project. `projects` are all that they may switch to."""

    owner: str
    project: Project
    projects: Sequence[Project]

    @property
    def zone(self) -> str:
        """The project's time zone."""
        return str(self.project.time_zone)

    def elsewhere(self, project_id: str) -> str | None:
        """A project as links to its things have to name it: only where it is not the chosen one."""
        return None if project_id == self.project.id else project_id


async def provide_room(request: Request[Any, Any, Any], owner: NamedDependency[str]) -> Room:
    """The room of a request: the project that was chosen in this browser, else the default one."""
    try:
        project = await project_of(owner, request.cookies.get(COOKIE))
    except NotFound:  # deleted meanwhile, or chosen by who was signed in before
        project = await project_of(owner, None)
    return Room(owner, project, await list_projects(owner, None, MOST_PROJECTS))
