"""Cohorts inside of rules: a dynamic one stands for its rule and scope, a static one for a look into its members.

Written out in place, the rule of a dynamic cohort is exact: at every moment its members are those for whom it holds.
Static members are no matter of the profile. Whoever evaluates hands them over: to a predicate in the profile itself,
under `oracle.IN_COHORTS`, to MongoDB as a list of ids.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from muster.rules.conditions import (
    And,
    Condition,
    InCohort,
    Not,
    Or,
    Present,
    all_of,
    leaves,
)
from muster.rules.problems import Span

MAX_WRITTEN_OUT = 2_000  # conditions of a rule with those of the cohorts it names; beyond, Python asks cohort by cohort
MAX_LEVELS = 80  # of `and`, `or` and `not` inside each other; MongoDB refuses a filter beyond 100


def written_out(condition: Condition, large: AbstractSet[str] = frozenset()) -> Condition:
    """The condition with the rules of dynamic cohorts in place of their names, unless that grows too large.

    Whatever comes from a cohort stands, for people, where the cohort is named. `large` are the static cohorts whose
    members are too many to be passed to MongoDB.
    """
    if not any(isinstance(leaf, InCohort) for leaf in leaves(condition)):
        return condition
    leaf_count, levels = size(condition)
    return _written(condition, large, in_place=leaf_count <= MAX_WRITTEN_OUT and levels <= MAX_LEVELS)


def size(condition: Condition) -> tuple[int, int]:
    """How many conditions it is, written out, and how many levels of `and`, `or` and `not` deep."""
    match condition:
        case And(parts=parts) | Or(parts=parts):
            sizes = [size(part) for part in parts]
            return sum(count for count, _ in sizes), 1 + max(levels for _, levels in sizes)
        case Not(part=part):
            count, levels = size(part)
            return count, levels + 1
        case InCohort(rule=rule) if rule is not None:
            return rule.size[0] + len(rule.required_parts), rule.size[1] + 1
    return 1, 1


def _written(condition: Condition, large: AbstractSet[str], *, in_place: bool) -> Condition:
    match condition:
        case And(parts=parts) | Or(parts=parts):
            return replace(condition, parts=tuple(_written(part, large, in_place=in_place) for part in parts))
        case Not(part=part):
            return replace(condition, part=_written(part, large, in_place=in_place))
        case InCohort(cohort=cohort, rule=None):
            return replace(condition, is_large=cohort in large)
        case InCohort(rule=rule, span=span) if rule is not None and in_place:
            scope: list[Condition] = [Present(part, span) for part in rule.required_parts]
            inner = standing_at(span, _written(rule.condition, large, in_place=True))
            return all_of([*scope, inner], span, derived=True)
    return condition


def standing_at(span: Span, condition: Condition) -> Condition:
    """The condition, all of it at one place of the text."""
    match condition:
        case And(parts=parts) | Or(parts=parts):
            return replace(condition, parts=tuple(standing_at(span, part) for part in parts), span=span, derived=True)
        case Not(part=part):
            return replace(condition, part=standing_at(span, part), span=span, derived=True)
    return replace(condition, span=span)
