"""Taking an assignment back: for the leads that nobody has touched since, as a job. The others are listed."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import PyMongoError

from muster.agents import cascade, left
from muster.agents.assigning import KIND as ASSIGN
from muster.agents.assigning import PREFIX
from muster.agents.cascade import Outcome, Result
from muster.agents.documents import Pipeline, Reason, Task
from muster.agents.patience import FIRST_SIZE, detail_of, is_of_a_lead, next_size, patiently
from muster.agents.service import agents_of
from muster.cohorts.generations import server_time
from muster.cohorts.jobs import run_here_or_wait
from muster.errors import Conflict
from muster.jobs.documents import FINISHED, Job
from muster.jobs.service import claim, create_job, job_of, send
from muster.jobs.working import LEASE_TTL, Claimed

KIND = "undo_assign"
HERE = 100  # entries; so many and more are a worker's

TOUCHED = "This lead was changed since."
ELSEWHERE = "This lead was handed over again since."
BEGUN = "A task of this lead was done or changed since."

Row = Mapping[str, Any]


async def start(owner: str, job_id: str, *, within: float) -> Job:
    """A job that takes another one back, ended or under way. Raises NotFound, Conflict."""
    job = await job_of(owner, job_id)
    if job.kind != ASSIGN:
        raise Conflict(f"{job_id} is no assignment; only an assignment can be undone.")
    if job.state not in FINISHED:
        raise Conflict(f"{job_id} is {job.state}; cancel it first, or wait until it ends.")
    again = {"kind": KIND, "arguments.undoes": job_id, "state": {"$in": ["queued", "running", "succeeded"]}}
    if other := await Job.find_one({"owner": owner, **again}):
        raise Conflict(f"{other.id} takes {job_id} back already.")
    arguments = {"undoes": job_id, "cohort_id": job.arguments["cohort_id"]}
    made = await create_job(PREFIX, KIND, job.project_id, owner, arguments)
    entries = await Pipeline.get_motor_collection().count_documents({"_id": _of_job(job_id)}, limit=HERE)
    if entries < HERE:
        return await run_here_or_wait(made, here=True, run=run_job, within=within)
    await send(made)
    return made


async def run_job(job_id: str, *, ttl: timedelta = LEASE_TTL) -> None:
    """Take back what a job says, or go on where the last attempt stopped. Raises Busy or Done."""
    async with claim(job_id, ttl=ttl) as claimed, claimed.session() as session:
        undoes = claimed.job.arguments["undoes"]
        so_far = Back(**claimed.job.checkpoint) if claimed.job.checkpoint else Back()
        total = await Pipeline.get_motor_collection().count_documents({"_id": _of_job(undoes)})
        size = FIRST_SIZE
        while not so_far.is_through:
            started, undo = time.monotonic(), Undo(claimed, undoes, so_far, size)
            try:
                so_far = await patiently(session, undo.step, alone=size == 1)
            except PyMongoError as error:
                if not is_of_a_lead(error):
                    raise
                if size > 1:
                    size //= 2
                    continue
                so_far = await patiently(session, partial(undo.step, in_vain=detail_of(error)), alone=True)
            await claimed.progress(so_far.done, total, result=so_far.result(claimed.job))
            size = next_size(size, time.monotonic() - started)
        claimed.result = so_far.result(claimed.job)


@dataclass(frozen=True, slots=True)
class Back:
    """How far an undo has come."""

    after: str = ""  # the last entry that it looked at
    undone: int = 0
    failed: int = 0
    is_through: bool = False

    @property
    def done(self) -> int:
        """Entries looked at."""
        return self.undone + self.failed

    def result(self, job: Job) -> dict[str, Any]:
        """What the job says so far."""
        return {**job.arguments, "undone_count": self.undone, "failed_count": self.failed}


@dataclass(frozen=True, slots=True)
class Undo:
    """The next few entries that a job had opened, by one transaction."""

    claimed: Claimed
    undoes: str
    before: Back
    size: int

    async def step(self, session: AsyncIOMotorClientSession, *, in_vain: str | None = None) -> Back:
        """Take them back, or say why that is in vain; and the checkpoint behind them."""
        query = {"_id": {**_of_job(self.undoes), "$gt": self.before.after or f"{self.undoes}|"}}
        found = Pipeline.get_motor_collection().find(query, session=session).sort("_id", 1).limit(self.size)
        entries: list[Row] = await found.to_list(None)
        ids = [entry["profile"] for entry in entries]
        profiles = await cascade.profiles_by_id(session, ids)
        reasons = await self._reasons(entries, profiles, session) if in_vain is None else [in_vain] * len(entries)
        back = [entry for entry, reason in zip(entries, reasons, strict=True) if reason is None]
        if back:
            await self._take_back(back, profiles, await server_time(), session)
        results = [
            Result(Outcome.FAILED, entry["profile"] if entry["profile"] in profiles else None, reason)
            for entry, reason in zip(entries, reasons, strict=True)
            if reason is not None
        ]
        await cascade.touch(session, [result.profile for result in results if result.profile])
        first = self.before.failed
        await left.keep(
            session, self.claimed.job, [(first + number, None, result) for number, result in enumerate(results)]
        )
        after = Back(
            after=entries[-1]["_id"] if entries else self.before.after,
            undone=self.before.undone + len(back),
            failed=first + len(results),
            is_through=len(entries) < self.size,
        )
        names = [profiles[result.profile]["pii_id"] if result.profile else None for result in results]
        await self.claimed.checkpoint(asdict(after), failures=left.failures_of(names, results), session=session)
        return after

    async def _reasons(
        self, entries: Sequence[Row], profiles: Mapping[ObjectId, Row], session: AsyncIOMotorClientSession
    ) -> list[str | None]:
        """Why each of these cannot be taken back; None where it can."""
        ids = [entry["profile"] for entry in entries]
        project_id = self.claimed.job.project_id
        worked_on = {"profile": {"$in": ids}, "job_id": self.undoes, "rev": {"$gt": 1}}
        tasks = Task.get_motor_collection().find(worked_on, {"profile": 1}, session=session)
        begun = {task["profile"] async for task in tasks}
        had = {"profile": {"$in": ids}, "closed_by": self.undoes}
        former = Pipeline.get_motor_collection().find(had, {"profile": 1, "agent_id": 1}, session=session)
        agents_before = {entry["profile"]: entry["agent_id"] async for entry in former}
        known = await agents_of(project_id, sorted(set(agents_before.values())), session)
        reasons: list[str | None] = []
        for entry in entries:
            profile, before = profiles.get(entry["profile"]), agents_before.get(entry["profile"])
            reason = None
            if profile is None:
                reason = cascade.ERASED
            elif entry["state"] != "open":
                reason = ELSEWHERE
            elif profile["rev"] != entry["rev"]:
                reason = TOUCHED
            elif entry["profile"] in begun:
                reason = BEGUN
            elif before is not None and before not in known:
                reason = f"The agent {before}, who had this lead, was deleted."
            reasons.append(reason)
        return reasons

    async def _take_back(
        self,
        entries: Sequence[Row],
        profiles: Mapping[ObjectId, Row],
        now: datetime,
        session: AsyncIOMotorClientSession,
    ) -> None:
        job, ids = self.claimed.job, [entry["profile"] for entry in entries]
        by_agent: dict[str | None, list[ObjectId]] = defaultdict(list)
        for entry in entries:
            by_agent[entry["before"]].append(entry["profile"])
        await cascade.set_agents(session, by_agent)
        await cascade.close(session, ids, Reason.UNDONE, job.id, now)
        known = await agents_of(job.project_id, sorted(agent for agent in by_agent if agent), session)
        again = [
            cascade.opened(
                *(job.project_id, job.id, entry["profile"], entry["before"], now),
                before=entry["agent_id"],
                rev=profiles[entry["profile"]]["rev"] + 1,
            )
            for entry in entries
            if entry["before"] in known
        ]
        if again:
            await Pipeline.get_motor_collection().insert_many(again, session=session)
        await Task.get_motor_collection().update_many(
            {"profile": {"$in": ids}, "state": "cancelled", "cancelled_by": self.undoes},
            {"$set": {"state": "open", "cancelled_by": None, "updated_at": now}, "$inc": {"rev": 1}},
            session=session,
        )


def _of_job(job_id: str) -> dict[str, str]:
    """The condition on `_id` for all entries that a job opened: "}" sorts right after "|"."""
    return {"$gt": f"{job_id}|", "$lt": f"{job_id}}}"}
