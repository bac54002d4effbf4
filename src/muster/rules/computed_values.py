"""Values of rule_engine's tree as generated code: fields, literals, arithmetic, attributes, items.

Each function writes one kind of node, or raises `NotWrittenError`. What it writes must give the oracle's value wherever
values have the registered types, or raise: then the oracle decides about the whole rule.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol

from rule_engine import ast

from muster.rules import near
from muster.rules.conditions import Field
from muster.rules.fields import PARTS, FieldType, Registry
from muster.rules.limits import as_double
from muster.rules.operations import OPERATIONS
from muster.rules.source import NULL, Kind, NotWrittenError, Source, Written, nullable


class Writer(Protocol):
    """What writes the nodes below a node."""

    source: Source
    registry: Registry
    variables: dict[str, Written]
    """Of the comprehension that is being written."""

    def write(self, node: Any) -> Written:
        """A node as generated code."""


NUMBERS: tuple[Kind, ...] = ("double", "decimal")
KINDS: dict[FieldType, tuple[Kind, Kind | None]] = {
    FieldType.STRING: ("text", None),
    FieldType.NUMBER: ("double", None),
    FieldType.BOOLEAN: ("truth", None),
    FieldType.DATETIME: ("moment", None),
    FieldType.STRINGS: ("list", "text"),
    FieldType.NUMBERS: ("list", "double"),
}
_LITERALS: dict[type, Kind] = {
    bool: "truth",
    str: "text",
    Decimal: "decimal",
    datetime: "moment",
    timedelta: "duration",
    tuple: "list",
    set: "set",
}


def literal(writer: Writer, node: Any) -> Written:
    """A constant of the rule."""
    return constant(writer.source, node.evaluate({}))


def constant(source: Source, value: Any) -> Written:
    """A value of rule_engine's that is the same for every profile."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return Written("truth", str(value), literal=(value,))
    element = common({_LITERALS[type(each)] for each in value if each is not None}) if _is_many(value) else None
    close = near.literal(float(value)) if isinstance(value, Decimal) else None
    return Written(_LITERALS[type(value)], source.constant(value), element=element, literal=(value,), near=close)


def _is_many(value: Any) -> bool:
    return isinstance(value, (tuple, set))


def _is_collection(written: Written) -> bool:
    return written.kind in ("list", "set")


def common(kinds: set[Kind]) -> Kind | None:
    """The one kind of all members."""
    return next(iter(kinds)) if len(kinds) == 1 else None


def collection(writer: Writer, node: Any) -> Written:
    """`[a, b]` or `{a, b}`. Numbers in it are decimals."""
    kind: Kind = "list" if isinstance(node, ast.ArrayExpression) else "set"
    if node.is_reduced:
        return literal(writer, node)
    members = [writer.write(member) for member in node.value]
    if any(_is_collection(each) for each in members):
        raise NotWrittenError
    members = [as_decimal(writer, each) if each.kind in NUMBERS else each for each in members]
    text = ", ".join(nullable(each) for each in members)
    element = common({each.kind for each in members if each.kind != "null"})
    return Written(kind, f"({text},)" if kind == "list" else f"{{{text}}}", element=element)


def symbol(writer: Writer, node: Any) -> Written:
    """A part, a comprehension's variable, `$now`, `$today`, `$e`, `$pi`."""
    if node.scope is not None:
        if node.name in ("now", "today"):
            return Written("moment", writer.source.anchor(node.name))
        return literal(writer, node)
    if found := writer.variables.get(node.name):
        return found
    return writer.source.unless_none("part", f"profile.get({node.name!r})")


def attribute(writer: Writer, node: Any) -> Written:
    """A field, or an attribute of a value."""
    if found := _field(writer, node):
        kind, element = KINDS[found.type]
        return writer.source.unless_none(kind, writer.source.field(found), element=element)
    subject = writer.write(node.object)
    if subject.kind == "null":
        return NULL
    if node.name == "to_str" and subject.kind == "double" and _field(writer, node.object):
        return Written("text", f"str({as_decimal(writer, subject).value})", subject.needs)
    if row := _ATTRIBUTES.get((subject.kind, node.name)):
        kind, text = row
        return Written(kind, text.replace("{}", subject.value), subject.needs, element=_element_of(kind, subject))
    if (subject.kind, node.name) == ("list", "to_set") and subject.element in ("text", *NUMBERS):
        of: Kind = "decimal" if subject.element in NUMBERS else "text"
        return Written("set", f"set({as_tuple(writer, subject)})", subject.needs, of)
    if subject.kind == "decimal" and node.name in _ROUNDED:
        return Written("decimal", run(writer, _ROUNDED[node.name], subject.value), subject.needs)
    raise NotWrittenError


