"""A slice of `make faults`: one of each kind of fault, each while profiles are written and cohorts edited."""

import signal
from pathlib import Path
from random import Random

from tests.faults.rounds import beginning
from tests.faults.scene import no_rule_is_idle

SEED = 2
SLICE = (
    "kill -9 of mongod",
    "kill -9 of child of the worker",
    "the same beside a second watcher",
    "an older position",
    "lost history",
)


async def test_whatever_fails_nothing_is_lost_and_every_membership_is_right(tmp_path: Path) -> None:
    """And in the end `muster up` stops as if nothing had happened, and leaves nothing behind."""
    async with beginning(tmp_path / "data", Random(SEED)) as rounds:
        await rounds.round(SLICE, pairs=0)
        up = rounds.scene.up
        await no_rule_is_idle(rounds.scene)
        up.process.send_signal(signal.SIGINT)
        assert await up.process.wait() == 0
        await up.gone()
