"""What workers do with Attio: imports, refreshes of what was imported, files of who was erased."""

import dramatiq

from muster.attio import erasure, importing
from muster.jobs.doorbell import QUEUE, Actor
from muster.settings import load_settings
from workers.attempts import attempt


@dramatiq.actor(actor_name=Actor.IMPORT_FROM_ATTIO.value, queue_name=QUEUE)
async def import_from_attio(job_id: str) -> None:
    """Do the import that the job names. The key is read from its file now, so that a changed one is used."""
    settings = load_settings()
    await attempt(job_id, lambda job: importing.run_job(job, settings))


@dramatiq.actor(actor_name=Actor.ERASE_FILES.value, queue_name=QUEUE)
async def erase_files(job_id: str) -> None:
    """Delete the files that the job names."""
    settings = load_settings()
    await attempt(job_id, lambda job: erasure.run_job(job, settings))