def _field(writer: Writer, node: Any) -> Field | None:
    held = getattr(node, "object", None)
    if not isinstance(held, ast.SymbolExpression) or held.scope is not None or held.name not in PARTS:
        return None
    return Field(f"{held.name}.{node.name}", writer.registry[f"{held.name}.{node.name}"])


def _element_of(kind: Kind, subject: Written) -> Kind | None:
    if kind not in ("list", "set"):
        return None
    return "text" if subject.kind == "text" else subject.element


_ROUNDED = {"floor": "rounded_down", "ceiling": "rounded_up"}
_PARTS_OF_MOMENTS = ("year", "month", "day", "hour", "minute", "second", "microsecond")
_ATTRIBUTES: dict[tuple[Kind, str], tuple[Kind, str]] = {
    ("text", "as_lower"): ("text", "{}.lower()"),
    ("text", "as_upper"): ("text", "{}.upper()"),
    ("text", "to_str"): ("text", "{}"),
    ("text", "to_ary"): ("list", "tuple({})"),
    ("text", "to_set"): ("set", "set({})"),
    ("list", "to_ary"): ("list", "{}"),
    ("set", "to_set"): ("set", "{}"),
    **{(kind, "length"): ("double", "len({})") for kind in ("text", "list", "set")},
    **{(kind, "is_empty"): ("truth", "(len({}) == 0)") for kind in ("text", "list", "set")},
    # Rounded to a whole number, a double and the decimal that it prints as are the same up to 2**53; beyond, a double
    # is whole and stays as it is.
    ("double", "floor"): ("double", "({} // 1.0)"),
    ("double", "ceiling"): ("double", "(-(-{} // 1.0))"),
    **{("moment", part): ("double", f"{{}}.{part}") for part in _PARTS_OF_MOMENTS},
    ("moment", "millisecond"): ("double", "({}.microsecond / 1000)"),
    ("moment", "date"): ("moment", "{}.replace(hour=0, minute=0, second=0, microsecond=0)"),
    ("moment", "weekday"): ("text", "{}.strftime('%A')"),
    ("moment", "to_epoch"): ("double", "{}.timestamp()"),
    **{("duration", part): ("double", f"{{}}.{part}") for part in ("days", "seconds", "microseconds")},
    ("duration", "total_seconds"): ("double", "{}.total_seconds()"),
}


def arithmetic(writer: Writer, node: Any) -> Written:
    """`+ - * / // %` of numbers, moments, durations; `+` of texts."""
    left, right = writer.write(node.left), writer.write(node.right)
    if "null" in (left.kind, right.kind):
        return NULL
    if left.kind in NUMBERS and right.kind in NUMBERS:
        left, right = operand(writer, left), operand(writer, right)
        if node.type in ("tdiv", "fdiv", "mod"):
            if right.literal == (0,):
                return NULL
            right = right if right.literal else _not_zero(writer, right)
        needs = left.needs + right.needs
        text = run(writer, f"decimal_{node.type}", left.value, right.value)
        return Written("decimal", text, needs, near=near.combined(node.type, left.near, right.near))
    kind = _SUMS.get((left.kind, node.type, right.kind))
    if kind is None:
        raise NotWrittenError
    sign = "+" if node.type == "add" else "-"
    return Written(kind, f"({left.value} {sign} {right.value})", left.needs + right.needs)


def _not_zero(writer: Writer, number: Written) -> Written:
    if number.near and number.near.value.isidentifier():
        return replace(number, needs=(*number.needs, f"{number.near.value} != 0"))
    number = writer.source.bound(number)
    return replace(number, needs=(*number.needs, f"{number.value} != 0"))


