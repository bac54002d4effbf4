"""json-rules-engine and Muster side by side: the same documents over the same facts.

    python -m benchmarks.trees

Three answers for every pair: json-rules-engine as npm installs it, json-rules-engine with its operators made total
(see `json_rules_engine/decide.mjs`: Muster's null meaning and nothing else), and Muster. Muster must give the second
everywhere; where the first differs from it, the operator that does is named and counted. Ends with status 1 otherwise.
"""

import json
import random
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.bench import machine
from benchmarks.results import keep
from muster.rules import FieldType, Registry, RuleError, compile_rule, read_rule

SEED = 20260615
DOCUMENTS, FACTS = 1_500, 80
FOLDER = Path(__file__).parent / "json_rules_engine"
NOW = datetime(2026, 6, 15, tzinfo=UTC)

REGISTRY: Registry = {
    "lead.score": FieldType.NUMBER,
    "lead.amount": FieldType.NUMBER,
    "lead.status": FieldType.STRING,
    "lead.active": FieldType.BOOLEAN,
    "lead.tags": FieldType.STRINGS,
    "lead.points": FieldType.NUMBERS,
    "lead.created_at": FieldType.DATETIME,
    "contact.country": FieldType.STRING,
    "contact.labels": FieldType.STRINGS,
    "customer.value": FieldType.NUMBER,
    "customer.orders": FieldType.NUMBERS,
}
ITEMS = {FieldType.STRINGS: FieldType.STRING, FieldType.NUMBERS: FieldType.NUMBER}
VALUES: dict[FieldType, list[Any]] = {
    FieldType.NUMBER: [-1, 0, 0.1, 1, 2, 3.5, 10, 100],
    FieldType.STRING: ["", "a", "b", "new", "US", "5"],
    FieldType.BOOLEAN: [True, False],
    FieldType.DATETIME: [f"{NOW + timedelta(days=days):%Y-%m-%dT%H:%M:%S.000Z}" for days in range(-3, 3)],
}
ORDERINGS = ["lessThan", "lessThanInclusive", "greaterThan", "greaterThanInclusive"]

LEAF = {"fact": "lead"}
EXTENSIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("texts have an order", {**LEAF, "path": "$.status", "operator": "lessThan", "value": "b"}, {"status": "a"}),
    ("texts contain texts", {**LEAF, "path": "$.status", "operator": "contains", "value": "e"}, {"status": "new"}),
    ("lists equal lists", {**LEAF, "path": "$.tags", "operator": "equal", "value": ["a"]}, {"tags": ["a"]}),
    ("true is in [1]", {**LEAF, "path": "$.active", "operator": "in", "value": [1]}, {"active": True}),
]
"""Where Muster answers true and json-rules-engine false: its operator does not know the type."""


