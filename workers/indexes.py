"""Building indexes for rules."""

import dramatiq

from muster.cohorts import index_jobs
from muster.jobs.doorbell import QUEUE, Actor
from workers.attempts import attempt


@dramatiq.actor(actor_name=Actor.BUILD_INDEXES.value, queue_name=QUEUE)
async def build_indexes(job_id: str) -> None:
    """Build the indexes that the job names, where they are missing."""
    await attempt(job_id, index_jobs.run_job)
