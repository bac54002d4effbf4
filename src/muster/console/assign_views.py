"""What the pages of assignments show: the plan, and what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muster.agents import left, service
from muster.agents.assigning import KIND as ASSIGN
from muster.agents.schemas import AgentOut, DryRunOut, LeftLeadOut, WaitingLeadOut
from muster.agents.undoing import KIND as UNDO
from muster.cohorts.documents import Cohort
from muster.jobs.documents import Job
from muster.jobs.schemas import JobOut, job_out
from muster.jobs.service import list_jobs
from muster.projects.documents import Project

KINDS = (ASSIGN, UNDO)
MOST_AGENTS = 1_000  # shown to choose from: as many as one assignment may name
LEADS_PER_PAGE = 100
JOBS_PER_PAGE = 50
NEWEST = 5


@dataclass(frozen=True, slots=True)
class Choice:
    """What somebody has chosen so far."""

    q: str = ""
    cohort_id: str = ""
    agent_ids: Sequence[str] = ()
    strategy: str = "round_robin"
    reassign: bool = True
    respect_capacity: bool = False

    def as_body(self, *, dry_run: bool) -> dict[str, Any]:
        """As the API would be asked."""
        return {
            "agent_ids": list(self.agent_ids),
            "strategy": self.strategy,
            "reassign": self.reassign,
            "respect_capacity": self.respect_capacity,
            "dry_run": dry_run,
        }


@dataclass(frozen=True, slots=True)
class Load:
    """One agent's leads beside what it can take."""

    agent_id: str
    name: str
    leads: int
    capacity: int


@dataclass(frozen=True, slots=True)
class Loads:
    """All agents of an assignment. `most` is the largest number among them: bars share its scale."""

    agents: Sequence[Load]
    most: int
    leads: int
    over: int  # agents with more leads than they can take


@dataclass(frozen=True, slots=True)
class Plan:
    """What an assignment would do now. Capacities are what is left of today."""

    loads: Loads
    counts: DryRunOut


@dataclass(frozen=True, slots=True)
class Assignment:
    """A job that assigns, or takes an assignment back. `undone_by` is the newest job that takes this one back."""

    job: JobOut
    cohort: Cohort | None
    loads: Loads | None
    failed: Sequence[LeftLeadOut]
    next_failed: str | None
    waiting: Sequence[WaitingLeadOut]
    undoes: str | None
    undone_by: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """An assignment in a list."""

    job: JobOut
    cohort_id: str
    cohort_name: str | None


@dataclass(frozen=True, slots=True)
class AssignmentList:
    """A page of assignments, the newest first."""

    lines: Sequence[Line]
    next_cursor: str | None


async def all_agents(project: Project) -> list[AgentOut]:
    """The agents to choose from."""
    agents, _ = await service.list_agents(project, active=None, limit=MOST_AGENTS, cursor=None)
    return await service.shown(project, agents)


def plan_of(counts: DryRunOut, agents: Sequence[AgentOut]) -> Plan:
    """What a dry run says, agent by agent."""
    known = {agent.id: agent for agent in agents}
    return Plan(
        _loads(
            counts.per_agent,
            {agent_id: agent.name for agent_id, agent in known.items()},
            {agent_id: agent.capacity_left_today for agent_id, agent in known.items()},
        ),
        counts,
    )


async def assignment(job: Job, *, cursor: str | None = None) -> Assignment:
    """A job of this kind with what it left."""
    failed, next_failed = await left.left_by(job, limit=LEADS_PER_PAGE, cursor=cursor)
    waiting, _ = await left.waiting_since(job, limit=LEADS_PER_PAGE, cursor=None)
    undone_by = (
        await Job.find({"owner": job.owner, "kind": UNDO, "arguments.undoes": job.id}).sort("-_id").first_or_none()
    )
    return Assignment(
        job=job_out(job),
        cohort=await Cohort.find_one({"_id": job.arguments["cohort_id"]}),
        loads=await _loads_of(job) if job.kind == ASSIGN else None,
        failed=failed,
        next_failed=next_failed,
        waiting=waiting,
        undoes=job.arguments.get("undoes"),
        undone_by=undone_by.id if undone_by else None,
    )


async def assignment_list(project: Project, *, limit: int = JOBS_PER_PAGE, cursor: str | None = None) -> AssignmentList:
    """A page of a project's assignments, and of what took them back."""
    jobs, following = await list_jobs(project.owner, project_id=project.id, kinds=KINDS, limit=limit, cursor=cursor)
    ids = list({job.arguments["cohort_id"] for job in jobs})
    names = {cohort.id: cohort.name for cohort in await Cohort.find({"_id": {"$in": ids}}).to_list()}
    lines = [
        Line(job_out(job), cohort_id, names.get(cohort_id)) for job in jobs if (cohort_id := job.arguments["cohort_id"])
    ]
    return AssignmentList(lines, following)


async def _loads_of(job: Job) -> Loads:
    """The agents of a job, with the daily capacities that they had when it was made."""
    takers = job.arguments["agents"]
    capacities = {taker["id"]: taker["capacity"] for taker in takers}
    known = await service.agents_of(job.project_id, list(capacities))
    per_agent = (job.result or {}).get("per_agent") or dict.fromkeys(capacities, 0)
    return _loads(per_agent, {agent_id: agent.name for agent_id, agent in known.items()}, capacities)


def _loads(leads: Mapping[str, int], names: Mapping[str, str], capacities: Mapping[str, int]) -> Loads:
    agents = [
        Load(agent_id, names.get(agent_id, agent_id), count, capacities.get(agent_id, 0))
        for agent_id, count in leads.items()
    ]
    return Loads(
        agents,
        most=max((max(agent.leads, agent.capacity) for agent in agents), default=0),
        leads=sum(leads.values()),
        over=sum(agent.leads > agent.capacity for agent in agents),
    )
