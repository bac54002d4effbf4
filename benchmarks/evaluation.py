"""Full evaluation: finding all ids that match, and storing them, beside two other ways to do it, in one run.

The other ways: leads, contacts and customers joined by two `$lookup`s; and a scan that decides everything in Python,
with Muster's predicate and with plain rule_engine. What would take many minutes is measured on a part and extrapolated:
the joins on the first 200,000 leads, the scans on some thousand profiles, read whole as one would.

Muster's own figures come from a process that does nothing but evaluate, and so does its peak of memory.

usage: python -m benchmarks.evaluation [PROFILES]
"""

import asyncio
import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import rule_engine
from pymongo import MongoClient

from benchmarks.bench import OWNER, machine, median, workspace
from benchmarks.lookups import joined, three_collections
from benchmarks.results import keep
from muster.cohorts import jobs, service
from muster.cohorts.documents import Cohort
from muster.cohorts.index_advice import advise
from muster.cohorts.scans import Scan, matching, planned
from muster.cohorts.schemas import CohortIn
from muster.cohorts.snapshot import open_snapshot
from muster.projects.service import project_of
from muster.records.indexes import ensure_field_index
from muster.records.registry import registry
from muster.resources import Resources, open_resources
from muster.rules import compile_rule, read_rule
from muster.settings import load_settings, process_environment

ROUNDS = 3
JOINED = 200_000  # leads
BY_PREDICATE, BY_RULE_ENGINE = 50_000, 4_000  # profiles of the scans
FOR_EVER = 3_600.0  # seconds

Match = dict[str, Any] | None  # of the joined layout; None where MongoDB cannot decide


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the benchmark, and how the joined layout would put it."""

    name: str
    text: str
    match: Match


RULES = (
    Rule(
        "AND, selective",
        'lead.score > 90 and contact.country == "US" and customer.lifetime_value > 5000',
        {"score": {"$gt": 90}, "contact.country": "US", "customer.lifetime_value": {"$gt": 5000}},
    ),
    Rule(
        "AND, broad",
        'lead.score > 20 and lead.status != "lost" and contact.opted_in == true',
        {"score": {"$gt": 20}, "status": {"$ne": "lost"}, "contact.opted_in": True},
    ),
    Rule(
        "OR, selective",
        'lead.score > 99 or customer.lifetime_value > 60000 or contact.city == "Lyon"',
        {"$or": [{"score": {"$gt": 99}}, {"customer.lifetime_value": {"$gt": 60000}}, {"contact.city": "Lyon"}]},
    ),
    Rule(
        "OR, broad",
        'lead.score > 50 or contact.country == "US" or customer.lifetime_value > 5000',
        {"$or": [{"score": {"$gt": 50}}, {"contact.country": "US"}, {"customer.lifetime_value": {"$gt": 5000}}]},
    ),
    Rule(
        "NOT",
        'not (lead.score > 90 or contact.country in ["US", "FR"]) and customer == null',
        {"score": {"$not": {"$gt": 90}}, "contact.country": {"$nin": ["US", "FR"]}, "customer": None},
    ),
    Rule("half compiled", "lead.score > 60 and lead.score / 100 + customer.lifetime_value / 20000 > 0.9", None),
    Rule("not compiled, computed", "lead.score / 100 + contact.name.length / 50 > 0.9", None),
    Rule("not compiled, a function", '$fuzzy(contact.name, "Ana Silva") > 60', None),
)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What Muster needed for one rule: milliseconds to find the ids, by suggested indexes too, and to store them."""

    strategy: str
    matched: int
    found_ms: float
    indexed_ms: float
    stored_ms: float


async def main(profiles: int) -> None:
    """Print a row for each rule, and keep them."""
    async with workspace(profiles) as (resources, _):
        ours, said = await _evaluated(resources)
        await three_collections(resources.database)
        rows = [await _row(resources, rule, found, profiles) for rule, found in zip(RULES, ours, strict=True)]
    peaks = said["peaks"]
    lines = [
        f"## Full evaluation, {profiles:,} profiles",
        "",
        f"`python -m benchmarks.evaluation {profiles}`: all ids that match, found (median of {ROUNDS}) and stored as a",
        "cohort (once), in milliseconds. The other ways only find them; in parentheses, how many times as long it is:",
        f"two `$lookup`s{_by_a_part(profiles, JOINED, 'leads')},",
        f"a scan in Python with Muster's predicate{_by_a_part(profiles, BY_PREDICATE, 'profiles')},",
        f"and one with plain rule_engine{_by_a_part(profiles, BY_RULE_ENGINE, 'profiles')}.",
        f"Indexed: with the indexes that Muster suggests for these rules ({', '.join(said['built']) or 'none'}).",
        f"Peak memory of the evaluating process: {peaks['found']:,.0f} MB finding, {peaks['stored']:,.0f} MB storing,",
        f"{peaks['again']:,.0f} MB evaluating the largest cohort again.",
        f"{machine()}.",
        "",
        "| rule | runs in | matches | found | indexed | stored | `$lookup` | Python, predicate | Python, rule_engine |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *rows,
        "",
        *(f"- {rule.name}: `{rule.text}`" for rule in RULES),
    ]
    print("\n".join(lines))
    keep("\n".join(lines))


def _by_a_part(profiles: int, part: int, what: str) -> str:
    return f" (the first {part:,} {what}, extrapolated)" if part < profiles else ""


