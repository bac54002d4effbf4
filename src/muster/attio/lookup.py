"""Records by their ids: many with one request where Attio filters by id, else one by one."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from muster.attio.client import PAGE, AttioClient
from muster.attio.errors import AttioNotFound, AttioRefused
from muster.attio.models import Record

AT_ONCE = 10  # requests under way; the pace of the workspace decides how many go a second
WORTH_A_QUERY = 3  # ids


class Lookup:
    """Looks records up. Whether a filter by id does what it should is found out: whoever is missing is asked for."""

    def __init__(self, client: AttioClient) -> None:
        self._client = client
        self._filters = True

    async def records(self, object_slug: str, ids: Collection[str]) -> dict[str, Record | AttioNotFound]:
        """Each of these ids with its record, which has another id when it was merged; or why there is none."""
        wanted = list(dict.fromkeys(ids))
        found: dict[str, Record | AttioNotFound] = {}
        for start in range(0, len(wanted), PAGE):
            if self._filters and len(wanted) >= WORTH_A_QUERY:
                found |= await self._by_filter(object_slug, wanted[start : start + PAGE])
        rest = [one for one in wanted if one not in found]
        answers = await answers_of([self._client.fetch_record(object_slug, one) for one in rest], AttioNotFound)
        return found | dict(zip(rest, answers, strict=True))

    async def _by_filter(self, object_slug: str, ids: Sequence[str]) -> dict[str, Record | AttioNotFound]:
        try:
            rows = await self._client.fetch_records(object_slug, filter={"record_id": {"$in": list(ids)}})
        except AttioRefused:
            self._filters = False
            return {}
        by_id = {row.record_id: row for row in rows}
        return {one: by_id[one] for one in ids if one in by_id}


async def answers_of(questions: Sequence[Any], *as_answers: type[Exception]) -> list[Any]:
    """What these coroutines answer, in their order, some at a time; errors of the named kinds are answers."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(question: Any) -> Any:
        async with room:
            try:
                return await question
            except as_answers as error:
                return error

    tasks = [asyncio.ensure_future(one(question)) for question in questions]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
