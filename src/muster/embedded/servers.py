"""MongoDB and Redis under a folder, started and ready: for the supervisor and for tests."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.embedded import mongod, ports, processes, redis
from muster.embedded.services import answers_before_it_ends
from muster.errors import StartError


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are."""

    mongodb_uri: str
    redis_url: str


async def ready(name: str, process: asyncio.subprocess.Process, answering: Coroutine[Any, Any, None]) -> None:
    """Wait until a server answers. Raises StartError when its process ends first."""
    if not await answers_before_it_ends(process, answering):
        raise StartError(f"{name} did not start: {mongod.explain_exit(await process.wait())}.")


@asynccontextmanager
async def running_servers(
    folder: Path, *, mongod_options: Sequence[str] = (), cache_gigabytes: float = 0.25
) -> AsyncIterator[Addresses]:
    """A mongod and a Redis of their own under `folder`, for the length of a block."""
    folders = folder / "mongodb", folder / "redis"
    for each in folders:
        each.mkdir(parents=True, exist_ok=True)
    mongod_port, redis_port = map(ports.kept_port, folders)
    mongod_command = mongod.command(mongod.binary(), folders[0], mongod_port, cache_gigabytes=cache_gigabytes)
    started: list[asyncio.subprocess.Process] = []
    try:
        started.append(await processes.spawn([*mongod_command, *mongod_options], log=folder / "mongod.log"))
        redis_command = redis.command(redis.binary(), folders[1], redis_port)
        started.append(await processes.spawn(redis_command, log=folder / "redis.log"))
        await ready("mongod", started[0], mongod.make_primary(mongod_port))
        await ready("redis-server", started[1], redis.answering(redis_port))
        yield Addresses(mongod.uri(mongod_port), redis.url(redis_port))
    finally:
        await asyncio.gather(*(processes.stop(process, patience=10) for process in started))
