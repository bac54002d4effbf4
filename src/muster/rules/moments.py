"""Arithmetic with dates, as linear forms: `$now - lead.created_at > t"P30D"` is `lead.created_at < now - 30 days`.

Written so, MongoDB can decide it with an index, and the live side knows when it changes by itself.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from muster.rules.conditions import MIRRORED, And, Compare, CompareMoment, Condition, Field, Not, Operator
from muster.rules.problems import Span

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MAX_OFFSET = timedelta(days=365_000)  # a thousand years: now ± this is always a date

Anchor = Literal["now", "today"]


@dataclass(frozen=True)
class Linear:
    """sign * field + anchor_sign * anchor + offset, as a point in time or as a length of it."""

    kind: Literal["datetime", "timedelta"]
    offset: timedelta  # since the epoch, for a point in time
    field: Field | None = None
    sign: int = 0
    anchor: Anchor | None = None
    anchor_sign: int = 0
    bounds: tuple[tuple[Operator, datetime], ...] = ()
    """What the field must satisfy for the arithmetic to stay within the years 1 to 9999; outside, it is null."""


def moment_literal(value: datetime) -> Linear:
    """A fixed point in time."""
    return Linear("datetime", value - EPOCH)


def added(left: Linear, right: Linear) -> Linear | None:
    """left + right, or None where that has no linear form."""
    if right.kind == "datetime":
        left, right = right, left
    if right.kind == "datetime" or abs(right.offset) > MAX_OFFSET:
        return None
    return _combined(left, right, left.kind)


def subtracted(left: Linear, right: Linear) -> Linear | None:
    """left - right, or None where that has no linear form."""
    if left.kind == "datetime" and right.kind == "datetime":
        return _combined(left, negated(right), "timedelta")
    if right.kind == "datetime" or abs(right.offset) > MAX_OFFSET:
        return None
    return _combined(left, negated(right), left.kind)


def negated(form: Linear) -> Linear:
    """-form."""
    return replace(form, sign=-form.sign, anchor_sign=-form.anchor_sign, offset=-form.offset)


def _combined(left: Linear, right: Linear, kind: Literal["datetime", "timedelta"]) -> Linear | None:
    if (left.field and right.field) or (left.anchor and right.anchor):
        return None
    with_field = left if left.field else right
    with_anchor = left if left.anchor else right
    form = Linear(
        kind,
        left.offset + right.offset,
        with_field.field,
        with_field.sign,
        with_anchor.anchor,
        with_anchor.anchor_sign,
        left.bounds + right.bounds,
    )
    if kind == "timedelta" or not form.field:
        return form
    if form.anchor or form.sign < 0:
        return None
    if not form.offset:
        return form
    limit: tuple[Operator, datetime] = (
        ("<=", LAST - form.offset) if form.offset > timedelta() else (">=", FIRST - form.offset)
    )
    return replace(form, bounds=(*form.bounds, limit))


def compared(operator: Operator, left: Linear, right: Linear, span: Span) -> Condition | None:
    """The comparison, solved for its field; None where it has no field, two, or a moment that does not cancel."""
    difference = _combined(left, negated(right), "timedelta")
    if left.kind != right.kind or difference is None or difference.field is None:
        return None
    solved = difference if difference.sign < 0 else negated(difference)  # now: -field + anchor + offset
    if difference.sign < 0:
        operator = MIRRORED[operator]
    field = difference.field
    denied = operator == "!="
    if denied:
        operator = "=="  # an operand that is null makes `!=` true: so deny the whole of ==, bounds and all
    comparison: Condition
    if solved.anchor is None:
        try:
            comparison = Compare(operator, field, EPOCH + solved.offset, span)
        except OverflowError:
            return None
    elif solved.anchor_sign == 1 and abs(solved.offset) <= MAX_OFFSET:
        comparison = CompareMoment(operator, field, solved.anchor, solved.offset, span)
    else:
        return None
    if difference.bounds:
        limits = [Compare(limit, field, value, span) for limit, value in difference.bounds]
        comparison = And((*limits, comparison), span, derived=True)
    return Not(comparison, span, derived=bool(difference.bounds)) if denied else comparison
