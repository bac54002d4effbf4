"""What MongoDB can decide exactly: a table, apart from the translator.

A row says for one kind of leaf where it runs and why. The first row that applies counts; the last of each kind applies
to all. "Exactly" means: for every profile the same as the oracle, never an error, whatever the stored text holds. To
grow the table, add a row and its translation, and let the differential test judge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from muster.rules.capitals import capitals_pattern
from muster.rules.conditions import (
    Compare,
    CompareFields,
    CompareMeasure,
    CompareMoment,
    Computed,
    Constant,
    Holds,
    InCohort,
    Leaf,
    Matches,
    OneOf,
    Present,
    TextTest,
    Truthy,
)
from muster.rules.patterns import portable_pattern

MAX_SEARCHED_TEXT = 500  # characters; MongoDB refuses patterns beyond 32 kB, and escaping grows them


def _always(_leaf: Any) -> bool:
    return True


@dataclass(frozen=True)
class Ability:
    """One row: leaves of `kind` for which `applies` run `where`, for the `reason`."""

    kind: type
    where: Literal["mongodb", "python"]
    reason: str
    applies: Callable[[Any], bool] = _always


ABILITIES = (
    Ability(Constant, "mongodb", "it is the same for every profile"),
    Ability(Compare, "mongodb", "comparing a field with a literal is a query operator, and can use an index"),
    Ability(CompareMoment, "mongodb", "`$now` is bound once per run, so this compares a field with a fixed moment"),
    Ability(CompareFields, "mongodb", "comparing two fields is an expression, guarded against missing values"),
    Ability(CompareMeasure, "mongodb", "a length or a part of a date is an expression, guarded against missing values"),
    Ability(OneOf, "mongodb", "a list of literals is a query operator, and can use an index"),
    Ability(Holds, "mongodb", "looking into a list is a query operator, and can use an index"),
    Ability(
        TextTest,
        "python",
        f"text of more than {MAX_SEARCHED_TEXT} characters makes too long a pattern for MongoDB",
        lambda leaf: len(leaf.text) > MAX_SEARCHED_TEXT,
    ),
    Ability(
        TextTest,
        "python",
        "too many texts are this one in capitals",
        lambda leaf: leaf.case == "upper" and capitals_pattern(leaf.kind, leaf.text) is None,
    ),
    Ability(TextTest, "mongodb", "literal text is searched for as it stands; as a prefix it can use an index"),
    Ability(
        Matches,
        "mongodb",
        "this regular expression means the same in every engine, and takes linear time in each",
        lambda leaf: portable_pattern(leaf.pattern, anchored=leaf.anchored) is not None,
    ),
    Ability(Matches, "python", "this regular expression could differ between engines, or take MongoDB too long"),
    Ability(Truthy, "mongodb", "what counts as empty is known from the field's type"),
    Ability(Present, "mongodb", "a part that is there is an object"),
    Ability(InCohort, "python", "with its rule written out, this is too large a filter", lambda leaf: leaf.rule),
    Ability(InCohort, "python", "its members are too many to pass along", lambda leaf: leaf.is_large),
    Ability(InCohort, "mongodb", "the members of a static cohort are passed along by their ids"),
    Ability(Computed, "python", "", lambda leaf: bool(leaf.reason)),
)


def ability(leaf: Leaf) -> Ability:
    """The row for a leaf. A computed leaf brings its own reason."""
    for row in ABILITIES:
        if isinstance(leaf, row.kind) and row.applies(leaf):
            return Ability(row.kind, row.where, leaf.reason) if isinstance(leaf, Computed) else row
    return Ability(type(leaf), "python", "no row of the table says that MongoDB decides it exactly")


COMPUTED_REASONS = {
    "AddExpression": "arithmetic is decimal in Python and binary in MongoDB",
    "ArithmeticExpression": "arithmetic is decimal in Python and binary in MongoDB, and dividing by zero ends a query",
    "BitwiseExpression": "sets and bits are computed in Python",
    "ComprehensionExpression": "a comprehension has no twin in MongoDB's query language",
    "FunctionCallExpression": "functions run in Python",
    "FuzzyComparisonExpression": "a regular expression on a computed text runs in Python",
    "GetAttributeExpression": "this attribute of a value is computed in Python",
    "GetItemExpression": "indexing runs in Python, where an index out of range is null",
    "GetSliceExpression": "slicing runs in Python",
    "SetExpression": "sets are computed in Python",
    "SubtractExpression": "arithmetic is decimal in Python and binary in MongoDB",
    "TernaryExpression": "a value chosen by a condition is computed in Python",
}
"""Why a construct that has no leaf of its own is computed in Python, by rule_engine's name for it."""

OTHERWISE_COMPUTED = "this combination of operands is computed in Python"
