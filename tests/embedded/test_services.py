"""Keeping one process running: restarts, explanations, and an end that leaves nothing."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from muster.embedded import processes
from muster.embedded.services import TRIES_TO_START, Keeper, Service, kept, run_once
from muster.embedded.stack import forever
from muster.errors import StartError

PATIENCE = 60  # seconds; a test that waits longer than this hangs


def python(log: Path, code: str, *, ready: object = forever, patience: float = 5.0) -> Service:
    """A service that runs a line of Python."""
    return Service(
        name="thing",
        command=[sys.executable, "-c", code],
        log=log,
        environment=dict(os.environ),
        ready=ready,  # type: ignore[arg-type]
        patience=patience,
    )


async def at_once() -> None:
    """Ready as soon as started."""


@asynccontextmanager
async def keeping(service: Service, told: list[str]) -> AsyncIterator[Keeper]:
    keeper = Keeper(service, told.append)
    task = asyncio.create_task(keeper.keep())
    try:
        yield keeper
    finally:
        task.cancel()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(task, return_exceptions=True)


async def lines(log: Path, count: int) -> Sequence[str]:
    """Wait until a log has that many lines."""
    async with asyncio.timeout(PATIENCE):
        while not log.exists() or len(found := log.read_text().splitlines()) < count:
            await asyncio.sleep(0.01)
        return found


async def test_what_dies_is_started_again(tmp_path: Path) -> None:
    """With a longer pause each time; each end is told once."""
    told: list[str] = []
    log = tmp_path / "log"
    async with keeping(python(log, "import os; print(os.getpid()); os._exit(7)", ready=at_once), told):
        assert len(set(await lines(log, 3))) == 3, "three processes"
    assert told[0] == "thing ended (exit code 7); it is started again in 0.2 s"
    assert told[1] == "thing ended (exit code 7); it is started again in 0.4 s"


async def test_what_dies_again_and_again_is_explained(tmp_path: Path) -> None:
    """Once it was ready it is never given up; its last words say why it ends."""
    told: list[str] = []
    service = python(tmp_path / "log", "raise SystemExit('the disk is full')", ready=at_once)
    async with keeping(service, told):
        async with asyncio.timeout(PATIENCE):
            while len(told) < TRIES_TO_START:
                await asyncio.sleep(0.01)
    assert "3 times in a row" in told[-1]
    assert "the disk is full" in told[-1]


async def test_what_never_starts_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    """A first start that fails three times ends everything else, too."""
    bad = python(tmp_path / "bad", "raise SystemExit('no such host')")
    good = python(tmp_path / "good", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)", ready=at_once)
    with pytest.raises(ExceptionGroup) as caught:
        async with kept([good, bad], lambda _: None):
            pytest.fail("was never ready")
    assert caught.group_contains(StartError, match="thing ended .exit code 1. and does not start.*no such host")
    good_pid = int((await lines(tmp_path / "good", 1))[0])
    with pytest.raises(ProcessLookupError):
        os.kill(good_pid, 0)


async def test_a_stubborn_service_is_killed_with_its_children(tmp_path: Path) -> None:
    """What ignores SIGTERM is killed after its patience, and so is what it has started."""
    log = tmp_path / "log"
    code = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    time.sleep(0.05)
print(os.getpid(), flush=True)
time.sleep(1000)
"""
    async with keeping(python(log, code, ready=at_once, patience=0.1), []):
        pids = [int(line) for line in await lines(log, 2)]
    for pid in pids:
        await gone(pid)


async def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Even when the parent is killed with -9: the kernel sees to it."""
    log = tmp_path / "log"
    code = f"""
import asyncio, os, pathlib, sys
from muster.embedded import processes
async def main():
    child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"]
    await processes.spawn(child, log=pathlib.Path({str(log)!r}))
    await asyncio.Event().wait()
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    child = int((await lines(log, 1))[0])
    parent.kill()
    await parent.wait()
    await gone(child)


async def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    """run_once is for what is to end by itself."""
    await run_once(python(tmp_path / "log", "pass"))
    with pytest.raises(StartError, match=r"thing failed .exit code 1.. the field registry is wrong"):
        await run_once(python(tmp_path / "log", "raise SystemExit('Error: the field registry is wrong')"))


def test_a_large_log_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next start, over the one moved before."""
    monkeypatch.setattr(processes, "LOG_LIMIT", 10)
    log = tmp_path / "api.log"
    log.write_text("short")
    processes.rotate(log)
    assert log.exists()
    log.write_text("longer than ten bytes")
    processes.rotate(log)
    assert not log.exists()
    assert (tmp_path / "api.log.1").read_text() == "longer than ten bytes"


async def gone(pid: int) -> None:
    """Wait until a process is no more, or only a zombie that its parent has not collected."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                stat = Path(f"/proc/{pid}/stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                return
            if stat.rpartition(")")[2].split()[0] == "Z":
                return
            await asyncio.sleep(0.01)
