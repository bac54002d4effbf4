"""Evaluations of whole cohorts, and long lists of members."""

import dramatiq

from muster.cohorts import by_hand, jobs
from muster.jobs.doorbell import QUEUE, Actor
from workers.attempts import attempt


@dramatiq.actor(actor_name=Actor.EVALUATE_COHORT.value, queue_name=QUEUE)
async def evaluate_cohort(job_id: str) -> None:
    """Fill a new generation of the cohort that the job names, and put it in place."""
    await attempt(job_id, jobs.run_job)


@dramatiq.actor(actor_name=Actor.EDIT_MEMBERS.value, queue_name=QUEUE)
async def edit_members(job_id: str) -> None:
    """Put the profiles on the roll that the job names into a static cohort, or take them out."""
    await attempt(job_id, by_hand.run_job)
