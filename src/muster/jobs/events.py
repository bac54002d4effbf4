"""A job as it moves: server-sent events that a client may lose and pick up again."""

import asyncio

from muster.api.events import LOOK_EVERY, Looks, event
from muster.jobs.documents import FINISHED, Job
from muster.jobs.schemas import job_out


def seen_to_the_end(job: Job, last_event_id: str | None) -> bool:
    """Whether the client has the last event of this job already."""
    return job.state in FINISHED and last_event_id == str(job.rev)


async def follow(job: Job, last_event_id: str | None) -> Looks:
    """Each state of the job that the client has not seen, until its end.

    Every event is the whole job, so skipping some loses nothing. MongoDB is asked a few times a second by key: cheap,
    and unlike a stream from the worker it outlives workers, Redis and this connection.
    """
    sent = last_event_id
    current: Job | None = job
    while current is not None:
        if str(current.rev) != sent:
            sent = str(current.rev)
            yield event("job", current.rev, job_out(current).model_dump_json())
        else:
            yield None
        if current.state in FINISHED:
            return
        await asyncio.sleep(LOOK_EVERY.total_seconds())
        current = await Job.get(job.id)
