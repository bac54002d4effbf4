"""The leaves of a condition tree → text: operators with their decorators, values, relative dates."""

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from muster.rules.conditions import Field
from muster.rules.fields import FieldType, Registry
from muster.rules.printing import literal_text, moment_text, quoted
from muster.rules.problems import Problem
from muster.rules.suggestions import closest

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
_SWAPPED = {
    "equal": "equal",
    "notEqual": "notEqual",
    "lessThan": "greaterThan",
    "lessThanInclusive": "greaterThanInclusive",
    "before": "after",
    "greaterThan": "lessThan",
    "greaterThanInclusive": "lessThanInclusive",
    "after": "before",
    "in": "contains",
    "notIn": "doesNotContain",
    "contains": "in",
    "doesNotContain": "notIn",
}
"""The operator that says the same with its sides exchanged."""
DECORATORS = ("someFact", "everyFact", "someValue", "everyValue", "swap", "not")
"""json-rules-engine's: `everyFact:greaterThan` holds where each member of the fact is. The first is outermost."""
_MEMBER = "each"  # the name, in text, of the member of a list that a decorator looks at
_WITHOUT_VALUE = ("isEmpty", "isNotEmpty")
MAX_DECORATORS = 8
IGNORED = ("priority", "name", "id")
_SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9_]*\.[A-Za-z][A-Za-z0-9_]*")


class Refused(Exception):
    """Ends the reading of one condition, whose problem is noted."""


