"""The pages of experiments: their list, one of them, the forms, what runs and deletes it."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.api.paging import Cursor
from muster.cohorts.service import cohort_of
from muster.console import experiment_views, forms, live, pages
from muster.console.experiment_drafts import Draft
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.languages import ngettext, number
from muster.console.pages import Page
from muster.console.picker import picker
from muster.console.rooms import Room
from muster.console.sentences import sentence
from muster.errors import MusterError, NotFound
from muster.experiments import assignment, run_service, service
from muster.experiments.documents import Experiment
from muster.experiments.schemas import AssignedOut, AssignIn, ExperimentIn, ExperimentPatch
from muster.jobs.documents import Job
from muster.projects.service import project_of
from muster.settings import Settings

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
ChosenCohort = Annotated[str, QueryParameter(max_length=100)]

FAILURES_SAID = 3  # of experiments that were not given a cohort, in a notice

# Of the fields that show what is wrong with them, as problems of the API name them.
NAMES = ("name", "description", "cohort_id", "count", "sample", "holdout", "seed", "arms", "rest")


@get("/experiments")
async def experiments(room: NamedDependency[Room], cursor: Cursor = None) -> Response[Any]:
    """The experiments of a project."""
    return Page(
        "experiments.html",
        room=room,
        section="experiments",
        shown=await experiment_views.experiment_list(room.project, cursor=cursor),
        cursor=cursor,
    )


@get("/experiments/new")
async def new(room: NamedDependency[Room], cohort: ChosenCohort = "") -> Response[Any]:
    """A form for a new experiment."""
    return await _form(room, Draft(cohort_id=cohort))


@post("/experiments/new", status_code=200)
async def create(
    request: AnyRequest, room: NamedDependency[Room], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Search for a cohort, look at its first members, or create, as the button that was pressed says."""
    draft = await Draft.from_form(request)
    if await forms.text(request, "do") != "save":
        return await _form(room, draft)
    try:
        body = forms.checked(ExperimentIn, draft.as_body(room.project.id))
        made = await service.create(room.owner, body, settings)
    except MusterError as error:
        return await _form(room, draft, error=error)
    return forms.go(request, f"/experiments/{made.id}", Notice(_("%(experiment)s is there.") % {"experiment": made.id}))


@get("/experiments/{experiment_id:str}/edit")
async def edit(room: NamedDependency[Room], experiment_id: FromPath[str]) -> Response[Any]:
    """An experiment in a form."""
    experiment = await service.experiment_of(room.owner, experiment_id)
    return await _form(room, Draft.of(experiment), experiment)


@post("/experiments/{experiment_id:str}/edit", status_code=200)
async def save(
    request: AnyRequest,
    room: NamedDependency[Room],
    settings: NamedDependency[Settings],
    experiment_id: FromPath[str],
) -> Response[Any]:
    """Save an experiment, if nobody changed it since the form was shown. Runs that are frozen stay what they are."""
    experiment = await service.experiment_of(room.owner, experiment_id)
    draft = await Draft.from_form(request)
    if await forms.text(request, "do") != "save":
        return await _form(room, draft, experiment, rev=await forms.text(request, "rev"))
    try:
        body = forms.checked(ExperimentPatch, draft.as_body())
        revs = await forms.revision(request)
        await service.patch(room.owner, experiment_id, body, settings, expected_revs=revs)
    except NotFound:
        raise
    except MusterError as error:
        return await _form(room, draft, experiment, error=error)
    return forms.go(request, f"/experiments/{experiment_id}", Notice(_("Saved.")))


async def _form(
    room: Room,
    draft: Draft,
    experiment: Experiment | None = None,
    *,
    error: MusterError | None = None,
    rev: str | None = None,
) -> Response[Any]:
    project = await project_of(room.owner, experiment.project_id) if experiment else room.project
    picked = await picker(project, q=draft.q, chosen=draft.cohort_id)
    fields, rest = forms.by_field(forms.problems_of(error), NAMES, within="/config/personas") if error else ({}, [])
    here = f"/experiments/{experiment.id}" if experiment else ""
    way = [(experiment.name, here), (_("Edit"), "")] if experiment else [(_("New experiment"), "")]
    return Page(
        "experiment_form.html",
        status_code=error.status if error else 200,
        room=room,
        section="experiments",
        crumbs=[(_("Experiments"), "/experiments"), *way],
        draft=draft,
        experiment=experiment,
        rev=rev or (experiment.rev if experiment else 0),
        takers=await experiment_views.takers_of(experiment) if experiment else None,
        action=f"{here}/edit" if experiment else "/experiments/new",
        leave=here or "/experiments",
        picker=picked,
        first=await experiment_views.first_members(picked.chosen) if picked.chosen else [],
        problems=fields,
        other_problems=[problem.detail for problem in rest],
    )


