"""Changes per second through the watcher, and how long a write takes to show in its cohorts' members.

A workspace with 100 dynamic cohorts, each over one or two of the fields that change. First as many writes as go, from
another process; the rate is that of memberships settled. Then at half that rate, each write followed from the moment
it is acknowledged until its membership row is there.

usage: python -m benchmarks.watcher [PROFILES] [COHORTS] [CHANGES]
"""

import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pymongo import MongoClient, UpdateOne
from pymongo.collection import Collection

from benchmarks.bench import OWNER, machine, percentile, workspace
from benchmarks.results import keep
from muster.cohorts import service
from muster.cohorts.documents import Change, Cohort, Membership, WatchState
from muster.cohorts.schemas import CohortIn
from muster.resources import Resources
from muster.settings import process_environment

COUNTRIES = ("US", "FR", "DE", "GB", "ES", "NL", "IT", "BR")
WRITES_AT_ONCE = 100
PROBES = 400


async def main(profiles: int, cohorts: int, changes: int) -> None:
    """Print the rate and the latencies."""
    async with workspace(profiles) as (resources, _):
        for number in range(cohorts):
            await service.create(OWNER, CohortIn(name=f"Cohort {number}", kind="dynamic", rule=_rule(number)))
        probe = await service.create(OWNER, CohortIn(name="Probe", kind="dynamic", rule='lead.stage == "probed"'))
        watcher = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "muster",
            "watch",
            env=process_environment(resources.settings),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await _until(_is_watched)
            rate, throughput = await _throughput(resources, changes)
            latency = await _latency(resources, probe, rate / 2)
            lines = [
                "## Watcher",
                "",
                f"`python -m benchmarks.watcher`: {profiles:,} profiles, {cohorts} dynamic cohorts; writer, MongoDB",
                f"and watcher share the machine: {machine()}.",
                "",
                throughput,
                latency,
            ]
            print("\n".join(lines))
            keep("\n".join(lines))
        finally:
            watcher.terminate()
            await watcher.wait()


def _rule(number: int) -> str:
    """Different rules over few fields: a change of score touches three in four of them."""
    score, country = number % 97, COUNTRIES[number % len(COUNTRIES)]
    return (
        f"lead.score > {score}",
        f'lead.score > {score} and contact.country == "{country}"',
        f'lead.score < {score} or contact.country == "{country}"',
        f'contact.country == "{country}" and customer.lifetime_value > {score * 50}',
    )[number % 4]


async def _throughput(resources: Resources, changes: int) -> tuple[float, str]:
    """Write as fast as the server takes it; the rate until the last change is settled."""
    before = await _events()
    started = time.perf_counter()
    writer = multiprocessing.get_context("spawn").Process(target=_write, args=(_address(resources), changes, None))
    writer.start()

    async def is_done() -> bool:
        return not writer.is_alive() and await _events() >= before + changes

    await _until(is_done)
    seconds = time.perf_counter() - started
    rate = changes / seconds
    moved = await Change.get_motor_collection().estimated_document_count()
    return rate, (
        f"- throughput: {changes:,} changes settled in {seconds:.1f} s: **{rate:,.0f} a second**, with "
        f"{moved / changes:.2f} entries and exits each"
    )


async def _latency(resources: Resources, probe: Cohort, rate: float) -> str:
    """At this background rate: from the acknowledged write of a probe to its membership row."""
    background = multiprocessing.get_context("spawn").Process(
        target=_write, args=(_address(resources), int(rate * 60), rate)
    )
    background.start()
    profiles = resources.database["profiles"]
    names = [
        found["_id"]
        async for found in profiles.aggregate(
            [{"$match": {"lead": {"$exists": True}}}, {"$sample": {"size": PROBES}}, {"$project": {"_id": 1}}]
        )
    ]
    await asyncio.sleep(2)  # until the background load is steady
    waits: list[float] = []
    for name in dict.fromkeys(names):
        await profiles.update_one({"_id": name}, {"$set": {"lead.stage": "probed"}, "$inc": {"rev": 1}})
        acknowledged = time.perf_counter()
        await _until(lambda row=f"{probe.id}|1|{name}": Membership.get(row), every=0.002)
        waits.append((time.perf_counter() - acknowledged) * 1000)
    background.terminate()
    background.join()
    return (
        f"- from write to membership at {rate:,.0f} changes a second, {len(waits)} probes: "
        f"**p50 {percentile(waits, 50):,.0f} ms, p99 {percentile(waits, 99):,.0f} ms**, worst {max(waits):,.0f} ms"
    )


def _write(address: tuple[str, str], changes: int, rate: float | None) -> None:
    """Change scores of random profiles, from a process of its own; `rate` is a second, None: as many as go."""
    chance = random.Random(1)
    client: MongoClient[dict[str, Any]] = MongoClient(address[0])
    profiles: Collection[dict[str, Any]] = client[address[1]]["profiles"]
    ids = [found["_id"] for found in profiles.find({"lead": {"$exists": True}}, {"_id": 1})]
    started = time.perf_counter()
    size = WRITES_AT_ONCE if rate is None else max(1, int(rate / 50))
    for done in range(0, changes, size):
        batch = [_change(chance, ids) for _ in range(min(size, changes - done))]
        profiles.bulk_write(batch, ordered=False)
        if rate is not None:
            time.sleep(max(0.0, started + done / rate - time.perf_counter()))


def _change(chance: random.Random, ids: list[Any]) -> UpdateOne:
    """What a day brings: scores drift, statuses change, money comes in, somebody moves."""
    kind = chance.random()
    change: Any
    if kind < 0.6:
        drifted = {"$add": [{"$ifNull": ["$lead.score", 50.0]}, chance.uniform(-5, 5)]}
        change = {"lead.score": {"$max": [0.0, {"$min": [100.0, drifted]}]}}
    elif kind < 0.8:
        change = {"lead.status": chance.choice(["new", "working", "qualified", "lost"])}
    elif kind < 0.95:
        change = {"customer.lifetime_value": {"$add": [{"$ifNull": ["$customer.lifetime_value", 0.0]}, 100.0]}}
    else:
        change = {"contact.country": chance.choice(COUNTRIES)}
    return UpdateOne({"_id": chance.choice(ids)}, [{"$set": {**change, "rev": {"$add": ["$rev", 1]}}}])


def _address(resources: Resources) -> tuple[str, str]:
    uri = resources.settings.mongodb_uri
    return (uri.get_secret_value() if uri else ""), resources.settings.mongodb_database


async def _events() -> int:
    state = await WatchState.find_one()
    return state.events if state else 0


async def _is_watched() -> bool:
    state = await WatchState.find_one()
    return state is not None and state.full_evaluations > 0


async def _until(look: Callable[[], Awaitable[object]], *, every: float = 0.05) -> None:
    async with asyncio.timeout(300):
        while not await look():  # noqa: ASYNC110  what another process does tells no event
            await asyncio.sleep(every)


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(numbers + [200_000, 100, 40_000][len(numbers) :])))
