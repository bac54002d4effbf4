"""`muster up` as a person meets it: everything starts, comes back when it dies, and goes when it is told to."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from muster.embedded import ports
from muster.embedded.addresses import with_running_servers
from muster.settings import Settings

PATIENCE = 60  # seconds; a test that waits longer than this hangs
SERVICES = ("mongod", "redis-server", "muster api", "muster worker", "muster watch")


@dataclass
class Up:
    """A running `muster up`."""

    process: asyncio.subprocess.Process
    folder: Path
    address: str
    printed: list[str] = field(default_factory=list)

    async def line(self, start: str) -> str:
        """Wait for a line of its output that starts like this; fails when the output ends first."""
        assert self.process.stdout
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode().rstrip():
                self.printed.append(line)
                if line.startswith(start):
                    return line
        pytest.fail(f"no line {start!r} in {self.printed}")

    def processes(self) -> Mapping[str, frozenset[int]]:
        """The ids of everything that runs on this data folder, by service."""
        found: dict[str, set[int]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:  # it ended meanwhile
                continue
            ours = f"MUSTER_DATA_DIR={self.folder}".encode() in environment
            # Redis writes its title over its environment.
            if command and (ours or (self.redis_port and f"redis-server 127.0.0.1:{self.redis_port}" in command)):
                name = next((name for name in SERVICES if name in command), "muster up")
                found.setdefault(name, set()).add(int(entry.name))
        return {name: frozenset(ids) for name, ids in found.items()}

    @property
    def redis_port(self) -> int | None:
        file = self.folder / "redis" / "port"
        return int(file.read_text()) if file.exists() else None

    async def gone(self, *ids: int) -> None:
        """Wait until these processes, or all of this data folder, are no more."""
        async with asyncio.timeout(PATIENCE):
            while alive := frozenset[int]().union(*self.processes().values()):
                if ids and not alive.intersection(ids):
                    return
                await asyncio.sleep(0.02)

    def api(self) -> httpx.AsyncClient:
        """A client with the token of the data folder."""
        token = (self.folder / "token").read_text().strip()
        return httpx.AsyncClient(base_url=self.address, headers={"Authorization": f"Bearer {token}"})


def environment(folder: Path, port: int) -> dict[str, str]:
    """Nothing of this shell's Muster, and an empty workspace."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    return {**inherited, "MUSTER_DATA_DIR": str(folder), "MUSTER_PORT": str(port), "MUSTER_DEMO": "0"}


async def start(folder: Path, port: int, more: Mapping[str, str] | None = None) -> Up:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "muster", "up"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**environment(folder, port), **(more or {})},
        cwd="/",  # from any folder
    )
    return Up(process, folder, f"http://127.0.0.1:{port}")


@asynccontextmanager
async def running(folder: Path, port: int | None = None) -> AsyncIterator[Up]:
    """`muster up`, ready; killed at the end if it still runs."""
    up = await start(folder, port or ports.free_port())
    try:
        assert await up.line("Muster is ready at") == f"Muster is ready at {up.address}"
        yield up
    finally:
        if up.process.returncode is None:
            up.process.kill()
        await up.process.communicate()  # closes the pipe


async def test_it_starts_everything_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    """Each service is its own process; a Ctrl-C that arrives twice is one; the end is clean."""
    async with running(tmp_path / "data") as up:
        link = await up.line("Sign in once within 15 minutes:")
        assert f"{up.address}/signin?code=" in link
        assert set(up.processes()) == {*SERVICES, "muster up"}
        assert (up.folder / "token").stat().st_mode & 0o777 == 0o600
        async with up.api() as api:
            assert (await api.get("/v1/projects")).status_code == 200
        up.process.send_signal(signal.SIGINT)
        up.process.send_signal(signal.SIGINT)
        assert await up.process.wait() == 0
        await up.gone()
        assert not (up.folder / "servers.json").exists()


