"""A slice of what `make faults` does to imports."""

from pathlib import Path
from random import Random

from muster.resources import Resources
from tests.faults.imports import sandboxed, suffer_kills

SEED = 11


async def test_wherever_an_import_is_killed_it_ends_the_same(clean: Resources, tmp_path: Path) -> None:
    async with sandboxed(clean, tmp_path, 600) as settings:
        kills = await suffer_kills(settings, 600, 2, Random(SEED))
    assert kills.different == []
    assert len(kills.at) >= 2
