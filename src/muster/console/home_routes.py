"""The first page."""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from muster.console import charts, home_views, live, pages, views
from muster.console.pages import Page
from muster.console.rooms import Room

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]


@get("/")
async def home(request: AnyRequest, room: NamedDependency[Room], seen: Seen = None) -> Response[Any]:
    """What goes on in a project: cohorts, jobs, the watcher; what to do first where there is nothing."""
    shown = await home_views.home(room.project)
    version = live.version_of(shown)
    if seen == version:
        return pages.nothing_new()
    sparks = {cohort_id: charts.spark(values) for cohort_id, values in (await home_views.sparks(shown)).items()}
    return Page(
        "home.html",
        room=room,
        section="home",
        shown=shown,
        version=version,
        sparks=sparks,
        base=str(request.base_url).rstrip("/"),
    )


@get("/profiles/count")
async def profile_count(room: NamedDependency[Room]) -> Response[Any]:
    """How many profiles a project holds. Counting takes its time, so the page does not wait for it."""
    return Page("profile_count.html", room=room, profiles=await views.profile_count(room.project))


@get("/live")
async def follow_home(request: AnyRequest, room: NamedDependency[Room], seen: Seen = None) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        return live.version_of(await home_views.home(room.project))

    return await live.follow(request, look, seen)


ROUTES = [home, profile_count, follow_home]
