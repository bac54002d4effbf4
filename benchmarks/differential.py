"""Do all engines agree? Random rules over random profiles, until there are a million pairs and more.

`make differential`, or `python -m benchmarks.differential --rules 10000 --seed 1`. For every pair the compiled
predicate and MongoDB's filter with its residual (on a real mongod) are compared with the oracle; explain, which
compiles each condition on its own, is compared on two profiles of each rule. `--plant` breaks the negation in
MongoDB's filters on purpose and says how long it took to find that.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection

from benchmarks.bench import machine
from benchmarks.results import keep
from muster.embedded.servers import running_servers
from muster.rules import Rule, known_functions, plan_rule
from muster.rules.capabilities import ABILITIES, ability
from muster.rules.computed import write_computed
from muster.rules.conditions import Computed, InCohort, leaves
from muster.rules.source import NotWrittenError, Source
from tests.rules import generation
from tests.rules.engines import REGISTRY, by_explanation, by_mongodb, by_oracle, by_predicate, read_or_refuse
from tests.rules.planting import naive_negation

RULES_PER_POPULATION = 200  # then other profiles are drawn
EXPLAINED = 2  # profiles per rule


@dataclass
class Tally:
    """What was compared, and what was found."""

    rules: int = 0
    refused: int = 0
    pairs: int = 0
    members: int = 0
    explained: int = 0
    telling: int = 0
    """Rules that let some of the profiles in and leave others out."""
    strategies: Counter[str] = field(default_factory=Counter)
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Leaves by kind and place: what of the table in `capabilities` occurred."""
    generated: int = 0
    """Computed leaves that the predicate does not leave to the oracle."""
    functions: Counter[str] = field(default_factory=Counter)
    """Rules by the functions that they call."""
    disagreements: list[str] = field(default_factory=list)


def compare(collection: Collection[dict[str, Any]], *, rules: int, profiles: int, seed: int, enough: int) -> Tally:
    """Compare that many rules, each over that many profiles; stop early at `enough` disagreements."""
    choices, tally = generation.Seeded(seed), Tally()
    stored: list[dict[str, Any]] = []
    while tally.rules < rules and len(tally.disagreements) < enough:
        rule = read_or_refuse(generation.rule(choices))
        if not isinstance(rule, Rule):
            tally.refused += 1
            continue
        if tally.rules % RULES_PER_POPULATION == 0:
            stored = [{"_id": number, **generation.profile(choices)} for number in range(profiles)]
            collection.delete_many({})
            collection.insert_many(stored)
        _compare_one(rule, stored, collection, tally)
        if tally.rules % 1_000 == 0:
            print(f"  {tally.rules:,} rules, {tally.pairs:,} pairs", file=sys.stderr, flush=True)
    return tally


def _compare_one(
    rule: Rule, stored: list[dict[str, Any]], collection: Collection[dict[str, Any]], tally: Tally
) -> None:
    expected = by_oracle(rule, stored)
    first = tally.rules * EXPLAINED % len(stored)
    explained = stored[first : first + EXPLAINED]
    asked = {profile["_id"] for profile in explained}
    differing = {
        "predicate": by_predicate(rule, stored) ^ expected,
        "mongodb": by_mongodb(rule, collection) ^ expected,
        "explain": by_explanation(rule, explained) ^ (expected & asked),
    }
    tally.rules += 1
    tally.pairs += len(stored)
    tally.members += len(expected)
    tally.explained += len(explained)
    tally.telling += 0 < len(expected) < len(stored)
    tally.strategies[plan_rule(rule).strategy] += 1
    tally.rows.update((type(leaf).__name__, ability(leaf).where) for leaf in leaves(rule.condition))
    tally.generated += sum(_is_generated(leaf) for leaf in leaves(rule.condition) if isinstance(leaf, Computed))
    tally.functions.update(rule.functions.keys())
    for engine, ids in differing.items():
        if ids:
            profile = stored[min(ids)]
            tally.disagreements.append(f"{engine} differs from the oracle on {len(ids)}: {rule.text!r} of {profile}")


def _is_generated(leaf: Computed) -> bool:
    try:
        write_computed(leaf.text, Source("UTC"), REGISTRY)
    except NotWrittenError:
        return False
    return True


def report(tally: Tally, seconds: float, planted: Tally, seed: int) -> None:
    """Print the figures, and keep them."""
    figures = {
        "rules": tally.rules,
        "pairs of a rule and a profile": tally.pairs,
        "of them members": tally.members,
        "pairs explained": tally.explained,
        "rules that part the profiles": tally.telling,
        "drawn texts refused for their types": tally.refused,
        **{f"strategy {name}": count for name, count in sorted(tally.strategies.items())},
        **{f"conditions: {kind} in {where}": count for (kind, where), count in sorted(tally.rows.items())},
        "computed conditions that run as generated code": tally.generated,
        **{f"rules that call ${name}": count for name, count in sorted(tally.functions.items())},
        "**disagreements**": len(tally.disagreements),
    }
    section = [
        "## Differential\n",
        "`make differential`: random rules of every construct that the rule language has, nested computations and",
        "every function, over random profiles (hostile text, limits of numbers and dates, nulls, missing values and",
        "parts, nulls inside lists). For every pair the compiled predicate and MongoDB's filter with its residual, on",
        f"a real mongod, are compared with the oracle; explain on {EXPLAINED} profiles of each rule.",
        f"{machine()}; seed {seed}; {seconds:,.0f} s.\n",
        "| what | count |\n|---|---:|",
        *(f"| {name} | {count:,} |" for name, count in figures.items()),
        "",
        "A planted bug (`--plant`: MongoDB's `not` by turning the operator round) is found after",
        f"{planted.rules:,} rules.",
    ]
    print("\n".join(section))
    for found in tally.disagreements[:10]:
        print(f"\n{found[:2_000]}")
    keep("\n".join(section))


def untouched(tally: Tally) -> list[str]:
    """Rows of the table, and functions, of no rule; membership in another cohort has no meaning for a profile alone."""
    askable = {(row.kind.__name__, row.where) for row in ABILITIES if row.kind is not InCohort}
    rows = [f"{kind} in {where}" for kind, where in sorted(askable - set(tally.rows))]
    return rows + [f"${name}" for name in known_functions() if not tally.functions[name]]


async def run(arguments: argparse.Namespace) -> int:
    """Compare on a mongod of our own; the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="muster-differential-"))
    sizes = {"rules": arguments.rules, "profiles": arguments.profiles, "seed": arguments.seed}
    try:
        async with running_servers(folder) as addresses:
            with MongoClient[dict[str, Any]](addresses.mongodb_uri, tz_aware=True) as client:
                collection = client["differential"]["profiles"]
                started = time.perf_counter()
                tally = Tally() if arguments.plant else compare(collection, **sizes, enough=100)
                seconds = time.perf_counter() - started
                with naive_negation():
                    planted = compare(collection, **sizes, enough=1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.plant:
        print(f"{planted.disagreements or 'Not found'}\nafter {planted.rules:,} rules.")
        return 0 if planted.disagreements else 1
    report(tally, seconds, planted, arguments.seed)
    if missing := untouched(tally):
        print(f"\nNo rule had: {', '.join(missing)}.")
    return 1 if tally.disagreements or missing or not planted.disagreements else 0


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rules", type=int, default=10_000)
    parser.add_argument("--profiles", type=int, default=100, help="of each rule")
    parser.add_argument("--seed", type=int, default=20_260_615)
    parser.add_argument("--plant", action="store_true", help="plant a bug, and stop when it is found")
    sys.exit(asyncio.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