class Generator:
    """Documents of json-rules-engine's own operators and decorators, with types that go together; and facts."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.fields = list(REGISTRY)

    def document(self) -> dict[str, Any]:
        """A root is `all`, `any` or `not`: json-rules-engine takes no other."""
        return self.logic(depth=2)

    def logic(self, depth: int) -> dict[str, Any]:
        kind = self.random.choice(["all", "any", "not"])
        named = {"name": "n", "priority": self.random.randint(1, 5)} if self.random.random() < 0.2 else {}
        if kind == "not":
            return {"not": self.condition(depth), **named}
        return {kind: [self.condition(depth) for _ in range(self.random.randint(0, 3))], **named}

    def condition(self, depth: int) -> dict[str, Any]:
        return self.logic(depth - 1) if depth and self.random.random() < 0.4 else self.leaf()

    def leaf(self) -> dict[str, Any]:
        name = self.random.choice(self.fields)
        operator, value = self.test(REGISTRY[name], frozenset())
        return {**self.fact(name), "operator": operator, "value": value}

    def fact(self, name: str) -> dict[str, str]:
        part, _, attribute = name.partition(".")
        return {"fact": part, "path": f"$.{attribute}"}

    def test(self, field_type: FieldType, used: frozenset[str]) -> tuple[str, Any]:
        """An operator with its decorators, and a value, for a fact of a type."""
        chance = self.random.random()
        if chance < 0.15:
            operator, value = self.test(field_type, used)
            return f"not:{operator}", value
        if chance < 0.3 and "swap" not in used:
            return self.swapped(field_type)
        if chance < 0.4 and "Value" not in used and field_type not in ITEMS:
            return self.through_values(field_type, used)
        if field_type in ITEMS:
            if self.random.random() < 0.6:
                operator, value = self.test(ITEMS[field_type], used | {"swap", "list"})
                return f"{self.random.choice(['someFact', 'everyFact'])}:{operator}", value
            return self.random.choice(["contains", "doesNotContain"]), self.scalar(ITEMS[field_type])
        return self.plain(field_type)

    def plain(self, field_type: FieldType) -> tuple[str, Any]:
        if self.random.random() < 0.35:
            return self.random.choice(["in", "notIn"]), self.members(field_type)
        orders = ORDERINGS if field_type in (FieldType.NUMBER, FieldType.DATETIME) else []
        return self.random.choice(["equal", "notEqual", *orders]), self.scalar(field_type)

    def swapped(self, field_type: FieldType) -> tuple[str, Any]:
        if field_type in ITEMS:
            return f"swap:{self.random.choice(['in', 'notIn'])}", self.scalar(ITEMS[field_type])
        if self.random.random() < 0.4:
            return f"swap:{self.random.choice(['contains', 'doesNotContain'])}", self.members(field_type)
        operator, value = self.plain(field_type)
        return (operator, value) if operator in ("in", "notIn") else (f"swap:{operator}", value)

    def through_values(self, field_type: FieldType, used: frozenset[str]) -> tuple[str, Any]:
        orders = ORDERINGS if field_type in (FieldType.NUMBER, FieldType.DATETIME) else []
        decorator = self.random.choice(["someValue", "everyValue"])
        operator = self.random.choice(["equal", "notEqual", "not:equal", "swap:equal", *orders])
        lists = [name for name in self.fields if ITEMS.get(REGISTRY[name]) is field_type]
        if lists and "list" not in used and self.random.random() < 0.4:
            return f"{decorator}:{operator}", self.fact(self.random.choice(lists))
        return f"{decorator}:{operator}", self.members(field_type)

    def scalar(self, field_type: FieldType) -> Any:
        """A value, at times null, at times another fact of the type."""
        chance = self.random.random()
        if chance < 0.1:
            return None
        others = [name for name in self.fields if REGISTRY[name] is field_type]
        return self.fact(self.random.choice(others)) if chance < 0.25 and others else self.known(field_type)

    def members(self, field_type: FieldType) -> list[Any]:
        found = [self.known(field_type) for _ in range(self.random.randint(0, 3))]
        return [*found, None] if self.random.random() < 0.1 else found

    def known(self, field_type: FieldType) -> Any:
        return self.random.choice(VALUES[field_type])

    def facts(self) -> dict[str, Any]:
        """A profile as JSON: with a lead, for that is the scope of these rules; other parts and values at times."""
        found: dict[str, Any] = {"lead": {}}
        for name, field_type in REGISTRY.items():
            part, _, attribute = name.partition(".")
            chance = self.random.random()
            if chance < 0.65:
                found.setdefault(part, {})[attribute] = self.stored(field_type)
            elif chance < 0.75:
                found.setdefault(part, {})[attribute] = None
        return found

    def stored(self, field_type: FieldType) -> Any:
        if field_type not in ITEMS:
            return self.known(field_type)
        found = [self.known(ITEMS[field_type]) for _ in range(self.random.randint(0, 3))]
        return [*found, None] if self.random.random() < 0.1 else found


def by_json_rules_engine(documents: list[Any], facts: list[Any]) -> list[list[dict[str, Any]]]:
    """The rows that `decide.mjs` gives."""
    if not (FOLDER / "node_modules").is_dir():
        subprocess.run(["npm", "ci", "--silent"], cwd=FOLDER, check=True)
    asked = json.dumps({"documents": documents, "facts": facts}).encode()
    done = subprocess.run(["node", "decide.mjs"], cwd=FOLDER, input=asked, stdout=subprocess.PIPE, check=True)
    answers: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return answers


def as_profile(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts as Muster keeps them: datetimes are datetimes."""
    profile = {part: dict(values) for part, values in facts.items()}
    for name, field_type in REGISTRY.items():
        part, _, attribute = name.partition(".")
        value = profile.get(part, {}).get(attribute)
        if field_type is FieldType.DATETIME and value is not None:
            profile[part][attribute] = datetime.fromisoformat(value)
    return profile


