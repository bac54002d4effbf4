"""Changes per second through the watcher, and how long a write takes to show in its cohorts' members.

200,000 profiles and 100, 1,000 or 10,000 dynamic cohorts: twenty broad ones, which a fifth to all of the profiles are
in, and for the rest the cohorts that a team makes by the hundred, each of one agent's leads. Every change of a score
changes a field of nearly all of them. First as many writes as go, from another process; the rate is that of memberships
settled. Then at half that rate, each write followed from the moment it is acknowledged until its membership row is
there. Beside it, in the same run: a members' array in the cohort's document, and rule_engine asked about every rule.

usage: python -m benchmarks.watcher [PROFILES] [COHORTS,COHORTS…] [CHANGES]
"""

import asyncio
import multiprocessing
import random
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import rule_engine
from bson import ObjectId, Timestamp
from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.collection import Collection

from benchmarks.bench import OWNER, machine, percentile, workspace
from benchmarks.results import keep
from muster.cohorts import service
from muster.cohorts.documents import Cause, Change, Cohort, Membership, WatchState, generation_id
from muster.cohorts.generations import row
from muster.cohorts.schemas import CohortIn
from muster.cohorts.snapshot import raise_registry_version
from muster.projects.documents import Project
from muster.records.documents import Profile
from muster.resources import Resources
from muster.settings import process_environment

AGENTS = 1_000
BROAD = 20
COUNTRIES = ("US", "FR", "DE", "GB", "ES", "NL", "IT", "BR")
WRITES_AT_ONCE = 100
PROBES = 300


async def main(profiles: int, sizes: list[int], changes: int) -> None:
    """Print rates and latencies for each number of cohorts."""
    async with workspace(profiles) as (resources, project):
        await _give_to_agents()
        probe = await service.create(OWNER, CohortIn(name="Probe", kind="dynamic", rule='lead.stage == "probed"'))
        for number in range(BROAD):
            await service.create(OWNER, CohortIn(name=f"Broad {number}", kind="dynamic", rule=_broad(number)))
        rates = []
        for number, cohorts in enumerate(sizes):
            before = sizes[number - 1] if number else BROAD
            await _make_narrow(project, range(before, cohorts))
            rates.append(await _watched(resources, probe, cohorts, changes))
        lines = [
            "## Watcher",
            "",
            f"`python -m benchmarks.watcher`: {profiles:,} profiles; writer, MongoDB and watcher share the machine:",
            f"{machine()}. Percentiles are of the time from",
            "a write to its membership, at half the rate. rule_engine is asked without reading or writing anything.",
            "",
            "| cohorts | changes a second | entries and exits each | p50 | p99 | worst | all by rule_engine | ratio |",
            "|---|---|---|---|---|---|---|---|",
            *rates,
            "",
            *await _arrays(resources),
        ]
        print("\n".join(lines))
        keep("\n".join(lines))


def _broad(number: int) -> str:
    """Different rules over few fields: a change of score touches three in four of them."""
    score, country = number % 97, COUNTRIES[number % len(COUNTRIES)]
    return (
        f"lead.score > {score}",
        f'lead.score > {score} and contact.country == "{country}"',
        f'lead.score < {score} or contact.country == "{country}"',
        f'contact.country == "{country}" and customer.lifetime_value > {score * 50}',
    )[number % 4]


def _narrow(number: int) -> str:
    return f'lead.agent_id == "A0-{number % AGENTS}" and lead.score > {number % 90}'


async def _give_to_agents() -> None:
    """Every lead to one of the agents."""
    profiles = Profile.get_motor_collection()
    ids = [found["_id"] async for found in profiles.find({"lead": {"$exists": True}}, {"_id": 1})]
    for start in range(0, len(ids), 10_000):
        part = enumerate(ids[start : start + 10_000], start)
        await profiles.bulk_write(
            [UpdateOne({"_id": profile}, {"$set": {"lead.agent_id": f"A0-{n % AGENTS}"}}) for n, profile in part],
            ordered=False,
        )


