"""Condition trees: json-rules-engine's documents as they are, and ours; and typed conditions back into trees.

A tree is written out as text, with a map from stretches of that text to JSON pointers, and the text is read like any
other. So there is one reader, one check, one meaning; a problem found in the text is told at its place in the tree.
"""

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from muster.rules.conditions import (
    Field,
)
from muster.rules.fields import FieldType, Registry
from muster.rules.printing import literal_text, moment_text, quoted
from muster.rules.problems import Problem, RuleError
from muster.rules.suggestions import closest
from muster.rules.syntax import MAX_DEPTH, MAX_TOKENS, parse

MAX_NUMBER = sys.float_info.max
UNITS = {
    "seconds": timedelta(seconds=1),
    "minutes": timedelta(minutes=1),
    "hours": timedelta(hours=1),
    "days": timedelta(days=1),
    "weeks": timedelta(weeks=1),
}
COMPARISONS = {
    "equal": "==",
    "notEqual": "!=",
    "lessThan": "<",
    "lessThanInclusive": "<=",
    "greaterThan": ">",
    "greaterThanInclusive": ">=",
    "before": "<",
    "after": ">",
}
OPERATORS = (
    *COMPARISONS,
    *("in", "notIn", "contains", "doesNotContain", "startsWith", "endsWith", "matches"),
    *("isEmpty", "isNotEmpty", "between", "withinLast", "moreThanAgo", "inCohort"),
)
_WITHOUT_VALUE = ("isEmpty", "isNotEmpty")
_IGNORED = ("priority", "name", "id")
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9_]*\.[A-Za-z][A-Za-z0-9_]*")


@dataclass
class Written:
    """A tree written out as text, with the tree in our own shape."""

    text: str = ""
    tree: Mapping[str, Any] = field(default_factory=dict)
    places: list[tuple[int, int, str]] = field(default_factory=list)
    """Start, end and JSON pointer of each stretch, inner ones after the outer."""
    expressions: list[tuple[int, int, str, str]] = field(default_factory=list)
    """Of each `{"expression": …}`: where its text would start, where it ends, its pointer, its own text."""


def located(problem: Problem, written: Written) -> Problem:
    """A problem of the written text, told at its place in the tree."""
    span = problem.span
    if span is None:
        return problem
    for start, end, pointer, text in written.expressions:
        if start <= span.start and span.end <= end:
            own = span.within(text, span.start - start, span.end - start)
            return replace(problem, pointer=pointer, span=own)
    around = [
        (end - start, -len(pointer), pointer)
        for start, end, pointer in written.places
        if start <= span.start and span.end <= end
    ]
    return replace(problem, pointer=min(around)[2] if around else "", span=None)


def read_tree(tree: Any, registry: Registry) -> Written:
    """Write a tree out as text. Raises `RuleError` with pointers to everything that is wrong with its shape."""
    writer = _Writer(registry)
    if isinstance(tree, Mapping) and "conditions" in tree:
        written = writer.node(tree["conditions"], "/conditions", 0)  # a whole json-rules-engine rule, with its event
    else:
        written = writer.node(tree, "", 0)
    if writer.problems:
        raise RuleError(*writer.problems)
    return Written("".join(writer.pieces), written, writer.places, writer.expressions)


class _Refused(Exception):  # private: ends the reading of one leaf
    pass


