"""What is stored of agents: who they are, what they were handed, and what assignment jobs remember."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal

from beanie import Document, PydanticObjectId
from bson import ObjectId
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
PipelineState = Literal["open", "closed"]
TaskState = Literal["open", "done", "cancelled"]


class Reason(StrEnum):
    """Why a pipeline entry was closed."""

    REASSIGNED = "reassigned"
    UNDONE = "undone"
    BY_HAND = "by hand"  # somebody else wrote lead.agent_id
    NO_LEAD = "no lead"  # the lead part was deleted


class WorkingHours(BaseModel):
    """When an agent works, in the project's time zone: "09:00" to "17:30" on these days."""

    days: list[Day]
    begin: str
    end: str


class Reservation(BaseModel):
    """Capacity of one day that a job has planned to use."""

    job_id: str
    day: datetime  # when it began in the project's time zone
    leads: int


class Agent(Document):
    """A person to whom leads are assigned. `agent_id` is unique in the project."""

    id: PydanticObjectId
    project_id: str
    agent_id: str
    name: str
    email: str | None = None
    daily_capacity: int
    active: bool = True
    working_hours: WorkingHours | None = None
    reservations: list[Reservation] = Field(default_factory=list)
    jobs_begun: int = 0  # raised by each job that begins with this agent, so that a deletion conflicts with it
    rev: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "agents"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("agent_id", ASCENDING)], name="project_agent", unique=True),
        ]


class Pipeline(Document):
    """That a lead is, or was, with an agent. At most one entry of a lead is open.

    `_id` is "job|profile" where a job opened it, so that no job does so twice; "hand|…" elsewhere. `rev` is the
    profile's as the job left it, by which an undo sees whether somebody touched it since; `before` is the agent that
    the lead had then.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    profile: PydanticObjectId
    agent_id: str
    state: PipelineState
    opened_at: datetime
    closed_at: datetime | None = None
    reason: Reason | None = None
    job_id: str | None = None
    closed_by: str | None = None  # a job
    before: str | None = None
    rev: int | None = None

    class Settings:
        name = "pipelines"
        indexes: ClassVar[list[Any]] = [
            IndexModel(
                [("profile", ASCENDING)],
                name="one_open",
                unique=True,
                partialFilterExpression={"state": "open"},
            ),
            IndexModel([("profile", ASCENDING), ("opened_at", ASCENDING), ("_id", ASCENDING)], name="profile"),
            IndexModel(
                [("project_id", ASCENDING), ("agent_id", ASCENDING), ("state", ASCENDING), ("opened_at", ASCENDING)],
                name="agent",
            ),
        ]


class Task(Document):
    """What an agent has to do about a lead. `_id` is "job.profile.number"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    profile: PydanticObjectId
    agent_id: str
    kind: str
    title: str
    state: TaskState = "open"
    due_at: datetime
    job_id: str
    cancelled_by: str | None = None  # the job that took the lead away, or "hand"
    rev: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "tasks"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("profile", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="profile"),
            IndexModel(
                [
                    ("project_id", ASCENDING),
                    ("agent_id", ASCENDING),
                    ("state", ASCENDING),
                    ("due_at", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="agent",
            ),
        ]


class PlannedTask(BaseModel):
    """A task of the template: due so many hours after the lead was assigned."""

    kind: str
    title: str
    due_in_hours: float


class TaskTemplate(Document):
    """The tasks that each assigned lead brings. `_id` is the project's."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    tasks: list[PlannedTask]
    rev: int = 1
    updated_at: datetime

    class Settings:
        name = "task_templates"


class Rotation(Document):
    """How far a rotation has come that goes on across jobs. `_id` names project, strategy and agents."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    weights: list[int]
    dealt: list[int]

    class Settings:
        name = "rotations"
        indexes: ClassVar[list[Any]] = [IndexModel([("project_id", ASCENDING)], name="project")]


class WaitingLead(Document):
    """A lead for which no capacity was left. `_id` is the profile's; `since` stays until it is assigned."""

    id: PydanticObjectId
    project_id: str
    job_id: str  # that left it last
    since: datetime

    class Settings:
        name = "waiting_leads"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("job_id", ASCENDING), ("since", ASCENDING), ("_id", ASCENDING)], name="job"),
            IndexModel([("project_id", ASCENDING)], name="project"),
        ]


class LeftLead(Document):
    """A lead that a job could not assign, or an undo left as it was. `_id` is "job|place".

    `agent` is the place, in the job's list, of the agent that it was dealt to; None where it was dealt to nobody.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    job_id: str
    profile: PydanticObjectId
    agent: int | None = None
    detail: str
    expires_at: datetime

    class Settings:
        name = "left_leads"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("job_id", ASCENDING), ("_id", ASCENDING)], name="job"),
            IndexModel([("profile", ASCENDING)], name="profile"),
            IndexModel([("project_id", ASCENDING)], name="project"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ]


class FollowState(Document):
    """How far changes of `lead.agent_id` by others are followed: `_id` is "agents"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    token: dict[str, Any] | None = None
    deployment: str = ""
    session: str | None = None  # of who follows, for its transactions, in hexadecimal
    saved_at: datetime

    class Settings:
        name = "follow_states"


def pipeline_id(job_id: str, profile: ObjectId) -> str:
    """The `_id` of the entry that a job opens for a lead."""
    return f"{job_id}|{profile.binary.hex()}"


def task_id(job_id: str, profile: ObjectId, number: int) -> str:
    """The `_id` of a task that a job makes."""
    return f"{job_id}.{profile.binary.hex()}.{number}"


DOCUMENTS: Sequence[type[Document]] = (
    *(Agent, Pipeline, Task, TaskTemplate, Rotation, WaitingLead, LeftLead),
    FollowState,
)
