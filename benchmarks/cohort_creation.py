"""Creating a cohort, members stored, beside the layout that one would write first.

That layout: a collection each for leads, contacts and customers, joined by two `$lookup`s on an indexed `pii_id`, and
the members as an array in the cohort's document. Same rules, same records, same server, one after the other.

usage: python -m benchmarks.cohort_creation [PROFILES] [ROUNDS]
"""

import asyncio
import sys
from typing import Any

from benchmarks.bench import OWNER, machine, median, milliseconds, workspace
from benchmarks.lookups import joined, three_collections
from benchmarks.results import keep
from muster.cohorts import service
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import CohortIn
from muster.resources import Resources

RULES: dict[str, dict[str, Any]] = {
    'lead.score > 50 and contact.country == "US" and customer.lifetime_value > 5000': {
        "score": {"$gt": 50},
        "contact.country": "US",
        "customer.lifetime_value": {"$gt": 5000},
    },
    'lead.score > 90 or contact.country == "US" or customer.lifetime_value > 5000': {
        "$or": [
            {"score": {"$gt": 90}},
            {"contact.country": "US"},
            {"customer.lifetime_value": {"$gt": 5000}},
        ]
    },
    'not (contact.country in ["US", "FR"]) and customer == null': {
        "contact.country": {"$nin": ["US", "FR"]},
        "customer": None,
    },
}


async def main(profiles: int, rounds: int) -> None:
    """Print one row per rule, and keep them."""
    async with workspace(profiles) as (resources, _):
        await three_collections(resources.database)
        lines = [
            "## Cohort creation",
            "",
            f"`python -m benchmarks.cohort_creation`: {profiles:,} profiles, median of {rounds}, members stored;",
            f"{machine()}.",
            "",
            "| rule | members | Muster ms | two `$lookup`s and an array ms | ratio |",
            "|---|---:|---:|---:|---:|",
        ]
        for rule, match in RULES.items():
            ours, theirs, members = [], [], 0
            for _ in range(rounds):
                ours.append(await milliseconds(lambda rule=rule: _create(rule)))
                theirs.append(await milliseconds(lambda match=match: _create_first_try(resources, match)))
            members = await _agree(resources)
            ratio = median(theirs) / median(ours)
            lines.append(f"| `{rule}` | {members:,} | {median(ours):,.0f} | {median(theirs):,.0f} | {ratio:.1f} |")
        print("\n".join(lines))
        keep("\n".join(lines))


async def _create(rule: str) -> None:
    await service.create(OWNER, CohortIn(name="Benchmark", kind="dynamic", rule=rule))


async def _create_first_try(resources: Resources, match: dict[str, Any]) -> None:
    database = resources.database
    found = await database["leads"].aggregate(joined(match), batchSize=10_000).to_list(None)
    await database["first_try"].insert_one({"members": [row["pii_id"] for row in found]})


async def _agree(resources: Resources) -> int:
    """Both found the same number, or the comparison means nothing."""
    ours = await Cohort.find_one({}, sort=[("created_at", -1)])
    theirs = await resources.database["first_try"].find_one({}, sort=[("_id", -1)])
    if ours is None or theirs is None or ours.member_count != len(theirs["members"]):
        raise SystemExit(f"They differ: {ours and ours.member_count} and {theirs and len(theirs['members'])}.")
    if ours.evaluation is None or ours.evaluation.strategy != "mongodb":
        raise SystemExit("The rule was not compiled whole.")
    return ours.member_count


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(numbers + [200_000, 3][len(numbers) :])))
