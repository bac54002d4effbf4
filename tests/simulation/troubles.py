"""What befalls the watchers while others write: each of them is a way to begin again somewhere else."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest import mock

from pymongo import MongoClient
from pymongo.change_stream import ChangeStream

from muster.cohorts import watcher
from muster.cohorts.documents import WatchState
from muster.cohorts.slices import slices_of
from muster.cohorts.stream import AWAIT_MS, Stream
from muster.records.documents import Profile
from muster.tasks import stop

HISTORY_LOST = 286
READER = "muster watch"  # what MongoDB knows the readers of change streams by, so that a trouble can be theirs alone
MOST_SLICES = 3


@dataclass
class Watchers:
    """The watchers of this process; several as if they were of several processes."""

    random: Random
    slices: int = 1
    troubles: dict[str, int] = field(default_factory=dict)
    _tasks: "list[asyncio.Task[None]]" = field(default_factory=list)
    _older: dict[str, Any] = field(default_factory=dict)  # positions of a while ago, by slice

    def start(self) -> None:
        """One more."""
        self._tasks.append(asyncio.create_task(watcher.watch(slices=self.slices)))

    async def stop(self, keep: int = 0) -> None:
        """End those that were there first, in whatever they are doing; the last `keep` go on."""
        ending = self._tasks[: len(self._tasks) - keep]
        self._tasks = self._tasks[len(ending) :]
        for task in ending:
            await stop(task)

    def see(self) -> None:
        """Raise what ended one of them."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def states(self) -> list[WatchState]:
        """What they keep, of the slices that there are now."""
        return await WatchState.find({"_id": {"$in": [part.name for part in slices_of(self.slices)]}}).to_list()

    async def befall(self) -> None:
        """Any of them."""
        acts: Mapping[str, Callable[[], Awaitable[None]]] = {
            "another watcher takes over": self._take_over,
            "two watchers": self._two,
            "an older position": self._begin_at_an_older_position,
            "history lost": self._lose_history,
            "another number of slices": self._slice,
        }
        name = self.random.choice(list(acts))
        await acts[name]()
        self.troubles[name] = self.troubles.get(name, 0) + 1
        self._older = {state.id: state.token for state in await self.states() if state.token is not None}

    async def _take_over(self) -> None:
        """Another watcher stands by, those that follow end."""
        self.start()
        await self.stop(keep=1)

    async def _two(self) -> None:
        """They share the slices, or one stands by."""
        await self.stop(keep=1)
        self.start()

    async def _begin_at_an_older_position(self) -> None:
        """Everything since then is met once more."""
        await self.stop()
        for name, token in self._older.items():
            await WatchState.get_motor_collection().update_one({"_id": name}, {"$set": {"token": token}})
        self.start()

    async def _lose_history(self) -> None:
        """The next read of the change stream finds that its position is no longer known."""
        profiles = Profile.get_motor_collection()
        data = {
            "failCommands": ["getMore"],
            "errorCode": HISTORY_LOST,
            "appName": READER,
        }
        await profiles.database.client.admin.command(
            {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": data}
        )

    async def _slice(self) -> None:
        """Every slice starts anew."""
        await self.stop()
        self.slices = self.random.randint(1, MOST_SLICES)
        self.start()


@contextmanager
def readers_apart() -> Iterator[None]:
    """Watchers read change streams by a client of their own: a lost history shall not befall who pages a query."""
    profiles = Profile.get_motor_collection()
    client = profiles.database.client
    hosts = [f"{host}:{port}" for host, port in client.nodes]
    name = client.topology_description.replica_set_name
    with MongoClient[dict[str, Any]](hosts, replicaSet=name, tz_aware=True, appname=READER) as reader:

        class Apart(Stream):
            def _watch(self) -> ChangeStream[dict[str, Any]]:
                followed = reader[profiles.database.name][profiles.name]
                return followed.watch(self._pipeline, resume_after=self.token, max_await_time_ms=AWAIT_MS)

        with mock.patch.object(watcher, "Stream", Apart):
            yield
