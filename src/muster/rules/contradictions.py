"""Conditions that can never hold, or always do: by what they leave of each field's values.

Every condition leaves something of what can be known of a profile: of a field's values, of how far a date lies from
now, of a length, of a part being there, of another condition being true. `and` leaves what all of its parts leave,
`or` what one of them does; where nothing is left of one thing, the condition never holds, and where nothing is left for
its denial, it always does. What is left is never less than the truth, so a verdict is right, and may be missing.
"""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from muster.rules.conditions import (
    COMPLEMENTED,
    And,
    Compare,
    CompareFields,
    CompareMeasure,
    CompareMoment,
    Condition,
    Constant,
    Field,
    Holds,
    InCohort,
    Leaf,
    Matches,
    Not,
    OneOf,
    Operator,
    Or,
    Present,
    TextTest,
    Truthy,
    simplified,
)
from muster.rules.fields import FieldType
from muster.rules.limits import as_double
from muster.rules.problems import Problem, Span
from muster.rules.translating import stored_literal, stored_values

MAX_PIECES = 100  # of what is left of one thing; beyond, all of it is taken to be left

# A bound is a point on the line of a type's values, at, just before or just after a value; plain tuples sort right.
Bound = tuple[Any, ...]
Piece = tuple[Bound, Bound]
_START: Bound = (-1,)
_END: Bound = (1,)


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of one thing: intervals, sorted and apart, and whether it may be missing."""

    pieces: tuple[Piece, ...]
    null: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing is."""
        return not self.pieces and not self.null


_LINE: tuple[Piece, ...] = ((_START, _END),)
_ANY_VALUE = Left(_LINE, null=False)
_NO_VALUE = Left((), null=True)
_TRUE, _FALSE = (Left((((0, value, 0), (0, value, 0)),), null=False) for value in (True, False))
_BOTH = Left(_FALSE.pieces + _TRUE.pieces, null=False)

Knowledge = dict[Hashable, Left]
Sides = tuple[Knowledge | None, Knowledge | None]
"""What is known where a condition holds, and where it does not; None where that cannot be."""


@dataclass(frozen=True)
class Verdict:
    """Whether a condition is the same for every profile in scope, and what is worth a warning inside of it."""

    always: bool | None
    warnings: tuple[Problem, ...]


def judge(condition: Condition, required_parts: tuple[str, ...]) -> Verdict:
    """Look for what can never hold, or always does, among profiles that have the required parts."""
    scope: Knowledge = {("part", part): _TRUE for part in required_parts}
    found: list[Problem] = []
    sides = _sides(condition, scope, found)
    always = False if _meet([scope, sides[0]]) is None else True if _meet([scope, sides[1]]) is None else None
    return Verdict(always, () if always is not None else tuple(found))


def _sides(condition: Condition, scope: Knowledge, found: list[Problem]) -> Sides:
    match condition:
        case Not(part=part, derived=derived):
            holds, fails = _sides(part, scope, [] if derived else found)
            return fails, holds
        case And(parts=parts, derived=derived) | Or(parts=parts, derived=derived):
            inner: list[Problem] = []
            sides = [_sides(part, scope, inner) for part in parts]
            first, second = [side[0] for side in sides], [side[1] for side in sides]
            both = (_meet(first), _join(second)) if isinstance(condition, And) else (_join(first), _meet(second))
            said = _said(condition, both, scope)
            found += [said] if said else [] if derived else inner
            return both
        case Constant(value=value):
            return ({}, None) if value else (None, {})
    return _leaf_sides(condition)


def _said(condition: And | Or, sides: Sides, scope: Knowledge) -> Problem | None:
    """The warning about one `and` or `or`, unless a constant in it has been warned about."""
    never, always = (_meet([scope, side]) is None for side in sides)
    if not (never or always) or isinstance(simplified(condition), Constant):
        return None
    if never:
        return Problem("This can never hold: what it asks for excludes itself.", condition.span)
    return Problem("This always holds: whatever the values, one side of it is true.", condition.span)


def _meet(parts: Iterable[Knowledge | None]) -> Knowledge | None:
    """What is known where all of them hold; None where they cannot all."""
    met: Knowledge = {}
    for part in parts:
        if part is None:
            return None
        for thing, left in part.items():
            both = _intersected(met[thing], left) if thing in met else left
            if both.is_empty:
                return None
            met[thing] = both
    return met


def _join(parts: Iterable[Knowledge | None]) -> Knowledge | None:
    """What is known where any of them holds; None where none can."""
    possible = [part for part in parts if part is not None]
    if not possible:
        return None
    smallest = min(possible, key=len)
    joined: Knowledge = {}
    for thing in smallest:
        if all(thing in part for part in possible):
            left = _united(part[thing] for part in possible)
            if left is not None:
                joined[thing] = left
    return joined


def _intersected(one: Left, other: Left) -> Left:
    pieces = [
        (max(low, least), min(high, most))
        for low, high in one.pieces
        for least, most in other.pieces
        if max(low, least) <= min(high, most)
    ]
    return Left(tuple(pieces), one.null and other.null)


def _united(lefts: Iterable[Left]) -> Left | None:
    """The union; None where that says nothing, or too much."""
    null = False
    pieces: list[Piece] = []
    for left in lefts:
        null = null or left.null
        pieces += left.pieces
    merged: list[Piece] = []
    for low, high in sorted(set(pieces)):
        if merged and low <= _after(merged[-1][1]):
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    says_nothing = null and merged == list(_LINE)
    return None if says_nothing or len(merged) > MAX_PIECES else Left(tuple(merged), null)


