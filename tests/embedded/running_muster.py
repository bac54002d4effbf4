"""A real `muster up` in a data folder of its own, for tests."""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from muster.embedded import ports

TLS = ssl.create_default_context()  # nobody here speaks it, but each client would make one of its own: 50 ms
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
        return httpx.AsyncClient(base_url=self.address, headers={"Authorization": f"Bearer {token}"}, verify=TLS)


def environment(folder: Path, port: int) -> dict[str, str]:
    """Nothing of this shell's Muster, and an empty workspace."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUSTER_")}
    return {**inherited, "MUSTER_DATA_DIR": str(folder), "MUSTER_PORT": str(port), "MUSTER_DEMO": "0"}


async def start(folder: Path, port: int, more: Mapping[str, str] | None = None, *arguments: str) -> Up:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "muster", "up", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**environment(folder, port), **(more or {})},
        cwd="/",  # from any folder
    )
    return Up(process, folder, f"http://127.0.0.1:{port}")


@asynccontextmanager
async def running(
    folder: Path, port: int | None = None, more: Mapping[str, str] | None = None, *arguments: str
) -> AsyncIterator[Up]:
    """`muster up`, ready, with `more` settings; killed at the end if it still runs."""
    up = await start(folder, port or ports.free_port(), more, *arguments)
    try:
        assert await up.line("Muster is ready at") == f"Muster is ready at {up.address}"
        yield up
    finally:
        if up.process.returncode is None:
            up.process.kill()
        await up.process.communicate()  # closes the pipe


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
