"""Condition → MongoDB filter, for what `capabilities` says MongoDB decides exactly.

Scalars stand in query operators, which never interpret a string; whatever reaches `$expr` goes through `$literal`. A
field that is missing and one that is null are the same to `$eq: null`, and `$expr` is guarded where they are not.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from muster.rules.capitals import capitals_pattern
from muster.rules.conditions import (
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
    Matches,
    Measure,
    Not,
    OneOf,
    Operator,
    Or,
    Present,
    Scalar,
    TextTest,
    Truthy,
)
from muster.rules.fields import FieldType
from muster.rules.limits import as_double, as_milliseconds
from muster.rules.patterns import portable_pattern

Filter = dict[str, Any]

QUERY_OPERATORS: dict[Operator, str] = {"==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte"}


def everything() -> Filter:
    """The filter that every profile passes."""
    return {}


def nothing() -> Filter:
    """The filter that no profile passes; MongoDB answers it without looking at any."""
    return {"_id": {"$in": []}}


def scope_filter(parts: tuple[str, ...]) -> list[Filter]:
    """That the parts a rule requires are there."""
    return [{part: {"$type": "object"}} for part in parts]


def to_filter(
    condition: Condition, moments: Mapping[str, datetime], members: Mapping[str, Collection[Any]] | None = None
) -> Filter:
    """The filter for a condition whose leaves MongoDB decides.

    `moments` binds `now` and `today`, `members` the ids of the profiles in each static cohort that it names.
    """
    match condition:
        case And(parts=parts):
            return {"$and": [to_filter(part, moments, members) for part in parts]}
        case Or(parts=parts):
            return {"$or": [to_filter(part, moments, members) for part in parts]}
        case Not(part=OneOf(field=field, values=values)):
            return {field.name: {"$nin": stored_values(values)}}
        case Not(part=part):
            return {"$nor": [to_filter(part, moments, members)]}
        case InCohort(cohort=cohort):
            return {"_id": {"$in": list((members or {})[cohort])}}
        case CompareMoment(operator=operator, field=field, anchor=anchor, offset=offset, span=span):
            return _compare(Compare(operator, field, moments[anchor] + offset, span))
    translate = _TRANSLATORS.get(type(condition))
    if translate is None:
        raise TypeError(f"{type(condition).__name__} has no filter; capabilities.py should say so")
    return translate(condition)


def stored_values(values: tuple[Scalar, ...]) -> list[Any]:
    """The literals as stored values; those that no stored value can equal are left out."""
    found = (stored_literal("==", value) for value in values)
    return [each[1] for each in found if each is not None]


def stored_literal(operator: Operator, value: Scalar) -> tuple[Operator, Any] | None:
    """A comparison with a literal, as one between stored values; None when no stored value equals the literal."""
    match value:
        case Decimal():
            return as_double(operator, value)
        case datetime():
            return as_milliseconds(operator, value)
    return operator, value


def _constant(condition: Constant) -> Filter:
    return everything() if condition.value else nothing()


def _compare(condition: Compare) -> Filter:
    name = condition.field.name
    if condition.value is None:
        return _null_test(condition)
    comparison = stored_literal(condition.operator, condition.value)
    if comparison is None:
        return nothing() if condition.operator == "==" else everything()
    operator, value = comparison
    return {name: {QUERY_OPERATORS[operator]: value}}


def _null_test(condition: Compare) -> Filter:
    name, is_null = condition.field.name, condition.operator == "=="
    if condition.field.type.is_list:
        # `$eq: null` would also find a null inside of the list.
        there = {name: {"$type": "array"}}
        return {"$nor": [there]} if is_null else there
    return {name: {"$eq" if is_null else "$ne": None}}


def _compare_fields(condition: CompareFields) -> Filter:
    left, right = f"${condition.left.name}", f"${condition.right.name}"
    if condition.operator in ("==", "!="):
        sides = [{"$ifNull": [left, None]}, {"$ifNull": [right, None]}]
        return {"$expr": {QUERY_OPERATORS[condition.operator]: sides}}
    # Null is less than every value here, and not null to the oracle's order: so both sides must be values.
    there = [{"$gt": [side, None]} for side in (left, right)]
    return {"$expr": {"$and": [*there, {QUERY_OPERATORS[condition.operator]: [left, right]}]}}


# The type of value that an expression takes, and the expression.
_MEASURES: dict[Measure, tuple[str, str]] = {
    "length": ("string", "$strLenCP"),
    "year": ("date", "$year"),
    "month": ("date", "$month"),
    "day": ("date", "$dayOfMonth"),
    "hour": ("date", "$hour"),
    "minute": ("date", "$minute"),
    "second": ("date", "$second"),
    "millisecond": ("date", "$millisecond"),
}


def _compare_measure(condition: CompareMeasure) -> Filter:
    name, path = condition.field.name, f"${condition.field.name}"
    expected, measure = ("array", "$size") if condition.field.type.is_list else _MEASURES[condition.measure]
    denied = condition.operator == "!="
    comparison = as_double("==" if denied else condition.operator, condition.value)
    if comparison is None:
        return everything() if denied else nothing()
    operator, value = comparison
    if measure == "$size" and operator == "==" and value.is_integer() and 0 <= value < 2**31:
        sized = {name: {"$size": int(value)}}
        return {"$nor": [sized]} if denied else sized
    # `$size`, `$strLenCP`, `$year` of a value of another type end the whole query: `$cond` keeps them from being asked.
    is_there = {"$eq": [{"$type": path}, expected]}
    holds = {"$cond": [is_there, {QUERY_OPERATORS[operator]: [{measure: path}, {"$literal": value}]}, False]}
    return {"$expr": {"$not": [holds]} if denied else holds}


def _one_of(condition: OneOf) -> Filter:
    return {condition.field.name: {"$in": stored_values(condition.values)}}


def _holds(condition: Holds) -> Filter:
    comparison = stored_literal("==", condition.value)
    return nothing() if comparison is None else {condition.field.name: {"$elemMatch": {"$eq": comparison[1]}}}


def _text_test(condition: TextTest) -> Filter:
    if condition.case == "upper":
        pattern = capitals_pattern(condition.kind, condition.text)
        if pattern is None:
            raise TypeError("this has too many origins; capabilities.py should say so")
        return {condition.field.name: {"$regex": pattern}}
    searched = _folded(condition) if condition.case else escaped(condition.text)
    # `$` also stands before a final newline; \z is the very end.
    patterns = {
        "contains": searched,
        "starts with": f"^{searched}",
        "ends with": rf"{searched}\z",
        "equals": rf"^{searched}\z",
    }
    return {condition.field.name: {"$regex": patterns[condition.kind]}}


def _folded(condition: TextTest) -> str:
    """ASCII text as the pattern of everything that is it in lower case.

    Beyond A-Z that is the Kelvin sign, whose lower case is k, and İ, whose lower case is an i with a dot after it: so
    its i can only be the last of what is searched for, and not the last of the field's text.
    """
    last = len(condition.text) - 1
    pieces = []
    for index, character in enumerate(condition.text):
        others = {"k": "\\x{212a}", "i": "\\x{130}" if index == last and condition.kind in _OPEN_ENDED else ""}
        is_letter = "a" <= character <= "z"
        folded = f"[{character}{character.upper()}{others.get(character, '')}]"
        pieces.append(folded if is_letter else escaped(character))
    return "".join(pieces)


_OPEN_ENDED = ("contains", "starts with")


def _matches(condition: Matches) -> Filter:
    pattern = portable_pattern(condition.pattern, anchored=condition.anchored)
    if pattern is None:
        raise TypeError("this pattern is not portable; capabilities.py should say so")
    return {condition.field.name: {"$regex": pattern}}


def escaped(text: str) -> str:
    """Text as a PCRE pattern that matches exactly it. A BSON pattern cannot hold NUL, so that is written out."""
    return re.sub(r"[^\w]", _escape, text, flags=re.ASCII)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if not character.isascii():
        return character
    return f"\\x{ord(character):02x}" if ord(character) < 32 else f"\\{character}"


def _truthy(condition: Truthy) -> Filter:
    if isinstance(condition.field, str):
        return {condition.field: {"$type": "object", "$ne": {}}}
    return {condition.field.name: _not_empty(condition.field)}


def _not_empty(field: Field) -> Filter:
    match field.type:
        case FieldType.STRING:
            return {"$gt": ""}
        case FieldType.NUMBER:
            return {"$nin": [None, 0]}
        case FieldType.BOOLEAN:
            return {"$eq": True}
        case FieldType.DATETIME:
            return {"$ne": None}
    return {"$type": "array", "$not": {"$size": 0}}


def _present(condition: Present) -> Filter:
    return {condition.part: {"$type": "object"}}


_TRANSLATORS: dict[type, Callable[[Any], Filter]] = {
    Compare: _compare,
    CompareFields: _compare_fields,
    CompareMeasure: _compare_measure,
    Constant: _constant,
    Holds: _holds,
    Matches: _matches,
    OneOf: _one_of,
    Present: _present,
    TextTest: _text_test,
    Truthy: _truthy,
}


def project(names: frozenset[str]) -> dict[str, int]:
    """The projection that keeps the named fields and parts, and no path inside another."""
    return {name: 1 for name in sorted(names) if name.partition(".")[0] not in names or "." not in name}
