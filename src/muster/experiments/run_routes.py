"""Runs of experiments and their results over HTTP, and where results may be sent to."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED

from muster.api.auth import PUBLIC, PUBLIC_SECURITY
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.experiments import results, run_service
from muster.experiments.results import FileFormat
from muster.experiments.schemas import CallbackOut, ProfileResultOut, ResultOut, RunOut, RunStartedOut, SummaryOut
from muster.settings import Settings

AnyRequest = Request[Any, Any, Any]
LARGEST_CALLBACK = 50_000_000  # bytes
ResultState = Annotated[
    str | None, QueryParameter(name="state", description="Only in this state, such as `completed`.", max_length=50)
]
ArmName = Annotated[str | None, QueryParameter(name="arm", description="Only of this arm.", max_length=50)]


@post(
    "/v1/experiments/{experiment_id:str}/run",
    status_code=HTTP_202_ACCEPTED,
    summary="Run an experiment",
    tags=["experiments"],
)
async def run_experiment(
    owner: NamedDependency[str], settings: NamedDependency[Settings], experiment_id: FromPath[str]
) -> Response[RunStartedOut]:
    """The members are frozen, handed over, and their results stored, by a job that can be followed and cancelled."""
    run, job = await run_service.start(owner, experiment_id, settings)
    headers = {"Location": f"/v1/jobs/{job.id}"}
    return Response(RunStartedOut(job_id=job.id, run_id=run.id), status_code=HTTP_202_ACCEPTED, headers=headers)


@get("/v1/experiments/{experiment_id:str}/runs", summary="List runs, newest first", tags=["experiments"])
async def list_runs(
    owner: NamedDependency[str], experiment_id: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[RunOut]:
    """The runs of an experiment."""
    found, following = await run_service.list_runs(owner, experiment_id, limit=limit, cursor=cursor)
    return Page(items=[RunOut.of(run, job) for run, job in found], next_cursor=following)


@get("/v1/experiments/{experiment_id:str}/runs/{run_id:str}", summary="Show a run", tags=["experiments"])
async def show_run(owner: NamedDependency[str], experiment_id: FromPath[str], run_id: FromPath[str]) -> RunOut:
    """One run: what it froze, how far it is, what it came to."""
    run = await run_service.run_of(owner, experiment_id, run_id)
    return RunOut.of(run, await run_service.job_of_run(run))


@get("/v1/experiments/{experiment_id:str}/runs/{run_id:str}/results", summary="List results", tags=["experiments"])
async def list_results(
    *,
    owner: NamedDependency[str],
    experiment_id: FromPath[str],
    run_id: FromPath[str],
    result_state: ResultState = None,
    arm_name: ArmName = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ResultOut]:
    """What came of each persona, in the order in which they were sent."""
    run = await run_service.run_of(owner, experiment_id, run_id)
    rows, following = await results.page(run, state=result_state, arm=arm_name, limit=limit, cursor=cursor)
    return Page(items=[ResultOut.of(row) for row in rows], next_cursor=following)


@get("/v1/profiles/{pii_id:str}/results", summary="List the results of a profile", tags=["experiments"])
async def list_profile_results(
    project: NamedDependency[str], pii_id: FromPath[str], limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ProfileResultOut]:
    """What came of somebody in every run that took them."""
    rows, following = await results.of_profile(project, pii_id, limit, cursor)
    return Page(items=[ProfileResultOut.of(row) for row in rows], next_cursor=following)


@get("/v1/experiments/{experiment_id:str}/runs/{run_id:str}/summary", summary="Sum up results", tags=["experiments"])
async def summarise(owner: NamedDependency[str], experiment_id: FromPath[str], run_id: FromPath[str]) -> SummaryOut:
    """How many in which state, every number that results carry with mean and spread, by arm; and whether the arms came
    back as large as they should.
    """
    run = await run_service.run_of(owner, experiment_id, run_id)
    return SummaryOut.of_run(run, await results.summary(run))


@get("/v1/experiments/{experiment_id:str}/runs/{run_id:str}/export", summary="Export results", tags=["experiments"])
async def export_results(
    *,
    owner: NamedDependency[str],
    experiment_id: FromPath[str],
    run_id: FromPath[str],
    file_format: Annotated[FileFormat, QueryParameter(name="format", description="The form of the file.")] = "csv",
) -> Stream:
    """All results as a file: CSV with a column for each property, or NDJSON with each result as it came."""
    run = await run_service.run_of(owner, experiment_id, run_id)
    file = await results.export(run, file_format)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"', "Cache-Control": "no-store"}
    return Stream(file.chunks, media_type=file.media_type, headers=headers)


@post(
    "/hooks/experiments/{run_id:str}",
    status_code=HTTP_200_OK,
    opt=PUBLIC,
    security=PUBLIC_SECURITY,
    request_max_body_size=LARGEST_CALLBACK,
    summary="Send results of a run",
    tags=["experiments"],
)
async def take_callback(request: AnyRequest, settings: NamedDependency[Settings], run_id: FromPath[str]) -> CallbackOut:
    """For the other side: `{"status", "results", "part"?, "offset"?}`, signed as Standard Webhooks says, with the
    secret that came with the run. The same results may be sent again; the first ones stay.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    stored = await run_service.take_callback(run_id, headers, await request.body(), settings)
    return CallbackOut(stored=stored)


ROUTES: list[HTTPRouteHandler] = [
    run_experiment,
    list_runs,
    show_run,
    list_results,
    list_profile_results,
    summarise,
    export_results,
    take_callback,
]
