"""Runs the Beanie migrations of `alembic-free-migrations/`, one process at a time.

Beanie's runner has no lock of its own: two runners at once would both migrate. Here a lease lets one work while the
other waits, and then finds nothing to do. A runner that is killed loses its lease after `LEASE`, and the next one
repeats the unfinished migration: migrations are written so that doing them twice does no harm.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from beanie import Document
from beanie.migrations.database import DBHandler
from beanie.migrations.models import MigrationLog, RunningDirections, RunningMode
from beanie.migrations.runner import MigrationNode
from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo.errors import CollectionInvalid, OperationFailure

from muster.errors import StartError
from muster.jobs import leases
from muster.jobs.documents import Lease
from muster.resources import Resources
from muster.settings import bundled

LEASE_NAME = "migrations"
LEASE = timedelta(seconds=30)
NAMESPACE_EXISTS = 48

Database = AsyncIOMotorDatabase[dict[str, Any]]


async def migrate(resources: Resources) -> Sequence[str]:
    """Run every migration that has not run yet, in the order of their file names; those names.

    Waits while another process migrates the same database. Raises StartError when this one loses its lease half-way.
    """
    async with _lease():
        pending = await pending_migrations(resources.database)
        if pending:
            node = await _first_node(resources)
            everything = RunningMode(direction=RunningDirections.FORWARD, distance=0)
            # No transaction: MongoDB builds no index on an existing collection inside one.
            await node.run(everything, allow_index_dropping=False, use_transaction=False)
    return pending


async def pending_migrations(database: Database) -> Sequence[str]:
    """The names of the migrations that have not run on this database yet. Writes nothing."""
    current = await database[MigrationLog.Settings.name].find_one({"is_current": True})
    names = sorted(file.stem for file in bundled("migrations").glob("[!_]*.py"))
    return names if current is None else [name for name in names if f"{name}.py" > current["name"]]


async def create_declared(database: Database, documents: Sequence[type[Document]]) -> None:
    """Create the collections of these documents (bound already) and every index they declare, where missing.

    Collections are created explicitly: a change stream or a transaction meets them before the first document does.
    """
    for document in documents:
        name = document.get_collection_name()
        try:
            await database.create_collection(name)
        except CollectionInvalid:
            pass  # it exists
        except OperationFailure as error:
            if error.code != NAMESPACE_EXISTS:  # a process that runs already has made it at the same moment
                raise
        if declared := document.get_settings().indexes:
            await database[name].create_indexes([field.index for field in declared])


async def _first_node(resources: Resources) -> MigrationNode:
    # What DBHandler.set_db() does, with the client we have.
    for name, value in {"client": resources.mongodb, "database": resources.database}.items():
        setattr(DBHandler, name, value)
    first: MigrationNode = await MigrationNode.build(bundled("migrations"))
    return first


@asynccontextmanager
async def _lease() -> AsyncIterator[None]:
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    while (lease := await leases.take(LEASE_NAME, holder, LEASE)) is None:  # noqa: ASYNC110 - the holder is elsewhere
        await asyncio.sleep(0.2)
    try:
        async with asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(_renew(lease))
            yield
            renewing.cancel()
    except* StartError as lost:
        raise lost.exceptions[0] from None
    finally:
        await leases.release(lease)


async def _renew(lease: Lease) -> None:
    while True:
        await asyncio.sleep(LEASE.total_seconds() / 3)
        if await leases.renew(lease) is None:
            raise StartError("Another process took over the migrations; run `muster migrate` again.")
