"""Which conditions an index on a field can answer: the access paths to the profiles that a rule lets in.

Of an `and`, each indexable part is a path of its own: whoever matches the whole is among those it finds. An `or` is one
path with a branch for each of its parts, or none where a part has no path.
"""

from dataclasses import dataclass
from typing import Literal

from muster.rules.conditions import (
    And,
    Compare,
    CompareMoment,
    Condition,
    Holds,
    InCohort,
    OneOf,
    Or,
    TextTest,
    Truthy,
    all_of,
    any_of,
)
from muster.rules.fields import FieldType
from muster.rules.printing import condition_text

Use = Literal["equality", "member", "window", "range", "prefix"]
"""How an index is asked: for values, for members of lists, for an interval that moves with the clock, for an interval,
for beginnings of texts."""
_RANK: tuple[Use, ...] = ("equality", "member", "window", "range", "prefix")
PROFILE_ID = "_id"


@dataclass(frozen=True, slots=True)
class Branch:
    """A condition on one field that an index on it answers; `field` is "_id" for members of a static cohort."""

    field: str
    use: Use
    condition: Condition

    @property
    def text(self) -> str:
        """The condition as a rule's text."""
        return condition_text(self.condition)


@dataclass(frozen=True, slots=True)
class AccessPath:
    """Branches of which every profile that matches meets one."""

    branches: tuple[Branch, ...]

    @property
    def fields(self) -> frozenset[str]:
        """The fields that must have an index, all of them."""
        return frozenset(branch.field for branch in self.branches)


def access_paths(condition: Condition) -> tuple[AccessPath, ...]:
    """The paths to the profiles that meet a condition; none where only reading everything finds them all."""
    match condition:
        case And(parts=parts):
            return _merged([path for part in parts for path in access_paths(part)])
        case Or(parts=parts):
            paths = [access_paths(part) for part in parts]
            return (_united([min(each, key=_rank) for each in paths]),) if all(paths) else ()
    branch = _branch(condition)
    return (AccessPath((branch,)),) if branch else ()


def _branch(leaf: Condition) -> Branch | None:
    match leaf:
        case Compare(value=None) | Compare(operator="!=") | CompareMoment(operator="!="):
            return None
        case Compare(operator=operator, field=field) if not field.type.is_list:
            return Branch(field.name, "equality" if operator == "==" else "range", leaf)
        case CompareMoment(field=field):
            return Branch(field.name, "window", leaf)
        case OneOf(field=field):
            return Branch(field.name, "equality", leaf)
        case Holds(field=field):
            return Branch(field.name, "member", leaf)
        case TextTest(kind="starts with", field=field, case=None, text=text) if text:
            return Branch(field.name, "prefix", leaf)
        case Truthy(field=field) if not isinstance(field, str) and field.type is FieldType.BOOLEAN:
            return Branch(field.name, "equality", leaf)
        case InCohort(rule=None, is_large=False):
            return Branch(PROFILE_ID, "equality", leaf)
    return None


def _merged(paths: list[AccessPath]) -> tuple[AccessPath, ...]:
    """The paths of an `and`, one for each field: two bounds of one field are one interval of its index."""
    several = [path for path in paths if len(path.branches) > 1]
    by_field: dict[str, list[Branch]] = {}
    for path in paths:
        if len(path.branches) == 1:
            by_field.setdefault(path.branches[0].field, []).append(path.branches[0])
    singles = []
    for field, branches in by_field.items():
        if branches[0].use == "member":  # of a list, an index answers one condition at a time
            singles += [AccessPath((branch,)) for branch in branches]
            continue
        both = all_of([branch.condition for branch in branches], branches[0].condition.span)
        singles.append(AccessPath((Branch(field, _first([branch.use for branch in branches]), both),)))
    return (*singles, *several)


def _united(paths: list[AccessPath]) -> AccessPath:
    """The path of an `or`, one branch for each field."""
    by_field: dict[str, list[Branch]] = {}
    for path in paths:
        for branch in path.branches:
            by_field.setdefault(branch.field, []).append(branch)
    return AccessPath(
        tuple(
            Branch(
                field,
                _first([branch.use for branch in branches]),
                any_of([branch.condition for branch in branches], branches[0].condition.span),
            )
            for field, branches in by_field.items()
        )
    )


def _first(uses: list[Use]) -> Use:
    return min(uses, key=_RANK.index)


def _rank(path: AccessPath) -> tuple[int, int]:
    return len(path.branches), max(_RANK.index(branch.use) for branch in path.branches)
