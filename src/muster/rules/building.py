"""Deferred nodes → rule_engine's own typed tree, with the place of everything that has no types.

Only what `vetting` has seen is built: building folds constants.
"""

import decimal
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from rule_engine import Context, DataType, ast, errors
from rule_engine.builtins import Builtins, BuiltinValueGenerator

from muster.rules.fields import PARTS, FieldType, Registry
from muster.rules.functions import Function, known_functions
from muster.rules.problems import Problem, RuleError
from muster.rules.suggestions import closest
from muster.rules.syntax import Node, Syntax, chain, children, is_logic, is_node, make_node

FAILURES = (errors.EngineError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What an operation raises when it cannot be computed; decimal's and overflow errors are ArithmeticErrors."""

ARITHMETIC = decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN)
"""Numbers are decimals of 28 digits, whatever the calling thread has set."""

moment: ContextVar[tuple[datetime, datetime]] = ContextVar("moment")
"""What `$now` and `$today` are while an expression is evaluated."""

membership: ContextVar[Callable[[str], bool]] = ContextVar("membership")
"""What `$in_cohort` answers while an expression is evaluated: whether the profile is in the cohort of this number."""

_ENGINE_TYPES = {
    FieldType.STRING: DataType.STRING,
    FieldType.NUMBER: DataType.FLOAT,
    FieldType.BOOLEAN: DataType.BOOLEAN,
    FieldType.DATETIME: DataType.DATETIME,
    FieldType.STRINGS: DataType.ARRAY(DataType.STRING),
    FieldType.NUMBERS: DataType.ARRAY(DataType.FLOAT),
}


def engine_context(registry: Registry) -> Context:
    """rule_engine's typed view of a profile: parts are objects with the registered fields, and nothing else.

    Making one takes longer than parsing a rule, so equal ones are shared. All that an evaluation changes in it is kept
    by thread.
    """
    context = _context(frozenset(registry.items()), tuple(known_functions().values()))
    context.symbols.clear()  # the names that rules have used, which nobody asks for
    return context


@lru_cache(maxsize=64)
def _context(fields: frozenset[tuple[str, FieldType]], functions: tuple[Function, ...]) -> Context:
    attributes: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for name, field_type in sorted(fields):
        part, _, attribute = name.partition(".")
        if part in attributes:
            attributes[part][attribute] = _ENGINE_TYPES[field_type]
    objects = {part: DataType.OBJECT(part, attributes=found, accessor=_value_in) for part, found in attributes.items()}
    context = Context(
        type_resolver=objects,
        resolver=_value_in,
        default_timezone="utc",
        decimal_context=ARITHMETIC,
        mapping_attribute_lookup=False,
    )
    context.builtins = Builtins.from_defaults(
        values={
            "now": BuiltinValueGenerator(lambda _: moment.get()[0]),
            "today": BuiltinValueGenerator(lambda _: moment.get()[1]),
            "in_cohort": _is_member,
            **{function.name: _callable(function) for function in functions},
        },
        value_types={
            "in_cohort": DataType.FUNCTION(
                "in_cohort", return_type=DataType.BOOLEAN, argument_types=(DataType.STRING,)
            ),
            **{function.name: _function_type(function) for function in functions},
        },
        timezone=UTC,
    )
    return context


def _is_member(cohort: str) -> bool:
    return membership.get()(cohort)


def _callable(function: Function) -> Any:
    return lambda *arguments: function.call(arguments, lambda: moment.get()[0])


def _function_type(function: Function) -> Any:
    return DataType.FUNCTION(
        function.name,
        return_type=_ENGINE_TYPES[function.result],
        argument_types=tuple(
            _ENGINE_TYPES[types[0]] if len(types) == 1 else DataType.ARRAY for _, types in function.parameters
        ),
    )


def _value_in(mapping: Mapping[str, Any] | None, name: str) -> Any:
    return None if mapping is None else mapping.get(name)


class _BuiltLater:
    """Stands for a child of a deferred node: builds it once, and says where it stands when it cannot be built."""

    def __init__(self, node: Node, syntax: Syntax) -> None:
        self.node, self.syntax = node, syntax
        self.built: Any = None
        self.error: RuleError | None = None

    def build(self) -> Any:
        if self.built is None and self.error is None:
            try:
                self.built = self._total(self.node.build())
            except RuleError as error:
                self.error = error
            except errors.EngineError as error:
                self.error = RuleError(_problem(error, self.node, self.syntax))
            except (*FAILURES, RecursionError, MemoryError, AssertionError) as error:
                self.error = RuleError(Problem(_not_computed(error), self.syntax.span(self.node)))
        if self.error is not None:
            raise self.error
        return self.built

    def _total(self, built: Any) -> Any:
        """rule_engine folds `null in [null]` to true, before any guard can say that nothing has no place in a list."""
        operands = children_later(self.node) if self.node.cls is ast.ContainsExpression else []
        if any(isinstance(operand.built, ast.NullExpression) for operand in operands):
            return ast.BooleanExpression(self.node.args[0], False)
        return built


