"""Rounds of faults under traffic: after each one everything must be right, and it is measured how long that takes."""

import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from muster.embedded import ports
from tests.embedded.running_muster import running
from tests.faults.faults import FAULTS, Fault, kill_of
from tests.faults.kills import PATIENCE, ready_again
from tests.faults.recount import FIELDS, database_of, differences, profiles_of
from tests.faults.scene import Scene, arrange, nothing_is_lost
from tests.faults.traffic import traffic
from tests.faults.witness import witnessing
from tests.recount import Recount
from tests.waiting import until

SUPERVISOR = "kill -9 of the supervisor, all with it"
PAIR = "kill -9 of two at once"
MAY_DIE_TOGETHER = ("mongod", "Redis", "API", "watcher", "worker")
PAIRS = 3  # of a round

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long it took from a fault's end until what was written then was applied, and until a recount found nothing.

    Seconds; the second one is when the first recount began that found no difference.
    """

    up_to_date: float
    right: float


@dataclass
class Rounds:
    """Faults, one after the other, on a Muster that nobody sets up again in between."""

    scene: Scene
    stack: AsyncExitStack
    recount: Recount[str] = field(default_factory=lambda: Recount(FIELDS))
    recoveries: dict[str, list[Recovery]] = field(default_factory=lambda: defaultdict(list))

    async def round(self, names: Sequence[str], pairs: int) -> None:
        """Some faults in random order, pairs of kills among them, and the supervisor's end at the end."""
        draw = self.scene.random
        faults: list[tuple[str, Fault]] = [(name, FAULTS[name]) for name in names]
        faults += [(PAIR, kill_of(*draw.sample(MAY_DIE_TOGETHER, 2))) for _ in range(pairs)]
        draw.shuffle(faults)
        for name, fault in faults:
            await self._survive(name, fault)
        await self._survive(SUPERVISOR, self._end_of_the_supervisor)

    async def _survive(self, name: str, fault: Fault) -> None:
        scene = self.scene
        async with traffic(scene.writers, scene.editor):
            await scene.progress()
            over = await fault(scene)
            await ready_again(scene.up)
            await scene.mark()
            up_to_date = time.monotonic() - over
        recovery = Recovery(up_to_date, await until(self._right_since, seconds=PATIENCE) - over)
        log.info("%s: up to date after %.1f s, right after %.1f s", name, recovery.up_to_date, recovery.right)
        self.recoveries[name].append(recovery)
        await nothing_is_lost(scene)

    async def _right_since(self) -> float | None:
        """When a recount began, if it finds no difference.

        Also what a dead process had begun is found and done by another then; no cohort stays `evaluating`.
        """
        began = time.monotonic()
        async with database_of(self.scene.up.folder) as database:
            found = await differences(self.scene.up, self.recount, await profiles_of(database))
        return None if found else began

    async def _end_of_the_supervisor(self, scene: Scene) -> float:
        """It takes everything along; the next one, on the same folder, finds everything, also on another port."""
        over = time.monotonic()
        scene.up.process.kill()
        await scene.up.process.wait()
        await scene.up.gone()
        same = int(scene.up.address.rpartition(":")[2])
        port = ports.free_port() if scene.random.random() < 0.5 else same
        scene.up = await self.stack.enter_async_context(running(scene.up.folder, port))
        scene.api.address = scene.up.address
        return over


@asynccontextmanager
async def beginning(folder: Path, random: Random) -> AsyncIterator[Rounds]:
    """A Muster in a folder of its own, with its cohorts, for as long as the block lasts."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(running(folder))
        scene = await arrange(up, random)
        async with database_of(folder) as database, witnessing(database, scene.witness):
            yield Rounds(scene, stack)
