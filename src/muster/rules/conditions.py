"""The typed condition tree: what a rule says, in the product's terms, whichever form it was written in.

Text and tree both become this; the plan, MongoDB's filter, the predicate, explain and the printed tree are made from
it. A condition is true or false for a profile, never null. `span` is its place in the rule's text.

    And, Or, Not            of other conditions
    Constant                true or false for every profile
    Compare                 a field with a literal; with null it asks whether there is a value
    CompareMoment           a datetime field with now or today, give or take
    CompareFields           two fields of one type
    CompareMeasure          a number made from a field: the length of a text or list, the year of a datetime
    OneOf                   a field in a list of literals
    Holds                   a literal in a list field
    TextTest                contains, starts with, ends with; also in small letters or in capitals
    Matches                 a regular expression
    Truthy                  a field or part standing for itself: neither missing, nor empty, 0 or false
    Present                 a part that is there
    InCohort                membership in another cohort: by its rule when it is dynamic, else looked up
    Computed                everything else: decided by rule_engine's own operations, in Python
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

from muster.rules.fields import FieldType
from muster.rules.problems import Span

if TYPE_CHECKING:
    from muster.rules.reading import Rule

Scalar = str | Decimal | bool | datetime | None
Operator = Literal["==", "!=", "<", "<=", ">", ">="]

Measure = Literal["length", "year", "month", "day", "hour", "minute", "second", "millisecond"]
Turn = Literal["year", "month", "day", "today", "hour", "minute", "second", "tick"]
"""A unit of UTC that turns; `today` is the day of the project's time zone; `tick` is any time that passes."""
LetterCase = Literal["lower", "upper"]
TextTestKind = Literal["contains", "starts with", "ends with", "equals"]

MIRRORED: dict[Operator, Operator] = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
"""The same comparison with its sides swapped: `5 < x` is `x > 5`."""

COMPLEMENTED: dict[Operator, Operator] = {"==": "!=", "!=": "=="}
"""The comparison that holds exactly where this one does not. Orderings have none: both fail on a missing value."""


@dataclass(frozen=True, slots=True)
class Field:
    """A registered field, `lead.score`."""

    name: str
    type: FieldType

    @property
    def part(self) -> str:
        """`lead` of `lead.score`."""
        return self.name.partition(".")[0]

    @property
    def attribute(self) -> str:
        """`score` of `lead.score`."""
        return self.name.partition(".")[2]


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple["Condition", ...]
    span: Span
    derived: bool = False  # written as something else (a ternary, `??`): prints as its own text


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple["Condition", ...]
    span: Span
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Not:
    part: "Condition"
    span: Span
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    value: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Compare:
    operator: Operator
    field: Field
    value: Scalar
    span: Span


@dataclass(frozen=True, slots=True)
class CompareMoment:
    operator: Operator
    field: Field
    anchor: Literal["now", "today"]
    offset: timedelta
    span: Span


@dataclass(frozen=True, slots=True)
class CompareFields:
    operator: Operator
    left: Field
    right: Field
    span: Span


@dataclass(frozen=True, slots=True)
class CompareMeasure:
    operator: Operator
    field: Field
    measure: Measure
    value: Decimal
    span: Span


@dataclass(frozen=True, slots=True)
class OneOf:
    field: Field
    values: tuple[Scalar, ...]  # of the field's type only, and never null
    span: Span


@dataclass(frozen=True, slots=True)
class Holds:
    field: Field
    value: Scalar
    span: Span


@dataclass(frozen=True, slots=True)
class TextTest:
    kind: TextTestKind
    field: Field
    text: str
    span: Span
    case: LetterCase | None = None  # the field's value in small letters, in capitals


@dataclass(frozen=True, slots=True)
class Matches:
    field: Field
    pattern: str
    anchored: bool  # `=~` matches from the start, `=~~` searches
    span: Span


@dataclass(frozen=True, slots=True)
class Truthy:
    field: Field | str  # a part by its name
    span: Span


@dataclass(frozen=True, slots=True)
class Present:
    part: str
    span: Span


