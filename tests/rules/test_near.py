"""Comparisons decided on doubles: the answers of decimal arithmetic, at every double, however close."""

import math
import random
from collections.abc import Callable
from decimal import Decimal, localcontext
from itertools import pairwise, product

import pytest

from muster.rules import compile_rule, oracle, read_rule
from muster.rules.building import ARITHMETIC
from muster.rules.operations import OPERATIONS
from tests.rules.engines import NOW, REGISTRY

SEED = 20260615
OPERATORS = ("<", "<=", ">", ">=", "==", "!=")
HOLDS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "<": Decimal.__lt__,
    "<=": Decimal.__le__,
    ">": Decimal.__gt__,
    ">=": Decimal.__ge__,
    "==": Decimal.__eq__,
    "!=": Decimal.__ne__,
}
COMPUTED: list[tuple[str, Callable[[Decimal, Decimal, Decimal], Decimal]]] = [
    ("{a} + {b}", lambda a, b, _: a + b),
    ("{a} - {b}", lambda a, b, _: a - b),
    ("{a} * {b}", lambda a, b, _: a * b),
    ("{a} / {b}", lambda a, b, _: a / b),
    ("{a} * 3 - {b}", lambda a, b, _: a * 3 - b),
    ("{a} / 7 + 0.1", lambda a, _b, _c: a / 7 + Decimal("0.1")),
    ("-{a} * {b} * {c}", lambda a, b, c: -a * b * c),
    ("({a} + {b}) * {c}", lambda a, b, c: (a + b) * c),
    ("({a} - {b}) / {c}", lambda a, b, c: (a - b) / c),
    ("$abs({a} - {b}) * 1e-5", lambda a, b, _: abs(a - b) * Decimal("1e-5")),
    ("{a} * {b} / {c} * 100", lambda a, b, c: a * b / c * 100),
    ("{a} * {b} + {c} * 1e22", lambda a, b, c: a * b + c * Decimal("1e22")),
]
EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1e-300, 1.7976931348623157e308, -1e300, 1e-160, 1e160]


def operands(chance: random.Random) -> list[float]:
    """Three doubles, of usual sizes or of any."""
    kinds: list[Callable[[], float]] = [
        lambda: float(chance.randint(-100, 100)),
        lambda: round(chance.uniform(-10_000, 10_000), 2),
        lambda: chance.uniform(-1, 1),
        lambda: math.ldexp(chance.uniform(-1, 1), chance.randint(-1074, 1023)),
        lambda: chance.choice(EXTREMES),
    ]
    return [chance.choice(kinds)() for _ in range(3)]


def near_ties(value: Decimal, chance: random.Random) -> list[Decimal]:
    """The value itself, what differs from it in the last digit that counts, and doubles beside it."""
    unit = Decimal(1).scaleb(value.adjusted() - chance.choice([14, 15, 16, 17, 20, 26, 27]))
    found = [value, value + unit, value - unit]
    if math.isfinite(double := float(value)):
        found += [
            Decimal(repr(each)) for each in (double, math.nextafter(double, 0), math.nextafter(double, 2 * double))
        ]
    return [each for each in found if each.is_finite() and abs(each.adjusted()) < 390]


@pytest.mark.parametrize(("text", "exact"), COMPUTED)
def test_no_comparison_is_decided_wrongly(text: str, exact: Callable[[Decimal, Decimal, Decimal], Decimal]) -> None:
    """Compared with literals that are equal or differ in the last digits, at the doubles around."""
    chance, compared = random.Random(f"{SEED} {text}"), 0
    rule_text = text.format(a="lead.score", b="lead.amount", c="customer.lifetime_value")
    with localcontext(ARITHMETIC):
        while compared < 700:
            a, b, c = operands(chance)
            if (value := _computed(exact, a, b, c)) is None:
                continue
            sign, literal = chance.choice(OPERATORS), chance.choice(near_ties(value, chance) or [Decimal(1)])
            holds = compile_rule(read_rule(f"{rule_text} {sign} {literal}", REGISTRY))
            for near_a, near_b in product(_around(a), _around(b)):
                value = _computed(exact, near_a, near_b, c)
                expected = sign == "!=" if value is None else HOLDS[sign](value, literal)
                profile = {"lead": {"score": near_a, "amount": near_b}, "customer": {"lifetime_value": c}}
                assert holds(profile, NOW) is expected, (rule_text, sign, literal, near_a, near_b, c)
                compared += 1


@pytest.mark.parametrize(
    ("text", "score", "amount"),
    [
        ("lead.score / lead.amount < 2.01e303", 1e-20, 5e-324),
        (f"{' + '.join(['lead.score'] * 7)} > 24.47e-323", 3.5e-323, 0.0),
        ("lead.score * 100 > 4.97e-322", 5e-324, 0.0),
        ("lead.score * lead.amount * 1e300 * 1e20 > 1e-90", 1e-200, 1e-200),
    ],
)
def test_the_smallest_doubles_print_as_decimals_far_from_them(text: str, score: float, amount: float) -> None:
    """The last one is 4.94e-324, and prints as 5e-324."""
    rule, profile = read_rule(text, REGISTRY), {"lead": {"score": score, "amount": amount}}
    assert oracle(rule)(profile, NOW)
    assert compile_rule(rule)(profile, NOW)


def _computed(exact: Callable[[Decimal, Decimal, Decimal], Decimal], *operands: float) -> Decimal | None:
    try:
        return exact(*(Decimal(repr(each)) for each in operands))
    except ArithmeticError:
        return None


def _around(value: float) -> set[float]:
    return {
        each for each in (value, math.nextafter(value, math.inf), math.nextafter(value, -math.inf)) if each - each == 0
    }


@pytest.mark.parametrize("text", [text for text, _ in COMPUTED])
def test_usual_values_need_no_decimals(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what it is for."""
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, None)
    rule_text = text.format(a="lead.score", b="lead.amount", c="customer.lifetime_value")
    below, above = (read_rule(f"{rule_text} > {limit}", REGISTRY) for limit in ("-1e25", "1e25"))
    monkeypatch.setattr("muster.rules.predicates.build_oracle", None)
    for score, amount in pairwise([0.1, 17.0, 12.34, 2.5, 80.0]):
        profile = {"lead": {"score": score, "amount": amount}, "customer": {"lifetime_value": 99.9}}
        assert compile_rule(below)(profile, NOW)
        assert not compile_rule(above)(profile, NOW)
