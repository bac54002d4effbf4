"""kill -9 of the process that relays and sends, over and over, while changes come in."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from bson import ObjectId

from muster.jobs.documents import Lease
from muster.settings import process_environment
from muster.webhooks.documents import Delivery
from muster.webhooks.relay import LEASE
from tests.waiting import until
from tests.webhooks.conftest import World
from tests.webhooks.receiver import Receiver

KILLS = 2
PER_ROUND = 400


class Process:
    """`relaying_process`, started again whenever it was killed."""

    def __init__(self, world: World, log: Path) -> None:
        self._environment = process_environment(world.settings)
        self._log = log
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("relaying_process.py"))]
        with self._log.open("ab") as log:
            self.running = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.running is not None:
            os.kill(self.running.pid, signal.SIGKILL)
            self.running.wait()
            self.running = None


@pytest.fixture
def process(world: World, tmp_path: Path) -> Iterator[Process]:
    """Not started yet."""
    one = Process(world, tmp_path / "log")
    yield one
    one.kill()


async def test_nothing_is_lost_and_every_change_is_in_one_delivery(
    world: World, receiver: Receiver, process: Process
) -> None:
    """Each kill falls somewhere between the first delivery of a round and the last one."""
    chance = random.Random(5)
    cohort, profiles = await world.cohort(), await world.profiles(PER_ROUND)
    webhook = await world.webhook(receiver.url)
    happened: list[ObjectId] = []
    for kills in range(KILLS + 1):
        for _ in range(4):
            part = [("entered" if kills % 2 == 0 else "left", profile) for profile in chance.sample(profiles, 100)]
            happened += await world.tell(cohort, part)
        process.start()
        received, so_many = len(receiver.received), chance.randrange(1, 4)

        async def under_way(so_many: int = received + so_many) -> bool:
            assert process.running is not None
            assert process.running.poll() is None
            return len(receiver.received) >= so_many

        await until(under_way)
        if kills < KILLS:
            process.kill()

    async def all_sent() -> bool:
        made = await world.deliveries(webhook)
        told = sum(delivery["change_count"] for delivery in made)
        return told == len(happened) and all(delivery["state"] == "delivered" for delivery in made)

    await until(all_sent)
    deliveries = await Delivery.find({"webhook": webhook["id"]}).sort("number").to_list()
    assert [entry for delivery in deliveries for entry in delivery.entries] == happened
    sent = Counter(receiver.ids)
    assert sent.keys() == {delivery.id for delivery in deliveries}
    assert sum(sent.values()) - len(sent) <= KILLS, "only what was under way at a kill is sent twice"


async def test_a_worker_that_is_told_to_stop_gives_the_relay_s_lease_back(
    world: World, receiver: Receiver, tmp_path: Path
) -> None:
    """A real worker; the next one need not wait for the lease to run out."""
    await world.webhook(receiver.url)
    log = tmp_path / "log"
    command = (sys.executable, "-m", "dramatiq", "workers.main", "--processes", "1", "--threads", "2")
    environment = process_environment(world.settings)
    with log.open("wb") as file:
        worker = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=file, stderr=file, start_new_session=True
        )

    async def held() -> bool:
        assert worker.returncode is None, log.read_text()
        lease = await Lease.get(LEASE)
        return lease is not None and lease.holder is not None

    try:
        await until(held)
        worker.terminate()
        await asyncio.wait_for(worker.wait(), 60)
    finally:
        if worker.returncode is None:
            os.killpg(worker.pid, signal.SIGKILL)
    lease = await Lease.get(LEASE)
    assert lease is not None
    assert lease.holder is None, log.read_text()
    assert "destroyed" not in log.read_text()
