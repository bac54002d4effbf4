"""Cohorts and rules over HTTP."""

from datetime import datetime
from typing import Annotated, Any, Literal

from litestar import Request, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK, HTTP_201_CREATED, HTTP_202_ACCEPTED, HTTP_304_NOT_MODIFIED

from muster.api.etags import etag, expected_revs, not_modified
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.api.requests import disconnected
from muster.cohorts import (
    explanations,
    history_routes,
    index_routes,
    member_routes,
    members,
    past,
    previews,
    service,
)
from muster.cohorts.documents import Cohort, Kind
from muster.cohorts.history_routes import moment
from muster.cohorts.schemas import (
    AcceptedOut,
    CheckOut,
    CohortIn,
    CohortOut,
    CohortPatch,
    EvaluatedOut,
    ExplanationOut,
    FunctionOut,
    MemberOut,
    PreviewIn,
    PreviewOut,
    ProfileCohortOut,
    RuleIn,
)
from muster.errors import Conflict, Invalid
from muster.projects.service import project_of
from muster.rules import known_functions

AnyRequest = Request[Any, Any, Any]
ProjectId = Annotated[str | None, QueryParameter(description="The project; else the caller's default.")]
At = Annotated[datetime | None, QueryParameter(description="Who was a member at this past moment (RFC 3339).")]
Q = Annotated[str | None, QueryParameter(description="Words in name or description, or an id.", max_length=200)]

Matching = Annotated[
    bool | None, QueryParameter(description="Only members who match the cohort's rule now, or only those who do not.")
]


@post("/v1/cohorts", summary="Create a cohort", tags=["cohorts"])
async def create_cohort(owner: NamedDependency[str], data: JSONBody[CohortIn]) -> Response[CohortOut]:
    """Evaluated when the answer comes; a long evaluation goes on in the background, answered by 202 and a job."""
    return _answer(await service.create(owner, data), status_code=HTTP_201_CREATED)


@get("/v1/cohorts", summary="List cohorts, oldest first", tags=["cohorts"])
async def list_cohorts(
    *,
    owner: NamedDependency[str],
    project_id: ProjectId = None,
    kind: Annotated[Kind | None, QueryParameter(description="Only dynamic or static ones.")] = None,
    q: Q = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[CohortOut]:
    """The cohorts of a project."""
    cohorts, following = await service.list_cohorts(
        owner, project_id=project_id, kind=kind, q=q, limit=limit, cursor=cursor
    )
    return Page(items=[CohortOut.of(cohort) for cohort in cohorts], next_cursor=following)


@get("/v1/cohorts/{cohort_id:str}", summary="Show a cohort", tags=["cohorts"])
async def show_cohort(
    request: AnyRequest, owner: NamedDependency[str], cohort_id: FromPath[str]
) -> Response[CohortOut | None]:
    """One cohort. Its ETag follows name, description, kind and rule; membership does not change it."""
    cohort = await service.cohort_of(owner, cohort_id)
    if not_modified(request, cohort.rev):
        return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers={"ETag": etag(cohort.rev)})
    return Response(CohortOut.of(cohort), headers={"ETag": etag(cohort.rev)})


@patch("/v1/cohorts/{cohort_id:str}", summary="Change a cohort", tags=["cohorts"])
async def patch_cohort(
    request: AnyRequest, owner: NamedDependency[str], cohort_id: FromPath[str], data: JSONBody[CohortPatch]
) -> Response[CohortOut]:
    """A changed rule evaluates anew; readers see the old members until that is done."""
    patched = await service.patch(owner, cohort_id, data, expected_revs=expected_revs(request))
    return _answer(patched, status_code=HTTP_200_OK)


@delete("/v1/cohorts/{cohort_id:str}", summary="Delete a cohort", tags=["cohorts"])
async def delete_cohort(request: AnyRequest, owner: NamedDependency[str], cohort_id: FromPath[str]) -> None:
    """Its members are forgotten with it; profiles stay."""
    await service.delete(owner, cohort_id, expected_revs=expected_revs(request))


