"""Jobs on the wire."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from muster.jobs.documents import Job

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class ProgressOut(BaseModel):
    """How far a job is, in its own units; `total` is null while nobody knows."""

    done: int
    total: int | None


class JobOut(BaseModel):
    """A job as its owner sees it."""

    id: str
    project_id: str
    kind: str
    state: State
    progress: ProgressOut
    result: dict[str, Any] | None
    failures: list[dict[str, Any]]
    error: str | None
    attempts: int
    cancel_requested: bool
    retryable: bool = Field(description="Whether `retry` would do anything: it failed, or some of its items did.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    rev: int


def job_out(job: Job) -> JobOut:
    """A job without what only the workers need. One in quarantine has failed, as far as its owner is concerned."""
    return JobOut(
        id=job.id,
        project_id=job.project_id,
        kind=job.kind,
        state="failed" if job.state == "quarantined" else job.state,
        progress=ProgressOut(done=job.progress.done, total=job.progress.total),
        result=job.result,
        failures=job.failures,
        error=job.error,
        attempts=job.attempts,
        cancel_requested=job.cancel_requested,
        retryable=job.state in {"failed", "cancelled", "quarantined"} or (job.state == "succeeded" and job.retryable),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        rev=job.rev,
    )
