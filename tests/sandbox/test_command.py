"""`muster sandbox`, as a person starts it."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from muster.cli import main
from muster.embedded.ports import free_port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_prints_settings_that_work_and_stops_cleanly(number: signal.Signals) -> None:
    arguments = (sys.executable, "-m", "muster", "sandbox", "--port", "0", "--people", "7", "--companies", "2")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stderr is not None
    lines = [(await process.stdout.readline()).decode().strip() for _ in range(5)]
    settings = dict(line.split("=", 1) for line in lines)
    headers = {"Authorization": f"Bearer {settings['MUSTER_ATTIO_API_KEY']}"}
    async with httpx.AsyncClient(headers=headers) as http:
        found = await http.post(f"{settings['MUSTER_ATTIO_BASE_URL']}/objects/people/records/query", json={})
    assert len(found.json()["data"]) == 7
    process.send_signal(number)
    said = (await process.communicate())[1].decode()
    assert process.returncode == 0
    assert "2 companies, 7 people, 2 lists" in said
    assert "Nothing in it is real" in said


def test_a_taken_port_and_a_folder_that_is_none_are_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        refused = CliRunner().invoke(main, ["sandbox", "--port", str(port)])
    assert (refused.exit_code, "try another --port" in refused.stderr) == (1, True)
    wrong = CliRunner().invoke(main, ["sandbox", "--data", str(tmp_path)])
    assert (wrong.exit_code, "cannot be served" in wrong.stderr) == (1, True)
