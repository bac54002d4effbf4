"""Everything that can fail, over and over, while profiles are written and cohorts edited; nothing may be lost or wrong.

`make faults ROUNDS=n SEED=n`, or `python -m benchmarks.faults --rounds 3 --seed 1`. After each fault memberships,
counts and histories are recounted by brute force; the table says how long it took from the fault's end until they were
right. `--only` runs some faults, by the beginning of their names. Then workers are killed amid assignments of 10,000
leads, and amid imports of 5,000 records from a stand-in for Attio, `--kills` times each (`--only assignments` or
`--only imports`: nothing else). Exits with 1 when anything differs.
"""

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from benchmarks.bench import machine, median, percentile, workspace
from benchmarks.results import keep
from muster.api.numbering import next_number
from tests.faults import assigning
from tests.faults.faults import FAULTS
from tests.faults.imports import Kills, sandboxed, suffer_kills
from tests.faults.rounds import PAIR, PAIRS, SUPERVISOR, Rounds, beginning
from tests.faults.scene import no_rule_is_idle

FEWEST_TO_KEEP = 3  # rounds
FEWEST_KILLS = 50
LEADS = 10_000  # of an assignment
RECORDS = 5_000  # of an import
ASSIGNMENTS, IMPORTS = "assignments", "imports"


async def suffer(rounds: int, seed: int, only: list[str]) -> None:
    """Run the rounds on a Muster in a folder of its own; the folder stays when something differs."""
    folder = Path(tempfile.mkdtemp(prefix="muster-faults-"))
    names = [name for name in FAULTS if not only or name.startswith(tuple(only))]
    started = time.perf_counter()
    print(f"The logs are in {folder / 'data' / 'logs'}.", file=sys.stderr)
    async with beginning(folder / "data", Random(seed)) as ongoing:
        for _ in range(rounds):
            await ongoing.round(names, pairs=0 if only else PAIRS)
        await no_rule_is_idle(ongoing.scene)
    shutil.rmtree(folder)
    section = table(ongoing, rounds, seed, time.perf_counter() - started)
    print(section)
    if rounds >= FEWEST_TO_KEEP and not only:
        keep(section)


async def suffer_amid_assignments(kills: int, seed: int) -> None:
    """Kill workers while they assign, on servers of their own."""
    folder = Path(tempfile.mkdtemp(prefix="muster-faults-"))
    started = time.perf_counter()
    async with workspace(0) as (resources, project):
        killed = await assigning.suffer(resources, project, folder, Random(seed), leads=LEADS, kills=kills)
    shutil.rmtree(folder)
    again = killed.again_after
    section = [
        "## Faults amid assignments",
        "",
        f"`python -m benchmarks.faults --only {ASSIGNMENTS} --kills {kills} --seed {seed}`, a part of `make faults`:",
        f"{machine()}; {time.perf_counter() - started:,.0f} s.",
        "",
        f"{killed.kills} times kill -9 of the worker amid {killed.jobs} jobs, each handing {killed.leads:,} leads to",
        f"others; {killed.flushes} times FLUSHALL; each message {assigning.COPIES} times. After each job all was",
        "counted anew: **every lead handed over exactly once**, one open entry each, of the agent in",
        "`lead.agent_id`, its tasks once, every revision raised by one.",
        "",
        f"A job took up to {max(killed.attempts)} attempts. From the start of the next worker until it had handed",
        f"over a lead: median {median(again):.1f} s, at most {max(again):.1f} s (with leases of one second).",
    ]
    print("\n".join(section))
    if kills >= FEWEST_KILLS:
        keep("\n".join(section))


async def suffer_imports(times: int, seed: int) -> None:
    """Kill imports on servers of their own."""
    folder = Path(tempfile.mkdtemp(prefix="muster-faults-"))
    started = time.perf_counter()
    async with workspace(0) as (resources, _), sandboxed(resources, folder, RECORDS) as settings:
        await next_number("PRJ")  # the workspace's own project has the first one
        kills = await suffer_kills(settings, RECORDS, times, Random(seed))
    shutil.rmtree(folder)
    section = imports_table(kills, times, seed, time.perf_counter() - started)
    print(section)
    if times >= FEWEST_KILLS:
        keep(section)
    if kills.different:
        sys.exit("\n".join(kills.different))


def imports_table(kills: Kills, times: int, seed: int, seconds: float) -> str:
    """What is to be told of them, as Markdown."""
    lines = [
        "## Imports whose worker is killed",
        "",
        f"`python -m benchmarks.faults --only {IMPORTS} --kills {times} --seed {seed}`, a part of `make faults`:",
        f"{machine()}; {seconds:,.0f} s.",
        "",
        f"{kills.imports} imports of {kills.records:,} companies from a stand-in, each saved as a cohort; one takes",
        f"{kills.seconds:.1f} s when it is let alone. Workers are killed with -9 at random moments,",
        f"{len(kills.at)} times in all, and others go on. Files, metadata, profile parts, members, counts, the commit:",
        f"**{len(kills.different)} of {kills.killed} end states differ** from that of an import that nobody killed.",
        "",
        "| killed | times |",
        "|---|---:|",
        *(f"| {phase} | {number} |" for phase, number in kills.phases.most_common()),
    ]
    return "\n".join(lines)


def table(ongoing: Rounds, rounds: int, seed: int, seconds: float) -> str:
    """What is to be told, as Markdown."""
    api = ongoing.scene.api
    everything = [recovery.right for found in ongoing.recoveries.values() for recovery in found]
    lines = [
        "## Faults",
        "",
        f"`make faults ROUNDS={rounds} SEED={seed}`: {machine()}; {seconds:,.0f} s. Under traffic through REST:",
        f"{api.acknowledged:,} requests acknowledged, {api.unanswered:,} not answered. After each of the",
        f"{len(everything)} faults every membership, count and history equals the recount: **0 differences**, and no",
        "acknowledged write is lost.",
        "",
        "From the end of a fault (of a kill: from the kill) until what was written then is applied, under traffic; and",
        "until the first recount of everything began that finds no difference, nobody writing by then. Seconds.",
        "",
        "| fault | times | applied, median | worst | right, median | worst |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in (*FAULTS, PAIR, SUPERVISOR):
        if found := ongoing.recoveries.get(name):
            applied, right = [each.up_to_date for each in found], [each.right for each in found]
            figures = (median(applied), max(applied), median(right), max(right))
            lines.append(f"| {name} | {len(found)} | " + " | ".join(f"{figure:.1f}" for figure in figures) + " |")
    half, nearly_all = percentile(everything, 50), percentile(everything, 99)
    lines += ["", f"All of them: right within {half:.1f} s (p50), {nearly_all:.1f} s (p99)."]
    return "\n".join(lines)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--kills", type=int, default=FEWEST_KILLS)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("tests.faults").setLevel(logging.INFO)
    if not set(arguments.only) & {ASSIGNMENTS, IMPORTS}:
        asyncio.run(suffer(arguments.rounds, arguments.seed, arguments.only))
    if not arguments.only or ASSIGNMENTS in arguments.only:
        asyncio.run(suffer_amid_assignments(arguments.kills, arguments.seed))
    if not arguments.only or IMPORTS in arguments.only:
        asyncio.run(suffer_imports(arguments.kills, arguments.seed))


if __name__ == "__main__":
    main()
