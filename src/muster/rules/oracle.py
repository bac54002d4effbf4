"""The meaning of a rule: rule_engine's own operation at every node, made total.

rule_engine raises where a value is missing; a segment must not. So the tree that rule_engine builds is kept as it is,
and between each node and its operands stands a small guard that turns what raises into null (for a value) or false
(for a test), as `rules.md` has it. Nothing here says how an operation works, only what happens when it cannot.

This is the reference that MongoDB's filter, the compiled predicate and explain are tested against. It also runs what
neither of them covers.
"""

import decimal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from rule_engine import ast, errors

from muster.rules.building import ARITHMETIC, FAILURES, build, engine_context, membership, moment
from muster.rules.fields import Registry
from muster.rules.patterns import compile_pattern
from muster.rules.syntax import Node, Syntax, children, parse

if TYPE_CHECKING:
    from muster.rules.reading import Rule

Profile = Mapping[str, Any]
Predicate = Callable[[Profile, datetime], bool]

IN_COHORTS = "in_cohorts"
"""The key of a profile under which a rule finds the static cohorts that it is a member of."""


def oracle(rule: "Rule") -> Predicate:
    """What the rule means, scope included; slow, and the judge of everything else.

    Static cohorts that a profile is in stand in it under `IN_COHORTS`.
    """
    decide = build_oracle(rule.text, rule.registry, rule.time_zone, rule.inner)
    required = rule.required_parts

    def holds(profile: Profile, now: datetime) -> bool:
        return all(profile.get(part) is not None for part in required) and decide(profile, now)

    return holds


def build_oracle(
    text: str, registry: Registry, time_zone: str = "UTC", inner: tuple[tuple[str, "Rule | None"], ...] = ()
) -> Predicate:
    """The total meaning of a vetted text, without scope; `inner` are the cohorts that it names.

    Raises `RuleError`, with spans, for what has no types.
    """
    expression = _totalled(build(parse(text, engine_context(registry))))
    zone = ZoneInfo(time_zone)
    follows = {cohort: oracle(rule) for cohort, rule in inner if rule is not None}

    def decide(profile: Profile, now: datetime) -> bool:
        def is_member(cohort: str) -> bool:
            rule = follows.get(cohort)
            return cohort in profile.get(IN_COHORTS, ()) if rule is None else rule(profile, now)

        bound = moment.set((now, start_of_day(now, zone)))
        asked = membership.set(is_member)
        try:
            with decimal.localcontext(ARITHMETIC):
                return bool(expression.evaluate(profile))
        finally:
            membership.reset(asked)
            moment.reset(bound)

    return decide


def start_of_day(now: datetime, zone: ZoneInfo) -> datetime:
    """Midnight of the day that `now` falls on in `zone`, in UTC."""
    return now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def constant_value(syntax: Syntax, node: Node) -> Any:
    """The value of a node without fields or moments, as rule_engine computes it: a Decimal, text, tuple, …"""
    with decimal.localcontext(ARITHMETIC):
        if node.cls is ast.ArrayExpression and all(member.cls in _LITERALS for member in children(node)):
            return tuple(member.build().evaluate({}) for member in children(node))
        if node.cls in _LITERALS:  # most constants by far: they need no guard, and were built without complaint
            return node.build().evaluate({})
        return _totalled(build(syntax, node)).evaluate({})


_LITERALS = (ast.FloatExpression, ast.StringExpression, ast.BooleanExpression, ast.NullExpression)


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


_METHODS = (ast.GetAttributeExpression, ast.FunctionExpression)


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
    # `lead.name.starts_with(…)`, or with a text written out: that rule_engine has folded into a function.
    if isinstance(node, ast.FunctionCallExpression) and isinstance(_inner(node.function), _METHODS):
        return _Test(node)
    return _Value(node)


def _inner(guarded: Any) -> Any:
    return guarded.inner if isinstance(guarded, _Value) else guarded
