"""Conditions and literals → the text form."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from muster.rules.conditions import (
    And,
    Compare,
    CompareFields,
    CompareMeasure,
    CompareMoment,
    Computed,
    Condition,
    Constant,
    Holds,
    InCohort,
    Matches,
    Not,
    OneOf,
    Or,
    Present,
    TextTest,
    Truthy,
)


def condition_text(condition: Condition) -> str:
    """A rule's text that means the condition."""
    match condition:
        case And(parts=parts):
            return " and ".join(_operand(part) for part in parts)
        case Or(parts=parts):
            return " or ".join(_operand(part) for part in parts)
        case Not(part=OneOf(field=field, values=values)):
            return f"{field.name} not in {literal_text(values)}"
        case Not(part=part):
            return f"not {_operand(part, always=not isinstance(part, Truthy))}"
        case Constant(value=value):
            return literal_text(value)
        case Compare(operator=operator, field=field, value=value):
            return f"{field.name} {operator} {literal_text(value)}"
        case CompareMoment(operator=operator, field=field, anchor=anchor, offset=offset):
            return f"{field.name} {operator} {moment_text(anchor, offset)}"
        case CompareFields(operator=operator, left=left, right=right):
            return f"{left.name} {operator} {right.name}"
        case CompareMeasure(operator=operator, field=field, measure=measure, value=value):
            return f"{field.name}.{measure} {operator} {literal_text(value)}"
        case OneOf(field=field, values=values):
            return f"{field.name} in {literal_text(values)}"
        case Holds(field=field, value=value):
            return f"{literal_text(value)} in {field.name}"
        case TextTest(kind=kind, field=field, text=text, case=case):
            subject = f"{field.name}.as_{case}" if case else field.name
            if kind == "contains":
                return f"{literal_text(text)} in {subject}"
            if kind == "equals":
                return f"{subject} == {literal_text(text)}"
            return f"{subject}.{kind.replace(' ', '_')}({literal_text(text)})"
        case Matches(field=field, pattern=pattern, anchored=anchored):
            return f"{field.name} {'=~' if anchored else '=~~'} {literal_text(pattern)}"
        case Truthy(field=field):
            return field if isinstance(field, str) else field.name
        case Present(part=part):
            return f"{part} != null"
        case InCohort(cohort=cohort):
            return f"$in_cohort({literal_text(cohort)})"
        case Computed(text=text):
            return text


def _operand(condition: Condition, *, always: bool = False) -> str:
    text = condition_text(condition)
    return f"({text})" if always or isinstance(condition, (And, Or, Computed)) else text


def literal_text(value: Any) -> str:
    """A literal as rules write it. Takes text, numbers, bool, None, datetime, timedelta, and lists of them."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case Decimal():
            return str(value)
        case int() | float():
            return str(Decimal(repr(value)))
        case datetime():
            return f'd"{value.isoformat()}"'
        case timedelta():
            return duration_text(value)
        case _:
            return f"[{', '.join(literal_text(each) for each in value)}]"


def quoted(text: str) -> str:
    """Text in quotes, so that rule_engine reads back exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(character if character.isprintable() else _escape(character) for character in escaped) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def moment_text(anchor: str, offset: timedelta) -> str:
    """`$now - t"P30D"`."""
    if not offset:
        return f"${anchor}"
    return f"${anchor} {'+' if offset > timedelta() else '-'} {duration_text(abs(offset))}"


def duration_text(length: timedelta) -> str:
    """`t"P30D"`; a negative one as `-t"P30D"`."""
    if length < timedelta():
        return f"-{duration_text(-length)}"
    seconds = Decimal(length.seconds) + Decimal(length.microseconds) / 1_000_000
    days = f"{length.days}D" if length.days or not seconds else ""
    return f't"P{days}{f"T{seconds.normalize():f}S" if seconds else ""}"'
