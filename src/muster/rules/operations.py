"""What generated code calls: rule_engine's operations on values that are there. What cannot be computed is None.

Numbers are decimals of 28 digits, by a context of our own: the calling thread may have set another.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from operator import and_, or_, xor
from typing import Any

from rule_engine.types import is_natural_number

from muster.rules.building import ARITHMETIC

ZERO = Decimal(0)


def as_decimal(number: float) -> Decimal:
    """A stored number as rule_engine reads it: the decimal that Python prints for it."""
    return Decimal(repr(number))


def decimals(numbers: Iterable[float | None]) -> tuple[Decimal | None, ...]:
    """The same for a list of numbers."""
    return tuple([None if number is None else Decimal(repr(number)) for number in numbers])


def item(container: Sequence[Any], index: float | Decimal) -> Any:
    """A member of a list or a character of a text."""
    whole = int(index)
    return container[whole] if whole == index and -len(container) <= whole < len(container) else None


def total(numbers: Iterable[Decimal | None]) -> Decimal | None:
    """`$sum`."""
    found = ZERO
    for number in numbers:
        if number is None:
            return None
        found = ARITHMETIC.add(found, number)
    return found


def largest(numbers: Sequence[Any]) -> Any:
    """`$max`."""
    return max(numbers) if numbers and None not in numbers else None


def smallest(numbers: Sequence[Any]) -> Any:
    """`$min`."""
    return min(numbers) if numbers and None not in numbers else None


def split(text: str, separator: str | None = None, most: float | Decimal | None = None) -> tuple[str, ...] | None:
    """`$split`, with whitespace or a text between the pieces, and how often to split at most."""
    if separator == "" or (most is not None and not is_natural_number(most)):
        return None
    return tuple(text.split(separator, -1 if most is None else int(most)))


def rounded_down(number: Decimal) -> Decimal:
    """`.floor`."""
    return Decimal(math.floor(number))


def rounded_up(number: Decimal) -> Decimal:
    """`.ceiling`."""
    return Decimal(math.ceil(number))


def _on_bits(operation: Callable[[int, int], int]) -> Callable[[Decimal, Decimal], Decimal | None]:
    """`&`, `|`, `^` of natural numbers."""

    def operate(left: Decimal, right: Decimal) -> Decimal | None:
        if not is_natural_number(left) or not is_natural_number(right):
            return None
        return Decimal(operation(int(left), int(right)))

    return operate


OPERATIONS: dict[str, Callable[..., Any]] = {
    # by rule_engine's names; each raises an ArithmeticError for what has no result
    "decimal_add": ARITHMETIC.add,
    "decimal_sub": ARITHMETIC.subtract,
    "decimal_mul": ARITHMETIC.multiply,
    "decimal_tdiv": ARITHMETIC.divide,
    "decimal_fdiv": ARITHMETIC.divide_int,
    "decimal_mod": ARITHMETIC.remainder,
    "decimal_minus": ARITHMETIC.minus,
    "decimal_abs": ARITHMETIC.abs,
    "decimal_bwand": _on_bits(and_),
    "decimal_bwor": _on_bits(or_),
    "decimal_bwxor": _on_bits(xor),
    "tuple": tuple,
    **{
        function.__name__: function
        for function in (as_decimal, decimals, item, total, largest, smallest, split, rounded_down, rounded_up)
    },
}
"""By the names that generated code calls them."""
