"""Leases: one holder at a time by the server's clock, and a fence that shuts out whoever slept."""

from datetime import timedelta

import pytest
from pymongo.errors import OperationFailure

from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.resources import Resources

LONG = timedelta(minutes=5)
pytestmark = pytest.mark.usefixtures("clean")


async def expire(name: str) -> None:
    """Let a lease run out now, as if its holder had slept."""
    await Lease.get_motor_collection().update_one({"_id": name}, [{"$set": {"expires_at": "$$NOW"}}])


async def test_one_holder_at_a_time() -> None:
    mine = await leases.take("watch", "a", LONG)
    assert mine is not None
    assert (mine.name, mine.holder, mine.fence) == ("watch", "a", 1)
    assert await leases.take("watch", "b", LONG) is None
    assert await leases.take("another name", "b", LONG) is not None


async def test_a_released_lease_is_free_at_once_with_a_higher_fence() -> None:
    mine = await leases.take("watch", "a", LONG)
    assert mine is not None
    assert await leases.release(mine)
    theirs = await leases.take("watch", "b", LONG)
    assert theirs is not None
    assert theirs.fence == 2
    assert not await leases.release(mine), "what was lost cannot be given back"


async def test_the_same_holder_takes_over_from_its_earlier_self() -> None:
    earlier = await leases.take("watch", "a", LONG)
    later = await leases.take("watch", "a", LONG)
    assert earlier is not None
    assert later is not None
    assert await leases.renew(earlier) is None
    assert await leases.renew(later) is not None


async def test_a_stalled_holder_is_fenced_when_it_wakes_up() -> None:
    stalled = await leases.take("watch", "a", LONG)
    assert stalled is not None
    await expire("watch")
    assert await leases.take("watch", "b", LONG) is not None
    assert await leases.renew(stalled) is None


async def test_a_lease_that_ran_out_unnoticed_is_kept() -> None:
    mine = await leases.take("watch", "a", LONG)
    assert mine is not None
    await expire("watch")
    assert await leases.renew(mine) is not None
    assert await leases.take("watch", "b", LONG) is None


async def test_renewing_answers_the_time_as_written() -> None:
    mine = await leases.take("watch", "a", LONG)
    assert mine is not None
    now = await leases.renew(mine)
    stored = await Lease.get_motor_collection().find_one({"_id": "watch"})
    assert stored is not None
    assert now == stored["renewed_at"] >= mine.renewed_at
    assert stored["expires_at"] - stored["renewed_at"] == LONG


async def test_a_take_over_beside_a_transaction_lets_only_one_stand(clean: Resources) -> None:
    """The watcher's transaction renews its lease: with a take-over at the same moment it commits nothing."""
    mine = await leases.take("watch", "a", LONG)
    assert mine is not None
    effects = clean.database["effects"]
    async with await clean.mongodb.start_session() as session:
        session.start_transaction()
        await effects.insert_one({"_id": "mine"}, session=session)
        await expire("watch")
        assert await leases.take("watch", "b", LONG) is not None
        with pytest.raises(OperationFailure) as conflict:
            await leases.renew(mine, session=session)
        assert conflict.value.has_error_label("TransientTransactionError")
        await session.abort_transaction()
        assert await effects.count_documents({}) == 0
        session.start_transaction()
        assert await leases.renew(mine, session=session) is None
        await session.abort_transaction()