@get("/experiments/{experiment_id:str}")
async def experiment(
    room: NamedDependency[Room],
    settings: NamedDependency[Settings],
    experiment_id: FromPath[str],
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """One experiment: who takes part, how, and its runs."""
    shown = await experiment_views.detail(room.owner, experiment_id, settings, cursor=cursor)
    version = live.version_of(shown)
    if seen == version:
        return pages.nothing_new()
    return Page(
        "experiment.html",
        room=room,
        section="experiments",
        crumbs=[(_("Experiments"), "/experiments"), (experiment_id, "")],
        shown=shown,
        version=version,
        cursor=cursor,
        rest=Draft.of(shown.experiment).rest,
        zone=(await project_of(room.owner, shown.experiment.project_id)).time_zone,
    )


@get("/experiments/{experiment_id:str}/live")
async def follow_experiment(
    *,
    request: AnyRequest,
    room: NamedDependency[Room],
    settings: NamedDependency[Settings],
    experiment_id: FromPath[str],
    cursor: Cursor = None,
    seen: Seen = None,
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        return live.version_of(await experiment_views.detail(room.owner, experiment_id, settings, cursor=cursor))

    return await live.follow(request, look, seen)


@post("/experiments/{experiment_id:str}/run")
async def run(
    request: AnyRequest,
    room: NamedDependency[Room],
    settings: NamedDependency[Settings],
    experiment_id: FromPath[str],
) -> Response[Any]:
    """Freeze who takes part, and hand them over."""
    here = f"/experiments/{experiment_id}"
    try:
        begun, _job = await run_service.start(room.owner, experiment_id, settings)
    except MusterError as error:
        return forms.refused(request, here, error)
    return forms.go(request, f"{here}/runs/{begun.id}")


@post("/experiments/{experiment_id:str}/delete")
async def delete(request: AnyRequest, room: NamedDependency[Room], experiment_id: FromPath[str]) -> Response[Any]:
    """Delete an experiment with its runs and results."""
    try:
        await service.delete(room.owner, experiment_id, expected_revs=await forms.revision(request))
    except MusterError as error:
        return forms.refused(request, f"/experiments/{experiment_id}", error)
    return forms.go(request, "/experiments", Notice(_("%(experiment)s is deleted.") % {"experiment": experiment_id}))


@get("/cohorts/{cohort_id:str}/experiments")
async def experiments_for(
    room: NamedDependency[Room], cohort_id: FromPath[str], cursor: Cursor = None
) -> Response[Any]:
    """The experiments of a cohort's project, to be given this cohort."""
    cohort = await cohort_of(room.owner, cohort_id)
    project = await project_of(room.owner, cohort.project_id)
    return Page(
        "cohort_experiments.html",
        room=room,
        section="cohorts",
        crumbs=[(_("Cohorts"), "/cohorts"), (cohort_id, f"/cohorts/{cohort_id}"), (_("Give it to experiments"), "")],
        cohort=cohort,
        shown=await experiment_views.experiment_list(project, cursor=cursor),
        cursor=cursor,
        zone=project.time_zone,
    )


@post("/cohorts/{cohort_id:str}/experiments")
async def give(
    request: AnyRequest,
    room: NamedDependency[Room],
    settings: NamedDependency[Settings],
    cohort_id: FromPath[str],
) -> Response[Any]:
    """Let the chosen experiments run over a cohort; very many of them by a job."""
    here = f"/cohorts/{cohort_id}/experiments"
    chosen = [each for each in (await request.form()).getall("experiment", []) if isinstance(each, str)]
    if not chosen:
        return forms.go(request, here, Notice(_("No experiment was chosen."), "bad"))
    try:
        body = forms.checked(AssignIn, {"experiment_ids": chosen})
        done = await assignment.assign(room.owner, cohort_id, body.experiment_ids, settings)
    except MusterError as error:
        return forms.refused(request, here, error)
    if isinstance(done, Job):
        return forms.go(request, f"/jobs/{done.id}")
    return forms.go(request, here, _given(done))


def _given(done: AssignedOut) -> Notice:
    """What was done, or of what was not the first few with their reasons."""
    count = len(done.failed) or done.assigned
    shown = {"count": number(count)}
    if not done.failed:
        said = ngettext(
            "%(count)s experiment asks its members now.", "%(count)s experiments ask its members now.", count
        )
        return Notice(said % shown)
    said = ngettext("%(count)s experiment was not changed.", "%(count)s experiments were not changed.", count)
    reasons = (f"{each.experiment_id}: {sentence(each.detail)}" for each in done.failed[:FAILURES_SAID])
    return Notice(" ".join([said % shown, *reasons]), "bad")


ROUTES = [experiments, new, create, edit, save, experiment, follow_experiment, run, delete, experiments_for, give]
