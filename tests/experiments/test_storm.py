"""A slice of `make storm`: runs through a proxy that gets everything wrong, with kill -9 of their workers."""

from pathlib import Path
from random import Random

from tests.experiments.conftest import Lab
from tests.experiments.proxy import proxying
from tests.experiments.storm import Storm

RUNS, SEED = 4, 11
KILLS = (6, 8)  # after so many requests; then the workers may end


async def test_one_run_per_run_id_whatever_fails(lab: Lab, tmp_path: Path) -> None:
    """Exactly one execution of each run, every persona in it once, no result lost or doubled."""
    await lab.people(120)
    cohorts = [await lab.cohort(f"lead.score >= {score}", f"from {score}") for score in (0, 50)]
    chance = Random(SEED)
    lab.modal.per_second = 300
    async with proxying(str(lab.settings.modal_url), chance) as proxy:
        settings = lab.settings.model_copy(update={"modal_url": proxy.url})
        storm = Storm("ada", settings, lab.modal, proxy, chance, tmp_path / "log", cohorts)
        kills = iter(KILLS)
        await storm.rage(RUNS, lambda: next(kills, 10**9))
        await storm.verify()
    assert storm.kills == len(KILLS)
    assert len(proxy.did) > 6, "few faults befell them"
    assert storm.repeats > 0
