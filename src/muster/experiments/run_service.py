"""Runs as their owners see them, and results that the other side sends by itself."""

import uuid
from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pydantic import ValidationError

from muster.api.paging import decode_cursor, page_of
from muster.cohorts.snapshot import open_snapshot
from muster.errors import BadRequest, Conflict, Invalid, NotFound, Problem
from muster.experiments import results
from muster.experiments.backends import check_choice, check_settings
from muster.experiments.callbacks import verify
from muster.experiments.configuration import (
    Configuration,
    PersonaWriter,
    closing,
    fields_of,
    opening,
    projection,
    read,
    synthetic,
)
from muster.experiments.documents import Experiment, ExperimentRun, Phase
from muster.experiments.personas import Company, company_of
from muster.experiments.runs import KIND, PREFIX
from muster.experiments.schemas import CallbackIn
from muster.experiments.service import experiment_of
from muster.experiments.wire import Refusal
from muster.jobs.documents import UNFINISHED, Job
from muster.jobs.service import create_job, send, wake
from muster.records.registry import registry
from muster.settings import Settings
from muster.transactions import in_transaction

Chunks = AsyncGenerator[bytes, None]


async def start(owner: str, experiment_id: str, settings: Settings) -> tuple[ExperimentRun, Job]:
    """A new run, on its way. It freezes when a worker takes it. Raises Conflict when there is nowhere to send it."""
    experiment = await experiment_of(owner, experiment_id)
    config = read(experiment.config)
    check_settings(config, settings)
    await check_choice(config, settings)
    fields_of(config.personas, await registry(experiment.project_id))
    if not experiment.cohorts and experiment.member_count is None and config.personas.count is None:
        detail = "Choose a cohort, or say how many personas the other side shall make up."
        raise Invalid(f"{experiment_id} has nobody to run over.", [Problem(detail, "/config/personas/count")])
    run_id = f"run_{uuid.uuid4().hex}"  # unlike a number, nobody else's: many installations may share one other side

    async def make(session: AsyncIOMotorClientSession) -> tuple[ExperimentRun, Job]:
        touched = await Experiment.get_motor_collection().update_one(
            {"_id": experiment_id, "owner": owner}, {"$inc": {"runs": 1}}, session=session
        )
        if not touched.matched_count:
            raise NotFound(f"There is no experiment {experiment_id}.")
        arguments = {"experiment_id": experiment_id, "run_id": run_id}
        job = await create_job(PREFIX, KIND, experiment.project_id, owner, arguments, session=session)
        run = ExperimentRun(
            id=run_id,
            experiment=experiment_id,
            project_id=experiment.project_id,
            owner=owner,
            job=job.id,
            created_at=job.created_at,
        )
        stored = run.model_dump(by_alias=True, exclude={"revision_id"})
        await _runs().insert_one(stored, session=session)
        return run, job

    run, job = await in_transaction(_runs(), make)
    await send(job)
    return run, job


async def run_of(owner: str, experiment_id: str, run_id: str) -> ExperimentRun:
    """One run of an experiment. Raises NotFound."""
    await experiment_of(owner, experiment_id)
    found = await ExperimentRun.find_one({"_id": run_id, "experiment": experiment_id})
    if found is None:
        raise NotFound(f"There is no run {run_id} of {experiment_id}.")
    return found


async def list_runs(
    owner: str, experiment_id: str, *, limit: int, cursor: str | None
) -> tuple[list[tuple[ExperimentRun, Job | None]], str | None]:
    """A page of an experiment's runs, newest first, each with its job."""
    await experiment_of(owner, experiment_id)
    query: dict[str, Any] = {"experiment": experiment_id}
    if cursor is not None:
        created_at, after = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"created_at": {"$lt": created_at}}, {"created_at": created_at, "_id": {"$lt": after}}]
    rows = await ExperimentRun.find(query).sort("-created_at", "-_id").limit(limit + 1).to_list()
    runs, following = page_of(rows, limit, lambda run: (run.created_at, run.id))
    jobs = {job.id: job async for job in Job.find({"_id": {"$in": [run.job for run in runs]}})}
    return [(run, jobs.get(run.job)) for run in runs], following


