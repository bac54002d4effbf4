"""Literals at the grain of stored values: numbers are doubles, datetimes have milliseconds.

rule_engine compares a stored double x, as the decimal that Python prints for it (`Decimal(repr(x))`), with the literal
as written; MongoDB compares doubles. Since `repr` is strictly increasing, the two agree once the literal is replaced by
the double nearest to it, and the operator's strictness adjusted by the side of the literal on which that double prints.
The same holds for microseconds, which milliseconds cannot express.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from muster.rules.conditions import Operator

MILLISECOND = timedelta(milliseconds=1)

_BELOW: dict[Operator, Operator] = {"<": "<=", "<=": "<=", ">": ">", ">=": ">"}
"""How to compare with a grain that lies just below the literal."""

_ABOVE: dict[Operator, Operator] = {"<": "<", "<=": "<", ">": ">=", ">=": ">="}
"""How to compare with a grain that lies just above the literal."""


def as_double(operator: Operator, literal: Decimal) -> tuple[Operator, float] | None:
    """The comparison of doubles that says the same; None when no double equals the literal (for == and !=)."""
    nearest = float(literal)
    printed = Decimal(repr(nearest))
    if printed == literal:
        return operator, nearest
    if operator in ("==", "!="):
        return None
    return (_BELOW if printed < literal else _ABOVE)[operator], nearest


def as_milliseconds(operator: Operator, literal: datetime) -> tuple[Operator, datetime] | None:
    """The comparison of millisecond datetimes that says the same; None when none equals the literal."""
    floored = literal - timedelta(microseconds=literal.microsecond % 1000)
    if floored == literal:
        return operator, floored
    if operator in ("==", "!="):
        return None
    return _BELOW[operator], floored
