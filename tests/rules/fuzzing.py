"""Rules as nobody would write them: from the grammar, from its words, from bytes, from trees, and near every limit."""

import random
from collections.abc import Callable, Iterator
from typing import Any

from tests.rules import generation
from tests.rules.test_agreement import Seeded

WORDS = [
    *("lead.score", "lead.status", "lead.tags", "lead.points", "lead", "contact.email", "x", "each", "$now", "$today"),
    *(
        "$abs(",
        "$any(",
        "$sum(",
        "$in_cohort(",
        "$random",
        "$range(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "??",
    ),
    *(".", "&.", "&[", ".length", ".as_lower", ".starts_with(", "__class__", "==", "!=", "<", ">=", "=~", "!~~", "+"),
    *(
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<<",
        ">>",
        "&",
        "|",
        "^",
        "and",
        "or",
        "not",
        "in",
        "for",
        "if",
        "elif",
        "while",
    ),
    *("true", "null", "nan", "inf", "0", "1", "1e400", "0x1F", "1e-999999999", "'a'", "r'\\d'", "b'a'", "#c", "\n"),
    *("d'2026-01-01'", "t'P1D'", "t'P999999999999D'", "é", "@", "'(a+)+$'", "'\\ud800'", "\x00", '"', "\\"),
]
LEAVES = [
    *("lead.score > 5", "lead.status == 'a'", "lead.score + 1 > lead.amount", "lead.tags.length > 1", "lead.active"),
    *("lead.status =~~ 'a{1,9}b*'", "'a' in lead.tags", "lead.created_at < $now - t'P3D'", "lead.scor > 5", "lead > 1"),
    *("$any([x == 'a' for x in lead.tags])", "lead.amount / lead.score > 1", "(lead.score ?? 1) > 2", "1 + 1 == 2"),
]
NESTED = [
    *(
        "{} ? lead.active : contact.opted_in",
        "lead.active ? {} : contact.opted_in",
        "{} == true",
        "not {}",
        "{} != false",
    ),
    *("({} ? 1 : 2) == 1", "(lead.active ? 1 : 2) == ({} ? 1 : 2)", "lead.active ?? {}", "{} in [true]", "[{}][0]"),
    *("{} and lead.active", "lead.active or {}", "(lead.score ?? 1) > ({} ? 1 : lead.amount)", "$any([{}])"),
]
PATTERNS = ["a", "(", ")", "[a-z]", "*", "+?", "{1,1000}", "{30}", "|", "\\d", "(?i)", "^", "$", ".", "\\1", "(?=", "é"]
KEYS = ["all", "any", "not", "field", "fact", "path", "operator", "value", "expression", "anchor", "unit", "condition"]
TREE_WORDS = [
    *("lead.score", "lead", "$.score", "equal", "greaterThan", "in", "between", "withinLast", "someFact:equal", "now"),
    *("everyFact:not:in", "swap:contains", "not:someValue:lessThan", "lead.tags", "days", "lead.score > 5", "matches"),
]


