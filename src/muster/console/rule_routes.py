"""The pages on which rules are written, and what their editor asks while that happens."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.api.requests import disconnected
from muster.cohorts import previews, service
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import CohortIn, CohortPatch, PreviewIn, RuleIn
from muster.console import forms, pages, rule_views
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.rooms import Room
from muster.console.rule_texts import editor_texts
from muster.console.sentences import sentence
from muster.errors import Conflict, Invalid, MusterError, NotFound, PreconditionFailed, Problem
from muster.projects.service import project_of
from muster.rules import RuleError

LARGEST_RULE_FORM = 4_000_000  # bytes: the longest rule, each of its characters encoded

AnyRequest = Request[Any, Any, Any]
ProjectId = Annotated[str | None, QueryParameter(max_length=100)]


@get("/cohorts/new")
async def new_cohort(room: NamedDependency[Room]) -> Page:
    """The form for a new cohort."""
    given = {"name": "", "description": "", "kind": "dynamic", "project_id": room.project.id, "rule": ""}
    return _new(room, given, [])


@post("/cohorts/new", request_max_body_size=LARGEST_RULE_FORM)
async def create_cohort(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Create it, and lead to its page, which shows how far a long evaluation is; or say at the fields what is wrong."""
    given = {name: await forms.text(request, name) for name in ("name", "description", "kind", "project_id")}
    given["rule"] = await _rule_text(request)
    try:
        cohort = await service.create(room.owner, _cohort_in(given))
    except (Invalid, RuleError, Conflict, NotFound) as error:
        return _new(room, given, _problems(error), status_code=getattr(error, "status", 422))
    return forms.go(request, f"/cohorts/{cohort.id}", Notice(_("%(cohort)s is there.") % {"cohort": cohort.id}))


def _cohort_in(given: dict[str, str]) -> CohortIn:
    values: dict[str, object] = {name: given[name] for name in ("name", "description", "kind")}
    if given["project_id"]:
        values["project_id"] = given["project_id"]
    if given["rule"]:
        values["rule"] = rule_views.rule_of(given["rule"])
    return forms.checked(CohortIn, values)


def _new(room: Room, given: dict[str, str], problems: list[Problem], *, status_code: int = 200) -> Page:
    return Page(
        "cohort_new.html",
        status_code=status_code,
        room=room,
        section="cohorts",
        crumbs=[(_("Cohorts"), "/cohorts"), (_("New cohort"), "")],
        given=given,
        tree=None,
        texts=editor_texts(),
        **_by_field(problems, ("name", "description", "kind", "project_id")),
    )


@get("/cohorts/{cohort_id:str}/rule")
async def edit_rule(room: NamedDependency[Room], cohort_id: FromPath[str]) -> Page:
    """The form for the rule of a cohort."""
    cohort = await service.cohort_of(room.owner, cohort_id)
    return _edit(room, cohort, cohort.rule.text if cohort.rule else "", cohort.rev, [])


@post("/cohorts/{cohort_id:str}/rule", request_max_body_size=LARGEST_RULE_FORM)
async def save_rule(request: AnyRequest, room: NamedDependency[Room], cohort_id: FromPath[str]) -> Response[Any]:
    """Save it, if nobody changed the cohort since the form was shown. What was written is never lost."""
    cohort = await service.cohort_of(room.owner, cohort_id)
    text, revs = await _rule_text(request), await forms.revision(request)
    values: dict[str, object] = {}
    if cohort.rule is None or text != cohort.rule.text.strip():
        values["rule"] = rule_views.rule_of(text) if text else None
    try:
        saved = await service.patch(room.owner, cohort_id, forms.checked(CohortPatch, values), expected_revs=revs)
    except PreconditionFailed as error:
        theirs = _(
            "Somebody else changed this cohort meanwhile. What you wrote stands here; saving again puts it in place."
        )
        return _edit(room, cohort, text, cohort.rev, [Problem(theirs)], status_code=error.status)
    except (Invalid, RuleError, Conflict) as error:
        status = getattr(error, "status", 422)
        return _edit(room, cohort, text, next(iter(revs)), _problems(error), status_code=status)
    said = _("The rule is saved.") if saved.run is None else _("The rule is saved, and is evaluated now.")
    return forms.go(request, f"/cohorts/{cohort_id}", Notice(said))


