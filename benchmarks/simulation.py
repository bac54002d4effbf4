"""Do memberships that follow changes equal those of a recount? A million changes of profiles, cohorts and the clock.

`make simulation SEED=n CHANGES=n`, or `python -m benchmarks.simulation --changes 1000000 --seed 1`. At every quiet
point all members, counts and changes are compared with what the oracle says of all profiles. Exits with 1 when
anything differs.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.bench import machine
from benchmarks.results import keep
from muster.api import auth
from muster.app import create_app
from muster.embedded.mongod import cache_size
from muster.embedded.servers import running_servers
from muster.migrations import migrate
from muster.resources import open_resources
from muster.settings import Settings
from tests.conftest import running
from tests.simulation.simulation import OWNER, Simulation, Size, arranged

MEMORY = Path("/dev/shm")  # noqa: S108  a private folder is made inside it
ROOM = 8 * 2**30  # bytes
TEST_COMMANDS = ("--setParameter", "enableTestCommands=1")  # so that history can be lost
ONE_DAY = 86_400  # seconds


async def simulate(changes: int, seed: int, size: Size) -> int:
    """Run on servers of our own; the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="muster-simulation-", dir=_memory()))
    try:
        async with running_servers(folder, mongod_options=TEST_COMMANDS, cache_gigabytes=cache_size()) as addresses:
            settings = Settings.model_validate(
                {
                    "mongodb_uri": addresses.mongodb_uri,
                    "mongodb_database": "simulation",
                    "redis_url": addresses.redis_url,
                    "data_dir": folder,
                    "auth_secret": "of no use outside of this process",
                    "demo": False,
                }
            )
            async with open_resources(settings) as resources:
                await migrate(resources)
            app = create_app(settings)
            token = auth.issue_token(settings, OWNER, ONE_DAY)
            api = httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://muster.here",
                headers={"Authorization": f"Bearer {token}"},
            )
            async with running(app), api:
                database = app.state.resources.database
                async with arranged(api, database, seed=seed, size=size) as simulation:
                    return await _run(simulation, changes, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _memory() -> Path | None:
    """Where there is room for it; else the data goes to a disk."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM else None


async def _run(simulation: Simulation, changes: int, seed: int) -> int:
    started = time.perf_counter()

    def report(so_far: Simulation) -> None:
        seconds = time.perf_counter() - started
        print(
            f"quiet point {so_far.quiet_points}: {so_far.written:,} changes in {seconds:,.0f} s "
            f"({so_far.written / seconds:,.0f} a second), {len(so_far.known)} cohorts, "
            f"{so_far.clock.now:%Y-%m-%d %H:%M}, {len(so_far.differences)} differences",
            file=sys.stderr,
            flush=True,
        )

    await simulation.run(changes, report)
    section = _section(simulation, seed, time.perf_counter() - started)
    print(section)
    for difference in simulation.differences[:20]:
        print(f"\n{difference[:4_000]}")
    if not simulation.differences and changes >= 1_000_000:
        keep(section)
    return 1 if simulation.differences else 0


def _section(simulation: Simulation, seed: int, seconds: float) -> str:
    checks = simulation.checks
    figures = {
        "changes of profiles": simulation.written,
        "of a second, recounts included": simulation.written / seconds,
        "quiet points, at which everything was recounted": simulation.quiet_points,
        "cohorts at the end": len(simulation.known),
        "edits of cohorts": sum(editor.acts for editor in simulation.editors),
        **{f"troubles: {name}": count for name, count in sorted(simulation.watchers.troubles.items())},
        "entries and exits, replayed": checks.changes,
        "memberships compared": checks.rows,
        "pairs of a rule and a profile recounted": sum(recount.pairs for recount in checks.recounts.values()),
        "**differences**": len(simulation.differences),
    }
    lines = [
        "## Simulation",
        "",
        f"`make simulation SEED={seed}`: {machine()}; {seconds:,.0f} s.",
        "",
        "| what | count |",
        "|---|---:|",
        *(f"| {name} | {count:,.0f} |" for name, count in figures.items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=20_261_125)
    parser.add_argument("--profiles", type=int, default=Size.profiles)
    parser.add_argument("--cohorts", type=int, default=Size.cohorts)
    parser.add_argument("--segment", type=int, default=Size.segment, help="changes between two quiet points")
    arguments = parser.parse_args()
    size = Size(arguments.profiles, arguments.cohorts, arguments.segment)
    sys.exit(asyncio.run(simulate(arguments.changes, arguments.seed, size)))


if __name__ == "__main__":
    main()