async def job_of_run(run: ExperimentRun) -> Job | None:
    """The job that carries a run."""
    return await Job.get(run.job)


async def configuration_of(
    owner: str, experiment_id: str, *, fields: str | None, personal: bool | None, first: int | None
) -> Chunks:
    """The configuration with the personas of this moment, as JSON in pieces: what a run would freeze and send.

    `fields` (comma-separated) and `personal` stand in for what the configuration says; `first` shows only so many.
    """
    experiment = await experiment_of(owner, experiment_id)
    config = read(experiment.config)
    if fields is not None:
        config.personas.fields = [name.strip() for name in fields.split(",")]
    if personal is not None:
        config.personas.personal = personal
    names = fields_of(config.personas, await registry(experiment.project_id))
    if not experiment.cohorts and experiment.member_count is None:
        return _once(synthetic(config, {}))
    chunks = _streamed(experiment, config, names, first)
    return _all(await anext(chunks), chunks)  # what is wrong is told before the answer begins


async def _once(chunk: bytes) -> Chunks:
    yield chunk


async def _all(first: bytes, chunks: Chunks) -> Chunks:
    try:
        yield first
        async for chunk in chunks:
            yield chunk
    finally:
        await chunks.aclose()


async def _streamed(experiment: Experiment, config: Configuration, names: list[str], first: int | None) -> Chunks:
    writer, count = PersonaWriter(names), 0
    async with open_snapshot() as snapshot:
        company: Company = await company_of(experiment, config.personas, snapshot)
        yield opening(config, experiment, {})
        batches = company.taken(projection(names))
        try:
            async for batch in batches:
                taking_part = [taken for taken in batch if not taken.is_held_out]
                shown = taking_part if first is None else taking_part[: max(0, first - count)]
                written = [writer.persona(taken.profile, taken.arm)[1] for taken in shown]
                if written:
                    yield (b"," if count else b"") + b",".join(written)
                count += len(taking_part)
        finally:
            await batches.aclose()
    yield closing(count)


async def take_callback(run_id: str, headers: Mapping[str, str], body: bytes, settings: Settings) -> int:
    """Keep results that the other side sends by itself; how many the run has now.

    Raises Unauthenticated, NotFound, Invalid, and Conflict when the run waits for none.
    """
    verify(settings, run_id, headers, body)
    run = await ExperimentRun.get(run_id)
    if run is None:
        raise NotFound(f"There is no run {run_id}.")
    job = await job_of_run(run)
    if job is None or job.state not in UNFINISHED or run.snapshot is None or run.phase is Phase.FREEZING:
        raise Conflict(f"{run_id} waits for no results any more.")
    try:
        told = CallbackIn.model_validate(msgspec.json.decode(body))
        encoded = [msgspec.json.encode(result) for result in told.results]
    except (msgspec.MsgspecError, ValidationError, ValueError, RecursionError) as error:
        raise BadRequest(f"The body is no callback ({type(error).__name__}): see the README.") from None
    if told.status == "failed":
        await _runs().update_one({"_id": run_id}, {"$set": {"failure": told.error or ""}})
        await wake(job.id)
        return await results.stored_count(run)
    if told.part >= len(run.parts):
        raise Invalid("There is no such part.", [Problem(f"The run has {len(run.parts)} parts.", "/part")])
    part = run.parts[told.part]
    if told.offset + len(encoded) > part.count:
        detail = f"The part has {part.count:,} personas, and results go up to number {told.offset + len(encoded):,}."
        raise Invalid("There are more results than personas.", [Problem(detail, "/results")])
    try:
        await results.store(run, part.first + told.offset, encoded)
    except Refusal as error:
        raise Invalid(error.detail) from None
    await _runs().update_one({"_id": run_id}, {"$inc": {"called_back": 1}})
    if await results.is_complete(run, part):
        await wake(job.id)
    return await results.stored_count(run)


def _runs() -> AsyncIOMotorCollection[dict[str, Any]]:
    return ExperimentRun.get_motor_collection()
