"""What the lists of cohorts show, read through the same functions as the REST API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from muster.cohorts import service, sizes, slices
from muster.cohorts.documents import Change, Cohort, Kind
from muster.projects.documents import Project
from muster.records.documents import Profile

COHORTS_PER_PAGE = 50
MOST_ROWS = 1_000  # that a page which has grown may ask for at once
SPARK = timedelta(days=1)
SPARK_POINTS = 48


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
    """A page of a list of cohorts."""

    rows: Sequence[CohortRow]
    next_cursor: str | None


async def cohort_list(
    project: Project, *, q: str | None, kind: Kind | None, cursor: str | None, rows: int | None = None
) -> CohortList:
    """A page of a project's cohorts; `rows` where it has grown already."""
    limit = min(max(rows or 0, COHORTS_PER_PAGE), MOST_ROWS)
    found, next_cursor = await service.list_cohorts(
        project.owner, project_id=project.id, kind=kind, q=q, limit=limit, cursor=cursor
    )
    return CohortList(await rows_of(found), next_cursor)


async def rows_of(cohorts: Sequence[Cohort]) -> list[CohortRow]:
    """Cohorts as they stand in a list."""
    changed = await last_changes([cohort.id for cohort in cohorts])
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


async def sparks_of(cohorts: Sequence[Cohort]) -> dict[str, list[int]]:
    """For each cohort its sizes over the last day."""
    return await sizes.recent_sizes(cohorts, since=datetime.now(UTC) - SPARK, points=SPARK_POINTS)


async def profile_count(project: Project) -> int:
    """How many profiles a project holds."""
    return await Profile.get_motor_collection().count_documents({"project_id": project.id})


def last_changes_of(cohort_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The pipeline that finds when somebody last entered or left each of these cohorts.

    MongoDB answers it by jumping through the index, one look per cohort, however long their history is.
    """
    return [
        {"$match": {"cohort": {"$in": list(cohort_ids)}}},
        {"$sort": {"cohort": 1, "at": -1}},
        {"$group": {"_id": "$cohort", "at": {"$first": "$at"}}},
    ]


async def last_changes(cohort_ids: Sequence[str]) -> dict[str, datetime]:
    """When somebody last entered or left each of these cohorts."""
    newest = Change.get_motor_collection().aggregate(last_changes_of(cohort_ids))
    return {found["_id"]: found["at"] async for found in newest}


async def watching() -> Watching:
    """How the watcher does."""
    standing = await slices.standing()
    return Watching(standing["status"], round(standing["lag_ms"]) if standing.get("events") else None)
