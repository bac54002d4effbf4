"""Previews over the API, a dozen rules that MongoDB decides, beside counting in the layout that one would write first.

Each preview is a request with its count, its sample of five and its plan; the other way only counts, by two `$lookup`s.

usage: python -m benchmarks.previews [PROFILES] [ROUNDS]
"""

import asyncio
import sys
import time
from typing import Any

import httpx

from benchmarks.bench import OWNER, machine, median, workspace
from benchmarks.lookups import joined, three_collections
from benchmarks.results import keep
from muster.api.auth import issue_token
from muster.app import create_app
from muster.resources import Resources
from tests.conftest import running

ONE_HOUR = 3_600  # seconds

RULES: dict[str, dict[str, Any] | None] = {
    'lead.score > 90 and contact.country == "US" and customer.lifetime_value > 5000': {
        "score": {"$gt": 90},
        "contact.country": "US",
        "customer.lifetime_value": {"$gt": 5000},
    },
    "lead.score > 20": {"score": {"$gt": 20}},
    'lead.score > 50 or contact.country == "US" or customer.lifetime_value > 5000': {
        "$or": [{"score": {"$gt": 50}}, {"contact.country": "US"}, {"customer.lifetime_value": {"$gt": 5000}}]
    },
    'lead.score > 99 or contact.city == "Lyon"': {"$or": [{"score": {"$gt": 99}}, {"contact.city": "Lyon"}]},
    'not (lead.score > 90 or contact.country in ["US", "FR"])': {
        "score": {"$not": {"$gt": 90}},
        "contact.country": {"$nin": ["US", "FR"]},
    },
    "customer == null and contact.opted_in": {"customer": None, "contact.opted_in": True},
    '"webinar" in lead.tags or "beta" in customer.tags': {"$or": [{"tags": "webinar"}, {"customer.tags": "beta"}]},
    'contact.email.ends_with("@post.example")': {"contact.email": {"$regex": r"@post\.example\z"}},
    'contact.name =~~ "^An+a "': {"contact.name": {"$regex": "^An+a "}},
    "lead.last_activity_at < contact.created_at": None,
    "contact.name.length > 14 and lead.created_at.month == 3": None,
    "lead.last_activity_at < $now - t'P90D' and lead.score >= 50": None,
}


async def main(profiles: int, rounds: int) -> None:
    """Print the median of every rule, and keep them."""
    async with workspace(profiles) as (resources, _):
        await three_collections(resources.database)
        app = create_app(resources.settings)
        headers = {"Authorization": f"Bearer {issue_token(resources.settings, OWNER, ONE_HOUR)}"}
        transport = httpx.ASGITransport(app)
        async with (
            running(app),
            httpx.AsyncClient(transport=transport, base_url="http://muster", headers=headers) as api,
        ):
            rows = [await _row(api, resources, rule, match, rounds) for rule, match in RULES.items()]
    medians = [ours for ours, _ in rows]
    lines = [
        f"## Previews, {profiles:,} profiles",
        "",
        f"`python -m benchmarks.previews {profiles}`: milliseconds of a request, median of {rounds}, in one process",
        "without a network; beside them only counting, by two `$lookup`s, once (not for expressions, which would need",
        "other ones).",
        f"The median of all rules is {median(medians):,.0f} ms, the slowest {max(medians):,.0f} ms.",
        f"{machine()}.",
        "",
        "| rule | count | Muster ms | `$lookup` ms | ratio |",
        "|---|---:|---:|---:|---:|",
        *(row for _, row in rows),
    ]
    print("\n".join(lines))
    keep("\n".join(lines))


async def _row(
    api: httpx.AsyncClient, resources: Resources, rule: str, match: dict[str, Any] | None, rounds: int
) -> tuple[float, str]:
    taken, found = [], {}
    for _ in range(rounds):
        started = time.perf_counter()
        answer = await api.post("/v1/rules/preview", json={"rule": rule})
        taken.append((time.perf_counter() - started) * 1000)
        found = answer.raise_for_status().json()
        if found["plan"]["strategy"] != "mongodb" or not found["exact"]:
            raise SystemExit(f"{rule}: {found}")
    ours = median(taken)
    if match is None:
        return ours, f"| `{rule}` | {found['count']:,} | {ours:,.0f} | | |"
    started = time.perf_counter()
    counted = await resources.database["leads"].aggregate([*joined(match), {"$count": "count"}]).to_list(None)
    theirs = (time.perf_counter() - started) * 1000
    if (counted[0]["count"] if counted else 0) != found["count"]:
        raise SystemExit(f"They differ on {rule}: {found['count']} and {counted}.")
    return ours, f"| `{rule}` | {found['count']:,} | {ours:,.0f} | {theirs:,.0f} | {theirs / ours:,.1f} |"


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*(numbers + [200_000, 7][len(numbers) :])))
