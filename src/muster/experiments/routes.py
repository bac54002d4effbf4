"""Experiments over HTTP."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_202_ACCEPTED

from muster.api.etags import etag, expected_revs, not_modified, unchanged
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.experiments import assignment, run_routes, run_service, service
from muster.experiments.documents import Experiment
from muster.experiments.schemas import (
    AcceptedOut,
    AssignedOut,
    AssignIn,
    ExperimentIn,
    ExperimentOut,
    ExperimentPatch,
)
from muster.jobs.documents import Job
from muster.settings import Settings

AnyRequest = Request[Any, Any, Any]
ProjectId = Annotated[str | None, QueryParameter(description="The project; else the caller's default.")]
CohortId = Annotated[str | None, QueryParameter(description="Only those that take this cohort.", max_length=100)]
Fields = Annotated[
    str | None,
    QueryParameter(
        description="Which attributes, separated by commas, in place of what the configuration says; personal ones "
        "(e-mail addresses, phone numbers) are there when they are named.",
        max_length=100_000,
    ),
]
Personal = Annotated[bool | None, QueryParameter(description="Without `fields`: also the personal attributes.")]
First = Annotated[
    int | None,
    QueryParameter(ge=0, description="Show only so many members; `count` is that of all."),
]


@post("/v1/experiments", summary="Create an experiment", tags=["experiments"])
async def create_experiment(
    owner: NamedDependency[str], settings: NamedDependency[Settings], data: JSONBody[ExperimentIn]
) -> Response[ExperimentOut]:
    """Over a cohort, over cohorts as arms, or over profiles picked by hand; without any, over made-up personas."""
    experiment = await service.create(owner, data, settings)
    answer = _answer(experiment, status_code=HTTP_201_CREATED)
    answer.headers["Location"] = f"/v1/experiments/{experiment.id}"
    return answer


@get("/v1/experiments", summary="List experiments, oldest first", tags=["experiments"])
async def list_experiments(
    owner: NamedDependency[str],
    project_id: ProjectId = None,
    cohort_id: CohortId = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ExperimentOut]:
    """The experiments of a project."""
    found, following = await service.list_experiments(
        owner, project_id=project_id, cohort_id=cohort_id, limit=limit, cursor=cursor
    )
    return Page(items=[ExperimentOut.of(experiment) for experiment in found], next_cursor=following)


@get("/v1/experiments/{experiment_id:str}", summary="Show an experiment", tags=["experiments"])
async def show_experiment(
    request: AnyRequest, owner: NamedDependency[str], experiment_id: FromPath[str]
) -> Response[Any]:
    """One experiment."""
    experiment = await service.experiment_of(owner, experiment_id)
    if not_modified(request, experiment.rev):
        return unchanged(experiment.rev)
    return _answer(experiment)


@patch("/v1/experiments/{experiment_id:str}", summary="Change an experiment", tags=["experiments"])
async def patch_experiment(
    request: AnyRequest,
    owner: NamedDependency[str],
    settings: NamedDependency[Settings],
    experiment_id: FromPath[str],
    data: JSONBody[ExperimentPatch],
) -> Response[ExperimentOut]:
    """Runs that are frozen stay what they are."""
    return _answer(await service.patch(owner, experiment_id, data, settings, expected_revs=expected_revs(request)))


@delete("/v1/experiments/{experiment_id:str}", summary="Delete an experiment", tags=["experiments"])
async def delete_experiment(request: AnyRequest, owner: NamedDependency[str], experiment_id: FromPath[str]) -> None:
    """Its runs and their results go with it; 409 while one is under way."""
    await service.delete(owner, experiment_id, expected_revs=expected_revs(request))


@get(
    "/v1/experiments/{experiment_id:str}/config",
    summary="Show the configuration with its personas",
    tags=["experiments"],
)
async def show_config(
    owner: NamedDependency[str],
    experiment_id: FromPath[str],
    fields: Fields = None,
    personal: Personal = None,
    first: First = None,
) -> Stream:
    """What a run would send now: the configuration, and every member as a persona with its attributes. It streams."""
    chunks = await run_service.configuration_of(owner, experiment_id, fields=fields, personal=personal, first=first)
    return Stream(chunks, media_type="application/json", headers={"Cache-Control": "no-store"})


@post(
    "/v1/cohorts/{cohort_id:str}/experiments",
    status_code=HTTP_200_OK,
    summary="Give a cohort to many experiments",
    tags=["experiments"],
)
async def assign_cohort(
    owner: NamedDependency[str],
    settings: NamedDependency[Settings],
    cohort_id: FromPath[str],
    data: JSONBody[AssignIn],
) -> Response[AssignedOut | AcceptedOut]:
    """Each of them runs over this cohort from now on. A hundred and more are changed by a job."""
    found = await assignment.assign(owner, cohort_id, data.experiment_ids, settings)
    if isinstance(found, Job):
        location = {"Location": f"/v1/jobs/{found.id}"}
        return Response(AcceptedOut(job_id=found.id), status_code=HTTP_202_ACCEPTED, headers=location)
    return Response(found)


def _answer(experiment: Experiment, *, status_code: int = HTTP_200_OK) -> Response[ExperimentOut]:
    headers = {"ETag": etag(experiment.rev)}
    return Response(ExperimentOut.of(experiment), status_code=status_code, headers=headers)


ROUTES: list[HTTPRouteHandler] = [
    create_experiment,
    list_experiments,
    show_experiment,
    patch_experiment,
    delete_experiment,
    show_config,
    assign_cohort,
    *run_routes.ROUTES,
]