@dataclass
class Writer:
    """What is written of a tree so far, with the place of each stretch, and what is wrong."""

    registry: Registry
    pieces: list[str] = field(default_factory=list)
    length: int = 0
    places: list[tuple[int, int, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def write(self, text: str, pointer: str | None = None) -> None:
        """Add text, with the pointer to what it says."""
        if pointer is not None:
            self.places.append((self.length, self.length + len(text), pointer))
        self.pieces.append(text)
        self.length += len(text)

    def refuse(self, pointer: str, detail: str, suggestion: str | None = None) -> None:
        """Note a problem, and go on."""
        self.problems.append(Problem(detail, pointer=pointer, suggestion=suggestion))

    def known(self, tree: Mapping[str, Any], names: tuple[str, ...], pointer: str) -> None:
        """Refuse members with other names."""
        for name in tree:
            if name not in names:
                self.refuse(f"{pointer}/{_token(name)}", f"{name!r} has no meaning here.", closest(str(name), names))

    def fail(self, pointer: str, detail: str, suggestion: str | None = None) -> NoReturn:
        """Note a problem that ends the reading of this condition."""
        self.refuse(pointer, detail, suggestion)
        raise Refused


def _token(name: Any) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True)
class _Subject:
    """A field, or a member of one while a decorator goes through it, and the pointer to where it is named."""

    field: Field
    place: str


@dataclass
class Leaf:
    """One leaf on its way to text."""

    writer: Writer
    tree: Mapping[str, Any]
    pointer: str
    inside: bool = False  # of a list of the profile

    def write(self) -> Mapping[str, Any]:
        """Write the leaf as text; returns it in our own shape. Raises `Refused`."""
        tree = self.tree
        self.writer.known(tree, ("field", "fact", "path", "operator", "value", *IGNORED), self.pointer)
        decorators, operator = self.operator()
        if operator in _WITHOUT_VALUE:
            if tree.get("value") is not None:
                self.fail("/value", f"{operator} takes no value.")
        elif "value" not in tree:
            self.fail("", f"{operator} needs a value.")
        value = tree.get("value")
        if operator == "inCohort":
            if decorators:
                self.fail("/operator", "inCohort takes no decorator.")
            if not isinstance(value, str):
                self.fail("/value", 'inCohort takes the number of a cohort, such as "COH-3".')
            self.writer.write(f"$in_cohort({quoted(value)})", f"{self.pointer}/value")
            return {"operator": operator, "value": value}
        name, place = self.name(tree, self.pointer)
        found = self.field(name, place)
        other = self.side(value)
        self.decorated(decorators, operator, _Subject(found, place), other)
        ours = {"field": name, "operator": ":".join((*decorators, operator))}
        if operator in _WITHOUT_VALUE:
            return ours
        return {**ours, "value": self.normal(value)}

    def operator(self) -> tuple[tuple[str, ...], str]:
        """The decorators, outermost first, and the operator."""
        if "operator" not in self.tree:
            self.fail("", "The operator is missing.")
        whole = self.tree["operator"]
        if not isinstance(whole, str):
            self.fail("/operator", "An operator is named by text; there is no operator like this.")
        *decorators, operator = whole.split(":")
        before = whole[: -len(operator)] if operator else whole
        if operator not in OPERATORS:
            suggestion = closest(operator, OPERATORS)
            self.fail("/operator", f"There is no operator {operator[:40]!r}.", suggestion and before + suggestion)
        for decorator in decorators:
            if decorator not in DECORATORS:
                meant = closest(decorator, DECORATORS)
                suggestion = meant and ":".join(meant if each == decorator else each for each in whole.split(":"))
                self.fail("/operator", f"There is no decorator {decorator[:40]!r}.", suggestion)
        if len(decorators) > MAX_DECORATORS:
            self.fail("/operator", f"An operator takes at most {MAX_DECORATORS} decorators.")
        return tuple(decorators), operator

    def side(self, value: Any) -> Any:
        """A value, or the field that it names."""
        if not isinstance(value, Mapping) or not ("fact" in value or "field" in value):
            return value
        pointer = f"{self.pointer}/value"
        self.writer.known(value, ("field", "fact", "path"), pointer)
        name, place = self.name(value, pointer)
        return _Subject(self.field(name, place), pointer)

    def fail(self, below: str, detail: str, suggestion: str | None = None) -> NoReturn:
        self.writer.refuse(self.pointer + below, detail, suggestion)
        raise Refused

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

    def decorated(self, decorators: tuple[str, ...], operator: str, left: Any, right: Any) -> None:
        """Write what the decorated operator says of two sides, each a subject or a JSON value."""
        if not decorators:
            return self._undecorated(operator, left, right)
        decorator, inner = decorators[0], decorators[1:]
        if decorator == "not":
            self.say("not (")
            self.decorated(inner, operator, left, right)
            return self.say(")")
        if decorator == "swap":
            if operator not in _SWAPPED:
                self.fail("/operator", f"The sides of {operator} cannot be swapped.")
            return self.decorated(inner, operator, right, left)
        if decorator == "someFact" and (inner, operator) == ((), "equal") and _is_plain(right):
            return self._undecorated("contains", self.list_side(left, decorator), right)  # MongoDB can decide this
        is_any, is_left = decorator.startswith("some"), decorator.endswith("Fact")
        members = self.list_side(left if is_left else right, decorator)

        def one(member: Any) -> None:
            self.decorated(inner, operator, *((member, right) if is_left else (left, member)))

        return (
            self._of_field(members, is_any, one) if isinstance(members, _Subject) else _each(self, members, is_any, one)
        )

    def list_side(self, side: Any, decorator: str) -> Any:
        """A side that a decorator goes through."""
        below = side.place.removeprefix(self.pointer) if isinstance(side, _Subject) else "/value"
        if isinstance(side, _Subject) and not side.field.type.is_list:
            self.fail(below, f"{decorator} goes through a list, and {side.field.name} is a {side.field.type}.")
        if not isinstance(side, (_Subject, list, tuple)):
            self.fail(below, f"{decorator} goes through a list, and this is none.")
        return side

    def _of_field(self, members: "_Subject", is_any: bool, one: Callable[[Any], None]) -> None:
        if self.inside:
            detail = "Two lists of a profile cannot be gone through member by member. Compare one with in or contains."
            self.fail("/operator", detail)
        self.say("$any([" if is_any else "$all([")
        self.inside = True
        one(_Subject(Field(_MEMBER, _item_type(members.field)), members.place))
        self.inside = False
        self.say(f" for {_MEMBER} in ", (members.field.name, members.place), "])")

    def _undecorated(self, operator: str, left: Any, right: Any) -> None:
        if not isinstance(left, _Subject):
            if not isinstance(right, _Subject):
                self.fail("/operator", "With these decorators, the field is on neither side.")
            operator, left, right = _SWAPPED[operator], right, left
        self.condition(operator, left.field, left.place, right)

    def condition(self, operator: str, found: Field, place: str, value: Any) -> None:
        if operator in COMPARISONS and value is None and operator not in ("equal", "notEqual"):
            self.say("(", (found.name, place), " == null and ", ("false", f"{self.pointer}/value"), ")")  # no order
        elif operator in COMPARISONS:
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
        if isinstance(value, _Subject):
            return value.field.name, value.place
        if isinstance(value, Mapping):
            if "anchor" in value:
                return self.relative(value, below), pointer
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
        units = f"{unit.removesuffix('s')}s" if isinstance(unit, str) else ""
        if units not in UNITS:
            self.fail(f"{below}/unit", f"unit is one of {', '.join(UNITS)}.", closest(units, UNITS))
        try:
            length: timedelta = amount * UNITS[units]
        except (OverflowError, ValueError):  # too large; NaN
            self.fail(f"{below}/{name}", f"{name} is not a number of {units} that rules can reckon with.")
        return length

    def last(self, value: Any) -> timedelta:
        if not isinstance(value, Mapping):
            self.fail("/value", 'This takes {"amount": 30, "unit": "days"}.')
        return self.duration(value.get("amount"), value.get("unit", "days"), "/value", "amount")

    def normal(self, value: Any) -> Any:
        if isinstance(value, Mapping) and "fact" in value:
            return {"field": self.name(value, f"{self.pointer}/value")[0]}
        return value


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, bool, int, float))