def _after(bound: Bound) -> Bound:
    """The bound next to an upper one: (…, at) is followed by (…, just after), (…, just before) by (…, at)."""
    return bound if bound == _END else (0, bound[1], bound[2] + 1)


def _denied(left: Left, line: tuple[Piece, ...] = _LINE) -> Left:
    """Everything else on the line, and null where it was not."""
    gaps: list[Piece] = []
    start = _START
    for low, high in left.pieces:
        if low != _START:
            gaps.append((start, (0, low[1], low[2] - 1)))
        start = _after(high)
    if start != _END:
        gaps.append((start, _END))
    whole = Left(tuple(gap for gap in gaps if gap[0] <= gap[1]), null=not left.null)
    return _intersected(whole, Left(line, null=True))


def _at(operator: Operator, value: Any) -> Left:
    """The values that compare so with one; null never does, except by !=."""
    here: Bound = (0, value, 0)
    match operator:
        case "==":
            return Left(((here, here),), null=False)
        case "!=":
            return _denied(_at("==", value))
        case "<":
            return Left(((_START, (0, value, -1)),), null=False)
        case "<=":
            return Left(((_START, here),), null=False)
        case ">":
            return Left((((0, value, 1), _END),), null=False)
    return Left(((here, _END),), null=False)


def _leaf_sides(leaf: Leaf) -> Sides:
    """What a leaf says of its field, of its part, and of its own truth."""
    same, is_denied = _identity(leaf)
    holds: Knowledge = {same: _FALSE if is_denied else _TRUE}
    fails: Knowledge = {same: _TRUE if is_denied else _FALSE}
    for thing, left, line in _said_of(leaf):
        holds[thing] = left
        if line:
            fails[thing] = _denied(left, line)
    for side in (holds, fails):
        parts = [(thing[1], left) for thing, left in side.items() if isinstance(thing, tuple) and thing[0] == "value"]
        side.update({("part", name.partition(".")[0]): _TRUE for name, left in parts if not left.null})
    if isinstance(leaf, Truthy) and isinstance(leaf.field, str):
        holds["part", leaf.field] = _TRUE
    if isinstance(leaf, Present):
        holds["part", leaf.part], fails["part", leaf.part] = _TRUE, _FALSE
    return _possible(holds), _possible(fails)


def _possible(known: Knowledge) -> Knowledge | None:
    return None if any(left.is_empty for left in known.values()) else known


_NOWHERE = Span(0, 0, 1, 1)


def _identity(leaf: Leaf) -> tuple[Hashable, bool]:
    """What is the same of equal leaves wherever they stand; and whether this one is its denial."""
    match leaf:
        case Compare() | CompareFields() | CompareMeasure() | CompareMoment() if leaf.operator == "!=":
            return replace(leaf, span=_NOWHERE, operator=COMPLEMENTED["!="]), True
    return replace(leaf, span=_NOWHERE), False


def _said_of(leaf: Leaf) -> Iterator[tuple[Hashable, Left, tuple[Piece, ...] | None]]:
    """Things, what a leaf leaves of each, and the line of its values where the leaf says no more than that."""
    match leaf:
        case Compare(operator=operator, field=field, value=None):
            left = _NO_VALUE if operator == "==" else _ANY_VALUE
            yield ("value", field.name), left, _line(field)
        case Compare(operator=operator, field=field, value=value):
            comparison = stored_literal(operator, value)
            never = Left((), null=False)
            left = _at(*comparison) if comparison else never if operator == "==" else _denied(never)
            yield ("value", field.name), _intersected(left, Left(_line(field), null=True)), _line(field)
        case OneOf(field=field, values=values) if len(values) <= MAX_PIECES:
            points = _united(_at("==", value) for value in stored_values(values))
            if points is not None:
                yield ("value", field.name), points, _line(field)
        case CompareMoment(operator=operator, field=field, anchor=anchor, offset=offset):
            yield ("distance", field.name, anchor), _at(operator, offset), _LINE
            yield from _there(field, operator)
        case CompareMeasure(operator=operator, field=field, measure=measure, value=value):
            comparison = as_double(operator, value) if operator != "!=" else None
            if comparison:
                yield ("measure", field.name, measure), _at(*comparison), _LINE
            yield from _there(field, operator)
        case CompareFields(operator=operator, left=left_field, right=right_field):
            if operator not in ("==", "!="):
                yield from _there(left_field, operator)
                yield from _there(right_field, operator)
        case Truthy(field=Field() as field):
            yield from _truth_of(field)
        case Holds(field=field) | TextTest(field=field) | Matches(field=field) | OneOf(field=field):
            yield from _there(field, "==")
        case Present() | Truthy() | InCohort():
            pass


def _truth_of(field: Field) -> Iterator[tuple[Hashable, Left, tuple[Piece, ...] | None]]:
    empty = {FieldType.NUMBER: 0.0, FieldType.STRING: "", FieldType.BOOLEAN: False}
    if field.type in empty:
        left = _at("!=", empty[field.type])
        yield ("value", field.name), _intersected(left, Left(_line(field), null=False)), _line(field)
    else:
        yield ("value", field.name), _ANY_VALUE, _LINE if field.type is FieldType.DATETIME else None


def _there(field: Field, operator: Operator) -> Iterator[tuple[Hashable, Left, None]]:
    """Tests and orders hold for a value only; that they fail says nothing."""
    if operator != "!=":
        yield ("value", field.name), _ANY_VALUE, None


def _line(field: Field) -> tuple[Piece, ...]:
    return _BOTH.pieces if field.type is FieldType.BOOLEAN else _LINE
