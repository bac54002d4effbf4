"""A run as a job: freeze, commit the manifest, hand over, wait without holding a worker, store the results.

Whatever was reached is on record before the next step begins, so an attempt goes on where the last one was. Handing
over is the one step that cannot be known to have happened: it is repeated under the same run id, and the other side
drops what it has already.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.errors import Conflict, NotFound
from muster.experiments import configuration, results
from muster.experiments.backends import open_backend
from muster.experiments.configuration import ERASED, MADE_UP, Configuration, read
from muster.experiments.dispatch import Accepted, Backend, Finished, Outcome, Parcel, Pending, Unknown
from muster.experiments.documents import CohortArm, Experiment, ExperimentRun, Part, Persona, Phase, ids_between
from muster.experiments.manifest import commit_manifest
from muster.experiments.snapshot import freeze
from muster.experiments.wire import STREAMED_FROM, Content, Refusal, Trouble
from muster.jobs.service import Waits, claim
from muster.jobs.working import Claimed
from muster.settings import Settings
from muster.transactions import in_transaction

PREFIX, KIND = "XRN", "experiment"  # of jobs that run an experiment
PERSONAS_AT_ONCE = 1_000
WATCHED_FOR = 15.0  # seconds for which a worker waits for results itself; then the job rests
BETWEEN_LOOKS_AT_THE_JOB = 2.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds between two looks at the other side
MOST_TRIES = 20  # in a row that were not accepted; with the pauses between them about six minutes
MOST_UNKNOWN = 3  # times in a row that the other side may not know of what it accepted


async def run_job(job_id: str, settings: Settings) -> None:
    """Work on the run that a job names, as far as it goes now. Raises Waits, Busy or Done."""
    async with claim(job_id) as claimed:
        run = await ExperimentRun.find_one({"_id": claimed.job.arguments["run_id"]})
        experiment = await Experiment.find_one({"_id": claimed.job.arguments["experiment_id"]})
        if run is None or experiment is None:
            raise NotFound("The experiment was deleted.")
        if run.phase is Phase.FREEZING:
            run = await freeze(run, experiment, claimed)
        if run.commit is None:
            run.commit = await commit_manifest(run, experiment.name, settings)
            await _record(run, claimed, {"commit": run.commit})
        attempt = Attempt(run, experiment, read(run.config or "{}"), claimed)
        async with open_backend(attempt.config, run, settings) as backend:
            await attempt.go(backend)
        claimed.result = {
            "experiment_id": run.experiment,
            "run_id": run.id,
            "persona_count": run.persona_count,
            "result_count": await results.stored_count(run),
        }
        # What an attempt wrote that slept while another one froze the run: nobody reads it, and it names people.
        await Persona.get_motor_collection().delete_many({"run": run.id, "snapshot": {"$ne": run.snapshot}})
        await _record(run, claimed, {"phase": Phase.DONE.value, "result_count": claimed.result["result_count"]})


@dataclass
class Attempt:
    """One worker's work on a frozen run."""

    run: ExperimentRun
    experiment: Experiment
    config: Configuration
    claimed: Claimed

    async def go(self, backend: Backend) -> None:
        """Hand over what is not yet accepted, and wait until everything is done. Raises Waits, Refusal."""
        until = time.monotonic() + WATCHED_FOR
        try:
            while waiting := [part for part in await self._parts() if not part.is_done]:
                pause = await self._step(backend, waiting)
                await self.claimed.progress(self._done(), self.run.persona_count)
                if pause is None:
                    continue
                self._check_time()
                if time.monotonic() + pause > until:
                    raise Waits(f"{self.run.id} waits for its results.", timedelta(seconds=pause))
                await asyncio.sleep(pause)
        except Refusal:
            with suppress(Conflict):
                await self._set(
                    {"tries": 0, "unknown": 0, "looks": 0}
                )  # whoever tries it again begins with a clean slate
            raise

    async def _parts(self) -> list[Part]:
        """As they stand on record: a callback may have finished some."""
        found = await ExperimentRun.get(self.run.id)
        if found is None:
            raise NotFound("The experiment was deleted.")
        self.run = found
        if found.failure is not None:
            await self._set({"failure": None})
            told = f"The other side says that the run failed: {found.failure}"
            raise Refusal(told if found.failure else "The other side says that the run failed, and gives no reason.")
        return found.parts

    async def _step(self, backend: Backend, waiting: list[Part]) -> float | None:
        """One request for each part that is not done; how long to wait then, None when nothing is to be waited for."""
        pauses: list[float] = []
        for part in waiting:
            accepted = part.accepted_at is not None
            try:
                request = self._look(backend, part) if accepted else backend.start(self._parcel(part))
                outcome = await self._unless_cancelled(request)
            except Trouble as trouble:
                pauses.append(await self._after_trouble(trouble, accepted=accepted))
                break
            except Unknown as unknown:
                pauses.append(await self._after_unknown(unknown, part))
                break
            pauses += await self._take(part, outcome)
        return max(pauses) if pauses else None

    async def _unless_cancelled(self, request: Coroutine[Any, Any, Outcome]) -> Outcome:
        """An answer may take minutes: meanwhile it is given up when the owner wants no more of the run."""
        asking = asyncio.create_task(request)
        try:
            while not (await asyncio.wait({asking}, timeout=BETWEEN_LOOKS_AT_THE_JOB))[0]:
                await self.claimed.progress(self._done(), self.run.persona_count)
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.wait({asking})

    async def _look(self, backend: Backend, part: Part) -> Outcome:
        if await results.is_complete(self.run, part):  # by a callback
            return Finished([])
        return await backend.look(self.run, part)

    async def _take(self, part: Part, outcome: Outcome) -> list[float]:
        """Put an outcome on record; how long to wait before the next look."""
        match outcome:
            case Accepted(call_id, result_url):
                known: dict[str, Any] = {"call_id": call_id, "result_url": result_url, "accepted_at": datetime.now(UTC)}
                named = {f"parts.{part.number}.{name}": value for name, value in known.items()}
                await self._set({**named, "tries": 0, "phase": Phase.WAITING.value})
                return [FIRST_PAUSE]
            case Pending(done, retry_after):
                values: dict[str, Any] = {"tries": 0, "unknown": 0, "looks": self.run.looks + 1, "last_trouble": None}
                if done is not None:
                    values[f"parts.{part.number}.seen"] = min(done, part.count)
                await self._set(values)
                return [max(_pause(self.run.looks), min(retry_after or 0.0, LONGEST_PAUSE))]
            case Finished(found):
                await self._finish(part, found)
        return []

    async def _finish(self, part: Part, found: Any) -> None:
        if not await results.is_complete(self.run, part):
            if len(found) != part.count:
                raise Refusal(f"The other side gives {len(found):,} results for {part.count:,} personas.")
            await self.claimed.renew()
            await results.store(self.run, part.first, found)
        done = {f"parts.{part.number}.is_done": True, f"parts.{part.number}.seen": part.count}
        await self._set({**done, "tries": 0, "last_trouble": None})
        part.is_done = True

    async def _after_trouble(self, trouble: Trouble, *, accepted: bool) -> float:
        """Count it; how long to wait. What is not accepted after so many tries has failed; results may take longer."""
        tries = self.run.tries + 1
        await self._set({"tries": tries, "last_trouble": str(trouble)})
        if not accepted and tries >= MOST_TRIES:
            raise Refusal(f"{trouble} That was the last of {tries} tries to hand the run over; try it again later.")
        self.run.tries = tries
        return max(_pause(tries), min(trouble.retry_after or 0.0, 10 * LONGEST_PAUSE))

    async def _after_unknown(self, unknown: Unknown, part: Part) -> float:
        """It may be a moment too early; else the work is lost, and another try hands the part over again."""
        times = self.run.unknown + 1
        await self._set({"unknown": times, "last_trouble": unknown.detail})
        if times >= MOST_UNKNOWN:
            forgotten = dict.fromkeys(
                f"parts.{part.number}.{name}" for name in ("call_id", "result_url", "accepted_at")
            )
            await self._set({**forgotten, "phase": Phase.SENDING.value})
            raise Refusal(f"{unknown.detail} Trying the job again hands the run over once more, under the same run id.")
        return _pause(times)

    def _check_time(self) -> None:
        since = self.claimed.job.created_at if self.run.frozen_at is None else self.run.frozen_at
        hours = self.config.dispatch.timeout_hours
        first = min((part.accepted_at for part in self.run.parts if part.accepted_at), default=since)
        if datetime.now(UTC) - first > timedelta(hours=hours):
            trouble = f"There are no results after {hours:g} hours; the last trouble: {self.run.last_trouble}"
            raise Refusal(trouble if self.run.last_trouble else f"There are no results after {hours:g} hours.")

    def _done(self) -> int:
        return sum(part.count if part.is_done else part.seen for part in self.run.parts)

    async def _set(self, values: dict[str, Any]) -> None:
        await _record(self.run, self.claimed, values)

    def _parcel(self, part: Part) -> Parcel:
        async def report(done: int) -> None:
            part.seen = done
            await self.claimed.progress(self._done(), self.run.persona_count)

        size = part.size or STREAMED_FROM - 1
        chunks = partial(body, self.run, self.experiment, self.config, part)
        return Parcel(self.run, part, Content(size, chunks), partial(personas_of, self.run, part), report)


