"""The pages that hand leads to agents: chosen, planned, begun, followed, taken back."""

from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from muster.agents import assignments, undoing
from muster.agents.schemas import AgentOut, AssignIn, DryRunOut
from muster.api.paging import Cursor
from muster.console import assign_views, forms, live, pages
from muster.console.assign_views import KINDS, Assignment, Choice, Plan
from muster.console.forms import Notice
from muster.console.languages import gettext as _
from muster.console.pages import Page
from muster.console.picker import picker
from muster.console.rooms import Room
from muster.errors import Invalid, MusterError, NotFound
from muster.jobs.documents import Job
from muster.jobs.service import job_of
from muster.projects.service import project_of

PLANNED_AT_ONCE = 5_000  # members

AnyRequest = Request[Any, Any, Any]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
ChosenCohort = Annotated[str, QueryParameter(max_length=100)]


@get("/assign")
async def choose(room: NamedDependency[Room], cohort: ChosenCohort = "") -> Response[Any]:
    """Choose a cohort, agents and a strategy."""
    agents = await assign_views.all_agents(room.project)
    active = tuple(agent.id for agent in agents if agent.active)
    return await _form(room, Choice(cohort_id=cohort, agent_ids=active), agents, with_plan=bool(cohort), at_once=False)


@post("/assign", status_code=200)
async def assign(request: AnyRequest, room: NamedDependency[Room]) -> Response[Any]:
    """Search for a cohort, show the plan, or begin, as the button that was pressed says."""
    choice, wanted = await _choice(request), await forms.text(request, "do")
    agents = await assign_views.all_agents(room.project)
    if wanted != "assign":
        return await _form(room, choice, agents, with_plan=wanted != "find")
    try:
        if not choice.cohort_id:
            raise Invalid("Choose a cohort.")
        body = forms.checked(AssignIn, choice.as_body(dry_run=False))
        job = await assignments.assign(room.owner, choice.cohort_id, body)
    except MusterError as error:
        return await _form(room, choice, agents, problem=error)
    if isinstance(job, DryRunOut):
        raise TypeError("this asked for an assignment")
    return forms.go(request, f"/assignments/{job.id}")


async def _form(
    room: Room,
    choice: Choice,
    agents: list[AgentOut],
    *,
    with_plan: bool = False,
    at_once: bool = True,
    problem: MusterError | None = None,
) -> Response[Any]:
    """The form. The plan of a large cohort takes its time; unless it has to be there `at_once`, it comes by itself."""
    picked = await picker(room.project, q=choice.q, chosen=choice.cohort_id)
    plan: Plan | None = None
    can_plan = with_plan and bool(picked.chosen) and bool(choice.agent_ids)
    comes_later = can_plan and not at_once and bool(picked.chosen and picked.chosen.member_count > PLANNED_AT_ONCE)
    if can_plan and picked.chosen and not comes_later:
        try:
            body = forms.checked(AssignIn, choice.as_body(dry_run=True))
            found = await assignments.assign(room.owner, picked.chosen.id, body)
            plan = assign_views.plan_of(found, agents) if isinstance(found, DryRunOut) else None
        except MusterError as error:
            problem = error
    newest = await assign_views.assignment_list(room.project, limit=assign_views.NEWEST)
    return Page(
        "assign.html",
        status_code=problem.status if problem else 200,
        room=room,
        section="assign",
        choice=choice,
        picker=picked,
        agents=agents,
        plan=plan,
        comes_later=comes_later,
        problems=[each.detail for each in forms.problems_of(problem)] if problem else [],
        newest=newest.lines,
    )


async def _choice(request: AnyRequest) -> Choice:
    form = await request.form()
    agent_ids = [each for each in form.getall("agent", []) if isinstance(each, str)]
    return Choice(
        q=await forms.text(request, "q"),
        cohort_id=await forms.text(request, "cohort"),
        agent_ids=tuple(agent_ids),
        strategy=await forms.text(request, "strategy"),
        reassign=bool(await forms.text(request, "reassign")),
        respect_capacity=bool(await forms.text(request, "respect_capacity")),
    )


@get("/assignments")
async def past(room: NamedDependency[Room], cursor: Cursor = None) -> Response[Any]:
    """Assignments of a project, the newest first."""
    return Page(
        "assignments.html",
        room=room,
        section="assign",
        crumbs=[(_("Assign"), "/assign"), (_("Assignments"), "")],
        shown=await assign_views.assignment_list(room.project, cursor=cursor),
        cursor=cursor,
    )


@get("/assignments/{job_id:str}")
async def assignment(
    room: NamedDependency[Room], job_id: FromPath[str], cursor: Cursor = None, seen: Seen = None
) -> Response[Any]:
    """One assignment: how far it is, who has how many, what failed, and the way back."""
    job = await _assignment(room.owner, job_id)
    shown = await assign_views.assignment(job, cursor=cursor)
    version = live.version_of(shown)
    if seen == version:
        return pages.nothing_new()
    return Page(
        "assignment.html",
        room=room,
        section="assign",
        crumbs=[(_("Assign"), "/assign"), (_("Assignments"), "/assignments"), (job_id, "")],
        shown=shown,
        version=version,
        cursor=cursor,
        strategy=job.arguments.get("strategy"),
        zone=(await project_of(room.owner, job.project_id)).time_zone,
    )


@get("/assignments/{job_id:str}/live")
async def follow_assignment(
    request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str], cursor: Cursor = None, seen: Seen = None
) -> Response[Any]:
    """Tells the page when it is out of date."""

    async def look() -> str:
        found: Assignment = await assign_views.assignment(await _assignment(room.owner, job_id), cursor=cursor)
        return live.version_of(found)

    return await live.follow(request, look, seen)


@post("/assignments/{job_id:str}/undo")
async def undo(request: AnyRequest, room: NamedDependency[Room], job_id: FromPath[str]) -> Response[Any]:
    """Give leads back to whom they were with, as far as nobody has touched them since."""
    try:
        job = await undoing.start(room.owner, job_id, within=assignments.ANSWER_WITHIN)
    except MusterError as error:
        return forms.refused(request, f"/assignments/{job_id}", error)
    return forms.go(request, f"/assignments/{job.id}", Notice(_("%(job)s is taken back.") % {"job": job_id}))


async def _assignment(owner: str, job_id: str) -> Job:
    """A job of these pages. Raises NotFound."""
    job = await job_of(owner, job_id)
    if job.kind not in KINDS:
        raise NotFound(f"{job_id} is no assignment.")
    return job


ROUTES = [choose, assign, past, assignment, follow_assignment, undo]
