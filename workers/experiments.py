"""Runs of experiments, and cohorts given to many of them."""

import dramatiq

from muster.experiments import assignment, runs
from muster.jobs.doorbell import QUEUE, Actor
from muster.settings import load_settings
from workers.attempts import attempt


@dramatiq.actor(actor_name=Actor.RUN_EXPERIMENT.value, queue_name=QUEUE)
async def run_experiment(job_id: str) -> None:
    """Freeze the run that the job names, hand it over, look what became of it."""
    settings = load_settings()  # where Modal is, and its keys: never in a message
    await attempt(job_id, lambda job: runs.run_job(job, settings))


@dramatiq.actor(actor_name=Actor.ASSIGN_EXPERIMENTS.value, queue_name=QUEUE)
async def assign_experiments(job_id: str) -> None:
    """Give the cohort that the job names to its experiments."""
    settings = load_settings()
    await attempt(job_id, lambda job: assignment.run_job(job, settings))
