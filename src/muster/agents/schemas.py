"""Agents, tasks and assignments over the wire."""

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, model_validator

from muster.agents.documents import (
    Agent,
    Day,
    Pipeline,
    PipelineState,
    PlannedTask,
    Task,
    TaskState,
    TaskTemplate,
    WorkingHours,
)
from muster.agents.strategies import Strategy
from muster.api.requests import Body

LARGEST_CAPACITY = 1_000_000  # leads a day
MOST_AGENTS = 1_000  # of one assignment
MOST_TASKS = 20  # of a template

_STORABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*")


def _storable(text: str) -> str:
    if not _STORABLE.fullmatch(text):
        raise ValueError("This has control characters.")
    return text


def _email(text: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", text):
        raise ValueError("This is no e-mail address.")
    return text


Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_storable)]
Email = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=320), AfterValidator(_storable), AfterValidator(_email)
]
Capacity = Annotated[int, Field(ge=0, le=LARGEST_CAPACITY, description="Leads a day.")]
TimeOfDay = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
ProjectOfBody = Annotated[str | None, Field(description="The project; by default the owner's default project.")]

_READ_ONLY = frozenset(
    {"id", "capacity_used_today", "capacity_left_today", "created_at", "updated_at", "rev"},
)


class WorkingHoursIn(Body):
    """When an agent works, in the project's time zone. Tasks fall due within these hours."""

    days: list[Day] = Field(min_length=1, max_length=7)
    begin: TimeOfDay = "09:00"
    end: TimeOfDay = "17:00"

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> "WorkingHoursIn":
        if self.begin >= self.end:
            raise ValueError("`begin` is before `end`, on the same day.")
        self.days = list(dict.fromkeys(self.days))
        return self


class AgentIn(Body):
    """An agent as a whole."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    name: Line
    email: Email | None = None
    daily_capacity: Capacity
    active: bool = True
    working_hours: WorkingHoursIn | None = None
    project_id: ProjectOfBody = None

    def values(self) -> dict[str, Any]:
        """What is stored of it."""
        return self.model_dump(exclude={"project_id"})


class AgentPatch(Body):
    """What may change of an agent; what is left out stays. `email` and `working_hours` may be null."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY | {"project_id"}

    # The defaults stand for nothing: what counts is which properties were given.
    name: Line = ""
    email: Email | None = None
    daily_capacity: Capacity = 0
    active: bool = True
    working_hours: WorkingHoursIn | None = None

    def values(self) -> dict[str, Any]:
        """What was given."""
        return self.model_dump(include=self.model_fields_set)


class AgentOut(BaseModel):
    """An agent. Used today are the leads that were handed to it since midnight in the project's time zone."""

    id: str
    project_id: str
    name: str
    email: str | None
    daily_capacity: int
    active: bool
    working_hours: WorkingHours | None
    capacity_used_today: int
    capacity_left_today: int
    created_at: datetime
    updated_at: datetime
    rev: int

    @classmethod
    def of(cls, agent: Agent, used: int) -> "AgentOut":
        """The wire form of a stored agent that was handed so many leads today."""
        return cls(
            id=agent.agent_id,
            **agent.model_dump(exclude={"id", "revision_id", "agent_id", "reservations", "jobs_begun"}),
            capacity_used_today=used,
            capacity_left_today=max(0, agent.daily_capacity - used),
        )


class AssignIn(Body):
    """How to hand the leads of a cohort to agents."""

    agent_ids: list[Annotated[str, StringConstraints(max_length=1_000)]] = Field(max_length=MOST_AGENTS)
    strategy: Strategy = Field(default=Strategy.ROUND_ROBIN, strict=False)
    reassign: bool = Field(default=True, description="False: leads that are with an agent stay there.")
    rotation: Literal["restart", "continue"] = Field(
        default="restart", description="`continue` goes on where the last job with these agents stopped."
    )
    respect_capacity: bool = Field(
        default=False, description="Nobody gets more than is left of today's capacity; the rest waits."
    )
    dry_run: bool = Field(default=False, description="Only say what would happen.")


