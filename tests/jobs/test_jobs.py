"""Jobs: claimed by one, resumed by the next, ended once, lost never."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from dramatiq import Message
from pymongo.errors import AutoReconnect

from muster.errors import Conflict, Invalid, NotFound
from muster.jobs import doorbell, service, working
from muster.jobs.documents import Job
from muster.jobs.service import Busy, Cancelled, Claimed, Done, Fenced, claim
from muster.resources import Resources
from muster.settings import Settings
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("clean")


async def a_job(owner: str = "ada", **arguments: Any) -> Job:
    return await service.create_job("RUN", "evaluate", "PRJ-1", owner, arguments)


async def stored(job: Job) -> Job:
    found = await Job.get(job.id)
    assert found is not None
    return found


async def kill_worker_of(job: Job) -> None:
    """Leave the job as kill -9 of its worker does, once the lease has run out."""
    await Job.get_motor_collection().update_one({"_id": job.id}, [{"$set": {"lease.expires_at": "$$NOW"}}])


async def begin(job: Job) -> Claimed:
    """An attempt whose process may go without a word."""
    taken = await working._take(job.id, f"somebody {secrets.token_hex(4)}", working.LEASE_TTL, attempts={"$lt": 3})
    assert taken is not None
    return Claimed(taken, working.LEASE_TTL)


async def die_over(job: Job, *, done: int | None = None) -> None:
    """An attempt that claims, perhaps gets somewhere, and is killed."""
    claimed = await begin(job)
    if done is not None:
        await claimed.progress(done, 10)
    await kill_worker_of(job)


def messages(resources: Resources) -> Callable[[], Any]:
    """The job ids that wait in Redis."""
    key = f"muster:{resources.settings.mongodb_database}:{doorbell.QUEUE}"

    async def waiting() -> list[str]:
        raw = await resources.redis.hvals(f"{key}.msgs")  # type: ignore[misc]  # redis-py's types mix sync and async
        return sorted(Message.decode(data).args[0] for data in raw)

    return waiting


async def test_success_keeps_the_result_and_the_times() -> None:
    job = await a_job(cohort_id="COH-1", odd={"$set": "$$ROOT"})
    assert (job.state, job.attempts, job.started_at) == ("queued", 0, None)
    assert job.arguments == {"cohort_id": "COH-1", "odd": {"$set": "$$ROOT"}}
    async with claim(job.id) as claimed:
        assert claimed.job.state == "running"
        await claimed.progress(5, 20)
        half = await stored(job)
        assert (half.progress.done, half.progress.total) == (5, 20)
        claimed.result = {"price": "$secret"}
    done = await stored(job)
    assert (done.state, done.result, done.attempts) == ("succeeded", {"price": "$secret"}, 1)
    assert (done.progress.done, done.progress.total) == (20, 20)
    assert done.started_at is not None
    assert done.finished_at is not None
    assert done.created_at <= done.started_at <= done.finished_at
    assert (done.lease.holder, done.lease.expires_at) == (None, None)


async def test_only_one_at_a_time_and_never_after_the_end() -> None:
    job = await a_job()
    async with claim(job.id):
        with pytest.raises(Busy):
            async with claim(job.id):
                pass
    with pytest.raises(Done):
        async with claim(job.id):
            pass
    assert (await stored(job)).attempts == 1
    with pytest.raises(NotFound):
        async with claim("RUN-999"):
            pass


async def test_a_stated_error_fails_the_job_with_its_sentence() -> None:
    job = await a_job()
    with pytest.raises(Invalid):
        async with claim(job.id):
            raise Invalid("The rule names $lead, which is no field.")
    failed = await stored(job)
    assert (failed.state, failed.error) == ("failed", "The rule names $lead, which is no field.")


async def test_an_unexpected_error_fails_the_job_without_telling_secrets(caplog: pytest.LogCaptureFixture) -> None:
    job = await a_job()
    with caplog.at_level(logging.ERROR), pytest.raises(KeyError):
        async with claim(job.id):
            raise KeyError("canary")
    failed = await stored(job)
    assert failed.state == "failed"
    assert failed.error is not None
    assert "KeyError" in failed.error
    assert "canary" not in failed.error
    assert "canary" in caplog.text


@pytest.mark.parametrize("gone", [AutoReconnect("primary stepped down"), ConnectionResetError("reset")])
async def test_a_server_that_goes_away_leaves_the_job_to_the_next_attempt(gone: Exception) -> None:
    job = await a_job()

    async def work() -> None:
        async with claim(job.id) as claimed:
            await claimed.checkpoint({"after": "P7"})
            raise gone

    with pytest.raises(type(gone)):
        await work()
    assert (await stored(job)).state == "queued"
    async with claim(job.id) as claimed:
        assert claimed.job.checkpoint == {"after": "P7"}
        assert claimed.fence == 2


async def test_shutdown_gives_the_job_back_and_costs_no_attempt() -> None:
    job = await a_job()
    working = asyncio.Event()

    async def work() -> None:
        async with claim(job.id):
            working.set()
            await asyncio.Event().wait()

    for _ in range(4):
        task = asyncio.create_task(work())
        await working.wait()
        working.clear()
        task.cancel()
        await asyncio.wait([task])
    left = await stored(job)
    assert (left.state, left.attempts, left.attempts_since_progress) == ("queued", 4, 0)


async def test_a_stalled_worker_is_fenced() -> None:
    job = await a_job()

    async def stall() -> None:
        async with claim(job.id) as stalled:
            await kill_worker_of(job)
            async with claim(job.id) as second:
                with pytest.raises(Fenced):
                    await stalled.progress(1, 2)
                with pytest.raises(Fenced):
                    await stalled.checkpoint("mine")
                second.result = {"by": "the second"}
            stalled.result = {"by": "the stalled one"}

    with pytest.raises(Fenced):
        await stall()
    done = await stored(job)
    assert (done.state, done.result, done.attempts) == ("succeeded", {"by": "the second"}, 2)


async def test_the_lease_is_renewed_while_the_work_is_silent() -> None:
    job = await a_job()
    async with claim(job.id, ttl=timedelta(milliseconds=300)) as claimed:
        first = (await stored(job)).lease.expires_at
        assert first is not None

        async def renewed() -> bool:
            current = (await stored(job)).lease.expires_at
            return current is not None and current > first

        await until(renewed)
        await claimed.renew()


async def test_a_transaction_stands_only_while_the_lease_is_held(clean: Resources) -> None:
    job = await a_job()
    effects = clean.database["effects"]
    stalled = await begin(job)

    async def late_effect() -> None:
        async with await clean.mongodb.start_session() as session, session.start_transaction():
            await effects.insert_one({"_id": 1}, session=session)
            await stalled.renew(session=session)

    await kill_worker_of(job)
    async with claim(job.id):
        with pytest.raises(Fenced):
            await late_effect()
    assert await effects.count_documents({}) == 0


async def test_three_dead_attempts_without_progress_mean_quarantine() -> None:
    job = await a_job()
    for _ in range(3):
        await die_over(job)
    with pytest.raises(Done):
        async with claim(job.id):
            pass
    assert await service.sweep() == 0
    ended = await stored(job)
    assert (ended.state, ended.attempts) == ("quarantined", 3)
    assert ended.error is not None
    assert "3 attempts in a row" in ended.error


async def test_last_attempts_take_turns_so_that_the_guilty_takes_nobody_along() -> None:
    guilty, bystander = await a_job(), await a_job()
    for job in (guilty, bystander):
        await die_over(job)
        await die_over(job)
    async with claim(guilty.id):
        with pytest.raises(Busy):
            async with claim(bystander.id):
                pass
    async with claim(bystander.id):
        pass
    assert (await stored(bystander)).state == "succeeded"


async def test_progress_earns_further_attempts_and_standing_still_does_not() -> None:
    job = await a_job()
    for done in (1, 2, 3, 4):
        await die_over(job, done=done)
    assert (await stored(job)).attempts_since_progress == 0
    for _ in range(3):  # the same way once more is no progress
        await die_over(job, done=4)
    await service.sweep()
    assert (await stored(job)).state == "quarantined"


async def test_a_queued_job_is_cancelled_at_once_and_never_begun() -> None:
    job = await a_job()
    assert (await service.cancel("ada", job.id)).state == "cancelled"
    assert (await service.cancel("ada", job.id)).state == "cancelled"
    with pytest.raises(Done):
        async with claim(job.id):
            pass


async def test_a_running_job_is_cancelled_at_its_next_report() -> None:
    job = await a_job()

    async def work() -> None:
        async with claim(job.id) as claimed:
            await claimed.progress(1, 3)
            assert (await service.cancel("ada", job.id)).state == "running"
            await claimed.progress(2, 3)

    with pytest.raises(Cancelled):
        await work()
    ended = await stored(job)
    assert ended.state == "cancelled"
    assert ended.finished_at is not None


async def test_a_job_cancelled_while_its_worker_is_dead_ends() -> None:
    job = await a_job()
    claimed = await begin(job)
    assert (await service.cancel("ada", job.id)).state == "running"
    await kill_worker_of(job)
    assert await service.sweep() == 0
    assert (await stored(job)).state == "cancelled"
    with pytest.raises(Fenced):
        await claimed.progress(1)


async def test_an_ended_job_cannot_be_cancelled_and_only_a_failed_one_retried() -> None:
    job = await a_job()
    async with claim(job.id):
        with pytest.raises(Conflict):
            await service.retry("ada", job.id)
    for change in (service.cancel, service.retry):
        with pytest.raises(Conflict):
            await change("ada", job.id)


async def test_a_retried_job_goes_on_from_its_checkpoint(clean: Resources) -> None:
    job = await a_job()

    async def work() -> None:
        async with claim(job.id) as claimed:
            await claimed.checkpoint(7)
            raise Invalid("no")

    with pytest.raises(Invalid):
        await work()
    again = await service.retry("ada", job.id)
    assert (again.state, again.error, again.finished_at) == ("queued", None, None)
    assert await messages(clean)() == [job.id]
    async with claim(job.id) as claimed:
        assert claimed.job.checkpoint == 7


async def test_another_owner_sees_none_of_it() -> None:
    job = await a_job("ada")
    for look in (service.job_of, service.cancel, service.retry):
        with pytest.raises(NotFound):
            await look("eve", job.id)
    assert await service.list_jobs("eve", limit=10) == ([], None)


async def test_lists_are_paged_newest_first_and_filtered() -> None:
    made = [await a_job() for _ in range(5)]
    await service.cancel("ada", made[1].id)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        rows, cursor = await service.list_jobs("ada", limit=2, cursor=cursor)
        seen += [job.id for job in rows]
        if cursor is None:
            break
    assert sorted(seen) == sorted(job.id for job in made)
    times = [(await stored(job)).created_at for job in made]
    assert times == sorted(times)
    cancelled, _ = await service.list_jobs("ada", limit=9, states=("cancelled",))
    assert [job.id for job in cancelled] == [made[1].id]
    assert (await service.list_jobs("ada", limit=9, kinds=("import",)))[0] == []
    assert (await service.list_jobs("ada", limit=9, project_id="PRJ-2"))[0] == []


async def test_the_sweep_sends_what_a_flushed_redis_forgot(clean: Resources) -> None:
    job = await a_job()
    running = await a_job()
    await service.send(job)
    assert await service.sweep() == 2, "a new Redis gets everything that waits"
    assert await service.sweep() == 0, "now both are known to be there"
    async with claim(running.id):
        await clean.redis.flushdb()
        assert await service.sweep() == 1
        assert await messages(clean)() == [job.id], "a job in work needs no message"


async def test_the_sweep_waits_longer_each_time_for_an_answer() -> None:
    job = await a_job()
    await service.sweep()
    age = {"$subtract": ["$$NOW", 25_000]}
    sent = []
    for _ in range(3):
        await Job.get_motor_collection().update_one({"_id": job.id}, [{"$set": {"sent_at": age}}])
        sent.append(await service.sweep())
    assert sent == [1, 0, 0]


async def test_a_redis_that_is_away_does_not_stop_anybody(
    clean: Resources, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})
    job = await a_job()
    with caplog.at_level(logging.WARNING), doorbell.doorbell(nobody):
        await service.send(job)
    assert "Redis does not take messages" in caplog.text
    assert (await stored(job)).sent_at is None
    await clean.redis.set(f"muster:{settings.mongodb_database}:mark", "1")
    assert await service.sweep() == 0, "its first message is not late yet"
    await Job.get_motor_collection().update_one(
        {"_id": job.id}, [{"$set": {"created_at": {"$subtract": ["$$NOW", 15_000]}}}]
    )
    assert await service.sweep() == 1
    assert await messages(clean)() == [job.id]
