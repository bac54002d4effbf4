"""Incremental = batch: a slice of `make simulation`."""

import logging

import httpx

from muster.resources import Resources
from tests.simulation.simulation import Simulation, Size, arranged

SEED = 20_261_125
CHANGES = 4_000
SLICE = Size(profiles=400, cohorts=60, segment=1_200)

log = logging.getLogger(__name__)


async def test_what_follows_changes_is_what_a_recount_finds(client: httpx.AsyncClient, clean: Resources) -> None:
    """Thousands of changes of profiles and cohorts, and time that passes; at every quiet point nothing differs."""

    def report(simulation: Simulation) -> None:
        log.info("%d changes, %d cohorts", simulation.written, len(simulation.known))

    async with arranged(client, clean.database, seed=SEED, size=SLICE) as simulation:
        await simulation.run(CHANGES, report)
    assert simulation.differences == []
    assert simulation.written >= CHANGES
    assert simulation.checks.changes > CHANGES / 10, "hardly anybody entered or left"
