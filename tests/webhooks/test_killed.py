"""kill -9 of the process that relays and sends, over and over, while changes come in."""

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

from muster.settings import process_environment
from muster.webhooks.documents import Delivery
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
