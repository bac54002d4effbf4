"""Two watchers, each stopped for longer than its lease while the other follows: what comes out is as with one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from bson import Binary
from bson.binary import UUID_SUBTYPE

from tests.embedded.running_muster import Up, environment, running
from tests.faults.kills import PATIENCE
from tests.faults.recount import Database, database_of
from tests.faults.scene import Scene, arrange, everything_is_right
from tests.faults.traffic import traffic
from tests.waiting import until

WATCHERS_LEASE = "watcher:0"


async def test_a_watcher_that_slept_through_its_lease_changes_nothing(tmp_path: Path) -> None:
    """SIGSTOP of each in turn until the other has the lease, SIGCONT, and writes all the while."""
    async with running(tmp_path / "data") as up, database_of(up.folder) as database:
        scene = await arrange(up, Random(3))
        async with traffic(scene.writers, scene.editor), second_watcher(up) as second:
            first = min(up.processes()["muster watch"] - {second})
            await takes_over(scene, database, sleeper=first)
            await takes_over(scene, database, sleeper=second)
        await everything_is_right(scene)


async def takes_over(scene: Scene, database: Database, *, sleeper: int) -> None:
    """Stop one watcher amid a batch until the other has taken its lease and applied something, then let it go on."""
    await scene.progress()
    holder = await holder_of_the_lease(database)
    try:

        async def stopped_amid_a_batch() -> bool:
            os.kill(sleeper, signal.SIGSTOP)
            if await has_a_transaction_open(database):
                return True
            os.kill(sleeper, signal.SIGCONT)
            return False

        await until(stopped_amid_a_batch, seconds=PATIENCE)

        async def another_follows() -> bool:
            return await holder_of_the_lease(database) not in {holder, None}

        await until(another_follows, seconds=PATIENCE)
        await scene.mark()
    finally:
        os.kill(sleeper, signal.SIGCONT)
    await scene.progress()


async def holder_of_the_lease(database: Database) -> str | None:
    """Who follows the change stream."""
    lease = await database["leases"].find_one({"_id": WATCHERS_LEASE})
    return None if lease is None else lease["holder"]


async def has_a_transaction_open(database: Database) -> bool:
    """Whether whoever follows the change stream has written part of a batch, and not yet committed it."""
    state = await database["watch_states"].find_one({"_id": WATCHERS_LEASE})
    assert state is not None
    session = Binary(bytes.fromhex(state["session"]), UUID_SUBTYPE)
    everything = {"$currentOp": {"allUsers": True, "idleSessions": True}}
    open_now = {"$match": {"lsid.id": session, "transaction.parameters.autocommit": False}}
    found = await database.client.admin.aggregate([everything, open_now])
    return bool(await found.to_list())


@asynccontextmanager
async def second_watcher(up: Up) -> AsyncIterator[int]:
    """A `muster watch` beside the one of `muster up`, on the same servers, by its process id."""
    with (up.folder / "logs" / "second-watch.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "muster", "watch"),
            stdout=log,
            stderr=log,
            env=environment(up.folder, int(up.address.rpartition(":")[2])),
        )
    try:
        yield process.pid
        assert process.returncode is None, "it ran all the while"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
