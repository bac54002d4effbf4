"""Projects: each has one owner, who alone sees it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from muster.api import etags
from muster.api.numbering import next_number
from muster.errors import Conflict, NotFound
from muster.projects.documents import Project

PREFIX = "PRJ"

HOLDINGS: list[Callable[[str], Awaitable[Sequence[str]]]] = []
"""Asked before a project goes: what it still holds, in words (["12 profiles"]). `muster.app` fills it."""

DELETIONS: list[Callable[[str], Awaitable[None]]] = []
"""Called when a project is gone, to remove what nobody would miss. `muster.app` fills it."""


TIME_ZONE_CHANGES: list[Callable[[Project], Awaitable[None]]] = []
"""Called with a project whose time zone was set, also to what it was: safe to repeat. `muster.app` fills it."""


async def project_of(owner: str, project_id: str | None) -> Project:
    """The owner's project; without an id the default one, made on first use. Raises NotFound for anybody else's."""
    if project_id is None:
        return await _default_project(owner)
    found = await Project.find_one({"_id": project_id, "owner": owner})
    if found is None:
        raise NotFound(f"There is no project {project_id!r}.")
    return found


async def create_project(owner: str, *, name: str, description: str = "", time_zone: str = "UTC") -> Project:
    """Make a project."""
    return await _insert(owner, name=name, description=description, time_zone=time_zone)


async def list_projects(owner: str, after: tuple[datetime, str] | None, limit: int) -> list[Project]:
    """Up to `limit` projects of an owner, the oldest first, from behind `after` (its time and id)."""
    wanted: dict[str, Any] = {"owner": owner}
    if after is not None:
        created_at, project_id = after
        wanted["$or"] = [{"created_at": {"$gt": created_at}}, {"created_at": created_at, "_id": {"$gt": project_id}}]
    return await Project.find(wanted).sort("+created_at", "+_id").limit(limit).to_list()


async def patch_project(
    owner: str, project_id: str, values: Mapping[str, Any], revs: Collection[int] | None = None
) -> Project:
    """Set what is given. Changing nothing leaves the revision. Raises NotFound, PreconditionFailed."""
    while True:
        project = await project_of(owner, project_id)
        if revs is not None and project.rev not in revs:
            raise etags.stale()
        changed = {name: value for name, value in values.items() if getattr(project, name) != value}
        if not changed:
            break
        result = await Project.get_motor_collection().update_one(
            {"_id": project_id, "owner": owner, "rev": project.rev},
            {"$set": {**changed, "updated_at": _now()}, "$inc": {"rev": 1}},
        )
        if result.modified_count:
            project = await project_of(owner, project_id)
            break
    if "time_zone" in values:
        for follow in TIME_ZONE_CHANGES:
            await follow(project)
    return project


async def delete_project(owner: str, project_id: str, revs: Collection[int] | None = None) -> None:
    """Delete an empty project. Raises Conflict naming what it still holds, NotFound, PreconditionFailed."""
    project = await project_of(owner, project_id)
    if revs is not None and project.rev not in revs:
        raise etags.stale()
    held = [thing for holdings in HOLDINGS for thing in await holdings(project_id)]
    if held:
        raise Conflict(f"{project_id} still holds {', '.join(held)}; delete them first.")
    result = await Project.get_motor_collection().delete_one({"_id": project_id, "owner": owner, "rev": project.rev})
    if not result.deleted_count:
        raise Conflict(f"Somebody changed {project_id} at this moment; look again.")
    for deletion in DELETIONS:
        await deletion(project_id)


async def _default_project(owner: str) -> Project:
    wanted = {"owner": owner, "is_default": True}
    found: Project | None = await Project.find_one(wanted)
    while found is None:
        try:
            found = await _insert(owner, name="Default", is_default=True)
        except DuplicateKeyError:  # another request of this owner made it just now
            found = await Project.find_one(wanted)
    return found


async def _insert(owner: str, **values: Any) -> Project:
    now = _now()
    project = Project(id=await next_number(PREFIX), owner=owner, created_at=now, updated_at=now, **values)
    await project.insert()
    return project


def _now() -> datetime:
    """In whole milliseconds, as MongoDB keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
