"""The history of cohorts over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import ServerSentEvent

from muster.api.events import server_sent
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.cohorts import events, history, sizes
from muster.cohorts.documents import Cause, RunState
from muster.cohorts.history_schemas import ChangeOut, RunOut, SizesOut
from muster.cohorts.service import cohort_of
from muster.errors import Invalid, Problem

DEFAULT_POINTS = 200

Since = Annotated[datetime | None, QueryParameter(name="from", description="From this moment on (RFC 3339).")]
Until = Annotated[datetime | None, QueryParameter(name="to", description="Up to this moment, itself included.")]


@get("/v1/cohorts/{cohort_id:str}/changes", summary="List who entered and left", tags=["cohorts"])
async def list_changes(
    *,
    owner: NamedDependency[str],
    cohort_id: FromPath[str],
    order: FromQuery[history.Order] = "newest",
    change: Annotated[Literal["entered", "left"] | None, QueryParameter(description="Only one kind.")] = None,
    cause: Annotated[Cause | None, QueryParameter(description="Only of this cause.")] = None,
    pii_id: Annotated[str | None, QueryParameter(description="Only of this profile.", max_length=200)] = None,
    run: Annotated[str | None, QueryParameter(description="Only what this run changed.", max_length=200)] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ChangeOut]:
    """Every change since the cohort's first fill, which is a run and no list of changes; both ends of the time are in.

    Erased profiles are left out. To follow changes as they come, `events` is the better way: a change may be listed a
    moment after its time, when those who read on behind it would miss it.
    """
    wanted = history.Filter(change, cause, pii_id, run, moment(since, "from"), moment(until, "to"))
    items, following = await history.changes_page(owner, cohort_id, wanted, order=order, limit=limit, cursor=cursor)
    return Page(items=[ChangeOut.of(item) for item in items], next_cursor=following)


@get("/v1/cohorts/{cohort_id:str}/runs", summary="List full evaluations, newest first", tags=["cohorts"])
async def list_runs(
    *,
    owner: NamedDependency[str],
    cohort_id: FromPath[str],
    run_state: Annotated[RunState | None, QueryParameter(name="state", description="Only in this state.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RunOut]:
    """The first fill, every edit of the rule, every evaluation that was asked for; also those that came to nothing."""
    items, following = await history.runs_page(owner, cohort_id, state=run_state, limit=limit, cursor=cursor)
    return Page(items=[RunOut.of(item) for item in items], next_cursor=following)


@get("/v1/cohorts/{cohort_id:str}/size", summary="Show the size over time", tags=["cohorts"])
async def show_sizes(
    *,
    owner: NamedDependency[str],
    cohort_id: FromPath[str],
    since: Since = None,
    until: Until = None,
    points: Annotated[
        int, QueryParameter(ge=1, le=sizes.MOST_POINTS, description="How many points at most.")
    ] = DEFAULT_POINTS,
) -> SizesOut:
    """The exact size after each moment of change, with how many entered and left; else by equal intervals.

    Counts of the past stay what they were when profiles are erased: they are numbers, and name nobody.
    """
    return await sizes.sizes(owner, cohort_id, since=moment(since, "from"), until=moment(until, "to"), points=points)


@get("/v1/cohorts/{cohort_id:str}/events", summary="Follow a cohort", tags=["cohorts"])
async def follow_cohort(
    request: Request[Any, Any, Any], owner: NamedDependency[str], cohort_id: FromPath[str]
) -> ServerSentEvent:
    """Server-sent events: `change` as in `changes`, `run` as in `runs`, and `deleted`, with which the stream ends.

    The first is `following`: from there on nothing is missed, so read the members then. A client that comes back with
    `Last-Event-ID` gets what it missed instead; where that is not known any more, `reset` tells it to read anew.
    """
    await cohort_of(owner, cohort_id)
    return server_sent(events.follow(cohort_id, request.headers.get("last-event-id")))


def moment(given: datetime | None, name: str) -> datetime | None:
    """A moment in a query, in UTC and milliseconds as everything stored. Raises Invalid for one without an offset."""
    if given is None:
        return None
    utc = _in_utc(given)
    if utc is None:
        detail = f"`{name}` must be a moment with its offset from UTC, as 2026-11-25T12:00:00Z (a + is written %2B)."
        raise Invalid(detail, [Problem(detail)])
    return utc - timedelta(microseconds=utc.microsecond % 1_000)


def _in_utc(given: datetime) -> datetime | None:
    try:
        return None if given.tzinfo is None else given.astimezone(UTC)
    except OverflowError:  # beyond the first or the last year
        return None


ROUTES: list[HTTPRouteHandler] = [list_changes, list_runs, show_sizes, follow_cohort]