async def _make_narrow(project: Project, numbers: range) -> None:
    """Cohorts with their rows, written as a run would have: the watcher is measured, not ten thousand runs."""
    scores: dict[str, list[tuple[ObjectId, float]]] = {}
    async for found in Profile.get_motor_collection().find(
        {"lead": {"$exists": True}}, {"lead.agent_id": 1, "lead.score": 1}
    ):
        lead = found["lead"]
        scores.setdefault(lead.get("agent_id"), []).append((found["_id"], lead.get("score") or 0.0))
    now = datetime.now(UTC)
    cohorts, rows = [], []
    for number in numbers:
        cohort_id = f"COH-{1_000 + number}"
        stored = await service.rule_for(project, _narrow(number))
        members = sorted(profile for profile, score in scores.get(f"A0-{number % AGENTS}", []) if score > number % 90)
        cohort = Cohort.model_validate(
            {
                "_id": cohort_id,
                "project_id": project.id,
                "owner": OWNER,
                "name": f"Narrow {number}",
                "kind": "dynamic",
                "rule": stored,
                "state": "ready",
                "active": {"number": 1, "rule": stored, "now": now, "placed_at": now},
                "last_generation": 1,
                "member_count": len(members),
                "created_at": now,
                "updated_at": now,
            }
        )
        cohorts.append(InsertOne({"_id": cohort_id, **cohort.model_dump(exclude={"id", "revision_id"})}))
        generation = generation_id(cohort_id, 1)
        rows += [
            row(generation, profile, is_member=True, entered_at=now, cause=Cause.RULE, as_of=Timestamp(1, 1))
            for profile in members
        ]
    batches = iter(rows)
    while batch := list(islice(batches, 20_000)):
        await Membership.get_motor_collection().insert_many(batch, ordered=False)
    await Cohort.get_motor_collection().bulk_write(cohorts, ordered=False)
    await raise_registry_version()


async def _watched(resources: Resources, probe: Cohort, cohorts: int, changes: int) -> str:
    """A row of the table: a watcher of its own follows what is written meanwhile."""
    await WatchState.get_motor_collection().update_many(
        {}, {"$set": {"token": await _now_token(resources), "events": 0, "lag_ms": 0.0}}
    )
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
        rate, moved = await _throughput(resources, changes, cohorts)
        waits = await _latency(resources, probe, rate / 2, cohorts + 1)
    finally:
        watcher.terminate()
        await watcher.wait()
    asked = _rule_engine_rate(cohorts)
    return (
        f"| {cohorts:,} | **{rate:,.0f}** | {moved / changes:.2f} | {percentile(waits, 50):,.0f} ms "
        f"| **{percentile(waits, 99):,.0f} ms** | {max(waits):,.0f} ms | {asked:,.2f} | {rate / asked:,.0f}x |"
    )


