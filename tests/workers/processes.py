"""Worker processes for tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from muster.settings import Settings, process_environment

HERE = Path(__file__).parent

StartWorker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[StartWorker]:
    """A function that starts a worker process group with the actors of `stand_in`; all are killed afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    environment = {**process_environment(settings), "PYTHONPATH": str(HERE)}
    # The master waits this long for a child to come up, even for one that its first job has killed by then.
    quick = ("--worker-fork-timeout", "2000")
    command = [sys.executable, "-m", "dramatiq", "stand_in", "--processes", "1", "--threads", "4", *quick]

    def start() -> "subprocess.Popen[bytes]":
        with (tmp_path / f"worker-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        kill(process)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """kill -9 of a worker: the master and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
