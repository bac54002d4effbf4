"""One cohort to many experiments: at once, or from a hundred on by a job."""

from collections.abc import Sequence

from muster.cohorts.service import cohort_of
from muster.errors import MusterError
from muster.experiments import service
from muster.experiments.schemas import AssignedOut, ExperimentPatch, FailedAssignment
from muster.jobs.documents import Job
from muster.jobs.service import claim, create_job, send
from muster.settings import Settings

PREFIX, KIND = "EAJ", "assign_experiments"
FROM_A_JOB = 100
BETWEEN_REPORTS = 20


async def assign(owner: str, cohort_id: str, experiment_ids: Sequence[str], settings: Settings) -> AssignedOut | Job:
    """Let experiments run over a cohort; many of them by a job. Raises NotFound for the cohort."""
    cohort = await cohort_of(owner, cohort_id)
    wanted = list(dict.fromkeys(experiment_ids))
    if len(wanted) >= FROM_A_JOB:
        arguments = {"cohort_id": cohort_id, "experiment_ids": wanted}
        job = await create_job(PREFIX, KIND, cohort.project_id, owner, arguments)
        await send(job)
        return job
    found = [await _assign(owner, cohort_id, experiment_id, settings) for experiment_id in wanted]
    failed = [failure for failure in found if failure is not None]
    return AssignedOut(assigned=len(wanted) - len(failed), failed=failed)


async def _assign(owner: str, cohort_id: str, experiment_id: str, settings: Settings) -> FailedAssignment | None:
    try:
        await service.patch(
            owner, experiment_id, ExperimentPatch.model_validate({"cohort_id": cohort_id}), settings, expected_revs=None
        )
    except MusterError as error:
        return FailedAssignment(experiment_id=experiment_id, detail=error.detail)
    return None


async def run_job(job_id: str, settings: Settings) -> None:
    """Assign what a job names, and go on where an earlier attempt was. Doing one twice changes nothing."""
    async with claim(job_id) as claimed:
        cohort_id, wanted = claimed.job.arguments["cohort_id"], claimed.job.arguments["experiment_ids"]
        so_far = claimed.job.checkpoint or {"done": 0, "failed": 0}
        while so_far["done"] < len(wanted):
            some = wanted[so_far["done"] : so_far["done"] + BETWEEN_REPORTS]
            found = [await _assign(claimed.job.owner, cohort_id, each, settings) for each in some]
            failures = [failure.model_dump() for failure in found if failure is not None]
            so_far = {"done": so_far["done"] + len(some), "failed": so_far["failed"] + len(failures)}
            await claimed.checkpoint(so_far, failures=failures)
            await claimed.progress(so_far["done"], len(wanted))
        claimed.result = {
            "cohort_id": cohort_id,
            "assigned": so_far["done"] - so_far["failed"],
            "failed_count": so_far["failed"],
        }
