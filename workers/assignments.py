"""Assignments of leads to agents, and the way back."""

import dramatiq

from muster.agents import assigning, undoing
from muster.jobs.doorbell import QUEUE, Actor
from workers.attempts import attempt


@dramatiq.actor(actor_name=Actor.ASSIGN_LEADS.value, queue_name=QUEUE)
async def assign_leads(job_id: str) -> None:
    """Hand the leads of the cohort that the job names to its agents."""
    await attempt(job_id, assigning.run_job)


@dramatiq.actor(actor_name=Actor.UNDO_ASSIGNMENT.value, queue_name=QUEUE)
async def undo_assignment(job_id: str) -> None:
    """Take an assignment back, for the leads that nobody touched since."""
    await attempt(job_id, undoing.run_job)
