"""How fast one rule decides about one profile: Muster's compiled predicate beside others, in one run.

    npm ci --prefix benchmarks/json_rules_engine; pip install zen-engine; python -m benchmarks.predicates

Rules of three conditions over profiles that have every value, for not every engine can do without; the same over
profiles where parts and values are missing; and computed rules, which no MongoDB decides. Before anything is measured,
all engines must give the same answers. Seconds are of processor time, so that a busy machine disturbs little; a figure
is the median of several rounds, in which the engines take turns. Node measures itself beforehand, with as many rounds.
An engine that is not installed is left out, and that is said.
"""

import json
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import rule_engine

from benchmarks.bench import machine
from benchmarks.results import keep
from muster.rules import FieldType, Registry, compile_rule, known_functions, oracle, read_rule
from muster.rules.building import engine_context

SEED = 20260615
PROFILES, ROUNDS, SECONDS = 500, 15, 0.1
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


COMPUTED = [
    "lead.score * 2 + customer.lifetime_value / 100 > 150",
    "(customer.lifetime_value - 500) / (lead.score + 1) <= 100",
    '$fuzzy(lead.status, "opened") > 70',
    '$any([tag == "vip" for tag in lead.tags])',
    'lead.status.as_upper + "-" + contact.country == "NEW-US"',
    '(lead.score > 50 ? customer.plan : lead.status)[0] == "p"',
]


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


def with_gaps(several: list[Profile]) -> list[Profile]:
    """The same, less a quarter of the parts and a quarter of the values."""
    chance = random.Random(SEED + 1)
    return [
        {
            part: {name: value for name, value in values.items() if chance.random() > 0.25}
            for part, values in profile.items()
            if chance.random() > 0.25
        }
        for profile in several
    ]


@dataclass(frozen=True)
class Engine:
    """For each rule a function from profiles to answers, called as its users call it; `aim` times is Muster as fast."""

    name: str
    runs: list[Run]
    aim: float | None = None


def engines() -> list[Engine]:
    """Those for the rules of three conditions."""
    rules = [read_rule(text, REGISTRY) for text in TEXTS]
    typed = engine_context(REGISTRY)
    found = [
        Engine(MUSTER, [_with_now(compile_rule(rule)) for rule in rules]),
        Engine("lambda by hand", [_alone(decide) for decide in BARE], 1 / 1.5),
        Engine("lambda by hand that minds missing values", [_alone(decide) for decide in CAREFUL], 1 / 1.5),
        Engine("Muster's oracle", [_with_now(oracle(rule)) for rule in rules]),
        Engine(
            "rule_engine with typed objects",
            [_alone(rule_engine.Rule(text, context=typed).matches) for text in TEXTS],
            20,
        ),
        Engine("rule_engine on dicts", [_alone(rule_engine.Rule(text).matches) for text in TEXTS], 150),
    ]
    try:
        import zen  # noqa: PLC0415  measured where it is installed
    except ImportError:
        return found
    return [*found, Engine("zen-engine", [_alone(zen.compile_expression(text).evaluate) for text in TEXTS])]


def engines_with_gaps() -> list[Engine]:
    """Those that can do without values."""
    can = (MUSTER, "lambda by hand that minds missing values", "Muster's oracle")
    return [engine for engine in engines() if engine.name in can]


def engines_for(text: str) -> list[Engine]:
    """Those for one computed rule. rule_engine on dicts is given the function as its users would."""
    rule = read_rule(text, REGISTRY)
    by_hand = rule_engine.Context()
    functions = {name: function.python for name, function in known_functions().items()}
    by_hand.builtins = rule_engine.builtins.Builtins.from_defaults(functions, timezone=UTC)
    typed = rule_engine.Rule(text, context=engine_context(REGISTRY)).matches
    return [
        Engine(MUSTER, [_with_now(compile_rule(rule))]),
        Engine("rule_engine with typed objects", [_alone(typed)]),
        Engine("rule_engine on dicts", [_alone(rule_engine.Rule(text, context=by_hand).matches)], 10),
    ]


