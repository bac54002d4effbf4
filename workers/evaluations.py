"""Evaluations of whole cohorts."""

import dramatiq

from muster.cohorts import jobs
from muster.jobs.doorbell import QUEUE, Actor
from workers.attempts import attempt


@dramatiq.actor(actor_name=Actor.EVALUATE_COHORT.value, queue_name=QUEUE)
async def evaluate_cohort(job_id: str) -> None:
    """Fill a new generation of the cohort that the job names, and put it in place."""
    await attempt(job_id, jobs.run_job)