@post("/v1/cohorts/{cohort_id:str}/evaluate", status_code=HTTP_200_OK, summary="Evaluate anew", tags=["cohorts"])
async def evaluate_cohort(
    owner: NamedDependency[str], cohort_id: FromPath[str]
) -> Response[EvaluatedOut | AcceptedOut]:
    """Ask the rule about every profile again. Not needed to stay right: the watcher does that."""
    job = await service.evaluate_now(owner, cohort_id)
    if job.state == "succeeded" and job.result is not None:
        return Response(EvaluatedOut.model_validate(job.result))
    if job.state in {"failed", "cancelled", "quarantined"}:
        raise Conflict(job.error or f"{job.id} was cancelled: {cohort_id} changed meanwhile, or was deleted.")
    location = {"Location": f"/v1/jobs/{job.id}"}
    return Response(AcceptedOut(job_id=job.id), status_code=HTTP_202_ACCEPTED, headers=location)


@get("/v1/cohorts/{cohort_id:str}/members", summary="List members", tags=["cohorts"])
async def list_members(
    *,
    owner: NamedDependency[str],
    cohort_id: FromPath[str],
    order: FromQuery[Literal["joined", "id"]] = "joined",
    matching: Matching = None,
    at: At = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[MemberOut]:
    """By when they entered, or in a fixed order of the profiles; those of a past moment always in the latter.

    With `matching` a page may be short, or empty, while there is a `next_cursor`: it ends after 20,000 members.
    """
    if (then := moment(at, "at")) is not None:
        if matching is not None:
            raise Invalid("A rule is asked about the members of now: give `at` or `matching`, not both.")
        items, following = await past.page(owner, cohort_id, then, limit=limit, cursor=cursor)
        return Page(items=items, next_cursor=following)
    items, following = await members.page(owner, cohort_id, order=order, matching=matching, limit=limit, cursor=cursor)
    return Page(items=items, next_cursor=following)


@get("/v1/cohorts/{cohort_id:str}/explain/{pii_id:str}", summary="Explain a membership", tags=["cohorts"])
async def explain_membership(
    owner: NamedDependency[str], cohort_id: FromPath[str], pii_id: FromPath[str]
) -> ExplanationOut:
    """Every condition of the rule with its result for one profile, and the values it saw."""
    return await explanations.explanation(owner, cohort_id, pii_id)


@get("/v1/profiles/{pii_id:str}/cohorts", summary="List the cohorts of a profile", tags=["records"])
async def list_profile_cohorts(
    owner: NamedDependency[str], pii_id: FromPath[str], project_id: ProjectId = None
) -> Page[ProfileCohortOut]:
    """All cohorts that somebody is in, on one page."""
    project = await project_of(owner, project_id)
    return Page(items=await members.cohorts_of_profile(project.id, pii_id))


@post("/v1/rules/check", status_code=HTTP_200_OK, summary="Check a rule", tags=["rules"])
async def check_rule(owner: NamedDependency[str], data: JSONBody[RuleIn]) -> CheckOut:
    """Is it right, what does it mean, and where would it run; nothing is evaluated."""
    return await previews.check(owner, data)


@post("/v1/rules/preview", status_code=HTTP_200_OK, summary="Preview a rule", tags=["rules"])
async def preview_rule(request: AnyRequest, owner: NamedDependency[str], data: JSONBody[PreviewIn]) -> PreviewOut:
    """How many profiles match now, and a few of them; nothing is stored.

    With a `key`, a later preview with the same key ends this one, which answers 409 then. A client that goes away ends
    it, too.
    """
    return await previews.preview(owner, data, disconnected(request))


@get("/v1/rules/functions", summary="List the functions of rules", tags=["rules"])
async def list_functions(owner: NamedDependency[str]) -> Page[FunctionOut]:  # noqa: ARG001  it needs a token
    """What rules can call beside the language itself: Muster's functions, and those that a package brings; one page."""
    return Page(items=[FunctionOut.of(function) for function in known_functions().values()])


def _answer(cohort: Cohort, *, status_code: int) -> Response[CohortOut]:
    headers = {"ETag": etag(cohort.rev)}
    if cohort.run is not None:
        status_code, headers["Location"] = HTTP_202_ACCEPTED, f"/v1/jobs/{cohort.run}"
    return Response(CohortOut.of(cohort), status_code=status_code, headers=headers)


ROUTES: list[HTTPRouteHandler] = [
    create_cohort,
    list_cohorts,
    show_cohort,
    patch_cohort,
    delete_cohort,
    evaluate_cohort,
    list_members,
    explain_membership,
    list_profile_cohorts,
    check_rule,
    preview_rule,
    list_functions,
    *member_routes.ROUTES,
    *history_routes.ROUTES,
    *index_routes.ROUTES,
]
