"""Transactions are tried again whenever MongoDB says that this may help, also when it is the commit that fails."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo.errors import OperationFailure

from muster.resources import Resources
from muster.transactions import in_transaction

NO_SUCH_TRANSACTION, WRITE_CONFLICT, INTERRUPTED, NOT_AUTHORIZED = 251, 112, 11602, 13

Collection = AsyncIOMotorCollection[dict[str, Any]]


@pytest.fixture
async def counted(clean: Resources) -> AsyncIterator[Collection]:
    """A collection with one document that counts."""
    collection = clean.database["transactions"]
    await collection.insert_one({"_id": 1, "count": 0})
    yield collection
    await clean.mongodb.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    await collection.drop()


async def fails(clean: Resources, command: str, code: int, *labels: str, times: int = 2) -> None:
    """Let a command fail, as many times."""
    data = {"failCommands": [command], "errorCode": code, "errorLabels": list(labels), "appName": "muster"}
    await clean.mongodb.admin.command({"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data})


async def count(collection: Collection, attempts: list[int]) -> str:
    """Count one up in a transaction."""

    async def write(session: AsyncIOMotorClientSession) -> str:
        attempts.append(len(attempts))
        await collection.update_one({"_id": 1}, {"$inc": {"count": 1}}, session=session)
        return "counted"

    return await in_transaction(collection, write)


@pytest.mark.parametrize(
    ("failure", "attempts"),
    [
        (("update", WRITE_CONFLICT, "TransientTransactionError"), 3),
        (("commitTransaction", NO_SUCH_TRANSACTION, "TransientTransactionError"), 3),
        (("commitTransaction", INTERRUPTED, "UnknownTransactionCommitResult"), 1),
    ],
)
async def test_what_may_help_is_tried_and_counts_once(
    clean: Resources, counted: Collection, failure: tuple[str, int, str], attempts: int
) -> None:
    await fails(clean, *failure)
    made: list[int] = []
    assert await count(counted, made) == "counted"
    assert len(made) == attempts
    assert await counted.find_one({"_id": 1}) == {"_id": 1, "count": 1}


@pytest.mark.parametrize("command", ["update", "commitTransaction"])
async def test_what_cannot_help_is_raised_and_leaves_nothing(
    clean: Resources, counted: Collection, command: str
) -> None:
    await fails(clean, command, NOT_AUTHORIZED)
    with pytest.raises(OperationFailure):
        await count(counted, [])
    assert await counted.find_one({"_id": 1}) == {"_id": 1, "count": 0}


async def test_an_error_of_the_callers_ends_the_transaction(counted: Collection) -> None:
    async def write(session: AsyncIOMotorClientSession) -> None:
        await counted.update_one({"_id": 1}, {"$inc": {"count": 1}}, session=session)
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        await in_transaction(counted, write)
    assert await counted.find_one_and_update({"_id": 1}, {"$inc": {"count": 10}}) == {"_id": 1, "count": 0}
