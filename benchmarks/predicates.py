"""How fast one rule decides about one profile: Muster's compiled predicate beside others, in one run.

    npm ci --prefix benchmarks/json_rules_engine; pip install zen-engine; python -m benchmarks.predicates

Rules of three conditions over profiles that have every value, for not every engine can do without. Before anything is
measured, all must give the same answers. Each figure is the median of several rounds, in which the engines take turns;
node measures itself beforehand, with as many rounds. An engine that is not installed is left out, and that is said.
"""

import json
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rule_engine

from benchmarks.bench import machine
from muster.rules import FieldType, Registry, compile_rule, oracle, read_rule
from muster.rules.building import engine_context

SEED = 20260615
PROFILES, ROUNDS, SECONDS = 500, 7, 0.2
NODE = Path(__file__).parent / "json_rules_engine"
NOW = datetime(2026, 6, 15, tzinfo=UTC)

REGISTRY: Registry = {
    "lead.score": FieldType.NUMBER,
    "lead.status": FieldType.STRING,
    "lead.tags": FieldType.STRINGS,
    "contact.country": FieldType.STRING,
    "contact.opted_in": FieldType.BOOLEAN,
    "customer.plan": FieldType.STRING,
    "customer.lifetime_value": FieldType.NUMBER,
}

Profile = dict[str, dict[str, Any]]
Decision = Callable[[Profile], bool]
Run = Callable[[list[Profile]], list[bool]]
MUSTER = "Muster, compiled"

TREES: list[dict[str, Any]] = [
    {
        "all": [
            {"fact": "lead", "path": "$.score", "operator": "greaterThan", "value": 50},
            {"fact": "contact", "path": "$.country", "operator": "equal", "value": "US"},
            {"fact": "customer", "path": "$.plan", "operator": "in", "value": ["pro", "team"]},
        ]
    },
    {
        "any": [
            {"fact": "lead", "path": "$.score", "operator": "greaterThanInclusive", "value": 95},
            {"fact": "customer", "path": "$.lifetime_value", "operator": "greaterThan", "value": 9000},
            {"fact": "contact", "path": "$.country", "operator": "equal", "value": "FR"},
        ]
    },
    {
        "all": [
            {"fact": "lead", "path": "$.tags", "operator": "contains", "value": "vip"},
            {"not": {"fact": "lead", "path": "$.status", "operator": "equal", "value": "lost"}},
            {"fact": "contact", "path": "$.opted_in", "operator": "equal", "value": True},
        ]
    },
]
TEXTS = [
    'lead.score > 50 and contact.country == "US" and customer.plan in ["pro", "team"]',
    'lead.score >= 95 or customer.lifetime_value > 9000 or contact.country == "FR"',
    '"vip" in lead.tags and not (lead.status == "lost") and contact.opted_in == true',
]
BARE: list[Decision] = [
    lambda p: p["lead"]["score"] > 50 and p["contact"]["country"] == "US" and p["customer"]["plan"] in {"pro", "team"},
    lambda p: p["lead"]["score"] >= 95 or p["customer"]["lifetime_value"] > 9000 or p["contact"]["country"] == "FR",
    lambda p: "vip" in p["lead"]["tags"] and p["lead"]["status"] != "lost" and p["contact"]["opted_in"] is True,
]
"""As one writes it for profiles that have everything."""
NONE: Mapping[str, Any] = {}
CAREFUL: list[Decision] = [
    lambda p: (
        (lead := p.get("lead")) is not None
        and (score := lead.get("score")) is not None
        and score > 50
        and (p.get("contact") or NONE).get("country") == "US"
        and (p.get("customer") or NONE).get("plan") in {"pro", "team"}
    ),
    lambda p: (
        (lead := p.get("lead")) is not None
        and (
            ((score := lead.get("score")) is not None and score >= 95)
            or ((value := (p.get("customer") or NONE).get("lifetime_value")) is not None and value > 9000)
            or (p.get("contact") or NONE).get("country") == "FR"
        )
    ),
    lambda p: (
        (lead := p.get("lead")) is not None
        and "vip" in (lead.get("tags") or ())
        and lead.get("status") != "lost"
        and (p.get("contact") or NONE).get("opted_in") is True
    ),
]
"""The same for profiles as they are, where values and parts are missing."""


