"""The leads that an assignment could not hand over, tried again: each with the agent that it was dealt to."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import PyMongoError

from muster.agents import cascade
from muster.agents.asked import Asked
from muster.agents.cascade import Handing, Lot, Outcome, Result
from muster.agents.course import Course
from muster.agents.documents import LeftLead
from muster.agents.left import failures_of
from muster.agents.patience import FIRST_SIZE, detail_of, is_of_a_lead, next_size, patiently
from muster.agents.strategies import deal
from muster.cohorts.generations import server_time
from muster.jobs.working import Claimed

ASSIGN_ANEW = "This had no lead when the job began, which minds capacity: assign the cohort again."

Row = Mapping[str, Any]


async def try_again(
    claimed: Claimed, session: AsyncIOMotorClientSession, asked: Asked, handing: Handing, course: Course
) -> Course:
    """Once for each time that somebody asked for it. Raises Cancelled between two leads."""
    size = FIRST_SIZE
    while course.rounds < claimed.job.retries:
        started, again = time.monotonic(), Again(claimed, asked, handing, course, size)
        try:
            course = await patiently(session, again.step, alone=size == 1)
        except PyMongoError as error:
            if not is_of_a_lead(error):
                raise
            if size > 1:
                size = 1  # from here on each by itself
                continue
            course = await patiently(session, partial(again.step, in_vain=detail_of(error)), alone=True)
        await claimed.progress(course.total - course.failed, course.total, result=course.result(asked))
        size = size if size == 1 else next_size(size, time.monotonic() - started)
    return course


@dataclass(frozen=True, slots=True)
class Again:
    """The next few that failed, by one transaction."""

    claimed: Claimed
    asked: Asked
    handing: Handing
    before: Course
    size: int

    async def step(self, session: AsyncIOMotorClientSession, *, in_vain: str | None = None) -> Course:
        """Hand them over, or say why that is in vain; and the checkpoint behind them."""
        course = self.before.copy()
        rows = await self._rows(session)
        if not rows:
            course.rounds, course.tried_again = self.claimed.job.retries, ""
            await self.claimed.checkpoint(course.stored(), session=session)
            return course
        course.tried_again = rows[-1]["_id"]
        profiles = await cascade.profiles_by_id(session, [row["profile"] for row in rows])
        rows = [row for row in rows if row["profile"] in profiles]  # others were erased at this moment
        results = await self._results(rows, profiles, course, session, in_vain)
        still = [(row, result) for row, result in zip(rows, results, strict=True) if result.outcome is Outcome.FAILED]
        course.failed -= len(rows) - len(still)
        await self._keep(rows, still, session)
        names = [profiles[row["profile"]]["pii_id"] for row, _ in still]
        failures = failures_of(names, [result for _, result in still])
        await self.claimed.checkpoint(course.stored(), failures=failures, session=session)
        return course

    async def _rows(self, session: AsyncIOMotorClientSession) -> list[Row]:
        query = {"job_id": self.claimed.job.id, "_id": {"$gt": self.before.tried_again}}
        found = LeftLead.get_motor_collection().find(query, session=session).sort("_id", 1).limit(self.size)
        rows: list[Row] = await found.to_list(None)
        return rows

    async def _results(
        self,
        rows: Sequence[Row],
        profiles: Mapping[ObjectId, Row],
        course: Course,
        session: AsyncIOMotorClientSession,
        in_vain: str | None,
    ) -> list[Result]:
        agents = [self._agent(row, profiles[row["profile"]], course) for row in rows]
        results: list[Result] = []
        for row, agent in zip(rows, agents, strict=True):
            detail = in_vain if agent is not None else self._why_not(profiles[row["profile"]])
            results.append(Result(Outcome.FAILED, row["profile"], detail or ""))
        # So that an erasure at this moment conflicts with this, as in `hand_over`.
        untried = [row["profile"] for row, agent in zip(rows, agents, strict=True) if agent is None or in_vain]
        await cascade.touch(session, untried)
        dealt = [place for place, agent in enumerate(agents) if agent is not None and in_vain is None]
        lots = [Lot(profiles[rows[place]["profile"]]["pii_id"], self._name(agents[place])) for place in dealt]
        handed = await cascade.hand_over(session, self.handing, lots, await server_time()) if lots else []
        for place, result in zip(dealt, handed, strict=True):
            results[place] = result
            if result.outcome is not Outcome.FAILED:
                course.book(agents[place], result.outcome)
        return results

    def _agent(self, row: Row, profile: Row, course: Course) -> int | None:
        """Whom a lead is for. One that is a lead only by now is dealt as if those like it were a cohort."""
        agent: int | None = row["agent"]
        if agent is None and "lead" in profile and not self.asked.respect_capacity:
            agent = next(deal(self.asked.weights, course.dealt_later))
            course.dealt_later[agent] += 1
        return agent

    def _why_not(self, profile: Row) -> str:
        return ASSIGN_ANEW if "lead" in profile else cascade.NO_LEAD

    def _name(self, agent: int | None) -> str:
        return self.asked.agent_ids[agent or 0]

    async def _keep(
        self, rows: Sequence[Row], still: Sequence[tuple[Row, Result]], session: AsyncIOMotorClientSession
    ) -> None:
        """Those that failed again, with the reason of now."""
        kept = {row["_id"]: result.detail for row, result in still}
        lefts = LeftLead.get_motor_collection()
        gone = [row["_id"] for row in rows if row["_id"] not in kept]
        await lefts.delete_many({"_id": {"$in": gone}}, session=session)
        for row_id, detail in kept.items():
            await lefts.update_one({"_id": row_id}, {"$set": {"detail": detail}}, session=session)