@dataclass(frozen=True, slots=True)
class InCohort:
    """`rule` is what a dynamic cohort follows; None where the cohort is static, so that its members are looked up.

    `is_large` says of a static one that its members are too many to be passed to MongoDB.
    """

    cohort: str
    span: Span
    rule: "Rule | None" = None
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class Computed:
    """`text` is a complete expression whose truth is asked; `reason` says what puts it beyond MongoDB."""

    text: str
    names: tuple[str, ...]  # fields, and parts used as such
    time_dependent: bool
    reason: str
    span: Span
    turns: tuple[Turn, ...] = ()  # what of the clock it looks at
    needs: tuple[Field, ...] = ()  # without a value of each it does not hold


Logic = And | Or | Not
Leaf = (
    Constant
    | Compare
    | CompareMoment
    | CompareFields
    | CompareMeasure
    | OneOf
    | Holds
    | TextTest
    | Matches
    | Truthy
    | Present
    | InCohort
    | Computed
)
Condition = Logic | Leaf


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every condition that is not and, or, not; from left to right."""
    match condition:
        case And(parts=parts) | Or(parts=parts):
            for part in parts:
                yield from leaves(part)
        case Not(part=part):
            yield from leaves(part)
        case _:
            yield condition


def names_of(condition: Condition) -> frozenset[str]:
    """The fields and bare parts that a condition looks at, also through the cohorts that it names."""
    found: set[str] = set()
    for leaf in leaves(condition):
        match leaf:
            case CompareFields(left=left, right=right):
                found |= {left.name, right.name}
            case Present(part=part):
                found.add(part)
            case Computed(names=names):
                found |= set(names)
            case InCohort(rule=rule):
                found |= set(rule.watched) if rule else set()
            case Constant():
                pass
            case _:
                found.add(leaf.field if isinstance(leaf.field, str) else leaf.field.name)
    return frozenset(found)


def all_of(parts: list[Condition], span: Span, *, derived: bool = False) -> Condition:
    """The conjunction, without needless nesting."""
    return parts[0] if len(parts) == 1 else And(tuple(parts), span, derived)


def any_of(parts: list[Condition], span: Span, *, derived: bool = False) -> Condition:
    """The disjunction, without needless nesting."""
    return parts[0] if len(parts) == 1 else Or(tuple(parts), span, derived)


def pushed_in(condition: Condition, *, denied: bool = False) -> Condition:
    """The same condition with `not` only on leaves (De Morgan), and comparisons complemented where that is exact.

    Exact because conditions are two-valued; it lets a plan push down one side of a denied `and` or `or`.
    """
    match condition:
        case Not(part=part):
            return pushed_in(part, denied=not denied)
        case And(parts=parts, span=span, derived=derived) | Or(parts=parts, span=span, derived=derived):
            kind = Or if isinstance(condition, And) == denied else And
            return kind(tuple(pushed_in(part, denied=denied) for part in parts), span, derived)
    if not denied:
        return condition
    match condition:
        case Constant(value=value, span=span):
            return Constant(not value, span)
        case Compare() | CompareFields() | CompareMoment() | CompareMeasure() if condition.operator in COMPLEMENTED:
            return replace(condition, operator=COMPLEMENTED[condition.operator])
    return Not(condition, condition.span)


def simplified(condition: Condition) -> Condition:
    """The same condition without constants inside and, or, not."""
    match condition:
        case Not(part=part, span=span, derived=derived):
            inner = simplified(part)
            return Constant(not inner.value, span) if isinstance(inner, Constant) else Not(inner, span, derived)
        case And(parts=parts, span=span, derived=derived) | Or(parts=parts, span=span, derived=derived):
            settles = isinstance(condition, Or)  # `true` settles an or, `false` an and
            kept = [inner for inner in map(simplified, parts) if inner_value(inner) is not (not settles)]
            if any(inner_value(inner) is settles for inner in kept):
                return Constant(settles, span)
            if not kept:
                return Constant(not settles, span)
            return (any_of if settles else all_of)(kept, span, derived=derived)
    return condition


def inner_value(condition: Condition) -> bool | None:
    """A constant's value, else None."""
    return condition.value if isinstance(condition, Constant) else None
