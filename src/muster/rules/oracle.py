"""The meaning of a rule: rule_engine's own operation at every node, made total.

rule_engine raises where a value is missing; a segment must not. So the tree that rule_engine builds is kept as it is,
and between each node and its operands stands a small guard that turns what raises into null (for a value) or false
(for a test), as `rules.md` has it. Nothing here says how an operation works, only what happens when it cannot.

This is the reference that MongoDB's filter, the compiled predicate and explain are tested against. It also runs what
neither of them covers.
"""

import decimal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from rule_engine import Context, DataType, ast, errors
from rule_engine.builtins import Builtins, BuiltinValueGenerator

from muster.rules.fields import PARTS, FieldType, Registry
from muster.rules.patterns import compile_pattern
from muster.rules.problems import Problem, RuleError
from muster.rules.suggestions import closest
from muster.rules.syntax import Node, Syntax, chain, children, is_logic, is_node, make_node, parse

Profile = Mapping[str, Any]
Moment = tuple[datetime, datetime]  # now, and the start of today in the project's time zone

FAILURES = (errors.EngineError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What an operation raises when it cannot be computed; decimal's and overflow errors are ArithmeticErrors."""

ARITHMETIC = decimal.Context(prec=28, rounding=decimal.ROUND_HALF_EVEN)
"""Numbers are decimals of 28 digits, whatever the calling thread has set."""

_moment: ContextVar[Moment] = ContextVar("moment")

_ENGINE_TYPES = {
    FieldType.STRING: DataType.STRING,
    FieldType.NUMBER: DataType.FLOAT,
    FieldType.BOOLEAN: DataType.BOOLEAN,
    FieldType.DATETIME: DataType.DATETIME,
    FieldType.STRINGS: DataType.ARRAY(DataType.STRING),
    FieldType.NUMBERS: DataType.ARRAY(DataType.FLOAT),
}


def build_oracle(text: str, registry: Registry, time_zone: str = "UTC") -> Callable[[Profile, datetime], bool]:
    """The total meaning of a vetted text, without scope. Raises `RuleError`, with spans, for what has no types."""
    expression = _totalled(build(parse(text, engine_context(registry))))
    zone = ZoneInfo(time_zone)

    def decide(profile: Profile, now: datetime) -> bool:
        bound = _moment.set((now, start_of_day(now, zone)))
        try:
            with decimal.localcontext(ARITHMETIC):
                return bool(expression.evaluate(profile))
        finally:
            _moment.reset(bound)

    return decide


def start_of_day(now: datetime, zone: ZoneInfo) -> datetime:
    """Midnight of the day that `now` falls on in `zone`, in UTC."""
    return now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def engine_context(registry: Registry) -> Context:
    """rule_engine's typed view of a profile: parts are objects with the registered fields, and nothing else."""
    attributes: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for name, field_type in registry.items():
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
            "now": BuiltinValueGenerator(lambda _: _moment.get()[0]),
            "today": BuiltinValueGenerator(lambda _: _moment.get()[1]),
        },
        timezone=UTC,
    )
    return context


def _value_in(mapping: Profile | None, name: str) -> Any:
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
                self.built = self.node.build()
            except RuleError as error:
                self.error = error
            except errors.EngineError as error:
                self.error = RuleError(_problem(error, self.node, self.syntax))
            except (*FAILURES, RecursionError, MemoryError, AssertionError) as error:
                detail = f"This cannot be computed: {error or type(error).__name__}."
                self.error = RuleError(Problem(detail, self.syntax.span(self.node)))
        if self.error is not None:
            raise self.error
        return self.built


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


def constant_value(syntax: Syntax, node: Node) -> Any:
    """The value of a node without fields or moments, as rule_engine computes it: a Decimal, text, tuple, …"""
    with decimal.localcontext(ARITHMETIC):
        return _totalled(build(syntax, node)).evaluate({})


def _prepared(node: Node, syntax: Syntax, operands: list[_BuiltLater]) -> Node:
    """The same deferred tree, with long chains balanced (building recurses) and children that report their place."""
    if is_logic(node):
        here = [_BuiltLater(_prepared(operand, syntax, operands), syntax) for operand in chain(node)]
        operands += here
        return _balanced(node, here, syntax)
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
    level: list[Any] = operands
    while len(level) > 1:
        pairs = [level[index : index + 2] for index in range(0, len(level), 2)]
        level = [
            _BuiltLater(make_node(node, (*node.args[:2], *pair), {}), syntax) if len(pair) == 2 else pair[0]
            for pair in pairs
        ]
        for made in level:
            syntax.offsets.setdefault(id(made.node), syntax.offsets[id(node)])
    top: Node = level[0].node
    return top


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
        return Problem(f"These types do not go together here: {', '.join(types) or 'unknown'}.", span)
    return Problem(f"This cannot be computed: {error.message}.", span)