def compare() -> tuple[Counter[str], dict[str, str], list[str]]:
    """Counts, one example of every difference, and what no null explains."""
    generator = Generator(SEED)
    documents = [generator.document() for _ in range(DOCUMENTS)]
    facts = [generator.facts() for _ in range(FACTS)]
    profiles = [as_profile(each) for each in facts]
    counts, examples, wrong = Counter[str](), dict[str, str](), list[str]()
    for document, rows in zip(documents, by_json_rules_engine(documents, facts), strict=True):
        try:
            holds = compile_rule(read_rule(document, REGISTRY))
        except RuleError as error:
            wrong.append(f"refused: {error} {json.dumps(document)}")
            continue
        for row, profile, given in zip(rows, profiles, facts, strict=True):
            ours = holds(profile, NOW)
            counts["pairs"] += 1
            if ours != bool(row["total"]):
                wrong.append(f"{json.dumps(document)} over {json.dumps(given)}: Muster {ours}, {row}")
            if row["plain"] == row["total"]:
                counts["the same"] += 1
                continue
            for name in row["changed"] or ["several together"]:
                kind = f"{name}{' (json-rules-engine throws)' if row['plain'] == 'throws' else ''}"
                counts[kind] += 1
                shorter = json.dumps(document)
                examples[kind] = min(examples.get(kind, shorter), shorter, key=len)
    return counts, examples, wrong


def extensions() -> list[str]:
    """One line for each, with both answers."""
    lines = []
    for title, leaf, lead in EXTENSIONS:
        document = {"all": [leaf]}
        theirs = by_json_rules_engine([document], [{"lead": lead}])[0][0]["plain"]
        ours = compile_rule(read_rule(document, REGISTRY))({"lead": lead}, NOW)
        value = f"`{leaf['operator']} {json.dumps(leaf['value'])}` of `{json.dumps(lead)}`"
        lines.append(f"- {title}: {value} is {str(bool(theirs)).lower()} there and {str(ours).lower()} here")
    return lines


def shortened(example: str) -> str:
    """An example that fits a line of a table."""
    return example if len(example) <= 240 else f"{example[:239]}…"


def report(counts: Counter[str], examples: dict[str, str], wrong: list[str]) -> str:
    """The section of RESULTS.md."""
    version = json.loads((FOLDER / "package.json").read_text())["dependencies"]["json-rules-engine"]
    differing = counts["pairs"] - counts["the same"]
    lines = [
        "## Trees",
        "",
        f"`python -m benchmarks.trees`: json-rules-engine {version} and Muster, seed {SEED}; {machine()}.",
        "",
        f"{DOCUMENTS:,} documents over {FACTS} sets of facts: {counts['pairs']:,} pairs,",
        f"{counts['the same']:,} decided the same, {differing:,} otherwise because of a null,",
        f"{len(wrong):,} otherwise for no such reason.",
        "",
        "Where a null decides: the operator that differs (put in alone, it gives Muster's answer or another), and the",
        "shortest document that shows it.",
        "",
        "| operator | pairs | example |",
        "|---|---|---|",
    ]
    kinds = sorted(examples, key=lambda kind: -counts[kind])
    lines += [f"| {kind} | {counts[kind]:,} | `{shortened(examples[kind])}` |" for kind in kinds]
    lines += [
        "",
        "Types that json-rules-engine's operators do not know, answered by Muster (refused where senseless):",
        "",
    ]
    return "\n".join([*lines, *extensions(), ""])


def main() -> None:
    """Compare, print, keep; fail on a difference that no null explains."""
    counts, examples, wrong = compare()
    section = report(counts, examples, wrong)
    print(section)
    for line in wrong[:10]:
        print(line)
    if wrong:
        sys.exit(1)
    keep(section)


if __name__ == "__main__":
    main()