async def test_what_is_killed_comes_back(tmp_path: Path) -> None:
    """kill -9 of each service in turn; its forks die with it, and the API answers again."""
    async with running(tmp_path / "data") as up:
        for name in SERVICES:
            before = up.processes()[name]
            os.kill(min(before), signal.SIGKILL)  # of the workers, the lowest id is the master's
            await up.gone(*before)
            assert "(killed by signal 9)" in await up.line(f"muster: {name} ended")
            async with asyncio.timeout(PATIENCE):
                while not up.processes().get(name):
                    await asyncio.sleep(0.02)
            async with up.api() as api:
                await answers(api)
        assert set(up.processes()) == {*SERVICES, "muster up"}


async def test_its_own_kill_9_leaves_nothing_and_no_data_is_lost(tmp_path: Path) -> None:
    """The next start, on other ports everywhere, finds what was acknowledged before."""
    folder = tmp_path / "data"
    async with running(folder) as up:
        async with up.api() as api:
            made = (await api.post("/v1/projects", json={"name": "Spring"})).json()
        up.process.kill()
        await up.process.wait()
        await up.gone()
    async with occupied(folder / "mongodb"), occupied(folder / "redis"), running(folder) as up, up.api() as api:
        found = (await api.get(f"/v1/projects/{made['id']}")).json()
        assert found["name"] == "Spring"
        assert with_running_servers(Settings(data_dir=folder)).mongodb_uri is not None
    assert with_running_servers(Settings(data_dir=folder)).mongodb_uri is None, "nothing runs any more"


async def test_a_second_one_on_the_same_folder_says_who_holds_it(tmp_path: Path) -> None:
    """One sentence, exit code 1, and the first goes on."""
    async with running(tmp_path / "data") as up:
        second = await start(up.folder, ports.free_port())
        printed, _ = await second.process.communicate()
        assert second.process.returncode == 1
        assert f"in use by another `muster up` (process {up.process.pid})" in printed.decode()
        assert printed.decode().count("\n") == 1
        assert (up.folder / "servers.json").exists()
        async with up.api() as api:
            await answers(api)


async def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """Before anything else is started."""
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        up = await start(tmp_path / "data", taken.getsockname()[1])
        printed, _ = await up.process.communicate()
    assert up.process.returncode == 1
    assert "cannot be used (address already in use)" in printed.decode()
    assert printed.decode().count("\n") == 1
    assert not (tmp_path / "data" / "mongodb").exists()


async def test_a_redis_of_ones_own_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    """And MongoDB, started already, is stopped again."""
    redis_url = f"redis://127.0.0.1:{ports.free_port()}"
    up = await start(tmp_path / "data", ports.free_port(), {"MUSTER_REDIS_URL": redis_url})
    printed, _ = await up.process.communicate()
    assert up.process.returncode == 1
    assert printed.decode().startswith("Error: Redis does not answer")
    assert printed.decode().count("\n") == 1
    await up.gone()


async def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file stands in the way."""
    (tmp_path / "file").touch()
    up = await start(tmp_path / "file" / "data", ports.free_port())
    printed, _ = await up.process.communicate()
    assert up.process.returncode == 1
    assert "name another one with MUSTER_DATA_DIR" in printed.decode()
    assert printed.decode().count("\n") == 1


async def test_the_doctor_finds_a_running_muster_well(tmp_path: Path) -> None:
    """It uses the servers of the running one."""
    async with running(tmp_path / "data") as up:
        doctor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "muster", "doctor", "--json"),
            stdout=asyncio.subprocess.PIPE,
            env=environment(up.folder, ports.free_port()),
        )
        printed, _ = await doctor.communicate()
        findings = {finding["name"]: finding for finding in json.loads(printed)}
        assert all(finding["ok"] for finding in findings.values()), findings
        assert "is up to date" in findings["MongoDB"]["detail"]
        assert doctor.returncode == 0


async def answers(api: httpx.AsyncClient) -> None:
    """Wait until the API answers."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                if (await api.get("/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


@asynccontextmanager
async def occupied(folder: Path) -> AsyncIterator[None]:
    """Another program on the port that a server used before; it hangs up on everybody."""
    port = int((folder / "port").read_text())
    async with await asyncio.start_server(lambda _, writer: writer.close(), ports.LOOPBACK, port):
        yield