def children_later(node: Node) -> list["_BuiltLater"]:
    """The children of a prepared node."""
    found = [argument for argument in (*node.args, *node.kwargs.values()) if isinstance(argument, _BuiltLater)]
    return found + [each for group in node.args if isinstance(group, tuple) for each in group]


def _result_type(later: "_BuiltLater") -> Any:
    return later.built.result_type if later.built is not None else None


def _is_part(later: "_BuiltLater") -> bool:
    engine_type = _result_type(later)
    return engine_type is not None and engine_type.is_object


_TYPE_NAMES = {
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
    return _TYPE_NAMES.get(engine_type.name, f"the part {engine_type.name}")


class _Value:
    """Guards a value: what cannot be computed is null."""

    otherwise: Any = None

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.result_type = inner.result_type

    def evaluate(self, profile: Any) -> Any:
        try:
            return self.inner.evaluate(profile)
        except FAILURES:
            return self.otherwise


class _Test(_Value):
    """Guards a test: one that cannot be decided is false."""

    otherwise = False


class _Complement(_Value):
    """Guards `!~` and `!~~`: where the test that they deny is false, they are true."""

    otherwise = True


class _NotNull:
    """Guards an operand of a test: null ends the test."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.result_type = inner.result_type

    def evaluate(self, profile: Any) -> Any:
        value = self.inner.evaluate(profile)
        if value is None:
            raise errors.EvaluationError("null has no order and holds no text")
        return value


class _Pattern:
    """An RE2 pattern with the two methods that rule_engine calls on `re`'s."""

    def __init__(self, pattern: str) -> None:
        self.anchored = compile_pattern(pattern, anchored=True)
        self.floating = compile_pattern(pattern, anchored=False)

    def match(self, text: str) -> Any:
        return _MATCHED if self.anchored.search(text) is not None else None

    def search(self, text: str) -> Any:
        return _MATCHED if self.floating.search(text) is not None else None


class _Matched:
    def groups(self) -> tuple[()]:
        return ()


_MATCHED = _Matched()
_OPERANDS = (
    *("left", "right", "member", "container", "object", "item", "start", "stop", "function"),
    *("condition", "case_true", "case_false", "iterable", "result"),
)


def _totalled(node: Any) -> Any:
    """Put guards below a built node, and return the guarded node itself."""
    for name in _OPERANDS:
        operand = getattr(node, name, None)
        if isinstance(operand, ast.ExpressionBase):
            setattr(node, name, _totalled(operand))
    if isinstance(node, ast.FunctionCallExpression):
        node.arguments = tuple(_totalled(argument) for argument in node.arguments)
    if isinstance(node, (ast.ArrayExpression, ast.SetExpression)):
        node.value = [_totalled(member) for member in node.value]
    if isinstance(node, ast.LiteralExpressionBase):
        return node
    return _guard(node)


def _guard(node: Any) -> Any:
    if isinstance(node, ast.FuzzyComparisonExpression):
        node.left = _NotNull(node.left)
        if isinstance(node.right, ast.StringExpression):
            node._right = _Pattern(node.right.value)  # noqa: SLF001  Python's `re` must not see a profile's text
        return _Complement(node) if node.type.startswith("ne") else _Test(node)
    if isinstance(node, ast.ArithmeticComparisonExpression):
        node.left, node.right = _NotNull(node.left), _NotNull(node.right)
        return _Test(node)
    if isinstance(node, ast.ContainsExpression):
        node.member, node.container = _NotNull(node.member), _NotNull(node.container)
        return _Test(node)
    if isinstance(node, ast.FunctionCallExpression) and isinstance(_inner(node.function), ast.GetAttributeExpression):
        return _Test(node)
    return _Value(node)


def _inner(guarded: Any) -> Any:
    return guarded.inner if isinstance(guarded, _Value) else guarded


@contextmanager
def moment(now: datetime, today: datetime) -> Iterator[None]:
    """Bind `$now` and `$today` for evaluations inside."""
    bound = _moment.set((now, today))
    try:
        yield
    finally:
        _moment.reset(bound)
