"""The receiver that the README shows, run as it stands."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from muster.embedded.ports import free_port
from tests.waiting import until
from tests.webhooks.conftest import World, relaying

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
async def webhook(world: World, tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """A webhook to the README's receiver, which runs: its address, and the file with what it prints."""
    section = README.read_text().partition("\n## Webhooks")[2].partition("\n## ")[0]
    (source,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    port = free_port()
    made = await world.webhook(f"http://127.0.0.1:{port}/")
    printed = tmp_path / "printed"
    environment = {**os.environ, "WEBHOOK_SECRET": made["secret"], "PORT": str(port)}
    with printed.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, env=environment, stdout=file, stderr=file
        )

    async def listens() -> bool:
        assert process.returncode is None, printed.read_text()
        try:
            async with httpx.AsyncClient() as http:
                return (await http.post(made["url"], content=b"{}")).status_code == 401
        except httpx.ConnectError:
            return False

    try:
        await until(listens)
        yield made["url"], printed
    finally:
        process.kill()
        await process.wait()


async def test_it_takes_what_muster_sends_and_nothing_else(world: World, webhook: tuple[str, Path]) -> None:
    url, printed = webhook
    cohort, profiles = await world.cohort(), await world.profiles(2)
    async with relaying(world.settings):
        await world.tell(cohort, [("entered", profile) for profile in profiles])

        async def arrived() -> bool:
            return f"{cohort.id} P0001 entered" in printed.read_text()

        await until(arrived)
    forged = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,Zm9yZ2Vk"}
    async with httpx.AsyncClient() as http:
        assert (await http.post(url, content=b"{}", headers=forged)).status_code == 401
    lines = [line for line in printed.read_text().splitlines() if line.startswith("COH-")]
    assert lines == [f"{cohort.id} P0000 entered", f"{cohort.id} P0001 entered"]
