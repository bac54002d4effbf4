"""Calls as generated code: of the language's functions, of ours and a team's, and of `starts_with` and `ends_with`."""

from collections.abc import Callable
from typing import Any

from rule_engine import ast

from muster.rules import near
from muster.rules.computed_values import KINDS, NUMBERS, Writer, as_tuple, run
from muster.rules.functions import known_functions
from muster.rules.source import NULL, NotWrittenError, Written, both


def call(writer: Writer, node: Any) -> Written:
    """`$name(…)` or `text.starts_with(…)`."""
    given = [writer.write(argument) for argument in node.arguments]
    if any(each.kind == "null" for each in given):
        return Written("truth", "False") if isinstance(node.function, ast.GetAttributeExpression) else NULL
    needs = tuple(need for each in given for need in each.needs)
    if isinstance(node.function, ast.GetAttributeExpression):
        subject = writer.write(node.function.object)
        if subject.kind != "text" or given[0].kind != "text":
            raise NotWrittenError
        test = {"starts_with": "startswith", "ends_with": "endswith"}[node.function.name]
        return Written("truth", both(*subject.needs, *needs, f"{subject.value}.{test}({given[0].value})"))
    if not isinstance(node.function, ast.SymbolExpression):
        raise NotWrittenError
    if write := _BUILT_IN.get(node.function.name):
        return write(writer, given, needs)
    return _function(writer, node.function.name, given)


def _function(writer: Writer, name: str, given: list[Written]) -> Written:
    function = known_functions()[name]
    if any(each.kind == "list" and each.element not in ("text", *NUMBERS) for each in given):
        raise NotWrittenError
    given = [writer.source.bound(each) if each.kind == "list" else each for each in given]
    needs = tuple(need for each in given for need in each.needs)
    arguments = [_as_annotated(writer, each) for each in given]
    if function.looks_at_clock:
        arguments.append(writer.source.anchor("now"))
    caller = writer.source.named(f"call_{name}", function.on_plain_values())
    kind, element = KINDS[function.result]
    return writer.source.unless_none(kind, f"{caller}({', '.join(arguments)})", needs, element)


def _as_annotated(writer: Writer, given: Written) -> str:
    """An argument as a function's annotations know it: numbers are floats, lists have no nulls."""
    if given.kind == "list":
        each = "float(each)" if given.element in NUMBERS else "each"
        return f"[{each} for each in {given.value} if each is not None]"
    if given.kind == "decimal" and given.literal:
        return writer.source.constant(float(given.literal[0]))
    return f"float({given.value})" if given.kind in NUMBERS else given.value


def _absolute(writer: Writer, given: list[Written], needs: tuple[str, ...]) -> Written:
    [number] = given
    if number.kind == "double":
        return Written("double", f"abs({number.value})", needs)
    if number.kind == "decimal":
        text = run(writer, "decimal_abs", number.value)
        return Written("decimal", text, needs, near=near.absolute(number.near))
    raise NotWrittenError


def _total(writer: Writer, given: list[Written], needs: tuple[str, ...]) -> Written:
    if given[0].element not in NUMBERS:
        raise NotWrittenError
    text = run(writer, "total", as_tuple(writer, given[0]))
    return writer.source.unless_none("decimal", text, needs)


def _of_all(operation: str) -> Callable[[Writer, list[Written], tuple[str, ...]], Written]:
    def write(writer: Writer, given: list[Written], needs: tuple[str, ...]) -> Written:
        [numbers] = given
        if numbers.element not in NUMBERS:
            raise NotWrittenError
        return writer.source.unless_none(numbers.element, run(writer, operation, numbers.value), needs)

    return write


def _truth_of_all(name: str) -> Callable[[Writer, list[Written], tuple[str, ...]], Written]:
    def write(_writer: Writer, given: list[Written], needs: tuple[str, ...]) -> Written:
        if given[0].kind != "list":
            raise NotWrittenError
        return Written("truth", f"{name}({given[0].value})", needs)

    return write


def _split(writer: Writer, given: list[Written], needs: tuple[str, ...]) -> Written:
    text = run(writer, "split", *(each.value for each in given))
    return writer.source.unless_none("list", text, needs, "text")


_BUILT_IN: dict[str, Callable[[Writer, list[Written], tuple[str, ...]], Written]] = {
    "abs": _absolute,
    "all": _truth_of_all("all"),
    "any": _truth_of_all("any"),
    "max": _of_all("largest"),
    "min": _of_all("smallest"),
    "split": _split,
    "sum": _total,
}
