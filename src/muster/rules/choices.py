"""Values that a condition chooses, `c ? a : b` and `f ?? g`: a test of one is a test of either, and'ed and or'ed.

    (c ? a : b) > 5     c and a > 5, or not c and b > 5
    (f ?? g) > 5        f != null and f > 5, or f == null and g > 5

So MongoDB decides them, where it decides the tests. Each choice doubles what stands in it, so there is room for few.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

from rule_engine import ast

from muster.rules.syntax import Node, Syntax, children, is_node, make_node

MAX_CHOICES = 60  # conditions that choices of one rule may add; beyond, they are computed


@dataclass
class Room:
    """What is left of it while one rule is read."""

    left: int = MAX_CHOICES

    def take(self, conditions: int) -> bool:
        """Whether so many more can be had."""
        self.left -= conditions
        return self.left >= 0


def is_choice(node: Node) -> bool:
    """`c ? a : b` or `f ?? g`."""
    return node.cls in (ast.TernaryExpression, ast.CoalesceExpression)


def choice_in(node: Node) -> Node | None:
    """The first choice among the operands of a test, or among what they are attributes of."""
    is_call_of_name = node.cls is ast.FunctionCallExpression and node.args[1].cls is ast.SymbolExpression
    if node.cls not in _TESTS or is_call_of_name:
        return None
    for child in children(node):
        found = child
        while found.cls is ast.GetAttributeExpression:
            found = found.args[1]
        if is_choice(found):
            return found
    return None


_TESTS = (
    ast.ArithmeticComparisonExpression,
    ast.ComparisonExpression,
    ast.ContainsExpression,
    ast.FunctionCallExpression,
    ast.FuzzyComparisonExpression,
    ast.GetAttributeExpression,
)


def with_chosen(syntax: Syntax, node: Node, choice: Node, chosen: Node) -> Node:
    """The test with one of the values in place of the choice; it stands where the test stands."""

    def swap(found: Any) -> Any:
        if found is choice:
            return chosen
        if is_node(found):
            return with_chosen(syntax, found, choice, chosen) if found.cls is ast.GetAttributeExpression else found
        return type(found)(swap(each) for each in found) if isinstance(found, (tuple, deque)) else found

    made = make_node(node, tuple(map(swap, node.args)), dict(node.kwargs))
    syntax.offsets[id(made)] = syntax.offsets[id(node)]
    return made
