"""Literals replaced by stored values: the adjusted comparison says what the exact one says."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import example, given
from hypothesis import strategies as st

from muster.rules.checking import COMPARE
from muster.rules.conditions import MIRRORED, Operator
from muster.rules.limits import as_double, as_milliseconds

OPERATORS = st.sampled_from(list(MIRRORED))
DOUBLES = st.floats(allow_nan=False, allow_infinity=False)
NEAR = st.tuples(DOUBLES, st.sampled_from(["0", "1e-30", "-1e-30", "1e-17", "-1e-17"])).map(
    lambda pair: Decimal(repr(pair[0])) + Decimal(pair[1])
)
LITERALS = (
    NEAR | st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from([Decimal("1e400"), Decimal("-1e400")])
)


@given(OPERATORS, LITERALS, DOUBLES)
@example("<", Decimal("0.30000000000000001"), 0.3)
@example("==", Decimal(1152921504606846976), 2.0**60)
@example(">=", Decimal("1e400"), 1.7976931348623157e308)
def test_doubles(operator: Operator, literal: Decimal, stored: float) -> None:
    """As rule_engine compares: the digits that Python prints, with the literal as written."""
    adjusted = as_double(operator, literal)
    exact = COMPARE[operator](Decimal(repr(stored)), literal)
    assert exact == ((operator == "!=") if adjusted is None else COMPARE[adjusted[0]](stored, adjusted[1]))


@given(OPERATORS, st.decimals(-10, 10, places=25))
def test_doubles_beside_the_literal(operator: Operator, literal: Decimal) -> None:
    """The nearest double itself is where an off-by-one would show."""
    stored = float(literal)
    adjusted = as_double(operator, literal)
    exact = COMPARE[operator](Decimal(repr(stored)), literal)
    assert exact == ((operator == "!=") if adjusted is None else COMPARE[adjusted[0]](stored, adjusted[1]))


@given(OPERATORS, st.datetimes(), st.integers(-2, 2))
def test_milliseconds(operator: Operator, literal: datetime, milliseconds: int) -> None:
    """Against datetimes of whole milliseconds around the literal."""
    literal = literal.replace(tzinfo=UTC)
    whole = literal.microsecond // 1000 + milliseconds
    stored = literal.replace(microsecond=min(max(whole, 0), 999) * 1000)
    adjusted = as_milliseconds(operator, literal)
    exact = COMPARE[operator](stored, literal)
    assert exact == ((operator == "!=") if adjusted is None else COMPARE[adjusted[0]](stored, adjusted[1]))