def _edit(room: Room, cohort: Cohort, text: str, rev: int, problems: list[Problem], *, status_code: int = 200) -> Page:
    stored = cohort.rule.tree if cohort.rule and text == cohort.rule.text else None
    return Page(
        "cohort_rule.html",
        status_code=status_code,
        room=room,
        section="cohorts",
        crumbs=[(_("Cohorts"), "/cohorts"), (cohort.name, f"/cohorts/{cohort.id}"), (_("Rule"), "")],
        cohort=cohort,
        rev=rev,
        given={"rule": text, "project_id": cohort.project_id},
        tree=stored,
        texts=editor_texts(),
        **_by_field(problems, ()),
    )


@get("/rules/vocabulary")
async def vocabulary(room: NamedDependency[Room], project_id: ProjectId = None) -> Response[Any]:
    """The fields, functions and cohorts that a rule can name."""
    project = await project_of(room.owner, project_id or room.project.id)
    return Response(await rule_views.vocabulary(project.id), headers=pages.HEADERS)


@get("/rules/values")
async def values(
    room: NamedDependency[Room],
    field: Annotated[str, QueryParameter(max_length=200)],
    q: Annotated[str, QueryParameter(max_length=200)] = "",
    project_id: ProjectId = None,
) -> Response[Any]:
    """Values that a field has."""
    project = await project_of(room.owner, project_id or room.project.id)
    found = await rule_views.known_values(project.id, field, q)
    return Response({"items": found}, headers=pages.HEADERS)


@post("/rules/check", request_max_body_size=LARGEST_RULE_FORM)
async def check(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """The answer of `POST /v1/rules/check`, with problems in the language of the page."""
    body = RuleIn(rule=rule_views.rule_of(await _rule(request)), project_id=await _project_id(request, room))
    found = await previews.check(room.owner, body)
    for problem in (*found.errors, *found.warnings):
        problem["detail"] = sentence(problem["detail"])
    return Response(found, status_code=200, headers=pages.HEADERS)


@post("/rules/preview", request_max_body_size=LARGEST_RULE_FORM)
async def preview(request: AnyRequest, room: NamedDependency[Room]) -> Page:
    """Who matches now, as a piece of the page. A later one of the same editor ends this one."""
    body = forms.checked(
        PreviewIn,
        {
            "rule": rule_views.rule_of(await _rule(request)),
            "project_id": await _project_id(request, room),
            "key": await forms.text(request, "key") or None,
        },
    )
    found = await previews.preview(room.owner, body, disconnected(request))
    return Page("rule_outcome.html", room=room, shown=rule_views.outcome(found))


async def _project_id(request: AnyRequest, room: Room) -> str:
    return await forms.text(request, "project_id") or room.project.id


async def _rule(request: AnyRequest) -> str:
    """The rule that a script sends, to the character: problems in it are told by their offsets."""
    value = (await request.form()).get("rule", "")
    return value if isinstance(value, str) else ""


async def _rule_text(request: AnyRequest) -> str:
    """The rule that a form sends: browsers write every line break of a text field as CR LF."""
    return (await _rule(request)).replace("\r\n", "\n").strip()


def _problems(error: MusterError | RuleError) -> list[Problem]:
    """What is wrong, each at its field. Problems of a rule have no pointer, or one into its tree."""
    if isinstance(error, RuleError):
        return [
            Problem(each.detail, "/rule", each.span.as_json() if each.span else None, each.suggestion)
            for each in error.problems
        ]
    return forms.problems_of(error)


def _by_field(problems: list[Problem], names: tuple[str, ...]) -> dict[str, Any]:
    """Problems for a template: by the name of the field that they are about, those of the rule, and the rest."""
    fields, others = forms.by_field(problems, names)
    rule = [problem for problem in others if (problem.pointer or "").startswith("/rule")]
    rest = [problem for problem in others if problem not in rule]
    return {"field_problems": fields, "rule_problems": rule, "other_problems": rest}


ROUTES = [new_cohort, create_cohort, edit_rule, save_rule, vocabulary, values, check, preview]