@dataclass
class _Writer:
    registry: Registry
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    places: list[tuple[int, int, str]] = field(default_factory=list)
    expressions: list[tuple[int, int, str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    count: int = 0

    def write(self, text: str, pointer: str | None = None) -> None:
        if pointer is not None:
            self.places.append((self.length, self.length + len(text), pointer))
        self.pieces.append(text)
        self.length += len(text)

    def refuse(self, pointer: str, detail: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(detail, pointer=pointer, suggestion=suggestion))

    def node(self, tree: Any, pointer: str, depth: int) -> Mapping[str, Any]:
        start, outer = self.length, len(self.places)
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_TOKENS:
            raise RuleError(
                Problem("The tree is too deep or too large here. Split it into several cohorts.", pointer=pointer)
            )
        ours: Mapping[str, Any] = {}
        if not isinstance(tree, Mapping):
            self.refuse(
                pointer, 'A condition is an object: {"all": […]}, {"any": […]}, {"not": …} or a leaf with a field.'
            )
        else:
            with suppress(_Refused):
                ours = self._object(tree, pointer, depth)
        self.places.insert(outer, (start, self.length, pointer))
        return ours

    def _object(self, tree: Mapping[str, Any], pointer: str, depth: int) -> Mapping[str, Any]:
        kinds = [kind for kind in ("all", "any", "not", "expression") if kind in tree]
        leaf = "operator" in tree or "fact" in tree or "field" in tree
        if len(kinds) + leaf != 1:
            self._fail(
                pointer, "A condition has exactly one of all, any, not, expression, or an operator with a field."
            )
        if leaf:
            return _Leaf(self, tree, pointer).write()
        self._known(tree, (kinds[0], *_IGNORED), pointer)
        inner = tree[kinds[0]]
        below = f"{pointer}/{kinds[0]}"
        if kinds[0] == "expression":
            return {"expression": self._expression(inner, below)}
        if kinds[0] == "not":
            self.write("not (")
            ours = self.node(inner, below, depth + 1)
            self.write(")")
            return {"not": ours}
        if not isinstance(inner, (list, tuple)):
            self._fail(below, f"{kinds[0]} takes a list of conditions.")
        if not inner:
            self.write("true", below)  # json-rules-engine's answer, for all and any alike
        return {kinds[0]: [self._member(kinds[0], part, below, index, depth) for index, part in enumerate(inner)]}

    def _member(self, kind: str, part: Any, below: str, index: int, depth: int) -> Mapping[str, Any]:
        if index:
            self.write(" and " if kind == "all" else " or ")
        self.write("(")
        ours = self.node(part, f"{below}/{index}", depth + 1)
        self.write(")")
        return ours

    def _expression(self, text: Any, pointer: str) -> str:
        if not isinstance(text, str):
            self._fail(pointer, "An expression is text.")
        try:
            syntax = parse(text)  # by itself, so that it cannot close a parenthesis that it did not open
        except RuleError as error:
            self.problems += [replace(problem, pointer=pointer) for problem in error.problems]
            raise _Refused from error
        start, end = syntax.offsets[id(syntax.root)]  # without a comment, which would swallow what follows
        self.expressions.append((self.length - start, self.length + end - start, pointer, text))
        self.write(text[start:end])
        return str(text)

    def _known(self, tree: Mapping[str, Any], names: tuple[str, ...], pointer: str) -> None:
        for name in tree:
            if name not in names:
                self.refuse(f"{pointer}/{_token(name)}", f"{name!r} has no meaning here.", closest(str(name), names))

    def _fail(self, pointer: str, detail: str, suggestion: str | None = None) -> NoReturn:
        self.refuse(pointer, detail, suggestion)
        raise _Refused


def _token(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


@dataclass
class _Leaf:
    """One leaf on its way to text."""

    writer: _Writer
    tree: Mapping[str, Any]
    pointer: str

    def write(self) -> Mapping[str, Any]:
        tree, operator = self.tree, self.tree.get("operator")
        self.writer._known(tree, ("field", "fact", "path", "operator", "value", *_IGNORED), self.pointer)  # noqa: SLF001
        if not isinstance(operator, str) or operator not in OPERATORS:
            if "operator" not in tree:
                self.fail("", "The operator is missing.")
            if not isinstance(operator, str):
                self.fail("/operator", "An operator is named by text; there is no operator like this.")
            self.fail("/operator", f"There is no operator {operator[:40]!r}.", closest(operator, OPERATORS))
        if operator in _WITHOUT_VALUE:
            if tree.get("value") is not None:
                self.fail("/value", f"{operator} takes no value.")
        elif "value" not in tree:
            self.fail("", f"{operator} needs a value.")
        value = tree.get("value")
        if operator == "inCohort":
            if not isinstance(value, str):
                self.fail("/value", 'inCohort takes the number of a cohort, such as "COH-3".')
            self.writer.write(f"$in_cohort({quoted(value)})", f"{self.pointer}/value")
            return {"operator": operator, "value": value}
        name, place = self.name(tree, self.pointer)
        found = self.field(name, place)
        self.condition(operator, found, place, value)
        ours = {"field": name, "operator": operator}
        if operator in _WITHOUT_VALUE:
            return ours
        return {**ours, "value": self.normal(value)}

    def fail(self, below: str, detail: str, suggestion: str | None = None) -> NoReturn:
        self.writer.refuse(self.pointer + below, detail, suggestion)
        raise _Refused

    def name(self, tree: Mapping[str, Any], pointer: str) -> tuple[str, str]:
        """The field's name and where it stands: `field`, or `fact` with `path`."""
        if ("field" in tree) == ("fact" in tree):
            self.fail("", "A leaf names its field: field, or fact with path.")
        key = "field" if "field" in tree else "fact"
        name = tree[key]
        place = f"{pointer}/{key}"
        if not isinstance(name, str):
            self.fail(place.removeprefix(self.pointer), f"{key} is text, such as lead.score.")
        if tree.get("path") is None:
            return name, place
        path = tree["path"]
        if not isinstance(path, str) or not re.fullmatch(r"\$?\.[A-Za-z][A-Za-z0-9_]*", path):
            self.fail(
                f"{pointer}/path".removeprefix(self.pointer), 'A path names one field of the fact, such as "$.score".'
            )
        return f"{name}.{path.lstrip('$').lstrip('.')}", f"{pointer}/path"

    def field(self, name: str, place: str) -> Field:
        found = self.writer.registry.get(name)
        if found is None:
            detail = f"There is no field {name[:200]}."
            self.fail(place.removeprefix(self.pointer), detail, closest(name, self.writer.registry))
        if not _SYMBOL.fullmatch(name):
            self.fail(place.removeprefix(self.pointer), f"The field {name} has a name that rules cannot write.")
        return Field(name, found)

    def condition(self, operator: str, found: Field, place: str, value: Any) -> None:
        if operator in COMPARISONS:
            self.say((found.name, place), f" {COMPARISONS[operator]} ", self.literal(found, value))
        elif write := _WRITERS.get(operator):
            write(self, found, place, value)

    def say(self, *pieces: str | tuple[str, str]) -> None:
        """Write pieces of text, those with a pointer at that pointer."""
        for piece in pieces:
            if isinstance(piece, str):
                self.writer.write(piece)
            else:
                self.writer.write(*piece)

    def literal(self, found: Field, value: Any, below: str = "/value") -> tuple[str, str]:
        """A value as text with its pointer: a literal, a relative date, or another field."""
        pointer = self.pointer + below
        if isinstance(value, Mapping):
            if "anchor" in value:
                return self.relative(value, below), pointer
            if "fact" in value or "field" in value:
                name, place = self.name(value, pointer)
                return self.field(name, place).name, pointer
            self.fail(below, 'A value that is an object is a relative date {"anchor": "now", …} or another field.')
        if isinstance(value, (list, tuple)):
            inner = Field(found.name, _item_type(found))
            members = [self.member(inner, each, f"{below}/{index}") for index, each in enumerate(value)]
            return f"[{', '.join(members)}]", pointer
        if isinstance(value, (int, float)) and not -MAX_NUMBER <= value <= MAX_NUMBER:
            self.fail(below, "NaN, infinities and numbers beyond ±1.8e308 are not values.")
        if found.type is FieldType.DATETIME and isinstance(value, str):
            return literal_text(self.moment(value, below)), pointer
        if value is None or isinstance(value, (str, bool, int, float)):
            return literal_text(value), pointer
        return self.fail(below, "A value is text, a number, true, false, null, or a list of them.")

    def member(self, found: Field, value: Any, below: str) -> str:
        """A member of a list, which is no list itself."""
        if isinstance(value, (list, tuple)):
            self.fail(below, "A list inside of a list is not a value.")
        return self.literal(found, value, below)[0]

    def moment(self, value: str, below: str) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(below, "Not a date and time: write ISO 8601, for example 2026-01-31T12:00:00Z.")

    def relative(self, value: Mapping[str, Any], below: str) -> str:
        if value.get("anchor") not in ("now", "today"):
            self.fail(f"{below}/anchor", "anchor is now or today.")
        offset = value.get("offset", 0)
        return moment_text(value["anchor"], self.duration(offset, value.get("unit", "days"), below, "offset"))

    def duration(self, amount: Any, unit: Any, below: str, name: str) -> timedelta:
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            self.fail(f"{below}/{name}", f"{name} is a number.")
        singular = unit.removesuffix("s") if isinstance(unit, str) else ""
        if f"{singular}s" not in UNITS:
            self.fail(f"{below}/unit", f"unit is one of {', '.join(UNITS)}.", closest(f"{singular}s", UNITS))
        try:
            length: timedelta = amount * UNITS[f"{singular}s"]
        except (OverflowError, ValueError):  # too large; NaN
            self.fail(f"{below}/{name}", f"{name} is not a number of {singular}s that rules can reckon with.")
        return length

    def last(self, value: Any) -> timedelta:
        if not isinstance(value, Mapping):
            self.fail("/value", 'This takes {"amount": 30, "unit": "days"}.')
        return self.duration(value.get("amount"), value.get("unit", "days"), "/value", "amount")

    def normal(self, value: Any) -> Any:
        if isinstance(value, Mapping) and "fact" in value:
            return {"field": self.name(value, f"{self.pointer}/value")[0]}
        return value


def _item_type(found: Field) -> FieldType:
    return {FieldType.STRINGS: FieldType.STRING, FieldType.NUMBERS: FieldType.NUMBER}.get(found.type, found.type)


def _write_in(leaf: _Leaf, found: Field, place: str, value: Any, *, word: str) -> None:
    if not isinstance(value, (list, tuple)):
        leaf.fail("/value", "This takes a list of values.")
    leaf.say((found.name, place), f" {word} ", leaf.literal(found, value))


def _write_contains(leaf: _Leaf, found: Field, place: str, value: Any, *, word: str) -> None:
    if isinstance(value, (list, tuple)):
        leaf.fail("/value", "This takes one value.")
    leaf.say(leaf.literal(Field(found.name, _item_type(found)), value), f" {word} ", (found.name, place))


def _write_call(leaf: _Leaf, found: Field, place: str, value: Any, *, method: str) -> None:
    leaf.say((found.name, place), f".{method}(", leaf.literal(found, value), ")")


def _write_matches(leaf: _Leaf, found: Field, place: str, value: Any) -> None:
    if not isinstance(value, str):
        leaf.fail("/value", "matches takes a regular expression as text.")
    leaf.say((found.name, place), " =~~ ", (quoted(value), f"{leaf.pointer}/value"))


def _write_empty(leaf: _Leaf, found: Field, place: str, _value: Any, *, denied: bool = False) -> None:
    empty = f" or {found.name}.is_empty" if found.type.is_list or found.type is FieldType.STRING else ""
    leaf.say("not (" if denied else "(", (found.name, place), f" == null{empty})")


def _write_between(leaf: _Leaf, found: Field, place: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        leaf.fail("/value", "between takes two values: [lowest, highest], both included.")
    low, high = (leaf.literal(found, each, f"/value/{index}") for index, each in enumerate(value))
    leaf.say("(", (found.name, place), " >= ", low, " and ", (found.name, place), " <= ", high, ")")


def _write_within_last(leaf: _Leaf, found: Field, place: str, value: Any) -> None:
    start = (moment_text("now", -leaf.last(value)), f"{leaf.pointer}/value")
    leaf.say("(", (found.name, place), " >= ", start, " and ", (found.name, place), " <= $now)")


def _write_more_than_ago(leaf: _Leaf, found: Field, place: str, value: Any) -> None:
    leaf.say((found.name, place), " < ", (moment_text("now", -leaf.last(value)), f"{leaf.pointer}/value"))


_WRITERS: dict[str, Callable[[_Leaf, Field, str, Any], None]] = {
    "in": lambda *leaf: _write_in(*leaf, word="in"),
    "notIn": lambda *leaf: _write_in(*leaf, word="not in"),
    "contains": lambda *leaf: _write_contains(*leaf, word="in"),
    "doesNotContain": lambda *leaf: _write_contains(*leaf, word="not in"),
    "startsWith": lambda *leaf: _write_call(*leaf, method="starts_with"),
    "endsWith": lambda *leaf: _write_call(*leaf, method="ends_with"),
    "matches": _write_matches,
    "isEmpty": _write_empty,
    "isNotEmpty": lambda *leaf: _write_empty(*leaf, denied=True),
    "between": _write_between,
    "withinLast": _write_within_last,
    "moreThanAgo": _write_more_than_ago,
}
