"""A job as it moves: server-sent events that a client may lose and pick up again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from litestar.response import ServerSentEventMessage

from muster.api.serving import stopping
from muster.jobs.documents import FINISHED, Job
from muster.jobs.schemas import job_out

LOOK_EVERY = timedelta(milliseconds=250)
LOOKS_PER_SIGN_OF_LIFE = 60  # a comment every 15 s keeps proxies from closing a quiet stream
RECONNECT_AFTER = timedelta(seconds=1)


def seen_to_the_end(job: Job, last_event_id: str | None) -> bool:
    """Whether the client has the last event of this job already."""
    return job.state in FINISHED and last_event_id == str(job.rev)


async def follow(job: Job, last_event_id: str | None) -> AsyncIterator[ServerSentEventMessage]:
    """Each state of the job that the client has not seen, until its end or that of this process.

    Every event is the whole job, so skipping some loses nothing. MongoDB is asked a few times a second by key: cheap,
    and unlike a stream from the worker it outlives workers, Redis and this connection.
    """
    sent = last_event_id
    quiet = 0
    current: Job | None = job
    while current is not None:
        quiet += 1
        if str(current.rev) != sent:
            sent, quiet = str(current.rev), 0
            yield ServerSentEventMessage(
                event="job",
                id=current.rev,
                data=job_out(current).model_dump_json(),
                retry=round(RECONNECT_AFTER / timedelta(milliseconds=1)),
            )
        elif quiet % LOOKS_PER_SIGN_OF_LIFE == 0:
            yield ServerSentEventMessage(data=None, comment="still there")
        if current.state in FINISHED or stopping():
            return
        await asyncio.sleep(LOOK_EVERY.total_seconds())
        current = await Job.get(job.id)