def _rule_engine_rate(cohorts: int) -> float:
    """Changes a second where each asks rule_engine about every rule, the way one would write it first."""
    chance = random.Random(3)
    rules = [rule_engine.Rule(_broad(n) if n < BROAD else _narrow(n)).matches for n in range(cohorts)]
    asked = max(1, 2_000 // cohorts)
    profiles = [
        {
            "lead": {"score": chance.random() * 100, "agent_id": f"A0-{chance.randrange(AGENTS)}"},
            "contact": {"country": chance.choice(COUNTRIES)},
            "customer": {"lifetime_value": chance.random() * 9_000},
        }
        for _ in range(asked)
    ]
    started = time.perf_counter()
    for profile in profiles:
        for holds in rules:
            holds(profile)
    return asked / (time.perf_counter() - started)


async def _arrays(resources: Resources) -> list[str]:
    """The same entries and exits, one by one, by `$addToSet` and `$pull` on an array in the cohort's document."""
    collection = resources.database["cohort_arrays"]
    lines = [
        "| members | one entry or exit as a row and its count | `$addToSet` or `$pull` on an array | ratio |",
        "|---|---|---|---|",
    ]
    for size in (200, 10_000, 80_000):
        members = [ObjectId() for _ in range(size)]
        await collection.insert_one({"_id": size, "members": members})
        times = 100
        started = time.perf_counter()
        for number in range(times):
            change = {"$pull": {"members": members[number]}} if number % 2 else {"$addToSet": {"members": ObjectId()}}
            await collection.update_one({"_id": size}, change)
        array = (time.perf_counter() - started) / times * 1000
        generation = generation_id(f"COH-{size}", 1)
        now = datetime.now(UTC)
        rows = [
            row(generation, each, is_member=True, entered_at=now, cause=Cause.RULE, as_of=Timestamp(1, 1))
            for each in sorted(members)
        ]
        await Membership.get_motor_collection().insert_many(rows, ordered=False)
        started = time.perf_counter()
        for number in range(times):
            await _one_row(resources, generation, members[number] if number % 2 else None, size)
        one = (time.perf_counter() - started) / times * 1000
        lines.append(f"| {size:,} | {one:.2f} ms | {array:.2f} ms | {array / one:.1f}x |")
    return lines


async def _one_row(resources: Resources, generation: str, leaver: ObjectId | None, size: int) -> None:
    """One entry or exit as the watcher writes it, in a transaction of its own (it shares one among hundreds)."""

    async def write(session: Any) -> None:
        memberships = Membership.get_motor_collection()
        if leaver is None:
            entry = row(
                generation,
                ObjectId(),
                is_member=True,
                entered_at=datetime.now(UTC),
                cause=Cause.RECORD,
                as_of=Timestamp(2, 1),
            )
            await memberships.insert_one(entry, session=session)
        else:
            await memberships.delete_one({"_id": f"{generation}|{leaver}"}, session=session)
        await resources.database["cohort_counts"].update_one(
            {"_id": size}, {"$inc": {"count": -1 if leaver else 1}}, upsert=True, session=session
        )

    async with await resources.mongodb.start_session() as session:
        await session.with_transaction(write)


async def _throughput(resources: Resources, changes: int, seed: int) -> tuple[float, int]:
    """Write as fast as the server takes it: the rate until the last change is settled, and the entries and exits."""
    before, moved = await _events(), await Change.get_motor_collection().estimated_document_count()
    started = time.perf_counter()
    writer = multiprocessing.get_context("spawn").Process(
        target=_write, args=(_address(resources), changes, None, seed)
    )
    writer.start()

    async def is_done() -> bool:
        return not writer.is_alive() and await _events() >= before + changes

    await _until(is_done)
    rate = changes / (time.perf_counter() - started)
    return rate, await Change.get_motor_collection().estimated_document_count() - moved


async def _latency(resources: Resources, probe: Cohort, rate: float, seed: int) -> list[float]:
    """At this background rate: milliseconds from the acknowledged write of a probe to its membership row."""
    background = multiprocessing.get_context("spawn").Process(
        target=_write, args=(_address(resources), int(rate * 60), rate, seed)
    )
    background.start()
    profiles = resources.database["profiles"]
    names = [
        found["_id"]
        async for found in profiles.aggregate(
            [
                {"$match": {"lead": {"$exists": True}, "lead.stage": {"$ne": "probed"}}},
                {"$sample": {"size": PROBES}},
                {"$project": {"_id": 1}},
            ]
        )
    ]
    await asyncio.sleep(3)  # until the background load is steady
    waits: list[float] = []
    for name in dict.fromkeys(names):
        await profiles.update_one({"_id": name}, {"$set": {"lead.stage": "probed"}, "$inc": {"rev": 1}})
        acknowledged = time.perf_counter()
        await _until(lambda row=f"{probe.id}|1|{name}": Membership.get(row), every=0.002)
        waits.append((time.perf_counter() - acknowledged) * 1000)
    background.terminate()
    background.join()
    return waits


def _write(address: tuple[str, str], changes: int, rate: float | None, seed: int) -> None:
    """Change scores of random profiles, from a process of its own; `rate` is a second, None: as many as go."""
    chance = random.Random(seed)
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


async def _now_token(resources: Resources) -> Any:
    """The position of this moment, so that a watcher starts here."""
    async with resources.database["profiles"].watch() as stream:
        await stream.try_next()
        return stream.resume_token


def _address(resources: Resources) -> tuple[str, str]:
    uri = resources.settings.mongodb_uri
    return (uri.get_secret_value() if uri else ""), resources.settings.mongodb_database


async def _events() -> int:
    state = await WatchState.find_one()
    return state.events if state else 0


async def _is_watched() -> bool:
    """Whether the watcher has saved its position, and so has read every rule."""
    state = await WatchState.find_one()
    recently = state is not None and (datetime.now(UTC) - state.saved_at).total_seconds() < 2
    return recently and state is not None and state.full_evaluations > 0 and state.ticked_at is not None


async def _until(look: Callable[[], Awaitable[object]], *, every: float = 0.05) -> None:
    async with asyncio.timeout(600):
        while not await look():  # noqa: ASYNC110  what another process does tells no event
            await asyncio.sleep(every)


if __name__ == "__main__":
    given = sys.argv[1:] + ["200000", "100,1000,10000", "40000"][len(sys.argv) - 1 :]
    asyncio.run(main(int(given[0]), [int(size) for size in given[1].split(",")], int(given[2])))
