"""What the page of one cohort shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from muster.cohorts import history, members, service, sizes
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import MemberOut
from muster.console import charts, views
from muster.console.charts import Chart
from muster.console.views import CohortRow
from muster.jobs.documents import Progress
from muster.jobs.service import job_of
from muster.projects.service import project_of
from muster.records.documents import Profile

MEMBERS_PER_PAGE = 50
CHANGES_SHOWN = 8
CHANGES_PER_PAGE = 100
CHART_POINTS = 120


@dataclass(frozen=True, slots=True)
class Outline:
    """What tells whether the page is out of date: the cohort itself, its run, and the first of the members shown."""

    cohort: CohortRow
    rev: int
    project_id: str
    rule: str | None
    error: str | None
    managed_by_file: str | None
    run: str | None
    progress: Progress | None
    members: Sequence[MemberOut]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class ShownChange:
    """Somebody who entered or left."""

    pii_id: str
    name: str | None
    change: str
    cause: str
    at: datetime
    run: str | None


@dataclass(frozen=True, slots=True)
class User:
    """What uses a cohort: its id where it is known, and its name."""

    address: str | None
    words: str


@dataclass(frozen=True, slots=True)
class Detail:
    """The page of one cohort."""

    outline: Outline
    members: Sequence[MemberOut]
    next_cursor: str | None
    changes: Sequence[ShownChange]
    chart: Chart
    since: datetime
    until: datetime
    users: Sequence[User]
    zone: str


async def outline(owner: str, cohort_id: str, *, cursor: str | None) -> Outline:
    """A cohort and a page of its members. Raises NotFound, also for another owner's."""
    cohort = await service.cohort_of(owner, cohort_id)
    items, next_cursor = await members.page(owner, cohort_id, order="joined", limit=MEMBERS_PER_PAGE, cursor=cursor)
    (row,) = await views.rows_of([cohort])
    return Outline(
        cohort=row,
        rev=cohort.rev,
        project_id=cohort.project_id,
        rule=cohort.rule.text if cohort.rule else None,
        error=cohort.error,
        managed_by_file=cohort.key if cohort.managed_by == "file" else None,
        run=cohort.run,
        progress=(await job_of(owner, cohort.run)).progress if cohort.run else None,
        members=items,
        next_cursor=next_cursor,
    )


async def detail(owner: str, found: Outline, *, cursor: str | None, rows: int | None) -> Detail:
    """The whole page; `rows` where the list of members has grown already."""
    cohort_id = found.cohort.id
    items, next_cursor = found.members, found.next_cursor
    if rows is not None and rows > MEMBERS_PER_PAGE:
        items, next_cursor = await members.page(owner, cohort_id, order="joined", limit=rows, cursor=cursor)
    size = await sizes.sizes(owner, cohort_id, since=None, until=None, points=CHART_POINTS)
    points = [(size.since, size.size_before), *((item.at, item.size) for item in size.items)]
    points.append((size.until, points[-1][1]))
    changes, _ = await changes_page(owner, cohort_id, limit=CHANGES_SHOWN)
    return Detail(
        outline=found,
        members=items,
        next_cursor=next_cursor,
        changes=changes,
        chart=charts.over_time(points),
        since=size.since,
        until=size.until,
        users=await users(cohort_id),
        zone=(await project_of(owner, found.project_id)).time_zone,
    )


async def users(cohort_id: str) -> list[User]:
    """What uses a cohort, and so keeps it from being deleted: rules of other cohorts, and what other features name."""
    naming = await Cohort.find({"rule.cohorts": cohort_id}).sort("_id").to_list()
    found = [User(f"/cohorts/{cohort.id}", cohort.name) for cohort in naming]
    others = [words for blocker in service.blockers for words in await blocker(cohort_id)]
    return found + [User(None, words) for words in others]


async def changes_page(
    owner: str, cohort_id: str, *, limit: int = CHANGES_PER_PAGE, cursor: str | None = None
) -> tuple[list[ShownChange], str | None]:
    """Who entered and left, the newest first, with the names of today."""
    found, following = await history.changes_page(
        owner, cohort_id, history.Filter(), order="newest", limit=limit, cursor=cursor
    )
    names = await _names([change["profile"] for change in found])
    shown = [
        ShownChange(
            change["pii_id"],
            names.get(change["profile"]),
            change["change"],
            change["cause"],
            change["at"],
            change.get("run"),
        )
        for change in found
    ]
    return shown, following


async def _names(profiles: Sequence[ObjectId]) -> Mapping[ObjectId, str | None]:
    found = Profile.get_motor_collection().find({"_id": {"$in": list(set(profiles))}}, members.SHOWN)
    return {profile["_id"]: members.name_and_type(profile)[0] async for profile in found}


async def cohort_and_zone(owner: str, cohort_id: str) -> tuple[Cohort, str]:
    """A cohort and its project's time zone. Raises NotFound."""
    cohort = await service.cohort_of(owner, cohort_id)
    return cohort, (await project_of(owner, cohort.project_id)).time_zone
