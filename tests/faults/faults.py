"""Everything that can go wrong, each as one function: it does it, and answers when it was over.

What is killed is over at once: to start again is recovery.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from bson import Binary
from bson.binary import UUID_SUBTYPE
from pymongo.errors import AutoReconnect
from redis.asyncio import Redis

from muster.records.documents import Profile
from tests.embedded.running_muster import Up, environment
from tests.faults.kills import PATIENCE, SERVICE_OF, kill, ready_again
from tests.faults.recount import Database, database_of
from tests.faults.scene import Scene
from tests.faults.witness import WATCHERS_LEASE
from tests.waiting import until

Fault = Callable[[Scene], Awaitable[float]]
"""Does it to a running Muster; the answer is when it was over, by `time.monotonic()`."""

LARGE = 9_000_000  # bytes; a change event with the value before and after it is more than MongoDB passes on
LONG_AGO = f"{1_577_836_800:08X}{1:08X}"  # the year 2020, as the time in a position is written
REDIS_IS_FULL = "1mb"
SLEEPS = 5.0  # seconds


async def killed(scene: Scene, *what: str) -> float:
    """kill -9 of one process, or of several at once."""
    victims = [kill(scene.up, each) for each in what]
    await ready_again(scene.up, *victims)
    return victims[0].at


async def watcher_sleeps(scene: Scene) -> float:
    """SIGSTOP for longer than its lease; nobody takes over meanwhile."""
    sleeper = min(scene.up.processes()["muster watch"])
    async with database_of(scene.up.folder) as database:
        await _stop_amid_a_batch(database, sleeper)
        try:
            await until(partial(_lease_ran_out, database), seconds=PATIENCE)
        finally:
            os.kill(sleeper, signal.SIGCONT)
    return time.monotonic()


async def watcher_sleeps_beside_another(scene: Scene) -> float:
    """SIGSTOP amid a batch until another watcher has taken the lease and applied something."""
    async with database_of(scene.up.folder) as database, second_watcher(scene.up) as second:
        first = min(scene.up.processes()["muster watch"] - {second})
        holder = await holder_of_the_lease(database)
        await _stop_amid_a_batch(database, first)
        try:

            async def another_follows() -> bool:
                return await holder_of_the_lease(database) not in {holder, None}

            await until(another_follows, seconds=PATIENCE)
            await scene.mark()
        finally:
            os.kill(first, signal.SIGCONT)
        over = time.monotonic()
        await scene.progress()
        await scene.mark()
    return over


async def mongod_sleeps(scene: Scene) -> float:
    """SIGSTOP of the database while everybody asks it."""
    (mongod,) = scene.up.processes()["mongod"]
    os.kill(mongod, signal.SIGSTOP)
    try:
        await asyncio.sleep(SLEEPS)  # the fault itself
    finally:
        os.kill(mongod, signal.SIGCONT)
    return time.monotonic()


async def mongod_steps_down(scene: Scene) -> float:
    """No primary, until the only node elects itself again."""
    async with database_of(scene.up.folder) as database:
        command = {"replSetStepDown": 1, "secondaryCatchUpPeriodSecs": 0, "force": True}
        with suppress(AutoReconnect):  # it closes every connection, ours too
            await database.client.admin.command(command)
    return time.monotonic()


async def redis_forgets(scene: Scene) -> float:
    """FLUSHALL."""
    async with redis_of(scene.up) as redis:
        await redis.flushall()
    return time.monotonic()


async def redis_is_full(scene: Scene) -> float:
    """It refuses all writes for a while, even heartbeats."""
    async with redis_of(scene.up) as redis:
        await redis.config_set("maxmemory", REDIS_IS_FULL)
        await scene.progress()
        await redis.config_set("maxmemory", "0")
    return time.monotonic()


async def position_is_older(scene: Scene) -> float:
    """The watcher begins again at a position from a while ago: it meets everything once more."""
    async with database_of(scene.up.folder) as database:
        before = await position(database)
        await scene.progress()
        await scene.mark()
        return await _begin_again_at(scene, database, before)


async def position_is_the_beginning(scene: Scene) -> float:
    """The same from the first change that MongoDB remembers."""
    nothing = [{"$match": {"operationType": "none"}}]  # an event's own position exists at its own time only
    async with database_of(scene.up.folder) as database, await database["profiles"].watch(nothing) as stream:
        await stream.try_next()
        token = dict(stream.resume_token or {})
        token["_data"] = token["_data"][:2] + LONG_AGO + token["_data"][18:]
        scene.histories_lost += scene.was_dropped  # it meets that once more, too
        return await _begin_again_at(scene, database, token)


async def history_is_lost(scene: Scene) -> float:
    """The saved position is one that MongoDB does not know any more."""
    async with database_of(scene.up.folder) as database:
        async with await database["profiles"].watch() as stream:
            while (event := await stream.try_next()) is None:
                pass
        token = {"_data": event["_id"]["_data"][:2] + LONG_AGO + event["_id"]["_data"][18:]}
        scene.histories_lost += 1
        return await _begin_again_at(scene, database, token)


async def profiles_are_dropped(scene: Scene) -> float:
    """The whole collection, and its indexes made again, as when somebody restores a dump; nobody writes meanwhile."""
    async with database_of(scene.up.folder) as database, scene.paused():
        await database.drop_collection("profiles")
        over = time.monotonic()
        await database["profiles"].create_indexes(Profile.Settings.indexes)
        scene.histories_lost, scene.was_dropped = scene.histories_lost + 1, True
        await scene.begin_with_nobody()
    return over


async def event_is_too_large(scene: Scene) -> float:
    """A change from 9 MB to 9 MB, by somebody who writes to MongoDB himself."""
    async with database_of(scene.up.folder) as database, scene.up.api() as api:
        made = await api.put("/v1/leads/large", json={"status": "open"}, timeout=PATIENCE)
        assert made.status_code in {200, 201}, made.text
        for letter in "xy":
            change = {"$set": {"lead.name": letter * LARGE}, "$inc": {"rev": 1}}
            await database["profiles"].update_one({"pii_id": "large"}, change)
        over = time.monotonic()
        await scene.mark()
        gone = await api.delete("/v1/profiles/large", timeout=PATIENCE)
        assert gone.status_code == 200, gone.text
    return over


def kill_of(*what: str) -> Fault:
    """kill -9 of these at once."""
    return lambda scene: killed(scene, *what)


FAULTS: Mapping[str, Fault] = {
    **{f"kill -9 of {what}": kill_of(what) for what in SERVICE_OF},
    "SIGSTOP of the watcher past its lease": watcher_sleeps,
    "the same beside a second watcher": watcher_sleeps_beside_another,
    "SIGSTOP of mongod": mongod_sleeps,
    "mongod steps down": mongod_steps_down,
    "FLUSHALL": redis_forgets,
    "Redis full": redis_is_full,
    "an older position": position_is_older,
    "the very first position": position_is_the_beginning,
    "lost history": history_is_lost,
    "profiles dropped": profiles_are_dropped,
    "a change event of 18 MB": event_is_too_large,
}
"""By what people call them."""


async def _begin_again_at(scene: Scene, database: Database, token: Mapping[str, Any]) -> float:
    """Put a position under a watcher, and kill it before it saves its own."""
    (watcher,) = scene.up.processes()["muster watch"]
    await until(partial(_stopped_between_batches, database, watcher), seconds=PATIENCE)
    scene.witness.forgive(token)
    await database["watch_states"].update_one({"_id": WATCHERS_LEASE}, {"$set": {"token": dict(token)}})
    victim = kill(scene.up, "watcher")
    await ready_again(scene.up, victim)
    return victim.at


async def _stopped_between_batches(database: Database, process: int) -> bool:
    return await _stopped(database, process, amid=False)


async def _stop_amid_a_batch(database: Database, process: int) -> None:
    await until(partial(_stopped, database, process, amid=True), seconds=PATIENCE)


async def _stopped(database: Database, process: int, *, amid: bool) -> bool:
    """Stop it, and let it go on unless it is where it should be."""
    os.kill(process, signal.SIGSTOP)
    if await has_a_transaction_open(database) is amid:
        return True
    os.kill(process, signal.SIGCONT)
    return False


async def has_a_transaction_open(database: Database) -> bool:
    """Whether whoever follows the change stream has written part of a batch, and not yet committed it."""
    state = await database["watch_states"].find_one({"_id": WATCHERS_LEASE})
    assert state is not None
    session = Binary(bytes.fromhex(state["session"]), UUID_SUBTYPE)
    everything = {"$currentOp": {"allUsers": True, "idleSessions": True}}
    open_now = {"$match": {"lsid.id": session, "transaction.parameters.autocommit": False}}
    found = await database.client.admin.aggregate([everything, open_now])
    return bool(await found.to_list())


async def position(database: Database) -> dict[str, Any]:
    """Where the watcher stands."""
    state = await database["watch_states"].find_one({"_id": WATCHERS_LEASE})
    assert state is not None
    return dict(state["token"])


async def holder_of_the_lease(database: Database) -> str | None:
    """Who follows the change stream."""
    lease = await database["leases"].find_one({"_id": WATCHERS_LEASE})
    return None if lease is None else lease["holder"]


async def _lease_ran_out(database: Database) -> bool:
    ran_out = {"_id": WATCHERS_LEASE, "$expr": {"$lt": ["$expires_at", {"$subtract": ["$$NOW", 1_000]}]}}
    return await database["leases"].find_one(ran_out) is not None


@asynccontextmanager
async def redis_of(up: Up) -> AsyncIterator[Redis]:
    """The Redis behind a running `muster up`."""
    redis = Redis(port=up.redis_port or 0)
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def second_watcher(up: Up) -> AsyncIterator[int]:
    """A `muster watch` beside the one of `muster up`, on the same servers, by its process id."""
    with (up.folder / "logs" / "second-watch.log").open("ab") as log:
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
