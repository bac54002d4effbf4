"""Which fields must have a value for a condition to hold, also one that only Python can decide.

Whatever is computed from a missing value is missing too, and what is missing is less than nothing and in no list. So
MongoDB can be asked to let through only those profiles that have the values, which are often few.
"""

from collections.abc import Callable, Iterable

from rule_engine import ast

from muster.rules.conditions import (
    Compare,
    CompareMoment,
    Computed,
    Condition,
    Field,
    Holds,
    Matches,
    OneOf,
    TextTest,
)
from muster.rules.functions import known_functions
from muster.rules.syntax import Node

FieldOf = Callable[[Node], Field | None]

_LITERALS = (ast.BooleanExpression, ast.FloatExpression, ast.StringExpression)


def needs_of(leaf: Condition) -> tuple[Field, ...]:
    """The fields without which a leaf does not hold, as far as that is known."""
    match leaf:
        case Computed(needs=needs):
            return needs
        case Compare(operator=operator, field=field, value=value) if operator != "!=" and value is not None:
            return (field,)
        case CompareMoment(operator=operator, field=field) if operator != "!=":
            return (field,)
        case OneOf(field=field) | Holds(field=field) | TextTest(field=field) | Matches(field=field):
            return (field,)
    return ()


def truth_needs(node: Node, field_of: FieldOf) -> tuple[Field, ...]:
    """The fields without which a node is not true; sorted by name."""
    return _sorted(_truth(node, field_of))


def _truth(node: Node, field_of: FieldOf) -> Iterable[Field]:
    if node.cls is ast.ArithmeticComparisonExpression:
        return [*_value(node.args[2], field_of), *_value(node.args[3], field_of)]
    if node.cls is ast.ComparisonExpression:
        sides = node.args[2], node.args[3]
        against_literal = node.args[1] == "EQ" and any(side.cls in _LITERALS for side in sides)
        return [found for side in sides for found in _value(side, field_of)] if against_literal else []
    if node.cls is ast.ContainsExpression:
        return [*_value(node.args[1], field_of), *_value(node.args[2], field_of)]
    if node.cls is ast.FuzzyComparisonExpression:
        return [] if node.args[1].startswith("NE") else _value(node.args[2], field_of)
    if node.cls is ast.FunctionCallExpression and node.args[1].cls is ast.GetAttributeExpression:
        return _value(node.args[1].args[1], field_of)  # a test of a text, such as starts_with
    return _value(node, field_of)


def _value(node: Node, field_of: FieldOf) -> Iterable[Field]:
    """The fields without which a node's value is null."""
    if found := field_of(node):
        return [found]
    match node.cls:
        case ast.AddExpression | ast.SubtractExpression | ast.ArithmeticExpression:
            operands = node.args[2:4]
        case ast.GetAttributeExpression | ast.GetItemExpression | ast.GetSliceExpression:
            operands = node.args[1:2]
        case ast.UnaryExpression if node.args[1] != "NOT":
            operands = node.args[2:3]
        case ast.FunctionCallExpression if _is_ours(node.args[1]):
            operands = tuple(node.args[2])
        case _:
            return []
    return [found for operand in operands for found in _value(operand, field_of)]


def _is_ours(function: Node) -> bool:
    return function.cls is ast.SymbolExpression and function.args[1] in known_functions()


def _sorted(found: Iterable[Field]) -> tuple[Field, ...]:
    return tuple(sorted(set(found), key=lambda field: field.name))
