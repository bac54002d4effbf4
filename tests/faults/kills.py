"""What is killed with -9, and how one knows that everything is back."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.embedded.running_muster import SERVICES, Up
from tests.waiting import until

PATIENCE = 120.0  # seconds; on a busy machine everything takes its time
SERVICE_OF = {
    "watcher": "muster watch",
    "mongod": "mongod",
    "Redis": "redis-server",
    "API": "muster api",
    "worker": "muster worker",
    "child of the worker": "muster worker",
}
FEWEST_WORKERS = 3  # a master and two children


@dataclass(frozen=True, slots=True)
class Killed:
    """One process that was ended, and all of its service at that moment."""

    what: str
    service: str
    before: frozenset[int]
    at: float  # time.monotonic()


def kill(up: Up, what: str) -> Killed:
    """kill -9 of one process of a running Muster."""
    service = SERVICE_OF[what]
    before = up.processes()[service]
    masters = {process for process in before if parent(process) == up.process.pid}
    victims = before - masters if what.startswith("child") else masters
    os.kill(min(victims), signal.SIGKILL)
    return Killed(what, service, before, time.monotonic())


def parent(process: int) -> int | None:
    """The parent's id; None when the process is gone."""
    try:
        # The name, in parentheses, may hold anything; after it come the state and the parent.
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


async def ready_again(up: Up, *killed: Killed) -> None:
    """Wait until every service runs, none of them with a process from before, and the API says it can serve."""

    async def all_run() -> bool:
        running = up.processes()
        return (
            set(running) >= set(SERVICES)
            and not any(each.before & running[each.service] for each in killed)
            and len(running["muster worker"]) >= FEWEST_WORKERS
        )

    async def serves() -> bool:
        try:
            async with up.api() as api:
                answer = await api.get("/health/ready", timeout=30)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["checks"]["watcher"]["status"] == "ok"

    await until(all_run, seconds=PATIENCE)
    await until(serves, seconds=PATIENCE)