def _each(leaf: Leaf, members: Any, is_any: bool, one: Callable[[Any], None]) -> None:
    """Go through a list that is written out in the tree."""
    if not members:
        leaf.say("false" if is_any else "true")
    for index, member in enumerate(members):
        leaf.say("" if not index else " or " if is_any else " and ", "(")
        one(member)
        leaf.say(")")


def _item_type(found: Field) -> FieldType:
    return {FieldType.STRINGS: FieldType.STRING, FieldType.NUMBERS: FieldType.NUMBER}.get(found.type, found.type)


def _write_in(leaf: Leaf, found: Field, place: str, value: Any, *, word: str) -> None:
    if isinstance(value, _Subject):
        if not value.field.type.is_list and value.field.type is not FieldType.STRING:
            leaf.fail("/value", f"{value.field.name} is a {value.field.type}: nothing is in it.")
    elif not isinstance(value, (list, tuple)):
        leaf.fail("/value", "This takes a list of values.")
    leaf.say((found.name, place), f" {word} ", leaf.literal(found, value))


def _write_contains(leaf: Leaf, found: Field, place: str, value: Any, *, word: str) -> None:
    if isinstance(value, (list, tuple)):
        leaf.fail("/value", "This takes one value.")
    leaf.say(leaf.literal(Field(found.name, _item_type(found)), value), f" {word} ", (found.name, place))


def _write_call(leaf: Leaf, found: Field, place: str, value: Any, *, method: str) -> None:
    leaf.say((found.name, place), f".{method}(", leaf.literal(found, value), ")")


def _write_matches(leaf: Leaf, found: Field, place: str, value: Any) -> None:
    if not isinstance(value, str):
        leaf.fail("/value", "matches takes a regular expression as text.")
    leaf.say((found.name, place), " =~~ ", (quoted(value), f"{leaf.pointer}/value"))


def _write_empty(leaf: Leaf, found: Field, place: str, _value: Any, *, denied: bool = False) -> None:
    empty = f" or {found.name}.is_empty" if found.type.is_list or found.type is FieldType.STRING else ""
    leaf.say("not (" if denied else "(", (found.name, place), f" == null{empty})")


def _write_between(leaf: Leaf, found: Field, place: str, value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        leaf.fail("/value", "between takes two values: [lowest, highest], both included.")
    low, high = (leaf.literal(found, each, f"/value/{index}") for index, each in enumerate(value))
    leaf.say("(", (found.name, place), " >= ", low, " and ", (found.name, place), " <= ", high, ")")


def _write_within_last(leaf: Leaf, found: Field, place: str, value: Any) -> None:
    start = (moment_text("now", -leaf.last(value)), f"{leaf.pointer}/value")
    leaf.say("(", (found.name, place), " >= ", start, " and ", (found.name, place), " <= $now)")


def _write_more_than_ago(leaf: Leaf, found: Field, place: str, value: Any) -> None:
    leaf.say((found.name, place), " < ", (moment_text("now", -leaf.last(value)), f"{leaf.pointer}/value"))


_WRITERS: dict[str, Callable[[Leaf, Field, str, Any], None]] = {
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
