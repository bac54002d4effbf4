"""Computed pieces as generated code: what of a rule has no condition of its own, with the oracle's meaning.

The typed tree that rule_engine builds is written node by node; a node that is not known here, or not with operands of
these types, raises `NotWrittenError`, and the piece goes on by the oracle.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from rule_engine import ast

from muster.rules import computed_values as values
from muster.rules import near
from muster.rules.building import build, engine_context
from muster.rules.computed_calls import call
from muster.rules.computed_values import NUMBERS, as_decimal, as_stored, as_tuple, operand
from muster.rules.conditions import MIRRORED, Operator
from muster.rules.fields import Registry
from muster.rules.limits import as_double
from muster.rules.patterns import compile_pattern
from muster.rules.source import NULL, NotWrittenError, Source, Written, both, computed, known, nullable, truth_of
from muster.rules.syntax import parse


def write_computed(text: str, source: Source, registry: Registry) -> str:
    """A vetted text as a Python expression that is True or False. Raises `NotWrittenError`."""
    writer = _Writer(source, registry)
    return truth_of(writer.write(build(parse(text, engine_context(registry)))))


@dataclass
class _Writer:
    source: Source
    registry: Registry
    variables: dict[str, Written] = field(default_factory=dict)

    def write(self, node: Any) -> Written:
        """A node as generated code."""
        write = _WRITERS.get(type(node))
        if write is None:
            raise NotWrittenError
        return write(self, node)


def _truth(text: str) -> Written:
    return Written("truth", text)


def _logic(writer: _Writer, node: Any) -> Written:
    sides = [truth_of(writer.write(side)) for side in (node.left, node.right)]
    return _truth(f"({f' {node.type} '.join(sides)})")


def _unary(writer: _Writer, node: Any) -> Written:
    right = writer.write(node.right)
    return _truth(f"(not {truth_of(right)})") if node.type == "not" else values.negative(writer, right)


def _equality(writer: _Writer, node: Any) -> Written:
    equal = _equal(writer, writer.write(node.left), writer.write(node.right))
    return _truth(equal if node.type == "eq" else f"(not {equal})")


def _equal(writer: _Writer, left: Written, right: Written) -> str:
    """Of one kind and equal; or both null."""
    if left.kind in NUMBERS and right.kind in NUMBERS:
        if left.literal or right.literal:
            return both(*_numbers_compared(writer, "==", left, right))
        left, right = _alike(writer, left, right)
    elif left.kind == right.kind == "list":
        left = replace(left, value=as_tuple(writer, left))
        right = replace(right, value=as_tuple(writer, right))
    elif left.kind == right.kind == "part":
        raise NotWrittenError
    elif left.kind != right.kind:
        return "False" if left.literal or right.literal else f"(not ({computed(left)} or {computed(right)}))"
    if left.literal or right.literal:
        return both(*left.needs, *right.needs, f"{left.value} == {right.value}")
    return f"({nullable(left)} == {nullable(right)})"


_SIGNS: dict[str, Operator] = {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_ORDERED = ("text", "moment", "duration", "truth")


def _order(writer: _Writer, node: Any) -> Written:
    left, right, sign = writer.write(node.left), writer.write(node.right), _SIGNS[node.type]
    if "null" in (left.kind, right.kind):
        return _truth("False")
    if left.kind in NUMBERS and right.kind in NUMBERS:
        return _truth(both(*_numbers_compared(writer, sign, left, right)))
    if left.kind != right.kind or left.kind not in _ORDERED:
        raise NotWrittenError
    return _truth(both(*left.needs, *right.needs, f"{left.value} {sign} {right.value}"))


def _numbers_compared(writer: _Writer, sign: Operator, left: Written, right: Written) -> tuple[str, ...]:
    """Needs and the test. Doubles compare as the decimals that they print as."""
    if left.literal and not right.literal:
        left, right, sign = right, left, MIRRORED[sign]
    needs = left.needs + right.needs
    if left.kind == right.kind == "double":
        return (*needs, f"{left.value} {sign} {right.value}")
    if left.kind == "double" and right.literal:
        comparison = as_double(sign, right.literal[0])
        if comparison is None:
            return ("False",)
        return (*needs, f"{left.value} {comparison[0]} {writer.source.constant(comparison[1])}")
    left, right = operand(writer, left), operand(writer, right)
    needs, exact = left.needs + right.needs, f"{left.value} {sign} {right.value}"
    if left.near and right.near:
        return (*needs, near.compared(sign, left.near, right.near, exact, writer.source.variable()))
    return (*needs, exact)


def _pattern(writer: _Writer, node: Any) -> Written:
    left = writer.write(node.left)
    if left.kind == "null":
        found = "False"
    elif left.kind == "text":
        anchored = node.type.endswith("fzm")
        search = writer.source.constant(compile_pattern(node.right.value, anchored=anchored).search)
        found = both(*left.needs, f"{search}({left.value}) is not None")
    else:
        raise NotWrittenError
    return _truth(f"(not {found})" if node.type.startswith("ne") else found)


def _contains(writer: _Writer, node: Any) -> Written:
    container, member = writer.write(node.container), writer.write(node.member)
    if "null" in (container.kind, member.kind):
        return _truth("False")
    needs = member.needs + container.needs
    if container.kind == "text":
        if member.kind != "text":
            raise NotWrittenError
        return _truth(both(*needs, f"{member.value} in {container.value}"))
    if container.kind not in ("list", "set") or member.kind in ("set", "part"):
        raise NotWrittenError
    return _truth(both(*needs, _membership(writer, member, container)))


def _membership(writer: _Writer, member: Written, container: Written) -> str:
    """Whether a list or set holds a value that is not null."""
    if member.kind == "list":
        return f"{as_tuple(writer, member)} in {container.value}"
    if member.kind == "double" and container.literal:
        doubles = tuple(found for each in container.literal[0] if (found := _as_stored(each)) is not None)
        return f"{member.value} in {writer.source.constant(doubles)}"
    if member.kind == "double" and container.element != "double":
        return f"{as_decimal(writer, member).value} in {container.value}"
    if member.kind == "decimal" and container.element == "double":
        return f"{member.value} in {as_tuple(writer, container)}"
    return f"{member.value} in {container.value}"


def _as_stored(value: Any) -> Any:
    """A member of a literal list as a stored number can equal it; None where none can."""
    if isinstance(value, bool):
        return value
    comparison = as_double("==", value) if isinstance(value, Decimal) else None
    return comparison and comparison[1]


def _coalesce(writer: _Writer, node: Any) -> Written:
    left, right = writer.write(node.left), writer.write(node.right)
    if "null" in (left.kind, right.kind):
        return right if left.kind == "null" else left
    left, right = _alike(writer, left, right)
    if not left.needs:
        return left
    if not right.needs:
        return Written(left.kind, f"({left.value} if {known(left)} else {right.value})", (), left.element)
    text = f"({left.value} if {known(left)} else {nullable(right)})"
    return writer.source.unless_none(left.kind, text, element=left.element)


def _ternary(writer: _Writer, node: Any) -> Written:
    condition = truth_of(writer.write(node.condition))
    then, otherwise = writer.write(node.case_true), writer.write(node.case_false)
    if then.kind == otherwise.kind == "null":
        return NULL
    kind = otherwise if then.kind == "null" else then
    if "null" not in (then.kind, otherwise.kind):
        then, otherwise = _alike(writer, then, otherwise)
        kind = then
    text = f"({nullable(then)} if {condition} else {nullable(otherwise)})"
    if not then.needs and not otherwise.needs:
        return Written(kind.kind, text, element=kind.element)
    return writer.source.unless_none(kind.kind, text, element=kind.element)


def _alike(writer: _Writer, left: Written, right: Written) -> tuple[Written, Written]:
    """Two values of which one is chosen, in one form."""
    if left.kind in NUMBERS and right.kind in NUMBERS:
        if left.kind == right.kind == "double":
            return left, right
        if left.kind == "double" and (stored := as_stored(writer.source, right)):
            return left, stored
        if right.kind == "double" and (stored := as_stored(writer.source, left)):
            return stored, right
        return as_decimal(writer, left), as_decimal(writer, right)
    if left.kind == right.kind == "list" and {left.element, right.element} == set(NUMBERS):
        pair = [replace(each, value=as_tuple(writer, each), element="decimal") for each in (left, right)]
        return pair[0], pair[1]
    if left.kind != right.kind or left.element != right.element:
        raise NotWrittenError
    return left, right


def _comprehension(writer: _Writer, node: Any) -> Written:
    iterable = writer.source.bound(writer.write(node.iterable))
    element = iterable.element
    if iterable.kind != "list" or element is None or element in ("list", "set"):
        raise NotWrittenError
    variable = writer.source.variable()
    writer.variables[node.variable] = Written(element, variable, (f"{variable} is not None",))
    result = writer.write(node.result)
    condition = "" if node.condition is None else f" if {truth_of(writer.write(node.condition))}"
    del writer.variables[node.variable]
    if result.kind in ("list", "set", "part", "null"):
        raise NotWrittenError
    text = f"[{nullable(result)} for {variable} in {iterable.value}{condition}]"
    return Written("list", text, iterable.needs, result.kind)


_WRITERS: dict[type, Callable[[_Writer, Any], Written]] = {
    ast.AddExpression: values.arithmetic,
    ast.ArithmeticComparisonExpression: _order,
    ast.ArithmeticExpression: values.arithmetic,
    ast.ArrayExpression: values.collection,
    ast.BitwiseExpression: values.bitwise,
    ast.BooleanExpression: values.literal,
    ast.CoalesceExpression: _coalesce,
    ast.ComparisonExpression: _equality,
    ast.ComprehensionExpression: _comprehension,
    ast.ContainsExpression: _contains,
    ast.DatetimeExpression: values.literal,
    ast.FloatExpression: values.literal,
    ast.FunctionCallExpression: call,
    ast.FuzzyComparisonExpression: _pattern,
    ast.GetAttributeExpression: values.attribute,
    ast.GetItemExpression: values.item,
    ast.GetSliceExpression: values.part_of,
    ast.LogicExpression: _logic,
    ast.NullExpression: values.literal,
    ast.SetExpression: values.collection,
    ast.StringExpression: values.literal,
    ast.SubtractExpression: values.arithmetic,
    ast.SymbolExpression: values.symbol,
    ast.TernaryExpression: _ternary,
    ast.TimedeltaExpression: values.literal,
    ast.UnaryExpression: _unary,
}
