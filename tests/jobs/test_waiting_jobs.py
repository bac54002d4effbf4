"""Jobs that wait for somebody else: without a worker, without being held against them, and sent again when due."""

from datetime import timedelta

import pytest

from muster.jobs import service
from muster.jobs.documents import Job
from muster.jobs.service import Busy, Waits, claim, create_job
from muster.jobs.working import MAXIMUM_ATTEMPTS

pytestmark = pytest.mark.usefixtures("clean")

LONG, NOT_AT_ALL = timedelta(hours=1), timedelta()


async def a_job() -> Job:
    return await create_job("RUN", "evaluate", "PRJ-1", "ada", {})


async def rests(job: Job, resume_after: timedelta) -> Job:
    with pytest.raises(Waits):
        async with claim(job.id):
            raise Waits("Somebody else is at it.", resume_after)
    return await stored(job)


async def stored(job: Job) -> Job:
    found = await Job.get(job.id)
    assert found is not None
    return found


async def test_it_runs_on_without_a_worker_and_nobody_may_begin_before_it_is_due() -> None:
    job = await rests(await a_job(), LONG)
    assert (job.state, job.lease.holder, job.error, job.attempts_since_progress) == ("running", None, None, 0)
    assert job.due_at is not None
    with pytest.raises(Busy):
        async with claim(job.id):
            pass


async def test_resting_is_no_attempt_and_no_fault() -> None:
    """However often it waits, it is neither quarantined nor does it look like many attempts."""
    job = await a_job()
    for _ in range(3 * MAXIMUM_ATTEMPTS):
        job = await rests(job, NOT_AT_ALL)
    assert (job.attempts, job.attempts_since_progress) == (1, 0)
    async with claim(job.id) as claimed:
        claimed.result = {"done": True}
    job = await stored(job)
    assert (job.state, job.result, job.attempts, job.due_at) == ("succeeded", {"done": True}, 1, None)


async def test_the_sweep_sends_it_when_it_is_due_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    async def send(job: Job) -> None:
        sent.append(job.id)
        await Job.get_motor_collection().update_one({"_id": job.id}, [{"$set": {"sent_at": "$$NOW", "sends": 1}}])

    async def remembers() -> bool:
        return False

    monkeypatch.setattr(service, "send", send)
    monkeypatch.setattr(service, "forgot_everything", remembers)
    later, now = await rests(await a_job(), LONG), await rests(await a_job(), NOT_AT_ALL)
    await service.sweep()
    assert sent == [now.id]
    await service.sweep()
    assert sent == [now.id], "its message is on the way"
    await service.wake(later.id)
    assert sent == [now.id, later.id]
    await service.wake(later.id)
    assert sent == [now.id, later.id], "it is awake"
    async with claim(later.id):
        pass
    assert (await stored(later)).state == "succeeded"


@pytest.mark.parametrize("again", [True, False])
async def test_it_is_cancelled_at_once_and_may_be_tried_again(again: bool) -> None:
    job = await rests(await a_job(), LONG)
    assert (await service.cancel("ada", job.id)).state == "cancelled"
    if again:
        job = await service.retry("ada", job.id)
        assert (job.state, job.due_at) == ("queued", None)
        async with claim(job.id):
            pass
