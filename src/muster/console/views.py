"""What the pages show, read through the same functions as the REST API."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from muster.cohorts import members, service, slices
from muster.cohorts.documents import Change, Cohort
from muster.cohorts.schemas import MemberOut
from muster.projects.documents import Project
from muster.projects.service import project_of
from muster.records.documents import Profile

COHORTS_PER_PAGE = 50
MEMBERS_PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class CohortRow:
    """A cohort in a list. `changed_at`: when its definition or its members last changed, whichever is later."""

    id: str
    name: str
    description: str
    kind: str
    state: str
    member_count: int
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Watching:
    """How the watcher does: `status` is "ok", "silent" or "not started".

    `lag_ms` is how far its last batch was behind, None when there was none yet.
    """

    status: str
    lag_ms: int | None


@dataclass(frozen=True, slots=True)
class CohortList:
    """The live part of the home page."""

    rows: Sequence[CohortRow]
    next_cursor: str | None
    watching: Watching


@dataclass(frozen=True, slots=True)
class CohortDetail:
    """The live part of a cohort's page."""

    cohort: CohortRow
    error: str | None
    rule: str | None
    members: Sequence[MemberOut]
    next_cursor: str | None


def version_of(view: CohortList | CohortDetail) -> str:
    """Names what a view shows: a page that shows it already need not be sent it again."""
    return hashlib.sha256(repr(view).encode("utf-8", "backslashreplace")).hexdigest()[:16]


async def cohort_list(project: Project, *, q: str | None, cursor: str | None) -> CohortList:
    """A page of a project's cohorts."""
    found, next_cursor = await service.list_cohorts(
        project.owner, project_id=project.id, kind=None, q=q, limit=COHORTS_PER_PAGE, cursor=cursor
    )
    return CohortList(await _rows(found), next_cursor, await _watching())


async def cohort_detail(owner: str, cohort_id: str, *, cursor: str | None) -> tuple[CohortDetail, Project]:
    """A cohort with a page of its members, and its project. Raises NotFound, also for another owner's."""
    cohort = await service.cohort_of(owner, cohort_id)
    items, next_cursor = await members.page(owner, cohort_id, order="joined", limit=MEMBERS_PER_PAGE, cursor=cursor)
    (row,) = await _rows([cohort])
    rule = cohort.rule.text if cohort.rule else None
    return CohortDetail(row, cohort.error, rule, items, next_cursor), await project_of(owner, cohort.project_id)


async def profile_count(project: Project) -> int:
    """How many profiles a project holds."""
    return await Profile.get_motor_collection().count_documents({"project_id": project.id})


async def _rows(cohorts: Sequence[Cohort]) -> list[CohortRow]:
    changed = await _last_changes([cohort.id for cohort in cohorts])
    return [
        CohortRow(
            id=cohort.id,
            name=cohort.name,
            description=cohort.description,
            kind=cohort.kind.value,
            state=cohort.state.value,
            member_count=cohort.member_count,
            changed_at=max(cohort.updated_at, changed.get(cohort.id, cohort.updated_at)),
        )
        for cohort in cohorts
    ]


def last_changes_of(cohort_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The pipeline that finds when somebody last entered or left each of these cohorts.

    MongoDB answers it by jumping through the index, one look per cohort, however long their history is.
    """
    return [
        {"$match": {"cohort": {"$in": list(cohort_ids)}}},
        {"$sort": {"cohort": 1, "at": -1}},
        {"$group": {"_id": "$cohort", "at": {"$first": "$at"}}},
    ]


async def _last_changes(cohort_ids: Sequence[str]) -> dict[str, datetime]:
    newest = Change.get_motor_collection().aggregate(last_changes_of(cohort_ids))
    return {found["_id"]: found["at"] async for found in newest}


async def _watching() -> Watching:
    standing = await slices.standing()
    return Watching(standing["status"], round(standing["lag_ms"]) if standing.get("events") else None)