class Fuzz:
    """An endless row of rules from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.choices = Seeded(seed)
        self.kinds: list[Callable[[], Any]] = [
            *[self.grammar, self.damaged, self.flipped, self.words, self.noise, self.pattern] * 8,
            *[self.tree] * 12,
            self.large,
            self.nested,
        ]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        while True:
            kind = self.random.choice(self.kinds)
            yield kind.__name__, kind()

    def grammar(self) -> str:
        """A rule of every construct."""
        return generation.rule(self.choices)

    def damaged(self) -> str:
        """A good rule with a piece cut out and something else put in."""
        text = self.grammar()
        start = self.random.randint(0, len(text))
        return text[:start] + self.random.choice(WORDS) + text[start + self.random.randint(0, 6) :]

    def flipped(self) -> str:
        """A good rule with some of its bytes changed."""
        raw = bytearray(self.grammar().encode("utf-8", "surrogatepass"))
        for _ in range(self.random.randint(1, 2)):
            raw[self.random.randrange(len(raw))] ^= 1 << self.random.randrange(8)
        return raw.decode("utf-8", self.random.choice(["replace", "surrogateescape"]))

    def words(self) -> str:
        """Words of the language in any order."""
        return " ".join(self.random.choices(WORDS, k=self.random.randint(1, 25)))

    def noise(self) -> str:
        """Bytes."""
        raw = self.random.randbytes(self.random.randint(0, 80))
        return raw.decode(self.random.choice(["latin-1", "utf-16-le", "utf-8"]), "replace")

    def pattern(self) -> str:
        """A regular expression of parts that may not fit."""
        pattern = "".join(self.random.choices(PATTERNS, k=self.random.randint(1, 30)))
        return f"lead.status {self.random.choice(['=~', '!~~'])} r'{pattern}'"

    def large(self) -> str:
        """Much of one thing, near a limit or past it."""
        count, leaf = self.random.randint(50, 700), self.random.choice(LEAVES)
        make = [
            lambda: f" {self.random.choice(['and', 'or'])} ".join([leaf] * count),
            lambda: " or ".join(self.random.choices(LEAVES[:-6], k=min(count, 250))),
            lambda: " or ".join(f"lead.score {generation.SIGNS[number % 6]} {number}" for number in range(count)),
            lambda: " and ".join(
                f"(lead.score > {number} or lead.status != 'a{number}')" for number in range(count // 3)
            ),
            lambda: f"lead.score in [{', '.join(str(number) for number in range(2 * count))}]",
            lambda: f"lead.status in {{{', '.join(repr(str(number)) for number in range(2 * count))}}}",
            lambda: "(" * count + leaf + ")" * count,
            lambda: "not " * (count // 15) + leaf,
            lambda: "lead.score" + " + 1" * (count // 15) + " > 1",
            lambda: " or ".join(f"lead.status =~ '^a{number}.*b'" for number in range(count // 3)),
            lambda: (
                "lead.status =~ '" + self.random.choice(["(a|b)", "[a-z]{9}", "a?", "(a{30})"]) * (count // 5) + "'"
            ),
            lambda: 'lead.status == "' + self.random.choice(["x", "é", "\\n", "\n"]) * (count * 450) + '"',
            lambda: "\n" * (count * 430) + " or\n".join([leaf] * min(count, 250)),
            lambda: f"lead.scor{count} > 5 or " * min(count, 250) + "lead.active",
        ]
        return self.random.choice(make)()

    def nested(self) -> str:
        """One thing inside of another, down to the deepest level and past it."""
        shapes, text = self.random.sample(NESTED, self.random.randint(1, 2)), self.random.choice(LEAVES)
        for _ in range(self.random.randint(5, 45)):
            text = self.random.choice(shapes).replace("{}", f"({text})")
        return text

    def tree(self, depth: int = 4) -> Any:
        """A document of the right keys with the wrong things under them, and the other way round."""
        kind = self.random.random()
        if depth and kind < 0.25:
            return {
                self.random.choice(["all", "any"]): [self.tree(depth - 1) for _ in range(self.random.randint(0, 3))]
            }
        if kind < 0.6:
            name, operator = self.random.choice(LEAVES).split(" ")[0], self.random.choice(TREE_WORDS)
            return {"field": name, "operator": operator, "value": self.value(depth)}
        keys = self.random.sample(KEYS, self.random.randint(0, 4))
        return {
            key: self.tree(depth - 1) if depth and self.random.random() < 0.3 else self.value(depth) for key in keys
        }

    def value(self, depth: int) -> Any:
        """A value of JSON."""
        if depth and self.random.random() < 0.2:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        others = [None, True, 0, -1.5, 10**400, float("nan"), "", "\ud800", {"fact": "lead", "path": "$.amount"}]
        return self.random.choice([*others, *TREE_WORDS, self.random.choice(WORDS)])
