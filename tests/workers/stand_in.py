"""A worker as the real one (broker, middleware, sweep), with an actor whose work a test can watch and kill.

The job's arguments say what it does: `steps`, each leaving one effect; `pause` seconds between them; `die` before the
first step, taking the whole process along. Its periods are short, so that no test waits for the real ones.
"""

import asyncio
import os
import signal
from datetime import timedelta

import dramatiq

from muster.jobs import service
from muster.jobs.documents import Job
from muster.jobs.doorbell import Actor
from muster.jobs.service import claim
from workers import housekeeping
from workers.attempts import attempt
from workers.broker import broker

service.RESEND_AFTER = timedelta(milliseconds=500)
housekeeping.FOLLOWERS = ()
housekeeping.CHORES = (housekeeping.Chore("jobs:sweep", service.sweep, timedelta(milliseconds=200)),)

__all__ = ["broker", "evaluate_cohort"]


@dramatiq.actor(actor_name=Actor.EVALUATE_COHORT.value)
async def evaluate_cohort(job_id: str) -> None:
    await attempt(job_id, work)


async def work(job_id: str) -> None:
    effects = Job.get_motor_collection().database["effects"]
    async with claim(job_id, ttl=timedelta(seconds=1)) as claimed:
        arguments = claimed.job.arguments
        if arguments.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        first = claimed.job.checkpoint or 0
        for step in range(first, arguments["steps"]):
            await effects.update_one({"_id": f"{job_id}:{step}"}, {"$inc": {"times": 1}}, upsert=True)
            await claimed.checkpoint(step + 1)
            await claimed.progress(step + 1, arguments["steps"])
            await asyncio.sleep(arguments.get("pause", 0))
        claimed.result = {"first": first}
