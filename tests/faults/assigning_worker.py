"""A worker that assigns leads as the real one, with short leases and sweeps: no test waits for the real ones."""

from datetime import timedelta
from functools import partial

import dramatiq

from muster.agents import assigning
from muster.jobs import service
from muster.jobs.doorbell import Actor
from workers import housekeeping
from workers.attempts import attempt
from workers.broker import broker

LEASE = timedelta(seconds=1)

service.RESEND_AFTER = timedelta(milliseconds=500)
housekeeping.FOLLOWERS = ()
housekeeping.CHORES = (housekeeping.Chore("jobs:sweep", service.sweep, timedelta(milliseconds=200)),)

__all__ = ["assign_leads", "broker"]


@dramatiq.actor(actor_name=Actor.ASSIGN_LEADS.value)
async def assign_leads(job_id: str) -> None:
    await attempt(job_id, partial(assigning.run_job, ttl=LEASE))
