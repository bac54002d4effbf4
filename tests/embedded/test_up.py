"""`muster up` as a person meets it: everything starts, comes back when it dies, and goes when it is told to."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from muster.embedded import ports
from muster.embedded.addresses import with_running_servers
from muster.settings import Settings
from tests.embedded.running_muster import PATIENCE, SERVICES, answers, environment, running, start
from tests.waiting import until


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


@asynccontextmanager
async def occupied(folder: Path) -> AsyncIterator[None]:
    """Another program on the port that a server used before; it hangs up on everybody."""
    port = int((folder / "port").read_text())

    async def is_free() -> bool:
        return ports.is_free(port)

    await until(is_free)  # a killed server gives its memory back before its port, and shows no arguments by then
    async with await asyncio.start_server(lambda _, writer: writer.close(), ports.LOOPBACK, port):
        yield


async def test_a_sandbox_beside_it_takes_no_real_key_s_place(tmp_path: Path) -> None:
    """Somebody who has an account and forgot about it would look at made-up records."""
    more = {"MUSTER_ATTIO_API_KEY": "a-real-one"}
    up = await start(tmp_path / "data", ports.free_port(), more, "--sandbox")
    said = (await up.process.communicate())[0].decode()
    assert (up.process.returncode, "MUSTER_ATTIO_API_KEY" in said, "a-real-one" in said) == (1, True, False)
