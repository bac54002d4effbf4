"""The pages of an experiment's runs: how far one is, and what came of it."""

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from muster.api.paging import Cursor
from muster.console import experiment_views, live, pages
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.experiments import results, run_service
from muster.experiments.results import FileFormat
from muster.experiments.service import experiment_of
from muster.projects.service import project_of

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
Arm = Annotated[str, QueryParameter(max_length=50)]
ResultState = Annotated[str, QueryParameter(name="state", max_length=50)]


@get("/experiments/{experiment_id:str}/runs/{run_id:str}")
async def run(
    *,
    room: NamedDependency[Room],
    experiment_id: FromPath[str],
    run_id: FromPath[str],
    arm: Arm = "",
    result_state: ResultState = "",
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """One run: what it froze, how far it is, and its results."""
    shown = await experiment_views.run_detail(
        room.owner, experiment_id, run_id, arm=arm, state=result_state, cursor=cursor
    )
    version = live.version_of(shown)
    if seen == version:
        return pages.nothing_new()
    return Page(
        "run.html",
        room=room,
        section="experiments",
        crumbs=_way(shown.experiment.name, experiment_id, (run_id, "")),
        shown=shown,
        version=version,
        arm=arm,
        result_state=result_state,
        cursor=cursor,
        zone=(await project_of(room.owner, shown.experiment.project_id)).time_zone,
    )


@get("/experiments/{experiment_id:str}/runs/{run_id:str}/live")
async def follow_run(
    *,
    request: AnyRequest,
    room: NamedDependency[Room],
    experiment_id: FromPath[str],
    run_id: FromPath[str],
    arm: Arm = "",
    result_state: ResultState = "",
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        found = await experiment_views.run_detail(
            room.owner, experiment_id, run_id, arm=arm, state=result_state, cursor=cursor
        )
        return live.version_of(found)

    return await live.follow(request, look, seen)


@get("/experiments/{experiment_id:str}/runs/{run_id:str}/summary")
async def summary(room: NamedDependency[Room], experiment_id: FromPath[str], run_id: FromPath[str]) -> Response[Any]:
    """What the results come to, arm by arm. All of them are read for it, so it comes by itself."""
    experiment = await experiment_of(room.owner, experiment_id)
    found = await results.summary(await run_service.run_of(room.owner, experiment_id, run_id))
    return Page(
        "run_summary.html",
        room=room,
        section="experiments",
        crumbs=_way(
            experiment.name,
            experiment_id,
            (run_id, f"/experiments/{experiment_id}/runs/{run_id}"),
            (_("Results by arm"), ""),
        ),
        found=found,
        charts_of_measures=experiment_views.charts_of(found),
        states=experiment_views.states_of(found),
    )


@get("/experiments/{experiment_id:str}/runs/{run_id:str}/export")
async def export_results(
    room: NamedDependency[Room],
    experiment_id: FromPath[str],
    run_id: FromPath[str],
    file_format: Annotated[FileFormat, QueryParameter(name="format")] = "csv",
) -> Stream:
    """All results as a file."""
    file = await results.export(await run_service.run_of(room.owner, experiment_id, run_id), file_format)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return Stream(file.chunks, media_type=file.media_type, headers=headers)


def _way(name: str, experiment_id: str, *behind: tuple[str, str]) -> list[tuple[str, str]]:
    return [(_("Experiments"), "/experiments"), (name, f"/experiments/{experiment_id}"), *behind]


ROUTES = [run, follow_run, summary, export_results]
