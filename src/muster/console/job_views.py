"""What the pages of jobs show."""

from collections.abc import Sequence
from dataclasses import dataclass

from muster.jobs.documents import FINISHED, UNFINISHED, Job, JobState
from muster.jobs.schemas import JobOut, job_out
from muster.jobs.service import list_jobs
from muster.projects.documents import Project

JOBS_PER_PAGE = 50
MOST_ROWS = 1_000
FAILURES_SHOWN = 200

FILTERS: dict[str, tuple[JobState, ...]] = {
    "": (),
    "unfinished": tuple(UNFINISHED),
    "finished": tuple(FINISHED),
    "failed": ("failed", "quarantined"),
}


@dataclass(frozen=True, slots=True)
class JobList:
    """A page of jobs, the newest first."""

    jobs: Sequence[JobOut]
    next_cursor: str | None


async def job_list(project: Project, *, only: str, cursor: str | None, rows: int | None = None) -> JobList:
    """The jobs of a project; `only` is one of FILTERS, `rows` says how far the list has grown already."""
    jobs, following = await list_jobs(
        project.owner,
        project_id=project.id,
        states=FILTERS[only],
        limit=min(max(rows or 0, JOBS_PER_PAGE), MOST_ROWS),
        cursor=cursor,
    )
    return JobList([job_out(job) for job in jobs], following)


def page_of_result(job: Job) -> str | None:
    """Where what came of a job is shown, for the kinds that have a page for that."""
    if job.kind in {"assign", "undo_assign"}:
        return f"/assignments/{job.id}"
    if job.kind == "import":
        return f"/attio/imports/{job.id}"
    if job.kind == "experiment":
        return f"/experiments/{job.arguments['experiment_id']}/runs/{job.arguments['run_id']}"
    return None
