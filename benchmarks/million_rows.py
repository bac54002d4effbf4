"""Reading a cohort of a million members: pages in any depth, its count, whom somebody's cohorts are; and all of it.

Beside what one would write first: `skip` for a page, `count_documents` for the count, an array of members in the cohort
for the cohorts of somebody (as large as one document takes). Half of the members entered at one moment, by the first
run; the others one by one afterwards. Calls are those of the services, without HTTP.

usage: python -m benchmarks.million_rows [PROFILES] [CALLS]
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING

from benchmarks.bench import OWNER, machine, median, milliseconds, percentile, workspace
from benchmarks.results import keep
from muster.api.paging import encode_cursor
from muster.cohorts import audit, export, members, progress, service
from muster.cohorts.documents import Cohort, Membership, generation_id, ids_of
from muster.cohorts.schemas import CohortIn
from muster.projects.documents import Project
from muster.records.documents import Profile
from muster.resources import Resources

PER_PAGE = 20  # so that the 50,000th page of a million is the last
OTHERS = 20  # cohorts, of a tenth of the profiles each
ARRAY = 500_000  # members of the array: 844,000 ids fill a document
AT_ONCE = 2_000  # profiles in one insert
ALTERNATIVES = 5  # calls of what takes long

Call = Callable[[], Awaitable[object]]


async def main(profiles: int, calls: int) -> None:
    """Print a table, and keep it."""
    async with workspace(0) as (resources, project):
        await _seed(project, profiles)
        cohort = await service.create(OWNER, CohortIn(name="All", kind="dynamic", rule="lead.score >= 0"))
        for number in range(OTHERS):
            rule = f"lead.score >= {number} and lead.score < {number + 10}"
            await service.create(OWNER, CohortIn(name=rule, kind="dynamic", rule=rule))
        cohort = await _settled(cohort)
        await _spread(cohort)
        lines = [
            "## A million rows",
            "",
            f"`python -m benchmarks.million_rows {profiles}`: a cohort of {cohort.member_count:,} members, {PER_PAGE}",
            f"on a page; median and p99 of {calls} calls ({ALTERNATIVES} of the alternatives); {machine()}.",
            "",
            "| read | p50 ms | p99 ms | alternative | p50 ms | ratio |",
            "|---|---:|---:|---|---:|---:|",
        ]
        for what, ours, other, theirs in await _reads(resources, project, cohort):
            mine = [await milliseconds(ours) for _ in range(calls)]
            row = f"| {what} | {median(mine):.2f} | {percentile(mine, 99):.2f} |"
            if theirs is not None:
                slow = median([await milliseconds(theirs) for _ in range(ALTERNATIVES)])
                row += f" {other} | {slow:,.1f} | {slow / median(mine):,.1f} |"
            lines.append(row if theirs is not None else f"{row} | | |")
        lines += ["", *await _wholes(cohort)]
        print("\n".join(lines))
        keep("\n".join(lines))


async def _seed(project: Project, profiles: int) -> None:
    """Small profiles: what is read of one is the same for large ones, but for the page that shows its names."""
    chance = random.Random(1)
    for start in range(0, profiles, AT_ONCE):
        await Profile.get_motor_collection().insert_many(
            [
                {
                    "project_id": project.id,
                    "pii_id": f"P{number:07}",
                    "lead": {"score": float(chance.randrange(100)), "status": "open"},
                    "contact": {"name": f"Person {number}", "email": f"person{number}@example.org", "country": "US"},
                    "rev": 1,
                    "created_at": project.created_at,
                    "updated_at": project.created_at,
                }
                for number in range(start, min(start + AT_ONCE, profiles))
            ],
            ordered=False,
        )


async def _settled(cohort: Cohort) -> Cohort:
    """Once its evaluation is done, which a request would not have waited for."""
    while True:
        found = await Cohort.get(cohort.id)
        if found is None or found.state == "failed":
            raise SystemExit(found and found.error)
        if found.state == "ready":
            return found
        await asyncio.sleep(0.2)


async def _spread(cohort: Cohort) -> None:
    """As if every second member had entered at a moment of its own."""
    number = cohort.active.number if cohort.active else 0
    later = {"$add": ["$entered_at", {"$floor": {"$multiply": [{"$rand": {}}, 1_000_000_000]}}]}
    await Membership.get_motor_collection().update_many(
        {"_id": ids_of(generation_id(cohort.id, number)), "$expr": {"$lt": [{"$rand": {}}, 0.5]}},
        [{"$set": {"entered_at": later}}],
    )


async def _reads(resources: Resources, project: Project, cohort: Cohort) -> list[tuple[str, Call, str, Call | None]]:
    rows = Membership.get_motor_collection()
    query = {"generation": generation_id(cohort.id, cohort.active.number if cohort.active else 0), "in": True}
    joined = [(name, ASCENDING) for name in ("generation", "in", "entered_at", "profile")]
    depth = cohort.member_count - PER_PAGE
    first = (await rows.find(query).sort(joined).limit(PER_PAGE).to_list(None))[-1]
    (last,) = await rows.find(query).sort(joined).skip(depth - 1).limit(1).to_list(None)
    (middle,) = await rows.find(query).sort(joined).skip(depth // 4).limit(1).to_list(None)
    (last_id,) = await rows.find(query).sort("_id", ASCENDING).skip(depth - 1).limit(1).to_list(None)
    somebody = await Profile.get_motor_collection().find_one({"_id": last["profile"]})
    pii_id = somebody["pii_id"] if somebody else ""

    def page(place: dict[str, Any] | None, order: str = "joined") -> Call:
        values = [] if place is None else [str(place["profile"])]
        if place is not None and order == "joined":
            values.insert(0, place["entered_at"])
        cursor = None if place is None else encode_cursor(values)
        return lambda: members.page(OWNER, cohort.id, order=order, limit=PER_PAGE, cursor=cursor)  # type: ignore[arg-type]

    array = resources.database["first_try"]
    ids = [row["profile"] for row in await rows.find(query).limit(ARRAY).to_list(None)]
    await array.insert_one({"members": ids})
    await array.create_index("members")

    async def count() -> int:
        return (await service.cohort_of(OWNER, cohort.id)).member_count

    def skipped(sort: list[tuple[str, int]]) -> Call:
        return lambda: rows.find(query).sort(sort).skip(depth).limit(PER_PAGE).to_list(None)

    return [
        ("the first page", page(None), "", None),
        ("the second page", page(first), "", None),
        (f"page {depth // 4 // PER_PAGE:,}, amid those of one moment", page(middle), "", None),
        (f"page {depth // PER_PAGE + 1:,}", page(last), "`skip`", skipped(joined)),
        (f"page {depth // PER_PAGE + 1:,}, by profile", page(last_id, "id"), "`skip`", skipped([("_id", ASCENDING)])),
        ("the count", count, "`count_documents`", lambda: rows.count_documents(query)),
        (
            "the cohorts of somebody",
            lambda: members.cohorts_of_profile(project.id, pii_id),
            f"an indexed array of {ARRAY:,}",
            lambda: array.find_one({"members": ObjectId(ids[-1].binary)}, {"_id": 1}),
        ),
        ("one round of the audit", audit.audit, "", None),
    ]


async def _wholes(cohort: Cohort) -> list[str]:
    """Everything that looks at every member."""
    seconds = await milliseconds(lambda: progress.progress(OWNER, cohort.id)) / 1000
    lines = [f"- progress, over all members: {seconds:.1f} s"]
    for file_format in ("csv", "ndjson"):
        started, size, memory = time.perf_counter(), 0, _memory()
        file = await export.export(OWNER, cohort.id, file_format=file_format, fields=None)  # type: ignore[arg-type]
        async for chunk in file.chunks:
            size += len(chunk)
            memory = max(memory, _memory())
        passed = time.perf_counter() - started
        rate = cohort.member_count / passed
        lines.append(
            f"- export as {file_format}, all fields: {passed:.1f} s, {rate:,.0f} members a second, "
            f"{size / 1e6:,.0f} MB; the process never above {memory:,.0f} MB"
        )
    started = time.perf_counter()
    await _settled(await service.create(OWNER, CohortIn(name="Copy", kind="static", from_cohort=cohort.id)))
    lines.append(f"- a static cohort from it: {time.perf_counter() - started:.1f} s")
    return lines


def _memory() -> float:
    """Of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(numbers + [1_000_000, 200][len(numbers) :])))
