"""Random computations, nested and typed: numbers, texts, moments, durations, lists, sets, and tests of them.

Everything that `computed` writes as code, with operands of every kind that rule_engine takes there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from muster.rules.printing import literal_text, quoted
from tests.rules import generation as plain
from tests.rules.generation import Choices

SIGNS = ["==", "!=", "<", "<=", ">", ">="]
PARTS_OF_DATES = ["year", "month", "day", "hour", "minute", "second", "millisecond", "microsecond", "to_epoch"]
PARTS_OF_DURATIONS = ["days", "seconds", "microseconds", "total_seconds"]


@dataclass(frozen=True)
class Drawer:
    """Draws expressions of one kind, down to `depth` levels; inside of a comprehension its variable is one, too."""

    choices: Choices
    depth: int
    variable: str | None = None
    of_text: bool = False

    def pick(self, leaves: list[Callable[[], str]], nodes: list[Callable[["Drawer"], str]]) -> str:
        """One of the leaves, or of the nodes with what is below them."""
        below = replace(self, depth=self.depth - 1)
        if self.depth > 0 and self.choices.integer(0, 3):
            return self.choices.choice(nodes)(below)
        return self.choices.choice(leaves)()

    def one(self, *options: str) -> str:
        """One of some words."""
        return self.choices.choice(options)


def number(drawer: Drawer) -> str:
    """An expression that is a number."""
    choices, one = drawer.choices, drawer.one
    leaves: list[Callable[[], str]] = [
        lambda: choices.choice(plain.AMOUNTS),
        lambda: choices.choice(plain.AMOUNTS),
        lambda: plain.number(choices),
        lambda: one("$pi", "$e", "0", "2", "-1", "100"),
    ]
    if drawer.variable and not drawer.of_text:
        leaves += [lambda: str(drawer.variable)] * 3
    return drawer.pick(
        leaves,
        [
            lambda below: f"({number(below)} {one('+', '-', '*', '/', '//', '%')} {number(below)})",
            lambda below: f"({number(below)} {one('+', '-', '*')} {plain.number(choices)})",
            lambda below: f"(-{number(below)})",
            lambda below: f"$abs({number(below)})",
            lambda below: f"({number(below)}).{one('floor', 'ceiling')}",
            lambda below: f"({text(below)}).length",
            lambda below: f"({choices.choice(COLLECTIONS)(below)}).length",
            lambda below: f"({moment(below)}).{choices.choice(PARTS_OF_DATES)}",
            lambda below: f"({duration(below)}).{choices.choice(PARTS_OF_DURATIONS)}",
            lambda below: f"{one('$sum', '$max', '$min')}({numbers(below)})",
            lambda below: f"({number(below)} ?? {number(below)})",
            lambda below: f"({truth(below)} ? {number(below)} : {number(below) if choices.integer(0, 2) else 'null'})",
            lambda below: f"({numbers(below)}){one('[', '&[')}{index(below)}]",
            lambda below: (
                f"({number(below)} {one('&', '|', '^')} {one('1', '6') if choices.integer(0, 1) else number(below)})"
            ),
            lambda below: f"$percentile({number(below)}, {number(below)}, {number(below)})",
            lambda below: f"$fuzzy({text(below)}, {text(below)})",
            lambda below: f"$overlap({texts(below)}, {texts(below)})",
            lambda below: f"$days_since({moment(below)})",
        ],
    )


def index(drawer: Drawer) -> str:
    """What stands between [ and ]."""
    if drawer.choices.integer(0, 3):
        return str(drawer.choices.integer(-3, 3))
    return "0.5" if drawer.choices.integer(0, 1) else number(drawer)


def text(drawer: Drawer) -> str:
    """An expression that is a text."""
    choices, one = drawer.choices, drawer.one
    leaves: list[Callable[[], str]] = [
        lambda: choices.choice(plain.TEXTS),
        lambda: choices.choice(plain.TEXTS),
        lambda: quoted(choices.choice(plain.WORDS)),
    ]
    if drawer.variable and drawer.of_text:
        leaves += [lambda: str(drawer.variable)] * 3
    return drawer.pick(
        leaves,
        [
            lambda below: f"({text(below)} + {text(below)})",
            lambda below: f"({text(below)}).{one('as_lower', 'as_upper', 'to_str')}",
            lambda below: f"({choices.choice([text, texts])(below)})[{index(below)}]",
            lambda below: f"({text(below)})[{choices.integer(-2, 2)}:{one('', '1', '-1', '3')}]",
            lambda below: f"({text(below)} ?? {text(below)})",
            lambda below: f"({truth(below)} ? {text(below)} : {text(below) if choices.integer(0, 2) else 'null'})",
            lambda below: f"({moment(below)}).weekday",
            lambda _: f"{choices.choice(plain.AMOUNTS)}.to_str",
            lambda below: f"({number(below)}).to_str",
            lambda below: f"${one('email_domain', 'root_domain')}({text(below)} + '@a.co.uk')",
        ],
    )


def moment(drawer: Drawer) -> str:
    """An expression that is a point in time."""
    choices = drawer.choices
    return drawer.pick(
        [
            lambda: choices.choice(plain.DATES),
            lambda: choices.choice(plain.DATES),
            lambda: plain.moment(choices),
            lambda: drawer.one("$now", "$today"),
        ],
        [
            lambda below: f"({moment(below)} {drawer.one('+', '-')} {duration(below)})",
            lambda below: f"({duration(below)} + {moment(below)})",
            lambda below: f"({moment(below)}).date",
            lambda below: f"({moment(below)} ?? {moment(below)})",
            lambda below: f"({truth(below)} ? {moment(below)} : {moment(below)})",
        ],
    )


def duration(drawer: Drawer) -> str:
    """An expression that is a length of time."""
    choices = drawer.choices
    return drawer.pick(
        [
            lambda: f"({literal_text(choices.choice(plain.DURATIONS))})",
            lambda: f"({choices.choice(plain.DATES)} - {choices.choice([*plain.DATES, '$now'])})",
        ],
        [
            lambda below: f"({moment(below)} - {moment(below)})",
            lambda below: f"({duration(below)} {drawer.one('+', '-')} {duration(below)})",
            lambda below: f"(-{duration(below)})",
            lambda below: f"({truth(below)} ? {duration(below)} : {duration(below)})",
        ],
    )


def texts(drawer: Drawer) -> str:
    """An expression that is a list of texts."""
    choices = drawer.choices
    return drawer.pick(
        [lambda: choices.choice(plain.TEXT_LISTS), lambda: f"[{quoted(choices.choice(plain.WORDS))}, 'a']"],
        [
            lambda below: f"[{text(below)}, {text(below)}]",
            lambda below: f"[{text(below)}, null]",
            lambda below: f"$split({text(below)})",
            lambda below: f"$split({text(below)}, {text(below)})",
            lambda below: f"$split({text(below)}, 'a', {drawer.one('1', '-1', '0.5')})",
            lambda below: f"({texts(below)})[{choices.integer(-1, 1)}:]",
            lambda below: f"({text(below)}).to_ary",
            lambda below: f"({texts(below)}).to_ary",
            lambda below: f"({truth(below)} ? {texts(below)} : {texts(below)})",
            lambda below: f"({texts(below)} ?? {texts(below)})",
            lambda below: f"[{text(below)}]" if below.variable else comprehension(below, text),
        ],
    )


def numbers(drawer: Drawer) -> str:
    """An expression that is a list of numbers."""
    choices = drawer.choices
    return drawer.pick(
        [lambda: choices.choice(plain.NUMBER_LISTS), lambda: f"[{plain.number(choices)}, 1, 2]"],
        [
            lambda below: f"[{number(below)}, {number(below)}]",
            lambda below: f"[{number(below)}, null]",
            lambda below: f"({numbers(below)})[:{choices.integer(-1, 2)}]",
            lambda below: f"({truth(below)} ? {numbers(below)} : {numbers(below)})",
            lambda below: f"[{number(below)}]" if below.variable else comprehension(below, number),
        ],
    )


def comprehension(drawer: Drawer, result: Callable[[Drawer], str]) -> str:
    """`[… for each in … if …]`; not inside of another."""
    of_text = bool(drawer.choices.integer(0, 1))
    iterable = drawer.choices.choice([texts, texts, texts, text])(drawer) if of_text else numbers(drawer)
    inner = replace(drawer, variable="each", of_text=of_text)
    condition = f" if {truth(inner)}" if drawer.choices.integer(0, 1) else ""
    return f"[{result(inner)} for each in {iterable}{condition}]"


def _truths(drawer: Drawer) -> str:
    return f"[{truth(drawer)}]" if drawer.variable else comprehension(drawer, truth)


def members(drawer: Drawer) -> str:
    """An expression that is a set."""
    return drawer.pick(
        [
            lambda: f"({drawer.choices.choice(plain.TEXT_LISTS + plain.NUMBER_LISTS)}).to_set",
            lambda: f"{{{quoted(drawer.choices.choice(plain.WORDS))}, 'a'}}",
            lambda: f"{{{plain.number(drawer.choices)}, 1, true}}",
        ],
        [
            lambda below: f"({texts(below)}).to_set",
            lambda below: f"({numbers(below)}).to_set",
            lambda below: f"({text(below)}).to_set",
            lambda below: f"{{{text(below)}, {text(below)}}}",
            lambda below: f"{{{number(below)}, {number(below)}}}",
            lambda below: f"({members(below)} {drawer.one('&', '|', '^')} {members(below)})",
        ],
    )


KINDS: list[Callable[[Drawer], str]] = [number, text, moment, duration]
COLLECTIONS: list[Callable[[Drawer], str]] = [texts, numbers, members]


def truth(drawer: Drawer) -> str:
    """A test, or a value that stands for itself."""
    choices, one = drawer.choices, drawer.one
    below = replace(drawer, depth=drawer.depth - 1) if drawer.depth > 0 else drawer
    kind, collection = choices.choice(KINDS), choices.choice(COLLECTIONS)
    tests: list[Callable[[], str]] = [
        lambda: f"({kind(below)} {choices.choice(SIGNS)} {kind(below)})",
        lambda: f"({kind(below)} {choices.choice(SIGNS)} {kind(below)})",
        lambda: f"({number(below)} {choices.choice(SIGNS)} {plain.number(choices)})",
        lambda: f"({plain.number(choices)} {choices.choice(SIGNS)} {number(below)})",
        lambda: f"({kind(below)} {one('==', '!=')} {choices.choice(KINDS)(below)})",
        lambda: f"({kind(below)} {one('==', '!=')} null)",
        lambda: f"({kind(below)} {one('==', '!=')} {plain.anything(choices)})",
        lambda: f"({collection(below)} {one('==', '!=')} {choices.choice(COLLECTIONS)(below)})",
        lambda: f"({kind(below)} {one('in', 'not in')} {collection(below)})",
        lambda: f"({kind(below)} {one('in', 'not in')} [{kind(below)}, {plain.anything(choices)}, null])",
        lambda: f"({kind(below)} {one('in', 'not in')} [{plain.anything(choices)}, {plain.anything(choices)}])",
        lambda: f"({text(below)} {one('in', 'not in')} {text(below)})",
        lambda: f"({texts(below)} in [{texts(below)}, []])",
        lambda: f"({text(below)} {one('=~', '=~~', '!~', '!~~')} {quoted(choices.choice(plain.PATTERNS))})",
        lambda: f"({text(below)}).{one('starts_with', 'ends_with')}({text(below)})",
        lambda: f"({choices.choice([text, collection])(below)}).is_empty",
        lambda: f"{one('$any', '$all')}({choices.choice([texts, numbers, _truths])(below)})",
        lambda: choices.choice(plain.FLAGS),
        lambda: f"({choices.choice(plain.FLAGS)} {choices.choice(SIGNS)} {one('true', 'false')})",
        lambda: f"({choices.choice(plain.FLAGS)} {choices.choice(SIGNS)} {truth(below)})",
        lambda: f"({truth(below)} {one('and', 'or')} {truth(below)})",
        lambda: f"(not {truth(below)})",
        lambda: f"({truth(below)} {one('==', '!=')} {truth(below)})",
        lambda: f"({kind(below)})",
        lambda: one("lead", "customer", "company", "(contact == null)"),
    ]
    return choices.choice(tests)() if drawer.depth > 0 else f"({number(below)} {one('>', '==')} 1)"


def computation(choices: Choices) -> str:
    """A test of something computed, one to three levels deep."""
    return truth(Drawer(choices, depth=choices.integer(1, 3)))
