"""What a killed process leaves in MongoDB holds nobody up for long."""

import asyncio
import sys
from typing import Any

from pymongo import AsyncMongoClient

from muster.embedded.servers import Addresses

DIES_IN_A_TRANSACTION = """
import os, signal, sys
from pymongo import MongoClient
client = MongoClient(sys.argv[1])
with client.start_session() as session, session.start_transaction():
    client["left"]["behind"].update_one({"_id": 1}, {"$inc": {"by": 1}}, session=session)
    os.kill(os.getpid(), signal.SIGKILL)
"""
SOON = 40_000  # milliseconds; by MongoDB's own settings it takes 60 s, and up to 90


async def test_the_transaction_of_a_dead_process_is_aborted_soon(servers: Addresses) -> None:
    """The next watcher writes the same counts: it must not wait a minute for one that nobody will ever end."""
    uri = servers.mongodb_uri
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri)
    async with client:
        documents = client["left"]["behind"]
        await documents.insert_one({"_id": 1, "by": 0})
        dying = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES_IN_A_TRANSACTION, uri)
        assert await dying.wait() == -9
        # Waits for as long as the transaction is open; raises ExecutionTimeout after `SOON`.
        before = await documents.find_one_and_update({"_id": 1}, {"$inc": {"by": 10}}, maxTimeMS=SOON)
        assert before == {"_id": 1, "by": 0}
        await client.drop_database("left")