class ShareOut(BaseModel):
    """What one agent has of the leads of a job, beside its exact share. `deviation` is in leads."""

    agent_id: str
    leads: int
    share: float
    daily_capacity: int
    deviation: float


class FairnessOut(BaseModel):
    """How fair a job was."""

    agents: list[ShareOut]
    maximum_deviation: float


class CountsOut(BaseModel):
    """What became of the leads of a job; `per_agent` counts those that are with each agent by it, or were already."""

    assigned_count: int = 0
    unchanged: int = 0
    reassigned: int = 0
    left_alone: int = 0
    unassigned_count: int = 0
    failed_count: int = 0
    per_agent: dict[str, int] = {}
    fairness: FairnessOut | None = None


class FailureOut(BaseModel):
    """A lead that was not assigned, and why. `pii_id` is null where it was erased meanwhile."""

    pii_id: str | None
    detail: str


class AssignedOut(CountsOut):
    """A finished assignment."""

    job_id: str
    failures: list[FailureOut]
    unassigned: list[str]


class DryRunOut(CountsOut):
    """What an assignment would do now."""


class UndoneOut(BaseModel):
    """A finished undo; `failures` are the leads that it left as they are."""

    job_id: str
    undone_count: int
    failed_count: int
    failures: list[FailureOut]


class PipelineOut(BaseModel):
    """That a lead is, or was, with an agent. `reason` says why it was closed."""

    agent_id: str
    state: PipelineState
    opened_at: datetime
    closed_at: datetime | None
    reason: str | None
    job_id: str | None
    closed_by: str | None

    @classmethod
    def of(cls, pipeline: Pipeline) -> "PipelineOut":
        """The wire form of a stored entry."""
        return cls(**pipeline.model_dump(include=set(cls.model_fields)))


class TaskPatch(Body):
    """What may change of a task."""

    read_only: ClassVar[frozenset[str]] = frozenset(
        {"id", "pii_id", "kind", "title", "agent_id", "due_at", "job_id", "created_at", "updated_at", "rev"}
    )

    state: TaskState


class TaskOut(BaseModel):
    """What an agent has to do about a lead."""

    id: str
    pii_id: str | None
    kind: str
    title: str
    state: TaskState
    agent_id: str
    due_at: datetime
    job_id: str
    created_at: datetime
    updated_at: datetime
    rev: int

    @classmethod
    def of(cls, task: Task, pii_id: str | None) -> "TaskOut":
        """The wire form of a stored task about the lead of this id."""
        return cls(pii_id=pii_id, **task.model_dump(include=set(cls.model_fields)))


class PlannedTaskIn(Body):
    """A task that each assigned lead brings."""

    kind: Line
    title: Line
    due_in_hours: float = Field(default=24, ge=0, le=24 * 366, allow_inf_nan=False)


class TaskTemplateIn(Body):
    """The tasks that each assigned lead brings; none is allowed."""

    read_only: ClassVar[frozenset[str]] = frozenset({"updated_at", "rev"})

    tasks: list[PlannedTaskIn] = Field(max_length=MOST_TASKS)


class TaskTemplateOut(BaseModel):
    """The tasks that each assigned lead brings. `rev` is 0 while nobody has changed them."""

    tasks: list[PlannedTask]
    updated_at: datetime | None
    rev: int

    @classmethod
    def of(cls, template: TaskTemplate) -> "TaskTemplateOut":
        """The wire form of a template."""
        return cls(tasks=template.tasks, updated_at=template.updated_at if template.rev else None, rev=template.rev)


class LeftLeadOut(BaseModel):
    """A lead that a job did not assign, or an undo left as it was."""

    pii_id: str
    detail: str


class WaitingLeadOut(BaseModel):
    """A lead for which no capacity was left. It comes first at the next assignment that minds capacity."""

    pii_id: str
    since: datetime
