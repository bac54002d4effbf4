"""What a long history costs: writing the difference of a rule edit, and reading a past that is a million changes long.

The way that one would write first: read the changes and replay them. Same changes, same server, one after the other.

usage: python -m benchmarks.history [PROFILES] [CHANGES] [ROUNDS]
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from bson import Timestamp

from benchmarks.bench import OWNER, machine, median, milliseconds, workspace
from benchmarks.results import keep
from muster.cohorts import changes, history, past, service, sizes
from muster.cohorts.documents import Change, Cohort, Membership, Run, Written
from muster.cohorts.history import Filter
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.records.documents import Profile

YEAR, MONTH, DAY = timedelta(days=365), timedelta(days=30), timedelta(days=1)
HIGH, LOW = "lead.score > 50", "lead.score <= 50"
AT_ONCE = 20_000

Work = Callable[[], Awaitable[object]]


async def main(profiles: int, count: int, rounds: int) -> None:
    """Print a table, and keep it."""
    async with workspace(profiles):
        cohort = await service.create(OWNER, CohortIn(name="Benchmark", kind="dynamic", rule=HIGH))
        edits = await _edits(cohort, rounds)
        now = await _a_year_of_changes(cohort, count)
        rows = [
            ("size over the year, 200 points", _size(cohort, now - YEAR, now), _replayed_sizes(cohort)),
            ("size over the last day", _size(cohort, now - DAY, now), _replayed_sizes(cohort)),
            ("members of a year ago, a page of 100", _members(cohort, now - YEAR), _replayed(cohort, now - YEAR)),
            ("members of a month ago, a page of 100", _members(cohort, now - MONTH), _replayed(cohort, now - MONTH)),
            ("newest changes, a page of 100", _changes(cohort), None),
            ("oldest changes of a day, a page of 100", _changes(cohort, since=now - MONTH), None),
            ("changes of one profile", await _of_one(cohort), None),
            ("changes by a cause that never was", _changes(cohort, cause="import"), None),
        ]
        lines = [
            "## History",
            "",
            f"`python -m benchmarks.history`: {profiles:,} profiles, {count:,} changes of one cohort in a year, median",
            f"of {rounds}; {machine()}.",
            "",
            "| what | Muster ms | replaying the changes ms |",
            "|---|---:|---:|",
            *edits,
        ]
        for what, ours, theirs in rows:
            took = median([await milliseconds(ours) for _ in range(rounds)])
            replayed = f"{await milliseconds(theirs):,.0f}" if theirs is not None else ""
            lines.append(f"| {what} | {took:,.1f} | {replayed} |")
        print("\n".join(lines))
        keep("\n".join(lines))


async def _edits(cohort: Cohort, rounds: int) -> list[str]:
    """A rule edit that exchanges everybody, an evaluation that finds nothing; and the difference of each, once more."""

    async def edit() -> None:
        found = await service.cohort_of(OWNER, cohort.id)
        other = LOW if found.rule and found.rule.text == HIGH else HIGH
        await service.patch(OWNER, cohort.id, CohortPatch(rule=other), expected_revs=None)

    async def again() -> None:
        await changes.write_difference(await _newest(cohort))

    lines = []
    works: dict[str, Work] = {
        "a rule edit that exchanges everybody": edit,
        "an evaluation that finds nothing": lambda: service.evaluate_now(OWNER, cohort.id),
    }
    for what, work in works.items():
        whole, alone = [], []
        for _ in range(rounds):
            whole.append(await milliseconds(lambda work=work: _to_the_end(cohort, work)))
            run = await _newest(cohort)
            await Change.get_motor_collection().delete_many({"run": run.id, "cohort": cohort.id})
            pending = {"pending": True, "written": Written().model_dump()}
            await Run.get_motor_collection().update_one({"_id": run.id}, {"$set": pending})
            alone.append(await milliseconds(again))
        entries = run.added + run.removed
        lines.append(f"| {what} ({entries:,} entries) | {median(whole):,.0f} | |")
        lines.append(f"| of it, writing the difference | {median(alone):,.0f} | |")
    return lines


async def _to_the_end(cohort: Cohort, work: Work) -> None:
    """A long evaluation goes on when it is answered."""
    before = (await _newest(cohort)).id
    await work()
    while (run := await _newest(cohort)).id == before or run.pending:  # noqa: ASYNC110  a look costs nothing here
        await asyncio.sleep(0.02)


async def _a_year_of_changes(cohort: Cohort, count: int) -> datetime:
    """Members come and go over a year; they end as they are stored. The run that began it stands a year before."""
    await Change.get_motor_collection().delete_many({"cohort": cohort.id})
    number = await _generation(cohort)
    rows = Membership.get_motor_collection().find({"generation": f"{cohort.id}|{number}"}, {"profile": 1})
    inside = {row["profile"] async for row in rows}
    names = {
        profile["_id"]: profile["pii_id"] async for profile in Profile.get_motor_collection().find({}, {"pii_id": 1})
    }
    chance = random.Random(1)
    everybody = list(names)
    picked = [chance.choice(everybody) for _ in range(count)]
    now = datetime.now().astimezone()
    made: list[dict[str, Any]] = []
    for place, profile in enumerate(picked):  # backwards from the present
        at = now - YEAR * (place + 1) / (count + 2)
        is_in = profile in inside
        made.append(
            changes.entry(
                cohort.id,
                number,
                profile,
                names[profile],
                entered=is_in,
                cause="record",
                at=at,
                as_of=Timestamp(round(at.timestamp()), 1),
            )
        )
        (inside.discard if is_in else inside.add)(profile)
        if len(made) == AT_ONCE or place == count - 1:
            await Change.get_motor_collection().insert_many(made[::-1], ordered=False)
            made = []
    begun = {"at": now - YEAR - DAY, "member_count": len(inside), "previous": None, "generation": number}
    await Run.get_motor_collection().delete_many({"cohort": cohort.id, "_id": {"$ne": (await _newest(cohort)).id}})
    await Run.get_motor_collection().update_one({"cohort": cohort.id}, {"$set": begun | {"count_before": 0}})
    return now


async def _newest(cohort: Cohort) -> Run:
    return (await Run.find({"cohort": cohort.id}).sort("-at").to_list())[0]


async def _generation(cohort: Cohort) -> int:
    return (await _newest(cohort)).generation or 0


def _size(cohort: Cohort, since: datetime, until: datetime) -> Work:
    return lambda: sizes.sizes(OWNER, cohort.id, since=since, until=until, points=200)


def _members(cohort: Cohort, at: datetime) -> Work:
    return lambda: past.page(OWNER, cohort.id, at, limit=100, cursor=None)


def _changes(cohort: Cohort, **wanted: Any) -> Work:
    order: history.Order = "oldest" if wanted else "newest"
    return lambda: history.changes_page(OWNER, cohort.id, Filter(**wanted), order=order, limit=100, cursor=None)


async def _of_one(cohort: Cohort) -> Work:
    (someone,) = await Change.find({"cohort": cohort.id}).limit(1).to_list()
    return _changes(cohort, pii_id=someone.pii_id)


def _replayed_sizes(cohort: Cohort) -> Work:
    async def replay() -> list[int]:
        size, all_of_them = (await _newest(cohort)).member_count or 0, []
        async for change in Change.get_motor_collection().find({"cohort": cohort.id}).sort("at"):
            size += 1 if change["change"] == "entered" else -1
            all_of_them.append(size)
        return all_of_them

    return replay


def _replayed(cohort: Cohort, at: datetime) -> Work:
    async def replay() -> list[Any]:
        generation = {"generation": f"{cohort.id}|{await _generation(cohort)}"}
        inside = {row["profile"] async for row in Membership.get_motor_collection().find(generation)}
        later = Change.get_motor_collection().find({"cohort": cohort.id, "at": {"$gt": at}}).sort("at", -1)
        async for change in later:
            (inside.discard if change["change"] == "entered" else inside.add)(change["profile"])
        return sorted(inside)[:100]

    return replay


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(numbers + [200_000, 1_000_000, 5][len(numbers) :])))
