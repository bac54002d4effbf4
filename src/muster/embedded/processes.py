"""Starting and stopping one child process, with its output in a log file."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from muster.embedded import lifetime

LOG_LIMIT = 10_000_000  # bytes; above it a log moves to `<name>.log.1` at the next start


async def spawn(
    command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    """Start a program in a session of its own, tied to this process's life, writing to `log`."""
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", lifetime.__file__, str(os.getpid())),
            *map(str, command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
        )


async def stop(process: asyncio.subprocess.Process, *, patience: float) -> None:
    """Ask once to stop, then, after `patience` seconds, kill the process and everything in its session.

    Once only: a second SIGTERM makes Dramatiq hang.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def rotate(log: Path) -> None:
    """Move a log that has grown past `LOG_LIMIT` aside, over the one moved before."""
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))


def last_line(log: Path) -> str:
    """The last line of a log that says something, or an empty string."""
    if not log.exists():
        return ""
    with log.open("rb") as lines:
        lines.seek(max(0, log.stat().st_size - 8_192))
        text = lines.read().decode(errors="replace")
    return next((line.strip()[:500] for line in reversed(text.splitlines()) if line.strip()), "")