async def body(run: ExperimentRun, experiment: Experiment, config: Configuration, part: Part) -> AsyncIterator[bytes]:
    """What is sent for a part, in pieces: the configuration with its personas, and whose they are."""
    more: dict[str, Any] = {"run_id": run.id, "experiment_id": run.experiment}
    if len(run.parts) > 1:
        more["part"] = {"number": part.number, "of": len(run.parts), "first": part.first, "count": part.count}
    if not part.size:  # nobody of ours: the other side makes them up
        yield configuration.synthetic(config, more)
        return
    sent = configuration.opening(config, experiment.model_copy(update=_sources_of(run)), more)
    async for batch in personas_of(run, part):
        yield sent + b",".join(batch)
        sent = b","
    yield configuration.closing(part.count)


def _sources_of(run: ExperimentRun) -> dict[str, Any]:
    """The cohorts as they were named when the run froze: the experiment may name others by now."""
    alone = [rule.cohort_id for rule in run.rules if not rule.arm]
    arms = [CohortArm(name=rule.arm, cohort_id=rule.cohort_id) for rule in run.rules if rule.arm]
    return {"cohort_id": alone[0] if alone else None, "arms": arms}


async def personas_of(run: ExperimentRun, part: Part) -> AsyncIterator[list[bytes]]:
    """The JSON of a part's personas, in batches. Who was erased keeps an empty place."""
    empty = ERASED if part.size else MADE_UP
    ids = ids_between(run.snapshot or "", part.first, part.first + part.count)
    found = Persona.get_motor_collection().find({"_id": ids}, {"_id": 0, "sent": 1}).sort("_id", 1)
    while batch := await found.to_list(PERSONAS_AT_ONCE):
        yield [persona["sent"].encode() if "sent" in persona else empty for persona in batch]


async def _record(run: ExperimentRun, claimed: Claimed, values: dict[str, Any]) -> None:
    """Write, if the job is still ours. Each is a step that was reached, so that a worker's death later is not held
    against the job.
    """
    step = (claimed.job.checkpoint or 0) + 1

    async def write(session: AsyncIOMotorClientSession) -> None:
        await claimed.checkpoint(step, session=session)
        await ExperimentRun.get_motor_collection().update_one({"_id": run.id}, {"$set": values}, session=session)

    await in_transaction(ExperimentRun.get_motor_collection(), write)


def _pause(number: int) -> float:
    """Longer from time to time, and never the same for all."""
    return float(min(FIRST_PAUSE * 1.6 ** min(number, 20), LONGEST_PAUSE) * random.uniform(0.8, 1.2))
