"""The history of one cohort as it is written: server-sent events that a client may lose and pick up again."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

from pymongo.errors import OperationFailure, PyMongoError

from muster.api.events import LOOK_EVERY, Looks, event
from muster.cohorts.documents import Cohort
from muster.cohorts.stream import StreamEnded
from muster.cohorts.tail import TAIL, Follower, News, missed

WAIT = LOOK_EVERY.total_seconds()
POSITION = re.compile(r"82[0-9A-F]{8,4096}")  # a resume token; the first eight digits are seconds
AHEAD_AT_MOST = 60  # seconds that one process may have read before another
RESET = '{"detail":"What happened meanwhile is not known any more: read the members and the changes again."}'


async def follow(cohort_id: str, last_event_id: str | None) -> Looks:
    """Everything new behind `last_event_id`, or from now on; nothing is left out, and nothing comes twice.

    Ids are positions in MongoDB's change stream. Where its history does not reach back far enough any more, the client
    is told to `reset`. Ends with the cohort, and when MongoDB does not answer: then the client comes back by itself.
    """
    async with TAIL.follow(cohort_id) as follower:
        while follower.position is None:
            yield None
            await follower.next(wait=WAIT)
        if await Cohort.find_one({"_id": cohort_id}) is None:  # since the request was let in
            yield event("deleted", follower.position, json.dumps({"id": cohort_id}))
            return
        if last_event_id is None:
            seen = follower.position
            yield event("following", seen, "{}")
        else:
            seen = last_event_id if POSITION.fullmatch(last_event_id) else ""
            follower.has_lost = True
        try:
            async with aclosing(_behind(seen, follower)) as looks:
                async for news in looks:
                    yield None if news is None else event(news.kind, news.position, news.data)
        except PyMongoError:
            return


async def _behind(seen: str, follower: Follower) -> AsyncGenerator[News | None, None]:
    """What is new behind a position, up to the end of the cohort; None now and then while there is nothing."""
    while True:
        if follower.has_lost and follower.position is not None:
            looks = _missed(follower.cohort, seen, TAIL.catch_up(follower))
        else:
            looks = _next(follower)
        async with aclosing(looks):
            async for news in looks:
                if news is None:
                    yield None
                elif news.position > seen or news.kind == "reset":
                    seen = news.position
                    yield news
                    if news.kind == "deleted":
                        return


async def _next(follower: Follower) -> AsyncGenerator[News | None, None]:
    yield await follower.next(wait=WAIT)


async def _missed(cohort_id: str, seen: str, upto: str) -> AsyncGenerator[News | None, None]:
    """What happened between two positions; one `reset` where that is not known any more."""
    reset = News(cohort_id, "reset", RESET, upto)
    if not seen or _seconds(seen) > _seconds(upto) + AHEAD_AT_MOST:  # none, or one of another database
        yield reset
    elif seen < upto:
        try:
            async with aclosing(missed(cohort_id, seen, upto)) as looks:
                async for news in looks:
                    yield news
        except (StreamEnded, OperationFailure):
            yield reset


def _seconds(position: str) -> int:
    """When that was, in seconds since 1970."""
    return int(position[2:10], 16)
