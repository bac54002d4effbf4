"""What runs under the supervisor: the command of each service, and how one knows that it serves."""

import asyncio
import os
import socket
import sys
from collections.abc import Coroutine, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pymongo.errors import PyMongoError

from muster.cohorts.slices import slices_of
from muster.embedded import mongod, ports, redis
from muster.embedded.services import Ready, Service
from muster.resources import Resources
from muster.sandbox import attio, modal
from muster.settings import Settings, process_environment

SHORTLY = 0.05  # seconds between two looks at something that is about to be ready
SERVER_ENVIRONMENT = {**os.environ, "LC_ALL": "C"}  # a locale that is not installed would keep mongod from starting


def mongod_service(settings: Settings, port: int) -> Service:
    """The embedded MongoDB. Raises StartError when it cannot run here."""
    program = mongod.binary()
    mongod.check_libraries(program)
    return Service(
        name="mongod",
        command=mongod.command(program, settings.data_path / "mongodb", port),
        log=log_file(settings, "mongod"),
        environment=SERVER_ENVIRONMENT,
        ready=lambda: mongod.make_primary(port),
        patience=10.0,
        explain=mongod.explain_exit,
    )


def redis_service(settings: Settings, port: int) -> Service:
    """The embedded Redis. Raises StartError when there is none for this platform."""
    return Service(
        name="redis-server",
        command=redis.command(redis.binary(), settings.data_path / "redis", port),
        log=log_file(settings, "redis-server"),
        environment=SERVER_ENVIRONMENT,
        ready=lambda: redis.answering(port),
    )


def application(resources: Resources) -> Sequence[Service]:
    """API, workers and watcher, with settings that name every server."""
    settings = resources.settings
    # The name by which the watcher holds its lease outlives the process: there is never a second one under this
    # supervisor, and so a new watcher need not wait for the lease of a killed one to run out.
    holder = f"{socket.gethostname()}:{settings.data_path}"

    def api_answers() -> Coroutine[Any, Any, None]:
        return answers_http(settings.host, settings.port, "/health/ready")

    def watcher_follows() -> Coroutine[Any, Any, None]:
        return lease_renewed(resources, [part.name for part in slices_of(settings.watch_slices)])

    return (
        muster_service(settings, "api", ready=api_answers),
        # Workers have nothing to answer on: they count as started when they outlive the start of the API.
        muster_service(settings, "worker", ready=api_answers, patience=8.0),
        muster_service(settings, "watch", "--holder", holder, ready=watcher_follows),
    )


def sandbox_service(settings: Settings, port: int) -> Service:
    """The stand-ins for Attio and Modal."""

    def answers() -> Coroutine[Any, Any, None]:
        return answers_http(ports.LOOPBACK, port, "/sandbox")

    return muster_service(settings, "sandbox", "--port", str(port), ready=answers)


def sandbox_settings(port: int) -> dict[str, Any]:
    """What leads to the stand-ins on a port."""
    address = f"http://{ports.LOOPBACK}:{port}"
    return {
        "attio_base_url": f"{address}/v2",
        "attio_api_key": SecretStr(attio.KEY),
        "modal_url": f"{address}{modal.PATH}",
        "modal_key": SecretStr(modal.KEY),
        "modal_secret": SecretStr(modal.SECRET),
    }


async def forever() -> None:
    """For a service that never has to be ready: it ends by itself."""
    await asyncio.Event().wait()


def muster_service(settings: Settings, *arguments: str, ready: Ready = forever, patience: float = 5.0) -> Service:
    """A command of ours as a service. `-P`: a folder that holds a `muster` or `workers` of its own does not matter."""
    return Service(
        name=f"muster {arguments[0]}",
        command=[sys.executable, "-P", "-m", "muster", *arguments],
        log=log_file(settings, arguments[0]),
        environment={**process_environment(settings), "PYTHONUNBUFFERED": "1"},
        ready=ready,
        patience=patience,
    )


def log_file(settings: Settings, name: str) -> Path:
    return settings.data_path / "logs" / f"{name}.log"


async def answers_http(host: str, port: int, path: str) -> None:
    """Wait until a GET is answered with 200. `host` is where a server listens, so 0.0.0.0 is asked on the loopback."""
    address = {"0.0.0.0": ports.LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    request = f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode()
    while True:
        try:
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(request)
                status = await reader.readline()
            finally:
                writer.close()
            if status.split()[1:2] == [b"200"]:
                return
        except OSError:
            pass
        await asyncio.sleep(SHORTLY)


async def lease_renewed(resources: Resources, names: Sequence[str]) -> None:
    """Wait until somebody takes or renews one of these leases, from now on by the clock of MongoDB.

    It may be another machine's watcher, for which ours stands by.
    """
    began: datetime | None = None
    while True:
        try:
            began = began or (await resources.mongodb.admin.command("hello"))["localTime"]
            renewed = {"_id": {"$in": names}, "holder": {"$ne": None}, "renewed_at": {"$gte": began}}
            if await resources.database["leases"].find_one(renewed):
                return
        except PyMongoError:
            pass  # MongoDB is starting again, too
        await asyncio.sleep(SHORTLY)
