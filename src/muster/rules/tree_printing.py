"""Typed condition → condition tree, in our shape of json-rules-engine's."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from muster.rules.conditions import (
    And,
    Compare,
    CompareFields,
    CompareMoment,
    Condition,
    Field,
    Holds,
    InCohort,
    Matches,
    Not,
    OneOf,
    Or,
    Scalar,
    TextTest,
    Truthy,
)
from muster.rules.fields import FieldType
from muster.rules.printing import condition_text
from muster.rules.tree_leaves import UNITS


def condition_tree(condition: Condition, text: str) -> Mapping[str, Any]:
    """A condition as a tree in our shape; what operators cannot say stands in it as an expression."""
    match condition:
        case And(parts=parts, derived=False):
            return {"all": [condition_tree(part, text) for part in parts]}
        case Or(parts=parts, derived=False):
            return {"any": [condition_tree(part, text) for part in parts]}
        case Not(part=OneOf(field=found, values=values)):
            return next(_leaves(found, "notIn", values), {"expression": condition_text(condition)})
        case Not(part=Holds(field=found, value=value) | TextTest(kind="contains", field=found, text=value, case=None)):
            return next(_leaves(found, "doesNotContain", value), {"expression": condition_text(condition)})
        case Not(part=part, derived=False) if part.span != condition.span or _leaf_tree(part):
            return {"not": condition_tree(part, text)}
    return _leaf_tree(condition) or {"expression": text[condition.span.start : condition.span.end]}


_BY_SIGN = {"==": "equal", "!=": "notEqual", "<": "lessThan", "<=": "lessThanInclusive"}
_BY_SIGN |= {">": "greaterThan", ">=": "greaterThanInclusive"}
_BY_KIND: dict[str, str] = {"contains": "contains", "starts with": "startsWith", "ends with": "endsWith"}


def _leaf_tree(condition: Condition) -> Mapping[str, Any] | None:
    match condition:
        case Compare(operator=sign, field=found, value=value):
            return next(_leaves(found, _BY_SIGN[sign], value), None)
        case CompareMoment(operator=sign, field=found, anchor=anchor, offset=offset):
            unit = next((unit for unit in ("days", "hours", "minutes", "seconds") if not offset % UNITS[unit]), None)
            if unit is None:
                return None
            relative = {"anchor": anchor, "offset": offset // UNITS[unit], "unit": unit}
            return {"field": found.name, "operator": _BY_SIGN[sign], "value": relative}
        case CompareFields(operator=sign, left=left, right=right):
            return {"field": left.name, "operator": _BY_SIGN[sign], "value": {"field": right.name}}
        case OneOf(field=found, values=values):
            return next(_leaves(found, "in", values), None)
        case Holds(field=found, value=value):
            return next(_leaves(found, "contains", value), None)
        case TextTest(kind=kind, field=found, text=text, case=None) if kind in _BY_KIND:
            return {"field": found.name, "operator": _BY_KIND[kind], "value": text}
        case Matches(field=found, pattern=pattern, anchored=False):
            return {"field": found.name, "operator": "matches", "value": pattern}
        case Truthy(field=Field() as found):
            if found.type is FieldType.BOOLEAN:
                return {"field": found.name, "operator": "equal", "value": True}
            if found.type is FieldType.STRING or found.type.is_list:
                return {"field": found.name, "operator": "isNotEmpty"}
        case InCohort(cohort=cohort):
            return {"operator": "inCohort", "value": cohort}
    return None


def _leaves(found: Field, operator: str, value: Scalar | tuple[Scalar, ...]) -> Iterator[Mapping[str, Any]]:
    """The leaf, or none when JSON cannot say the value exactly."""
    values = value if isinstance(value, tuple) else (value,)
    exact = [_json_value(each) for each in values]
    if all(known for known, _ in exact):
        yield {
            "field": found.name,
            "operator": operator,
            "value": [each for _, each in exact] if isinstance(value, tuple) else exact[0][1],
        }


def _json_value(value: Scalar) -> tuple[bool, Any]:
    match value:
        case Decimal() if value == value.to_integral_value():
            return abs(value) <= 2**53, int(value)
        case Decimal():
            return Decimal(repr(float(value))) == value, float(value)
        case datetime():
            return True, value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return True, value