def build(syntax: Syntax, node: Node | None = None) -> Any:
    """Let rule_engine build its typed tree, of the whole rule or one node of it.

    Raises `RuleError` with the spans of all operands of `and` and `or` that have no types.
    """
    operands: list[_BuiltLater] = []
    problems: dict[Problem, None] = {}
    with decimal.localcontext(ARITHMETIC):
        root = _BuiltLater(_prepared(node or syntax.root, syntax, operands), syntax)
        for operand in (*operands, root):
            try:
                operand.build()
            except RuleError as error:
                problems |= dict.fromkeys(error.problems)
    if problems:
        raise RuleError(*problems)
    return root.build()


def _prepared(node: Node, syntax: Syntax, operands: list[_BuiltLater]) -> Node:
    """The same deferred tree, with long chains balanced (building recurses) and children that report their place."""
    if is_logic(node):
        here = [_BuiltLater(_prepared(operand, syntax, operands), syntax) for operand in chain(node)]
        operands += here
        return _balanced(node, here, syntax)
    if node.cls is ast.ComprehensionExpression:
        operands = []  # what speaks of its variable has no types by itself: it is built with the comprehension
    replaced = {id(child): _BuiltLater(_prepared(child, syntax, operands), syntax) for child in children(node)}

    def swap(found: Any) -> Any:
        if is_node(found):
            return replaced[id(found)]
        if isinstance(found, (tuple, list, deque)):
            return tuple(swap(each) for each in found)
        return found

    prepared = make_node(
        node,
        tuple(swap(argument) for argument in node.args),
        {name: swap(value) for name, value in node.kwargs.items()},
    )
    syntax.offsets[id(prepared)] = syntax.offsets[id(node)]
    return prepared


def _balanced(node: Node, operands: list[_BuiltLater], syntax: Syntax) -> Node:
    """A chain as a tree of even depth; every node of it stands where the whole chain stands."""
    level = operands
    while len(level) > 1:
        joined = [_joined(node, pair, syntax) for pair in zip(level[::2], level[1::2], strict=False)]
        level = [*joined, level[-1]] if len(level) % 2 else joined
    return level[0].node


def _joined(node: Node, pair: tuple[_BuiltLater, _BuiltLater], syntax: Syntax) -> _BuiltLater:
    joined = make_node(node, (*node.args[:2], *pair), {})
    syntax.offsets[id(joined)] = syntax.offsets[id(node)]
    return _BuiltLater(joined, syntax)


def _problem(error: errors.EngineError, node: Node, syntax: Syntax) -> Problem:
    span = syntax.span(node)
    if isinstance(error, errors.ObjectAttributeError):
        name = f"{error.object.name}.{error.attribute_name}"
        known = [f"{error.object.name}.{attribute}" for attribute in error.object.attributes]
        return Problem(f"There is no field {name}.", span, suggestion=closest(name, known))
    if isinstance(error, errors.AttributeResolutionError):
        return Problem(f"There is no attribute {error.attribute_name} here.", span, suggestion=error.suggestion)
    if node.cls is ast.CoalesceExpression and _result_type(node.args[2]) == DataType.BOOLEAN:
        left, right = (syntax.source(child.node) for child in node.args[1:3])
        detail = f"`??` binds looser than a comparison: this reads {left} ?? ({right}). Put {left} ?? … in parentheses."
        return Problem(detail, span)
    if is_logic(node) and (part := next((each for each in children_later(node) if _is_part(each)), None)):
        name = syntax.source(part.node)
        return Problem(
            f"{name} is a part: ask whether it is there.", syntax.span(part.node), suggestion=f"{name} != null"
        )
    if error.message.startswith("data type mismatch"):
        types = [_type_name(found) for child in children_later(node) if (found := _result_type(child))]
        together = f"These types do not go together here: {', '.join(types)}."
        return Problem(together if types else "These types do not go together here.", span)
    return Problem(_not_computed(error), span)


def _not_computed(error: BaseException) -> str:
    match error:
        case errors.ArithmeticError() | ArithmeticError():
            return "This cannot be computed: it divides by zero, or its result is out of range."
        case errors.LookupError() | LookupError():
            return "This cannot be computed: there is nothing at this place."
    return "This cannot be computed."


def children_later(node: Node) -> list["_BuiltLater"]:
    """The children of a prepared node."""
    found = [argument for argument in (*node.args, *node.kwargs.values()) if isinstance(argument, _BuiltLater)]
    return found + [each for group in node.args if isinstance(group, tuple) for each in group]


def _result_type(later: "_BuiltLater") -> Any:
    return later.built.result_type if later.built is not None else None


def _is_part(later: "_BuiltLater") -> bool:
    engine_type = _result_type(later)
    return engine_type is not None and engine_type.is_object


TYPE_NAMES = {
    "ARRAY": "a list",
    "BOOLEAN": "true or false",
    "DATETIME": "a date and time",
    "FLOAT": "a number",
    "FUNCTION": "a function",
    "NULL": "null",
    "SET": "a set",
    "STRING": "text",
    "TIMEDELTA": "a duration",
    "UNDEFINED": "a value of any type",
}


def _type_name(engine_type: Any) -> str:
    part = f"the part {engine_type.name}"
    return TYPE_NAMES.get(engine_type.name, part)
