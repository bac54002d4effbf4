"""Writes to MongoDB that happen together or not at all, tried again for as long as MongoDB says that this may help.

Motor's own `with_transaction` does not try again when it is the commit that fails, as it does when mongod went away
between the last write and the commit.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from bson import Binary
from bson.binary import UUID_SUBTYPE
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

TRIES_FOR = 60.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.5  # seconds between two tries, drawn up to here, so that rivals part

T = TypeVar("T")
Write = Callable[[AsyncIOMotorClientSession], Awaitable[T]]
Hopeless = Callable[[PyMongoError], bool]


def _never(_error: PyMongoError) -> bool:
    return False


async def in_transaction(
    collection: "AsyncIOMotorCollection[Any]", write: Write[T], *, hopeless: Hopeless = _never
) -> T:
    """What `write` answers, once everything that it did with its session is committed. It may run more than once.

    Any collection of the database will do. `hopeless` names errors of which the caller makes something else than
    another try.
    """
    async with await collection.database.client.start_session() as session:
        return await commit(session, write, hopeless=hopeless)


async def commit(session: AsyncIOMotorClientSession, write: Write[T], *, hopeless: Hopeless = _never) -> T:
    """The same in a session of the caller's, which has no transaction under way."""
    started, pause = time.monotonic(), FIRST_PAUSE
    while True:
        try:
            return await _try(session, write, started)
        except PyMongoError as error:
            in_vain = not error.has_error_label("TransientTransactionError") or hopeless(error)
            if in_vain or time.monotonic() - started > TRIES_FOR:
                raise
        await asyncio.sleep(random.uniform(0, pause))
        pause = min(2 * pause, LONGEST_PAUSE)


def name_of(session: AsyncIOMotorClientSession) -> str:
    """The id of a session in hexadecimal, by which others can end it."""
    identity: Any = session.session_id  # Motor's annotations call this property a method
    name: str = identity["id"].hex()
    return name


async def end_session(collection: "AsyncIOMotorCollection[Any]", name: str) -> None:
    """Abort what a session has open. One whose process was killed would keep its documents for a minute from others."""
    command = [{"id": Binary(bytes.fromhex(name), UUID_SUBTYPE)}]
    await collection.database.client.admin.command("killSessions", command)


async def _try(session: AsyncIOMotorClientSession, write: Write[T], started: float) -> T:
    session.start_transaction(read_concern=ReadConcern("snapshot"))
    try:
        result = await write(session)
    except BaseException:
        with suppress(PyMongoError):  # it is gone already
            await session.abort_transaction()
        raise
    while True:
        try:
            await session.commit_transaction()
        except PyMongoError as error:
            # It may have been committed: to ask again for the same does no harm.
            if not error.has_error_label("UnknownTransactionCommitResult") or time.monotonic() - started > TRIES_FOR:
                raise
        else:
            return result
