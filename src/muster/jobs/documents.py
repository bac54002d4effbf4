"""What is stored of long work: jobs, and the leases by which one process at a time does a thing.

Every time in here is the MongoDB server's own (`$$NOW`), so that the clocks of our hosts never decide anything.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from beanie import Document
from pydantic import BaseModel, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "quarantined"]

UNFINISHED: Sequence[JobState] = ("queued", "running")
FINISHED: Sequence[JobState] = ("succeeded", "failed", "cancelled", "quarantined")


class Progress(BaseModel):
    """How far a job is, in its own units; `total` is None while nobody knows."""

    done: int = 0
    total: int | None = None


class JobLease(BaseModel):
    """Who works on a job. `fence` rises with every attempt and never falls; no holder means nobody works on it."""

    holder: str | None = None
    fence: int = 0
    expires_at: datetime | None = None


class Job(Document):
    """Long work, on record before any worker hears of it. `_id` is its number, such as "RUN-1"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    owner: str
    kind: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    state: JobState = "queued"
    progress: Progress = Field(default_factory=Progress)
    result: dict[str, Any] | None = None
    failures: list[dict[str, Any]] = Field(default_factory=list)
    error: str | None = None
    attempts: int = 0
    attempts_since_progress: int = 0  # three of these without a clean end mean quarantine
    furthest: int = 0  # the highest `progress.done` of any attempt: only going beyond it is progress
    checkpoint: Any = None  # where the next attempt goes on, in the job's own words
    lease: JobLease = Field(default_factory=JobLease)
    cancel_requested: bool = False
    due_at: datetime | None = None  # it waits for somebody else: nobody works on it before
    session: str | None = None  # of the attempt under way, for its transactions, in hexadecimal
    retryable: bool = False  # it succeeded, but for some of its items
    retries: int = 0  # how often those were asked for again
    sent_at: datetime | None = None  # when a message was last sent; None: never, or Redis did not take it
    sends: int = 0  # messages sent since the last attempt began
    rev: int = 1
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    class Settings:
        name = "jobs"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("owner", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="owner_newest"),
            IndexModel(
                [("owner", ASCENDING), ("project_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="owner_project_newest",
            ),
            IndexModel([("state", ASCENDING), ("lease.expires_at", ASCENDING)], name="state_lease"),
            IndexModel(
                [("failures.pii_id", ASCENDING)],  # for erasures
                name="failed_profile",
                partialFilterExpression={"failures.pii_id": {"$exists": True}},
            ),
        ]


def job_from(stored: Mapping[str, Any]) -> Job:
    """The job in a document as MongoDB's driver returns it."""
    job: Job = Job.model_validate(stored)
    return job


class Lease(Document):
    """The right to do one named thing, until `expires_at`. `_id` is the name, such as "jobs:sweep".

    `fence` rises whenever the lease is taken: whoever still carries a lower one has lost it.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    holder: str | None
    fence: int
    ttl_ms: int
    renewed_at: datetime
    expires_at: datetime | None  # None: given back

    class Settings:
        name = "leases"

    @property
    def name(self) -> str:
        """What the lease is for."""
        return self.id


DOCUMENTS: Sequence[type[Document]] = (Job, Lease)
