"""Assignment jobs: the leads of a cohort handed to agents, many in one transaction, each exactly once.

A job begins by freezing the members, in the order in which they are dealt. Then each transaction hands over some leads
and keeps how far the job is, on the condition that its lease still holds: whatever is killed, and whenever, the next
attempt goes on behind the last lead that was handed over. Where one lead stands in the way, the transaction is done
again in halves, down to that lead alone.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import UpdateOne
from pymongo.errors import PyMongoError

from muster.agents import cascade, left
from muster.agents.asked import Asked
from muster.agents.beginning import freeze
from muster.agents.cascade import Handing, Lot, Outcome, Result
from muster.agents.course import Course
from muster.agents.documents import PlannedTask, WaitingLead
from muster.agents.patience import FIRST_SIZE, detail_of, is_of_a_lead, next_size, patiently
from muster.agents.retrying import try_again
from muster.agents.strategies import deal
from muster.cohorts.generations import server_time
from muster.jobs.service import claim
from muster.jobs.working import LEASE_TTL, Claimed
from muster.projects.documents import Project
from muster.projects.service import project_of
from muster.records import rolls
from muster.records.rolls import PER_PIECE

PREFIX, KIND = "CAJ", "assign"

PiiIds = Sequence[str | None]
Agents = Sequence[int | None]
Results = list[Result | None]
"""In the order of the places; None for a lead that waits."""


async def run_job(job_id: str, *, ttl: timedelta = LEASE_TTL) -> None:
    """Assign as a job says, or go on where its last attempt stopped. Raises Busy or Done when it is not to be had.

    Cancelled or failed, what is done stays.
    """
    async with claim(job_id, ttl=ttl) as claimed, claimed.session() as session:
        asked = Asked.of(claimed.job.arguments)
        project = await project_of(claimed.job.owner, claimed.job.project_id)
        checkpoint = claimed.job.checkpoint
        course = Course.of(checkpoint) if checkpoint else await freeze(claimed, asked, project, session)
        attempt = Attempt(claimed, session, asked, project, course)
        await attempt.go_through_the_roll()
        attempt.course = await try_again(claimed, session, asked, attempt.handing, attempt.course)
        claimed.result = attempt.course.result(asked)
        claimed.retryable = attempt.course.failed > 0
    await rolls.drop(course.roll.id)


@dataclass(slots=True)
class Attempt:
    """One attempt at an assignment job."""

    claimed: Claimed
    session: AsyncIOMotorClientSession  # of all its transactions
    asked: Asked
    project: Project
    course: Course
    _size: int = FIRST_SIZE
    _dealer: Iterator[int] = field(default_factory=lambda: iter(()))

    async def go_through_the_roll(self) -> None:
        """All places from where the last attempt stopped. Raises Cancelled between two leads."""
        course = self.course
        self._dealer = deal(course.weights, course.dealt, course.ends)
        if course.place < course.total:
            await self._report(course.place)
        while (place := self.course.place) < course.total:
            started = time.monotonic()
            stop = self._stop()
            dealt = stop - place if place < course.limit else 0
            agents: Agents = [*islice(self._dealer, dealt), *[None] * (stop - place - dealt)]
            await self._write(stop, agents)
            await self._report(self.course.place)
            self._size = next_size(self._size, time.monotonic() - started)

    def _stop(self) -> int:
        """Where the next transaction ends: within a piece of the roll, and among places of one kind."""
        course = self.course
        borders = (course.limit, course.leads, course.total, (course.place // PER_PIECE + 1) * PER_PIECE)
        return min(course.place + self._size, *(border for border in borders if border > course.place))

    async def _report(self, done: int) -> None:
        await self.claimed.progress(done, self.course.total, result=self.course.result(self.asked))

    async def _write(self, stop: int, agents: Agents) -> None:
        """Deal with the places up to `stop`, in halves where one of them stands in the way."""
        place = self.course.place
        try:
            self.course = await patiently(self.session, partial(self._step, agents), alone=False)
        except PyMongoError as error:
            if not is_of_a_lead(error):
                raise
            if stop - place == 1:
                await self._write_alone(agents)
                return
            middle = (place + stop) // 2
            await self._write(middle, agents[: middle - place])
            await self._write(stop, agents[middle - place :])

    async def _write_alone(self, agents: Agents) -> None:
        """The same for one place that stood in the way, which is a failure if it still does."""
        try:
            self.course = await patiently(self.session, partial(self._step, agents, hold=True), alone=True)
        except PyMongoError as error:
            if not is_of_a_lead(error):
                raise
            self.course = await patiently(self.session, partial(self._give_up, agents, detail_of(error)), alone=True)

    async def _step(self, agents: Agents, session: AsyncIOMotorClientSession, *, hold: bool = False) -> Course:
        """One transaction: the next places, and the checkpoint behind them."""
        start, stop = self.course.place, self.course.place + len(agents)
        if hold:
            await self._take_hold(session)
        pii_ids = await rolls.places(self.course.roll, start, stop, session)
        if start < self.course.limit:
            results = await self._hand_over(pii_ids, agents, session)
        elif start < self.course.leads:
            results = await self._let_wait(pii_ids, session)
        else:
            results = await self._fail(pii_ids, cascade.NO_LEAD, session)
        return await self._book(pii_ids, agents, results, session)

    async def _give_up(self, agents: Agents, detail: str, session: AsyncIOMotorClientSession) -> Course:
        """The same, when they cannot be dealt with."""
        start = self.course.place
        await self._take_hold(session)
        pii_ids = await rolls.places(self.course.roll, start, start + len(agents), session)
        return await self._book(pii_ids, agents, await self._fail(pii_ids, detail, session), session)

    async def _take_hold(self, session: AsyncIOMotorClientSession) -> None:
        """Write the next lead before anything is read, so that nobody else can until this is done.

        However often others write it, hardly anything falls between a transaction's begin and its first write.
        """
        (pii_id,) = await rolls.places(self.course.roll, self.course.place, self.course.place + 1)
        await cascade.take_hold(session, self.project.id, pii_id)

    async def _book(
        self, pii_ids: PiiIds, agents: Agents, results: Results, session: AsyncIOMotorClientSession
    ) -> Course:
        course = self.course.copy()
        for agent, result in zip(agents, results, strict=True):
            if agent is not None:
                course.dealt[agent] += 1
            course.book(agent, result.outcome if result else None)
        course.place += len(agents)
        await left.keep(
            session,
            self.claimed.job,
            list(zip(range(self.course.place, course.place), agents, results, strict=True)),
        )
        failures = left.failures_of(pii_ids, results)
        await self.claimed.checkpoint(course.stored(), failures=failures, session=session)
        return course

    async def _hand_over(self, pii_ids: PiiIds, agents: Agents, session: AsyncIOMotorClientSession) -> Results:
        takers = self.asked.agent_ids
        lots = [Lot(pii_id, takers[agent or 0]) for pii_id, agent in zip(pii_ids, agents, strict=True)]
        return list(await cascade.hand_over(session, self.handing, lots, await server_time()))

    async def _let_wait(self, pii_ids: PiiIds, session: AsyncIOMotorClientSession) -> Results:
        """Leads for which no capacity is left wait; those that are with somebody stay there."""
        found = await self._profiles(pii_ids, session)
        results: Results = []
        writes = []
        kept = {"project_id": self.project.id, "since": await server_time()}
        update = {"$set": {"job_id": self.claimed.job.id}, "$setOnInsert": kept}
        for profile in found:
            if profile is None:
                results.append(Result(Outcome.FAILED, None, cascade.ERASED))
            elif profile.get("lead", {}).get("agent_id") is not None:
                results.append(Result(Outcome.LEFT_ALONE, profile["_id"]))
            else:
                results.append(None)
                writes.append(UpdateOne({"_id": profile["_id"]}, update, upsert=True))
        if writes:
            await WaitingLead.get_motor_collection().bulk_write(writes, ordered=False, session=session)
        return results

    async def _fail(self, pii_ids: PiiIds, detail: str, session: AsyncIOMotorClientSession) -> Results:
        found = await self._profiles(pii_ids, session)
        await cascade.touch(session, [profile["_id"] for profile in found if profile])
        return [
            Result(Outcome.FAILED, profile["_id"], detail) if profile else Result(Outcome.FAILED, None, cascade.ERASED)
            for profile in found
        ]

    async def _profiles(self, pii_ids: PiiIds, session: AsyncIOMotorClientSession) -> list[dict[str, Any] | None]:
        named = [pii_id for pii_id in pii_ids if pii_id is not None]
        found = await cascade.profiles_of(session, self.project.id, named)
        return [found.get(pii_id) if pii_id is not None else None for pii_id in pii_ids]

    @property
    def handing(self) -> Handing:
        """What is the same for all leads of this job."""
        return Handing(
            job_id=self.claimed.job.id,
            project_id=self.project.id,
            time_zone=self.project.time_zone,
            reassign=self.asked.reassign,
            tasks=[PlannedTask(**task) for task in self.course.tasks],
        )
