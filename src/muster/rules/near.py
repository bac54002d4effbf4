"""Doubles near decimals: most comparisons of computed numbers are decided without computing with decimals.

Rules compute with decimals of 28 digits, of the digits that Python prints for a stored double: a microsecond for each
operation. The same on the doubles costs a tenth, and is wrong only where a comparison hangs on the last digits. So code
computes with doubles, with how far off it can be at most, and with decimals only where that leaves the answer open (a
floating-point filter, as geometry knows it: Shewchuk, "Adaptive Precision Floating-Point Arithmetic", 1997).

Of each `Near`, the decimal that it stands for is within steps * UNIT * (size + TINY) of its value:

- A stored double x prints as a decimal that rounds to x: within UNIT * |x|, or half of the smallest double.
- A literal is as near to the double that it rounds to.
- a ± b: errors add up, and the rounding to a double adds UNIT of the sum; of both, size is an upper bound.
- a * b: |a||b| * UNIT for each step of either, and one for the rounding.
- a / b, b a stored double or a literal that is not tiny: as a * (1 / b).

Rounding in sizes themselves, products of errors and the 28th digit of a decimal are smaller than a step by ten orders,
so twice the steps covers them. What underflows is off by less than UNIT * TINY, by 17 orders. What overflows becomes
infinite or nan, and so does its size: that decides nothing.
"""

import math
from dataclasses import dataclass
from typing import Literal

UNIT = 2.0**-53
TINY = 1e-290
INFINITE = "1e999"


@dataclass(frozen=True, slots=True)
class Near:
    """A double, as Python text, near a decimal; `size` is text, too, and not below the value's absolute."""

    value: str
    size: str
    steps: int = 1
    divides: Literal["always", "unless tiny", "never"] = "never"


def stored(variable: str) -> Near:
    """A double of the profile, in a variable."""
    return Near(variable, f"abs({variable})", divides="unless tiny")


def literal(value: float) -> Near | None:
    """The double that a literal rounds to."""
    size = abs(value)
    divides: Literal["always", "never"] = "always" if size > TINY else "never"
    return Near(repr(value), repr(size), divides=divides) if math.isfinite(value) else None


def combined(operation: str, left: Near | None, right: Near | None) -> Near | None:
    """left + right, and so on, by rule_engine's names; None where that is near nothing."""
    if left is None or right is None:
        return None
    steps = left.steps + right.steps + 1
    match operation:
        case "add" | "sub":
            sign = "+" if operation == "add" else "-"
            return Near(f"({left.value} {sign} {right.value})", f"({left.size} + {right.size})", steps)
        case "mul":
            size = f"(({left.size} + {TINY}) * ({right.size} + {TINY}))"
            return Near(f"({left.value} * {right.value})", size, steps)
        case "tdiv" if right.divides != "never":
            size = f"({left.size} + {TINY}) / {right.size}"
            if right.divides == "unless tiny":
                size += f" if {right.size} > {TINY} else {INFINITE}"
            return Near(f"({left.value} / {right.value})", f"({size})", steps)
    return None


def turned(near: Near | None) -> Near | None:
    """-value."""
    return near and Near(f"(-{near.value})", near.size, near.steps)


def absolute(near: Near | None) -> Near | None:
    """|value|."""
    return near and Near(f"abs({near.value})", near.size, near.steps)


def compared(sign: str, left: Near, right: Near, exact: str, variable: str) -> str:
    """The comparison of what two of them stand for; `exact` is the same in decimals."""
    threshold = f"{2 * (left.steps + right.steps + 1) * UNIT} * ({left.size} + {right.size} + {TINY})"
    is_far = f"abs({variable} := {left.value} - {right.value}) > {threshold}"
    if sign == "==":
        return f"(not ({is_far}) and {exact})"
    return f"({variable} {sign} 0 if {is_far} else {exact})"
