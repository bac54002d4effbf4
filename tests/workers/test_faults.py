"""What kills workers, empties Redis, doubles or garbles messages changes nothing in the outcome of jobs."""

import json
import os
import signal
from typing import Any

import pytest

from muster.jobs import service
from muster.jobs.documents import UNFINISHED, Job
from muster.jobs.doorbell import QUEUE, Actor, ring
from muster.resources import Resources
from tests.waiting import until
from tests.workers.processes import StartWorker, kill

pytestmark = pytest.mark.usefixtures("clean")


async def send_job(**arguments: Any) -> Job:
    job = await service.create_job("RUN", "evaluate", "PRJ-1", "ada", arguments)
    await service.send(job)
    return job


async def all_ended() -> bool:
    return await Job.find({"state": {"$in": list(UNFINISHED)}}).count() == 0


async def stored(job: Job) -> Job:
    found = await Job.get(job.id)
    assert found is not None
    return found


async def effects(resources: Resources) -> dict[str, int]:
    return {effect["_id"]: effect["times"] async for effect in resources.database["effects"].find()}


def steps_of(jobs: list[Job]) -> set[str]:
    return {f"{job.id}:{step}" for job in jobs for step in range(job.arguments["steps"])}


async def test_kill_9_in_the_middle_of_jobs(clean: Resources, start_worker: StartWorker) -> None:
    """Every job ends, every step is done, and only a step that was under way may be done again."""
    jobs = [await send_job(steps=10, pause=0.03) for _ in range(12)]
    for so_many in (15, 45):
        worker = start_worker()

        async def under_way(so_many: int = so_many) -> bool:
            return await clean.database["effects"].count_documents({}) >= so_many

        await until(under_way)
        kill(worker)
        assert not await all_ended()
    start_worker()
    await until(all_ended)
    ended = [await stored(job) for job in jobs]
    assert {job.state for job in ended} == {"succeeded"}
    assert max(job.attempts for job in ended) > 1
    assert any(job.result != {"first": 0} for job in ended), "a resumed job goes on where it was"
    done = await effects(clean)
    assert done.keys() == steps_of(jobs)
    assert sum(done.values()) - len(done) <= sum(job.attempts - 1 for job in ended)


async def test_a_flushed_redis_loses_no_job(clean: Resources, start_worker: StartWorker) -> None:
    jobs = [await send_job(steps=2) for _ in range(5)]
    await clean.redis.flushall()
    start_worker()
    await until(all_ended)
    assert await effects(clean) == dict.fromkeys(steps_of(jobs), 1)


async def test_copies_of_a_message_have_one_effect(clean: Resources, start_worker: StartWorker) -> None:
    job = await send_job(steps=5, pause=0.05)
    for _ in range(8):
        await ring(Actor.EVALUATE_COHORT, job.id)
    start_worker()

    async def no_messages() -> bool:
        return not await clean.redis.hlen(f"muster:{clean.settings.mongodb_database}:{QUEUE}.msgs")  # type: ignore[misc]

    await until(no_messages)
    await until(all_ended)
    assert (await stored(job)).attempts == 1
    assert await effects(clean) == dict.fromkeys(steps_of([job]), 1)


async def test_garbage_is_set_aside_and_stops_nobody(clean: Resources, start_worker: StartWorker) -> None:
    queue = f"muster:{clean.settings.mongodb_database}:{QUEUE}"
    whole = {
        "queue_name": QUEUE,
        "actor_name": "rm_rf",
        "args": [],
        "kwargs": {},
        "message_id": "1",
        "message_timestamp": 1,
    }
    garbage = {
        "bytes": b"\xff\xfe\x00garbage",
        "shape": b'{"args": 7}',
        "list": b"[]",
        "no-options": json.dumps({**whole, "options": {}}).encode(),
        "unknown-actor": json.dumps({**whole, "options": {"redis_message_id": "unknown-actor"}}).encode(),
    }
    for name, data in garbage.items():
        await clean.redis.hset(f"{queue}.msgs", name, data)  # type: ignore[misc,arg-type]
        await clean.redis.rpush(queue, name)  # type: ignore[misc]
    jobs = [await send_job(steps=1) for _ in range(3)]
    worker = start_worker()
    await until(all_ended)

    async def all_aside() -> bool:
        aside = await clean.redis.hkeys(f"{queue}.XQ.msgs")  # type: ignore[misc]
        return {name.decode() for name in aside} == garbage.keys()

    async def none_left() -> bool:
        return await clean.redis.hlen(f"{queue}.msgs") == 0  # type: ignore[misc]

    await until(all_aside)
    await until(none_left)
    assert await effects(clean) == dict.fromkeys(steps_of(jobs), 1)
    assert worker.poll() is None


async def test_a_job_that_kills_its_workers_is_quarantined(start_worker: StartWorker) -> None:
    poison = await send_job(die=True)
    bystander = await send_job(steps=1)
    worker = start_worker()

    async def over() -> bool:
        nonlocal worker
        if worker.poll() is not None:  # what the supervisor does
            worker = start_worker()
        return await all_ended()

    await until(over)
    ended = await stored(poison)
    assert (ended.state, ended.attempts) == ("quarantined", 3)
    assert (await stored(bystander)).state == "succeeded"


async def test_a_worker_that_is_told_to_stop_gives_its_job_back(start_worker: StartWorker) -> None:
    job = await send_job(steps=1000, pause=0.05)
    worker = start_worker()

    async def working() -> bool:
        return (await stored(job)).progress.done > 2

    await until(working)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    left = await stored(job)
    assert (left.state, left.lease.holder, left.attempts_since_progress) == ("queued", None, 0)
