"""kill -9 of everything, each while profiles are written and cohorts edited: nothing is lost, everything is right.

`make faults ROUNDS=5 SEED=7` does it five times over, in an order that the seed decides.
"""

import logging
import os
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from muster.embedded import ports
from tests.embedded.running_muster import running
from tests.faults.kills import SERVICE_OF, kill, ready_again
from tests.faults.scene import Scene, arrange, everything_is_right, no_rule_is_idle, nobody_is_being_evaluated
from tests.faults.traffic import traffic

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "1"))
SEED = int(os.environ.get("FAULT_SEED", "2"))

log = logging.getLogger(__name__)


async def test_whatever_is_killed_nothing_is_lost_and_every_membership_is_right(tmp_path: Path) -> None:
    """Watcher, mongod, Redis, API, worker and its child, later two at once, and the supervisor in the end."""
    random = Random(SEED)
    folder = tmp_path / "data"
    async with AsyncExitStack() as stack:
        scene = await arrange(await stack.enter_async_context(running(folder)), random)
        for round_number in range(ROUNDS):
            faults: list[tuple[str, ...]] = [(what,) for what in random.sample(sorted(SERVICE_OF), len(SERVICE_OF))]
            if round_number:
                faults += [tuple(random.sample(("mongod", "Redis", "API", "watcher", "worker"), 2)) for _ in range(3)]
            for fault in faults:
                await survive(scene, fault)
            port = ports.free_port() if round_number % 2 == 0 else None
            await survive_the_supervisors_end(scene, stack, port)
        log.info("%d requests acknowledged, %d not", scene.api.acknowledged, scene.api.unanswered)
        await no_rule_is_idle(scene)
        scene.up.process.send_signal(signal.SIGINT)
        assert await scene.up.process.wait() == 0
        await scene.up.gone()


async def survive(scene: Scene, fault: tuple[str, ...]) -> None:
    """kill -9 of some, amid writes; then everything must be right."""
    async with traffic(scene.writers, scene.editor):
        await scene.progress()
        killed = [kill(scene.up, what) for what in fault]
        await ready_again(scene.up, *killed)
        await scene.mark()
        recovered(" and ".join(fault), killed[0].at)
        await scene.progress()
    await everything_is_right(scene)


async def survive_the_supervisors_end(scene: Scene, stack: AsyncExitStack, port: int | None) -> None:
    """kill -9 of `muster up` takes everything along; the next one, on the same folder, finds everything."""
    async with traffic(scene.writers, scene.editor):
        await scene.progress()
        began = time.monotonic()
        scene.up.process.kill()
        await scene.up.process.wait()
        await scene.up.gone()
        same = int(scene.up.address.rpartition(":")[2])
        scene.up = await stack.enter_async_context(running(scene.up.folder, port or same))
        scene.api.address = scene.up.address
        await ready_again(scene.up)
        await scene.mark()
        recovered("supervisor", began)
        await scene.progress()
    await nobody_is_being_evaluated(scene)
    await everything_is_right(scene)


def recovered(what: str, since: float) -> None:
    """Say how long it took, for people."""
    log.info("%s killed: everything ready and up to date after %.1f s", what, time.monotonic() - since)
