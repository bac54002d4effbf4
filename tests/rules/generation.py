"""Random rules and profiles, of every construct that the table of `capabilities` names, and some that it does not.

Written against `Choices`, so that one generator serves a seeded run of many thousands and Hypothesis, which shrinks
what it finds.
"""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from muster.rules import FieldType
from muster.rules.printing import literal_text, quoted
from tests.rules.engines import NOW, REGISTRY

T = TypeVar("T")


class Choices(Protocol):
    """Where chance comes from."""

    def choice(self, options: Sequence[T]) -> T:
        """One of them."""

    def integer(self, low: int, high: int) -> int:
        """From low to high, both included."""


class Seeded:
    """Choices from a seed: the same ones every time."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def choice(self, options: Sequence[T]) -> T:
        return self._random.choice(options)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


NUMBERS: list[Any] = [
    0,
    0.0,
    -0.0,
    1,
    1.0,
    2,
    3,
    5,
    -1,
    -5,
    0.1,
    0.2,
    0.3,
    0.30000000000000004,
    0.5,
    2.5,
    1e-7,
    100,
    1e22,
]
NUMBERS += [2**31, 2**53 - 1, -(2**53) + 1, 2.0**60, 1e300, 1.7976931348623157e308, 5e-324, 1e30]
WORDS = [
    "",
    "a",
    "A",
    "b",
    "ab",
    "new",
    "new\n",
    "\n",
    "NEW",
    " new",
    "$secret",
    "$$ROOT",
    "$lead.name",
    "a.b",
    "é",
    "e\u0301",
]
WORDS += [
    "K",
    "k",
    "\u212a",
    "ß",
    "SS",
    "\x00",
    "a\x00b",
    "٣",
    "3",
    "😀",
    "\uffff",
    "(",
    "[a",
    "/a/",
    "^a",
    "a$",
    "\\z",
    ".*",
    "a*",
]
WORDS += [
    "Ki",
    "kİ",
    "İk",
    "i",
    "I",
    "5",
    "true",
    "null",
    '"',
    "'",
    "a\\",
    "#a",
    "x" * 40,
    "İ",
    "\u017f",
    "\u2028",
    "a\r\n",
    "x" * 600,
]
WORDS += ["ﬁ", "ﬀ", "ﬃ", "aﬆ", "ﬅ", "ŉ", "ǰ", "\u0131", "ßﬂ", "sfi", "ﬀi", "ﬃx"]
MOMENTS = [
    NOW,
    NOW - timedelta(milliseconds=1),
    NOW - timedelta(days=30),
    NOW - timedelta(days=30, milliseconds=1),
    NOW + timedelta(days=1),
    NOW.replace(hour=0, minute=0, second=0, microsecond=0),
    datetime(2026, 1, 1, 12, 0, 0, 123000, tzinfo=UTC),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=UTC),
]
DURATIONS = [timedelta(), timedelta(days=30), timedelta(milliseconds=1), timedelta(microseconds=1), timedelta(hours=36)]
DURATIONS += [timedelta(days=365_000)]
PATTERNS = [
    "a",
    "^a",
    "a$",
    "^new$",
    r"\d",
    r"^\d+$",
    r"\w+",
    "(a|b)+",
    "[^a]",
    ".",
    "",
    r"\s",
    "^$",
    r"a\Z",
    "(?i)k",
    "(?s).*",
]
PATTERNS += [
    "^a.*b",
    "a.b",
    "^[^a]*$",
    "[a-cK]$",
    r"^\s?a{1,3}",
    r"(?i)^new\Z",
    "a?b?",
    r"\x00",
    r"\D+",
    "^.{2,}",
    "K|k",
    ".\n",
]
PATTERNS += ["é", r"\$", "x{3,}", "(?i)[a-c]", r"\W", "(a*)*b"]
CAPITALS = ["K", "I", "S", "F", "N", "ST", "SS", "FF", "FI", "FFI", "SFF", "NEW", "", "A.B", "$", "J", "É"]
NUMBERS_OF_DATES = ["0", "1", "12", "2026", "1969", "30.5"]
SIGNS = ["==", "!=", "<", "<=", ">", ">="]


def fields_of(*types: FieldType) -> list[str]:
    """The names of the registered fields of some types."""
    return [name for name, field_type in REGISTRY.items() if field_type in types]


TEXTS, AMOUNTS = fields_of(FieldType.STRING), fields_of(FieldType.NUMBER)
FLAGS, DATES = fields_of(FieldType.BOOLEAN), fields_of(FieldType.DATETIME)
TEXT_LISTS, NUMBER_LISTS = fields_of(FieldType.STRINGS), fields_of(FieldType.NUMBERS)


def value(choices: Choices, field_type: FieldType) -> Any:
    """A value as a profile stores it."""
    match field_type:
        case FieldType.STRING:
            return choices.choice(WORDS)
        case FieldType.NUMBER:
            return choices.choice(NUMBERS)
        case FieldType.BOOLEAN:
            return choices.choice([True, False])
        case FieldType.DATETIME:
            return choices.choice(MOMENTS)
        case FieldType.STRINGS:
            return [choices.choice([*WORDS, None]) for _ in range(choices.integer(0, 3))]
    return [choices.choice([*NUMBERS, None]) for _ in range(choices.integer(0, 3))]


def profile(choices: Choices) -> dict[str, Any]:
    """A profile as MongoDB stores it; parts and values may be missing, and now and then null."""
    found: dict[str, Any] = {}
    for part in ("lead", "contact", "customer", "person", "company"):
        there = choices.integer(0, 19)
        if there < 14:
            found[part] = _part(choices, part)
        elif there == 14:
            found[part] = None
    return found


def _part(choices: Choices, part: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, field_type in REGISTRY.items():
        if not name.startswith(f"{part}."):
            continue
        there = choices.integer(0, 9)
        if there < 6:
            values[name.partition(".")[2]] = value(choices, field_type)
        elif there == 6:
            values[name.partition(".")[2]] = None
    return values


def number(choices: Choices) -> str:
    """A number as rules write it, often just beside one that profiles hold."""
    kind = choices.integer(0, 5)
    stored = Decimal(repr(choices.choice(NUMBERS)))
    if kind == 0:
        stored += Decimal("1e-25") * choices.choice([1, -1])
    elif kind == 1:
        return choices.choice(
            ["18446744073709551616", "1152921504606846976", "1e400", "-1e400", "0x1F", "1e-350", ".5", "5."]
        )
    return f"{abs(stored):f}" if stored >= 0 and kind == 2 else str(stored)


def moment(choices: Choices) -> str:
    """A datetime literal, at times between two milliseconds, or in another zone."""
    stored = choices.choice(MOMENTS)
    kind = choices.integer(0, 3)
    if kind == 0 and stored.year < 9999:
        stored += timedelta(microseconds=choices.choice([1, 456, 999]))
    if kind == 1 and 1 < stored.year < 9999:
        return f'd"{(stored + timedelta(hours=2)).replace(tzinfo=None).isoformat()}+02:00"'
    return literal_text(stored) if choices.integer(0, 1) else f'd"{stored.replace(tzinfo=None).isoformat()}"'


def anything(choices: Choices) -> str:
    """A literal of any scalar type."""
    kinds: list[Callable[[], str]] = [
        lambda: number(choices),
        lambda: quoted(choices.choice(WORDS)),
        lambda: choices.choice(["true", "false", "null"]),
        lambda: moment(choices),
    ]
    return choices.choice(kinds)()


def literal(choices: Choices, name: str) -> str:
    """A literal of the type of a field."""
    match REGISTRY[name]:
        case FieldType.STRING | FieldType.STRINGS:
            return quoted(choices.choice(WORDS))
        case FieldType.NUMBER | FieldType.NUMBERS:
            return number(choices)
        case FieldType.BOOLEAN:
            return choices.choice(["true", "false"])
    return moment(choices)


def _comparison(choices: Choices) -> str:
    name = choices.choice(TEXTS + AMOUNTS + FLAGS + DATES)
    sign, other = choices.choice(SIGNS), literal(choices, name)
    return f"{name} {sign} {other}" if choices.integer(0, 2) else f"{other} {sign} {name}"


def _mixed_equality(choices: Choices) -> str:
    name = choices.choice(list(REGISTRY))
    other = anything(choices) if choices.integer(0, 3) else choices.choice(list(REGISTRY))
    return f"{name} {choices.choice(['==', '!='])} {other}"


def _null_test(choices: Choices) -> str:
    name = choices.choice([*REGISTRY, "lead", "customer", "contact", "company", "person"])
    return f"{name} {choices.choice(['==', '!='])} null"


def _fields(choices: Choices) -> str:
    names = choices.choice([TEXTS, AMOUNTS, FLAGS, DATES])
    return f"{choices.choice(names)} {choices.choice(SIGNS)} {choices.choice(names)}"


def _in_list(choices: Choices) -> str:
    name = choices.choice(TEXTS + AMOUNTS + FLAGS + DATES)
    members = [
        literal(choices, name) if choices.integer(0, 3) else anything(choices) for _ in range(choices.integer(0, 4))
    ]
    word = choices.choice(["in", "not in"])
    if members and choices.integer(0, 5) == 0:
        return f"{name} {word} {{{', '.join(members)}}}"
    return f"{name} {word} [{', '.join(members)}]"


def _holds(choices: Choices) -> str:
    name = choices.choice(TEXT_LISTS + NUMBER_LISTS)
    member = literal(choices, name) if choices.integer(0, 4) else anything(choices)
    return f"{member} {choices.choice(['in', 'not in'])} {name}"


def _text_test(choices: Choices) -> str:
    name, text = choices.choice(TEXTS), quoted(choices.choice(WORDS))
    return choices.choice([f"{text} in {name}", f"{name}.starts_with({text})", f"{name}.ends_with({text})"])


def _pattern(choices: Choices) -> str:
    return f"{choices.choice(TEXTS)} {choices.choice(['=~', '=~~', '!~', '!~~'])} {quoted(choices.choice(PATTERNS))}"


def _truth(choices: Choices) -> str:
    return choices.choice(list(REGISTRY))


def _length(choices: Choices) -> str:
    name = choices.choice(TEXTS + TEXT_LISTS + NUMBER_LISTS)
    if choices.integer(0, 2) == 0:
        return f"{name}.{choices.choice(['is_empty', 'length'])}"
    return f"{name}.length {choices.choice(SIGNS)} {choices.choice(['0', '1', '2', '3', '1.5', '-1', '40'])}"


def _default(choices: Choices) -> str:
    name = choices.choice(TEXTS + AMOUNTS + FLAGS + DATES)
    default = literal(choices, name)
    if choices.integer(0, 4) == 0:
        return f"({name} ?? {default})"
    return f"({name} ?? {default}) {choices.choice(SIGNS)} {literal(choices, name)}"


def _window(choices: Choices) -> str:
    name, sign = choices.choice(DATES), choices.choice(SIGNS)
    length = literal_text(choices.choice(DURATIONS))
    anchor = choices.choice(["$now", "$today"])
    return choices.choice(
        [
            f"{anchor} - {name} {sign} {length}",
            f"{name} - {anchor} {sign} -{length}",
            f"{name} {sign} {anchor} - {length}",
            f"{anchor} + {length} {sign} {name}",
            f"{name} + {length} {sign} {anchor}",
            f"{name} - {length} {sign} {moment(choices)}",
            f"{name} - {moment(choices)} {sign} {length}",
            f"{length} {sign} {anchor} - ({name} + {length})",
            f"{anchor} {sign} {name}",
        ]
    )


def _arithmetic(choices: Choices) -> str:
    left, right, sign = choices.choice(AMOUNTS), choices.choice([*AMOUNTS, number(choices)]), choices.choice(SIGNS)
    return f"{left} {choices.choice(['+', '-', '*', '/', '//', '%'])} {right} {sign} {number(choices)}"


def _attribute(choices: Choices) -> str:
    word, lower = (
        quoted(choices.choice(WORDS)),
        quoted(choices.choice(["k", "a", "i", "ki", "ik", "new", "", "a.b", "ss", "$"])),
    )
    upper = quoted(choices.choice([*CAPITALS, "".join(choices.choice("AFILSTNJHK.x") for _ in range(3))]))
    part = choices.choice(["year", "month", "day", "hour", "minute", "second", "millisecond"])
    return choices.choice(
        [
            f"{choices.choice(TEXTS)}.as_lower == {word}",
            f"{choices.choice(TEXTS)}.as_upper {choices.choice(SIGNS)} {word}",
            f"{choices.choice(TEXTS)}.as_lower.{choices.choice(['starts_with', 'ends_with'])}({lower})",
            f"{lower} {choices.choice(['in', 'not in'])} {choices.choice(TEXTS)}.as_lower",
            f"{choices.choice(TEXTS)}.as_lower {choices.choice(['==', '!='])} {lower}",
            f"{choices.choice(TEXTS)}.as_lower {choices.choice(['in', 'not in'])} [{lower}, {word}]",
            f"{choices.choice(TEXTS)}.as_lower",
            f"{choices.choice(TEXTS)}.as_upper.{choices.choice(['starts_with', 'ends_with'])}({upper})",
            f"{upper} {choices.choice(['in', 'not in'])} {choices.choice(TEXTS)}.as_upper",
            f"{choices.choice(TEXTS)}.as_upper {choices.choice(['==', '!='])} {upper}",
            f"{choices.choice(TEXTS)}.as_upper {choices.choice(['in', 'not in'])} [{upper}, {word}]",
            f"{choices.choice(DATES)}.month {choices.choice(SIGNS)} {choices.integer(1, 12)}",
            f"{choices.choice(DATES)}.{part} {choices.choice(SIGNS)} {choices.choice(NUMBERS_OF_DATES)}",
            f"{choices.choice(DATES)}.{part}",
            f"{choices.choice(DATES)}.weekday == 'Monday'",
            f"{choices.choice(DATES)}.date == $today",
            f"{choices.choice(DATES)}.year > $now.year - 1",
            f"{choices.choice(AMOUNTS)}.floor == {number(choices)}",
        ]
    )


def _inside(choices: Choices) -> str:
    name, word = choices.choice(TEXT_LISTS), quoted(choices.choice(WORDS))
    return choices.choice(
        [
            f"$any([each == {word} for each in {name}])",
            f"$all([each.length > 1 for each in {name} if each != {word}])",
            f"{name}[{choices.integer(-2, 2)}] == {word}",
            f"{choices.choice(TEXTS)}[{choices.integer(-2, 2)}] == {word}",
            f"{name}&[0] == {word}",
            f"{choices.choice(TEXTS)}[:{choices.integer(0, 2)}] == {word}",
            f"$sum({choices.choice(NUMBER_LISTS)}) > {number(choices)}",
            f"$max({choices.choice(NUMBER_LISTS)}) == {number(choices)}",
            f"{name} == [{word}]",
            f"({name}.to_set & {{{word}, 'a'}}).length > 0",
            f"{choices.choice(TEXTS)} {choices.choice(['in', 'not in'])} {name}",
            f"{choices.choice(TEXTS)} {choices.choice(['in', 'not in'])} {word}",
            f"{choices.choice(TEXTS)} {choices.choice(['in', 'not in'])} [{choices.choice(TEXTS)}, {word}]",
            f"{name} {choices.choice(['in', 'not in'])} [[{word}], []]",
            f"$now {choices.choice(['in', 'not in'])} [{choices.choice(DATES)}]",
            f"{choices.choice(['lead.tags', 'customer.tags'])} {choices.choice(['==', '!='])} {name}",
            f"$split({choices.choice(TEXTS)}, 'a').length > 1",
            f"$abs({choices.choice(AMOUNTS)}) >= {number(choices)}",
            f"$min({choices.choice(NUMBER_LISTS)}) < {number(choices)}",
            f"$any({choices.choice(NUMBER_LISTS)})",
            f"({choices.choice(AMOUNTS)} > 1 ? {choices.choice(TEXTS)} : {word}) == {word}",
            f"({choices.choice(AMOUNTS)} ?? {choices.choice(AMOUNTS)}) > {number(choices)}",
            f"-{choices.choice(AMOUNTS)} {choices.choice(SIGNS)} {number(choices)}",
            f"{choices.choice(['lead', 'contact', 'customer', 'person', 'company'])} ? true : false",
        ]
    )


def _function(choices: Choices) -> str:
    text, sign = choices.choice([*TEXTS, quoted(choices.choice(WORDS))]), choices.choice(SIGNS)
    amounts = [choices.choice([*AMOUNTS, number(choices)]) for _ in range(4)]
    return choices.choice(
        [
            f"$fuzzy({choices.choice(TEXTS)}, {text}) {sign} {choices.choice(['0', '50', '100'])}",
            f"$distance_km({', '.join(amounts)}) {sign} {number(choices)}",
            f"$email_domain({choices.choice(TEXTS)}) {choices.choice(['==', '!=', '<'])} {text}",
            f"$email_domain('a@' + {choices.choice(TEXTS)}) {choices.choice(['in', 'not in'])} [{text}]",
            f"$root_domain({choices.choice(TEXTS)} + '.co.uk') {choices.choice(['==', '!='])} null",
            f"$days_since({choices.choice(DATES)}) {sign} {choices.choice(['0', '30', '30.5'])}",
            f"$overlap({choices.choice(TEXT_LISTS)}, [{text}, 'a']) {sign} {choices.choice(['0', '1'])}",
            f"$overlap({choices.choice(NUMBER_LISTS)}, {choices.choice(TEXT_LISTS + NUMBER_LISTS)})",
            f"$percentile({', '.join(amounts[:3])}) {sign} {choices.choice(['0', '50', '100'])}",
        ]
    )


def _computation(choices: Choices) -> str:
    from tests.rules.computed_generation import computation  # noqa: PLC0415  it draws its leaves from here

    return computation(choices)


LEAVES: list[Callable[[Choices], str]] = [
    *(_comparison, _comparison, _comparison, _mixed_equality, _null_test, _fields, _in_list, _in_list, _holds),
    *(
        _text_test,
        _text_test,
        _pattern,
        _pattern,
        _truth,
        _length,
        _default,
        _window,
        _window,
        _arithmetic,
        _attribute,
        _attribute,
        _inside,
        _function,
        _computation,
    ),
]


def rule(choices: Choices, depth: int = 3) -> str:
    """A rule's text. Some are refused for their types; most are not."""
    kind = choices.integer(0, 9) if depth else 9
    if kind < 3:
        word = choices.choice(["and", "or"])
        return f" {word} ".join(f"({rule(choices, depth - 1)})" for _ in range(choices.integer(2, 3)))
    if kind == 3:
        return f"not ({rule(choices, depth - 1)})"
    if kind == 4 and choices.integer(0, 2) == 0:
        return f"({rule(choices, depth - 1)}) ? ({rule(choices, 0)}) : ({rule(choices, 0)})"
    if kind == 5 and choices.integer(0, 3) == 0:
        return f"({rule(choices, depth - 1)}) {choices.choice(['==', '!='])} {choices.choice(['true', 'false'])}"
    return choices.choice(LEAVES)(choices)