_SUMS: dict[tuple[Kind, str, Kind], Kind] = {
    ("text", "add", "text"): "text",
    ("moment", "add", "duration"): "moment",
    ("duration", "add", "moment"): "moment",
    ("duration", "add", "duration"): "duration",
    ("moment", "sub", "moment"): "duration",
    ("moment", "sub", "duration"): "moment",
    ("duration", "sub", "duration"): "duration",
}


def bitwise(writer: Writer, node: Any) -> Written:
    """`& | ^` of sets, or of natural numbers."""
    left, right = writer.write(node.left), writer.write(node.right)
    needs = left.needs + right.needs
    if left.kind == right.kind == "set":
        sign = {"bwand": "&", "bwor": "|", "bwxor": "^"}[node.type]
        return Written(
            "set",
            f"({left.value} {sign} {right.value})",
            needs,
            left.element if left.element == right.element else None,
        )
    if left.kind in NUMBERS and right.kind in NUMBERS:
        operands = (as_decimal(writer, each).value for each in (left, right))
        return writer.source.unless_none("decimal", run(writer, f"decimal_{node.type}", *operands), needs)
    raise NotWrittenError


def negative(writer: Writer, right: Written) -> Written:
    """`-value`."""
    if right.kind == "decimal":
        text = run(writer, "decimal_minus", right.value)
        return Written("decimal", text, right.needs, near=near.turned(right.near))
    if right.kind in ("double", "duration"):
        return Written(right.kind, f"(-{right.value})", right.needs)
    if right.kind == "null":
        return NULL
    raise NotWrittenError


def item(writer: Writer, node: Any) -> Written:
    """`list[0]`, `text[-1]`."""
    container, index = writer.source.bound(writer.write(node.container)), writer.write(node.item)
    element = "text" if container.kind == "text" else container.element
    if container.kind not in ("text", "list") or element in (None, "list", "set") or index.kind not in NUMBERS:
        raise NotWrittenError
    if index.literal is None:
        text = run(writer, "item", container.value, index.value)
        return writer.source.unless_none(element, text, container.needs + index.needs)
    if index.literal[0] != (whole := int(index.literal[0])):
        return NULL
    is_there = f"len({container.value}) {f'> {whole}' if whole >= 0 else f'>= {-whole}'}"
    return writer.source.unless_none(element, f"{container.value}[{whole}]", (*container.needs, is_there))


def part_of(writer: Writer, node: Any) -> Written:
    """`text[:2]`, `list[1:3]`."""
    container, ends = writer.write(node.container), [writer.write(end) for end in (node.start, node.stop)]
    if container.kind not in ("text", "list"):
        raise NotWrittenError
    texts = []
    for end in ends:
        if end.literal is not None and end.kind == "decimal" and end.literal[0] == int(end.literal[0]):
            texts.append(str(int(end.literal[0])))
        elif end.kind == "null":
            texts.append("")
        else:
            raise NotWrittenError
    return Written(container.kind, f"{container.value}[{':'.join(texts)}]", container.needs, container.element)


def as_decimal(writer: Writer, number: Written) -> Written:
    """A number as a decimal, with the same needs."""
    if number.kind == "decimal":
        return number
    close = near.stored(number.value) if number.value.isidentifier() else None
    return Written("decimal", run(writer, "as_decimal", number.value), number.needs, near=close)


def operand(writer: Writer, number: Written) -> Written:
    """A number as a decimal that knows what double it is near."""
    return as_decimal(writer, writer.source.bound(number) if number.kind == "double" else number)


def as_stored(source: Source, number: Written) -> Written | None:
    """A literal in the form of a stored number, where there is one that prints so."""
    found = as_double("==", number.literal[0]) if number.literal else None
    return found and Written("double", source.constant(found[1]), literal=(found[1],))


def as_tuple(writer: Writer, members: Written) -> str:
    """A list as rule_engine compares it: a tuple, numbers as decimals."""
    if members.literal:
        return members.value
    return run(writer, "decimals" if members.element == "double" else "tuple", members.value)


def run(writer: Writer, operation: str, *arguments: str) -> str:
    """The text that calls one of `operations`."""
    return f"{writer.source.named(operation, OPERATIONS[operation])}({', '.join(arguments)})"