async def _row(resources: Resources, rule: Rule, ours: Evaluated, profiles: int) -> str:
    joins = await _joins(resources, rule, ours, profiles)
    scans = [
        await asyncio.to_thread(scan, resources, rule.text, await registry("PRJ-1")) * profiles
        for scan in (_scan_by_predicate, _scan_by_rule_engine)
    ]
    others = " | ".join("" if ms is None else f"{ms:,.0f} ({ms / ours.found_ms:,.1f})" for ms in (joins, *scans))
    own = f"{ours.found_ms:,.0f} | {ours.indexed_ms:,.0f} | {ours.stored_ms:,.0f}"
    return f"| {rule.name} | {ours.strategy} | {ours.matched:,} | {own} | {others} |"


async def _joins(resources: Resources, rule: Rule, ours: Evaluated, profiles: int) -> float | None:
    """Milliseconds for all by the joined layout."""
    if rule.match is None:
        return None
    part = JOINED if profiles > JOINED else None
    started = time.perf_counter()
    found = await resources.database["leads"].aggregate(joined(rule.match, leads=part), batchSize=10_000).to_list(None)
    taken = (time.perf_counter() - started) * 1000
    if part is None:
        if len(found) != ours.matched:
            raise SystemExit(f"They differ on {rule.text}: {ours.matched} and {len(found)}.")
        return taken
    return taken * await resources.database["leads"].estimated_document_count() / part


def _scan_by_predicate(resources: Resources, text: str, fields: Any) -> float:
    """Milliseconds for one profile: read whole, decided by the compiled predicate."""
    holds, now = compile_rule(read_rule(text, fields)), datetime.now(UTC)
    return _scan(resources, BY_PREDICATE, lambda profile: holds(profile, now))


def _scan_by_rule_engine(resources: Resources, text: str, _: Any) -> float:
    """The same by rule_engine as it comes. Where it meets a null it raises, and that is taken for a no."""
    if "$fuzzy" in text:  # it has no such function; it gets the same one
        context = rule_engine.Context(resolver=rule_engine.resolve_item, default_value=None)
        context.builtins = _with_fuzzy()
    else:
        context = rule_engine.Context(resolver=rule_engine.resolve_item, default_value=None)
    rule = rule_engine.Rule(text, context=context)

    def holds(profile: dict[str, Any]) -> bool:
        try:
            return bool(rule.matches(profile))
        except (rule_engine.EngineError, AttributeError, TypeError):
            return False

    return _scan(resources, BY_RULE_ENGINE, holds)


def _with_fuzzy() -> Any:
    from rule_engine.builtins import Builtins  # noqa: PLC0415  only here

    from muster.rules.functions import fuzzy  # noqa: PLC0415  as above

    return Builtins.from_defaults(values={"fuzzy": fuzzy})


def _scan(resources: Resources, profiles: int, holds: Any) -> float:
    settings = resources.settings
    assert settings.mongodb_uri is not None  # noqa: S101  the workspace has set it
    with MongoClient[dict[str, Any]](settings.mongodb_uri.get_secret_value(), tz_aware=True) as client:
        started = time.perf_counter()
        found = client[settings.mongodb_database]["profiles"].find({}, batch_size=5_000)
        asked = sum(1 for profile in islice(found, profiles) if holds(profile) or True)
        return (time.perf_counter() - started) * 1000 / asked


async def _evaluated(resources: Resources) -> tuple[list[Evaluated], dict[str, Any]]:
    """Let another process evaluate every rule; what it says."""
    command = (sys.executable, "-m", "benchmarks.evaluation", "--evaluate")
    process = await asyncio.create_subprocess_exec(
        *command, env=process_environment(resources.settings), stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("The evaluating process failed.")
    said = json.loads(answer)
    return [Evaluated(**each) for each in said["rules"]], said


async def evaluate_all() -> None:
    """In a process of its own: evaluate every rule, and print what it took as JSON."""
    service.RESIDUAL_CANDIDATES_HERE = 10**9  # all of it here, and waited for
    jobs.ANSWER_WITHIN = FOR_EVER
    async with open_resources(load_settings()):
        found = [await _find(rule) for rule in RULES]
        peaks = {"found": _peak()}
        stored = [await _store(rule) for rule in RULES]
        peaks["stored"] = _peak()
        largest = await Cohort.find_all().sort("-member_count").first_or_none()
        if largest is not None:
            await service.evaluate_now(OWNER, largest.id)
        peaks["again"] = _peak()
        advice = await advise([await project_of(OWNER, None)])
        built = [each.field for each in advice if each.state == "suggested" and await ensure_field_index(each.field)]
        indexed = [await _find(rule) for rule in RULES]
        rules = [
            asdict(Evaluated(strategy, matched, found_ms, by_index[2], stored_ms))
            for (strategy, matched, found_ms), by_index, stored_ms in zip(found, indexed, stored, strict=True)
        ]
        print(json.dumps({"rules": rules, "peaks": peaks, "built": built}))


async def _find(rule: Rule) -> tuple[str, int, float]:
    project = await project_of(OWNER, None)
    plan = await planned(await service.read_for(project, rule.text))
    taken = []
    matched = 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        async with open_snapshot() as snapshot:
            batches = matching(project.id, plan, snapshot, datetime.now(UTC), Scan())
            matched = sum([len(profiles) async for profiles in batches])
        taken.append((time.perf_counter() - started) * 1000)
    return plan.strategy, matched, median(taken)


async def _store(rule: Rule) -> float:
    started = time.perf_counter()
    cohort = await service.create(OWNER, CohortIn(name=rule.name, kind="dynamic", rule=rule.text))
    taken = (time.perf_counter() - started) * 1000
    if cohort.state != "ready":
        raise SystemExit(f"{rule.text}: {cohort.state} {cohort.error}")
    return taken


def _peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:] == ["--evaluate"]:
        asyncio.run(evaluate_all())
    else:
        asyncio.run(main(int((sys.argv[1:] or ["200000"])[0])))
