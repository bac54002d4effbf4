"""The operands of a condition: what stands on either side of a comparison, in the product's terms."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeGuard

from rule_engine import ast

from muster.rules import moments
from muster.rules.conditions import Field, LetterCase, Measure, Scalar
from muster.rules.fields import PARTS, FieldType, Registry
from muster.rules.functions import known_functions
from muster.rules.oracle import constant_value
from muster.rules.syntax import Node, Syntax, children

_PYTHON_TYPES: dict[FieldType, type] = {
    FieldType.STRING: str,
    FieldType.NUMBER: Decimal,
    FieldType.BOOLEAN: bool,
    FieldType.DATETIME: datetime,
}


@dataclass(frozen=True)
class Literal:
    """A constant of the rule: Decimal, text, bool, datetime in UTC, timedelta, None, or a tuple of them."""

    value: Any


@dataclass(frozen=True)
class Part:
    name: str


@dataclass(frozen=True)
class Measured:
    """A number made from a field: `lead.name.length`, `lead.created_at.year`."""

    field: Field
    measure: Measure


@dataclass(frozen=True)
class Cased:
    """`lead.name.as_lower`, `lead.name.as_upper`."""

    field: Field
    case: LetterCase


@dataclass(frozen=True)
class Opaque:
    """A value that only rule_engine's operations can make."""


Value = Literal | Field | Part | Measured | Cased | moments.Linear | Opaque


@dataclass(frozen=True)
class Names:
    """What a node speaks of."""

    fields: frozenset[str]
    anchors: frozenset[str]
    is_constant: bool
    functions: frozenset[str]


@dataclass
class OperandReader:
    """Reads nodes of one rule's syntax as operands."""

    syntax: Syntax
    registry: Registry

    def value(self, node: Node) -> Value:
        """The node as an operand."""
        names = self.names(node)
        if names.is_constant:
            return Literal(_in_utc(constant_value(self.syntax, node)))
        if found := self.field(node):
            return found
        if node.cls is ast.SymbolExpression:
            if node.kwargs["scope"] is None:
                return Part(node.args[1]) if node.args[1] in PARTS else Opaque()
            return moments.Linear("datetime", timedelta(), anchor=node.args[1], anchor_sign=1)
        if node.cls is ast.GetAttributeExpression:
            held = self.field(node.args[1])
            return _attribute_of(held, node.args[2]) if held else Opaque()
        return self._linear(node) or Opaque()

    def names(self, node: Node) -> Names:
        """The fields, parts and moments named below a node."""
        fields: set[str] = set()
        anchors: set[str] = set()
        called: set[str] = set()
        is_constant = True
        waiting = [node]
        while waiting:
            found = waiting.pop()
            if named := self.field(found):
                fields.add(named.name)
                is_constant = False
                continue
            if found.cls is ast.SymbolExpression:
                name = found.args[1]
                if found.kwargs["scope"] is None:
                    is_constant = False
                    fields |= {name} & set(PARTS)
                elif name in ("now", "today"):
                    is_constant = False
                    anchors.add(name)
                elif name == "in_cohort":
                    is_constant = False
                elif function := known_functions().get(name):
                    is_constant = False
                    called.add(name)
                    anchors |= {"now"} if function.looks_at_clock else set()
            waiting.extend(children(found))
        return Names(frozenset(fields), frozenset(anchors), is_constant, frozenset(called))

    def field(self, node: Node) -> Field | None:
        if node.cls is not ast.GetAttributeExpression or node.args[1].cls is not ast.SymbolExpression:
            return None
        name = f"{node.args[1].args[1]}.{node.args[2]}"
        found = self.registry.get(name)
        return Field(name, found) if found and node.args[1].kwargs["scope"] is None else None

    def _linear(self, node: Node) -> moments.Linear | None:
        if node.cls is ast.UnaryExpression:
            inner = as_linear(self.value(node.args[2]))
            return moments.negated(inner) if inner and inner.kind == "timedelta" else None
        if node.cls not in (ast.AddExpression, ast.SubtractExpression):
            return None
        left, right = as_linear(self.value(node.args[2])), as_linear(self.value(node.args[3]))
        if not left or not right:
            return None
        return (moments.added if node.cls is ast.AddExpression else moments.subtracted)(left, right)


_PARTS_OF_DATES: tuple[Measure, ...] = ("year", "month", "day", "hour", "minute", "second", "millisecond")


def _attribute_of(found: Field, attribute: str) -> Value:
    if attribute == "length" and (found.type.is_list or found.type is FieldType.STRING):
        return Measured(found, "length")
    if found.type is FieldType.DATETIME:
        return next((Measured(found, part) for part in _PARTS_OF_DATES if part == attribute), Opaque())
    if found.type is FieldType.STRING and attribute in ("as_lower", "as_upper"):
        return Cased(found, "lower" if attribute == "as_lower" else "upper")
    return Opaque()


def _in_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return tuple(map(_in_utc, value)) if isinstance(value, (tuple, set)) else value


def as_linear(value: Value) -> moments.Linear | None:
    """A value as a linear form of time, where it is one."""
    match value:
        case moments.Linear():
            return value
        case Field(type=FieldType.DATETIME):
            return moments.Linear("datetime", timedelta(), value, 1)
        case Literal(value=datetime() as moment):
            return moments.moment_literal(moment)
        case Literal(value=timedelta() as length):
            return moments.Linear("timedelta", length)
    return None


def of_type(values: Iterable[Any], field_type: FieldType) -> Iterable[Scalar]:
    """The literals that can equal a value of a type, in that type: in a list, true is 1 and 1 is true; null is none."""
    for value in dict.fromkeys(value for value in values if not isinstance(value, tuple)):
        if isinstance(value, (bool, Decimal)) and field_type is FieldType.NUMBER:
            yield Decimal(value)
        elif isinstance(value, (bool, Decimal)) and field_type is FieldType.BOOLEAN:
            if value in (0, 1):
                yield bool(value)
        elif is_a(value, field_type):
            yield value


def is_a(value: object, field_type: FieldType) -> TypeGuard[Scalar]:
    return type(value) is _PYTHON_TYPES[field_type]