def profiles() -> list[Profile]:
    """Profiles with every value, as they are stored: numbers are doubles."""
    chance = random.Random(SEED)
    return [
        {
            "lead": {
                "score": float(chance.randint(0, 100)),
                "status": chance.choice(["new", "open", "won", "lost"]),
                "tags": chance.sample(["vip", "trial", "event", "partner"], chance.randint(0, 3)),
            },
            "contact": {"country": chance.choice(["US", "FR", "DE", "GB"]), "opted_in": chance.random() < 0.5},
            "customer": {
                "plan": chance.choice(["free", "pro", "team"]),
                "lifetime_value": round(chance.uniform(0, 10_000), 2),
            },
        }
        for _ in range(PROFILES)
    ]


def engines() -> dict[str, list[Run]]:
    """By name, for each rule a function from profiles to answers, each engine called as its users call it."""
    rules = [read_rule(text, REGISTRY) for text in TEXTS]
    typed = engine_context(REGISTRY)
    found = {
        MUSTER: [_with_now(compile_rule(rule)) for rule in rules],
        "lambda by hand": [_alone(decide) for decide in BARE],
        "lambda by hand that minds missing values": [_alone(decide) for decide in CAREFUL],
        "Muster's oracle": [_with_now(oracle(rule)) for rule in rules],
        "rule_engine with typed objects": [_alone(rule_engine.Rule(text, context=typed).matches) for text in TEXTS],
        "rule_engine on dicts": [_alone(rule_engine.Rule(text).matches) for text in TEXTS],
    }
    try:
        import zen  # noqa: PLC0415  measured where it is installed
    except ImportError:
        print("zen-engine is left out, it is not installed: pip install zen-engine\n")
    else:
        found["zen-engine"] = [_alone(zen.compile_expression(text).evaluate) for text in TEXTS]
    return found


def _with_now(decide: Callable[[Profile, datetime], bool]) -> Run:
    return lambda several: [decide(each, NOW) for each in several]


def _alone(decide: Decision) -> Run:
    return lambda several: [decide(each) for each in several]


def speed(runs: list[Run], several: list[Profile]) -> float:
    """Evaluations per second, over all rules, for about `SECONDS`."""
    started, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - started) < SECONDS:
        for run in runs:
            run(several)
        done += len(runs) * len(several)
    return done / taken


def json_rules_engine(several: list[Profile], rounds: int) -> tuple[list[list[bool]], list[float]] | None:
    """Its answers, and its evaluations per second in each round; None where it is not installed."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "json-rules-engine").is_dir():
        print("json-rules-engine is left out, it is not installed: npm ci --prefix benchmarks/json_rules_engine\n")
        return None
    asked = json.dumps({"documents": TREES, "facts": several, "rounds": rounds})
    answer = subprocess.run([node, "speed.mjs"], cwd=NODE, input=asked, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    return found["answers"], found["speeds"]


def main() -> None:
    """Check that all agree, measure, print."""
    several, runs = profiles(), engines()
    expected = [run(several) for run in runs[MUSTER]]
    for name, each in runs.items():
        if [run(several) for run in each] != expected:
            raise SystemExit(f"{name} gives other answers")
    node = json_rules_engine(several, ROUNDS)
    if node and node[0] != expected:
        raise SystemExit("json-rules-engine gives other answers")
    if [_with_now(compile_rule(read_rule(tree, REGISTRY)))(several) for tree in TREES] != expected:
        raise SystemExit("Muster gives other answers for the trees than for the texts")
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, each in runs.items():
            speeds[name].append(speed(each, several))
    if node:
        speeds["json-rules-engine"] = node[1]
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    print(f"{machine()}; {len(TEXTS)} rules, {len(several)} profiles, median of {ROUNDS} rounds\n")
    print("| engine | evaluations per second | Muster is … times as fast |\n|---|---:|---:|")
    for name, median in sorted(medians.items(), key=lambda each: -each[1]):
        print(f"| {name} | {median:,.0f} | {medians[MUSTER] / median:,.2f} |")


if __name__ == "__main__":
    main()
