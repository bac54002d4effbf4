"""Runs of experiments through a proxy that gets everything wrong, with kill -9 of their workers; then all is compared.

`make storm RUNS=100 SEED=1`, or `python -m benchmarks.storm --runs 100 --seed 1`. Muster, its workers and the stand-in
for Modal run on servers of their own. Exits with 1 when the other side worked twice on a run, when a persona is missing
or stands in it twice, or when a result is lost or doubled.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from random import Random

from benchmarks.bench import OWNER, machine, workspace
from benchmarks.results import keep
from muster.cohorts import service as cohorts
from muster.cohorts.schemas import CohortIn
from muster.sandbox import modal as sandbox
from muster.sandbox.modal import Modal
from muster.sandbox.serving import serving
from tests.experiments.proxy import proxying
from tests.experiments.storm import Storm

PROFILES = 2_000
FEWEST_TO_KEEP = 100  # runs
PER_SECOND = 300.0  # personas, of the other side


async def rage(runs: int, seed: int) -> None:
    """Print what happened, and keep it."""
    chance = Random(seed)
    log = Path(tempfile.mkdtemp(prefix="muster-storm-")) / "worker.log"
    print(f"The log of the workers is {log}.", file=sys.stderr)
    async with workspace(PROFILES) as (resources, _):
        rules = {"high": "lead.score >= 60", "low": "lead.score < 60"}
        made = [
            await cohorts.create(OWNER, CohortIn(name=name, kind="dynamic", rule=rule)) for name, rule in rules.items()
        ]
        modal = Modal(keys=("key", "secret"), per_second=PER_SECOND)
        async with (
            serving(sandbox.create_app(modal)) as address,
            proxying(f"{address}{sandbox.PATH}", chance) as proxy,
        ):
            update = {"modal_url": proxy.url, "modal_key": "key", "modal_secret": "secret"}
            settings = type(resources.settings).model_validate({**resources.settings.model_dump(), **update})
            storm = Storm(OWNER, settings, modal, proxy, chance, log, [cohort.id for cohort in made])
            await storm.rage(runs, lambda: chance.randrange(20, 80))
            await storm.verify()
    section = table(storm, runs, seed)
    print(section)
    if runs >= FEWEST_TO_KEEP:
        keep(section)


def table(storm: Storm, runs: int, seed: int) -> str:
    """What is to be told, as Markdown."""
    did = storm.proxy.did
    personas = sum(len(call.personas) for call in storm.modal.calls.values())
    faults = sum(count for what, count in did.items() if not what.endswith(" well"))
    lines = [
        "## Experiments in a storm",
        "",
        f"`make storm RUNS={runs} SEED={seed}`: {machine()}; {storm.seconds:,.0f} s.",
        "",
        f"{runs} runs of {personas:,} personas in {len(storm.modal.calls)} parts; {did.total():,} requests, {faults:,}",
        f"of them with a fault; {storm.kills} times kill -9 of all workers; {storm.tried_again} times somebody tried a",
        "failed run again (after a 401, say). **Exactly one execution of each run and part, every persona in it",
        "exactly once, no result lost or doubled**, though",
        f"{storm.repeats} requests brought what the other side had already.",
        "",
        "| fault | POST | GET |",
        "|---|---:|---:|",
    ]
    faults_seen = sorted({what.partition(" ")[2] for what in did})
    lines += [f"| {fault} | {did[f'POST {fault}'] or ''} | {did[f'GET {fault}'] or ''} |" for fault in faults_seen]
    return "\n".join(lines)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(rage(arguments.runs, arguments.seed))


if __name__ == "__main__":
    main()
