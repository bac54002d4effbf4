"""Choosing one cohort among many: a search, and the first that it finds with their counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from muster.cohorts import service
from muster.cohorts.documents import Cohort
from muster.projects.documents import Project

SHOWN = 8


@dataclass(frozen=True, slots=True)
class Picker:
    """What can be chosen: the chosen one first, wherever the search would have it. `is_all`: there are no others."""

    q: str
    chosen: Cohort | None
    cohorts: Sequence[Cohort]
    is_all: bool


async def picker(project: Project, *, q: str = "", chosen: str = "") -> Picker:
    """The first cohorts of a project that a search finds, the one of the id `chosen` among them if there is one."""
    picked = await Cohort.find_one({"_id": chosen, "project_id": project.id}) if chosen else None
    found, following = await service.list_cohorts(
        project.owner, project_id=project.id, kind=None, q=q or None, limit=SHOWN, cursor=None
    )
    others = [cohort for cohort in found if picked is None or cohort.id != picked.id]
    shown = [picked, *others] if picked else others
    return Picker(q, picked, shown, is_all=following is None and not q)