def _with_now(decide: Callable[[Profile, datetime], bool]) -> Run:
    return lambda several: [decide(each, NOW) for each in several]


def _alone(decide: Decision) -> Run:
    return lambda several: [decide(each) for each in several]


def measured(contenders: list[Engine], several: list[Profile]) -> dict[str, float]:
    """Evaluations per second by engine, after all have given the same answers."""
    expected = [run(several) for run in contenders[0].runs]
    for engine in contenders:
        if [[bool(each) for each in run(several)] for run in engine.runs] != expected:
            raise SystemExit(f"{engine.name} gives other answers")
    speeds: dict[str, list[float]] = {engine.name: [] for engine in contenders}
    for _ in range(ROUNDS):
        for engine in contenders:
            speeds[engine.name].append(_speed(engine.runs, several))
    return {name: statistics.median(each) for name, each in speeds.items()}


def _speed(runs: list[Run], several: list[Profile]) -> float:
    started, done = time.process_time(), 0
    while (taken := time.process_time() - started) < SECONDS:
        for run in runs:
            run(several)
        done += len(runs) * len(several)
    return done / taken


def json_rules_engine(several: list[Profile]) -> float | None:
    """Its evaluations per second; None where it is not installed."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "json-rules-engine").is_dir():
        return None
    asked = json.dumps({"documents": TREES, "facts": several, "rounds": ROUNDS})
    answer = subprocess.run([node, "speed.mjs"], cwd=NODE, input=asked, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    for rules in (TREES, TEXTS):
        if found["answers"] != [_with_now(compile_rule(read_rule(rule, REGISTRY)))(several) for rule in rules]:
            raise SystemExit("json-rules-engine gives other answers")
    return statistics.median(found["speeds"])


def table(title: str, speeds: Mapping[str, float], aims: Mapping[str, float | None]) -> list[str]:
    """One table, fastest first."""
    lines = [f"| {title} | evaluations per second | Muster is … times as fast | aim |", "|---|---:|---:|---:|"]
    for name, speed in sorted(speeds.items(), key=lambda each: -each[1]):
        aim = aims.get(name)
        asked = f"≥ {aim:.3g}" if aim else ""
        lines.append(f"| {name} | {speed:,.0f} | {speeds[MUSTER] / speed:,.2f} | {asked} |")
    return lines


def main() -> None:
    """Measure, print, keep."""
    several, contenders = profiles(), engines()
    aims: dict[str, float | None] = {engine.name: engine.aim for engine in contenders}
    speeds = measured(contenders, several)
    if node := json_rules_engine(several):
        speeds["json-rules-engine"], aims["json-rules-engine"] = node, 60
    missing = [name for name in ("zen-engine", "json-rules-engine") if name not in speeds]
    section = [
        "## Predicates\n",
        "`python -m benchmarks.predicates`: all engines with the same answers, in one run, by processor time.",
        f"{len(several)} profiles, median of {ROUNDS} rounds; {machine()}.",
        *(f"{name} is left out: it is not installed." for name in missing),
        "",
        *table("three rules of three conditions", speeds, aims),
        "",
        *table(
            "the same, a quarter of parts and values missing", measured(engines_with_gaps(), with_gaps(several)), {}
        ),
        "",
        "Computed rules, which Python decides alone:\n",
        "| rule | evaluations per second | against rule_engine with typed objects | on dicts (aim ≥ 10) |",
        "|---|---:|---:|---:|",
    ]
    for text in COMPUTED:
        muster, typed, plain = measured(engines_for(text), several).values()
        section.append(f"| `{text}` | {muster:,.0f} | {muster / typed:,.0f} | {muster / plain:,.0f} |")
    print("\n".join(section))
    keep("\n".join(section))


if __name__ == "__main__":
    main()
