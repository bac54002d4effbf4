"""Syntax tree → typed condition: every construct that the product knows by name, the rest as `Computed`.

The syntax was vetted, and rule_engine has built and typed it, before this looks at it. So here nothing is wrong any
more; what can be said is that something is surely not meant, and that is a warning.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeGuard

from rule_engine import ast

from muster.rules import moments
from muster.rules.capabilities import COMPUTED_REASONS, OTHERWISE_COMPUTED
from muster.rules.choices import Room, choice_in, with_chosen
from muster.rules.conditions import (
    MIRRORED,
    Compare,
    CompareFields,
    CompareMeasure,
    Computed,
    Condition,
    Constant,
    Field,
    Holds,
    InCohort,
    Matches,
    Not,
    OneOf,
    Operator,
    Present,
    TextTest,
    TextTestKind,
    Truthy,
    all_of,
    any_of,
    leaves,
)
from muster.rules.fields import FieldType
from muster.rules.needs import truth_needs
from muster.rules.nesting import size, standing_at
from muster.rules.operands import (
    Cased,
    Literal,
    Measured,
    OperandReader,
    Part,
    as_linear,
    is_a,
    of_type,
)
from muster.rules.oracle import constant_value
from muster.rules.problems import Problem, RuleError
from muster.rules.syntax import Node, Syntax, chain, children, is_logic
from muster.rules.windows import turns_in

if TYPE_CHECKING:
    from muster.rules.reading import Rule

OPERATORS: dict[str, Operator] = {"EQ": "==", "NE": "!=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}

COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass
class Checker(OperandReader):
    """Reads one rule's syntax into a condition; collects warnings on the way. `cohorts` are those it may name."""

    cohorts: Mapping[str, "Rule | None"] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)
    room: Room = field(default_factory=Room)

    def condition(self, node: Node) -> Condition:
        """The node as something true or false."""
        span = self.syntax.span(node)
        if is_logic(node):
            parts = [self.condition(operand) for operand in chain(node)]
            return (all_of if node.args[1] == "AND" else any_of)(parts, span)
        if node.cls is ast.UnaryExpression and node.args[1] == "NOT":
            self._warn_of_loose_not(node)
            inner = self.condition(node.args[2])
            # `a not in b` is `not` over a node without a text of its own: computed, it is computed as a whole.
            is_one_word = isinstance(inner, Computed) and inner.span == span
            return self.computed(node) if is_one_word else Not(inner, span)
        if self.names(node).is_constant:
            settled = bool(constant_value(self.syntax, node))
            if node.cls is not ast.BooleanExpression:
                is_true, is_false = (
                    "This is always true, whatever the profile.",
                    "This is always false, whatever the profile.",
                )
                self.warn(node, is_true if settled else is_false)
            return Constant(settled, span)
        if node.cls is ast.TernaryExpression and (chosen := self.chosen(node, node)):
            return chosen
        if (choice := choice_in(node)) and (chosen := self._of_a_choice(node, choice)):
            return chosen
        read = _READERS.get(node.cls)
        return (read and read(self, node)) or self.truth(node)

    def truth(self, node: Node) -> Condition:
        """A value standing for itself: true when it is neither missing, nor empty, 0 or false."""
        span = self.syntax.span(node)
        match self.value(node):
            case Field() as found:
                return Truthy(found, span)
            case Part(name=name):
                return Truthy(name, span)
            case Measured(field=found, measure=measure):
                there = Compare("!=", found, None, span)
                not_zero = CompareMeasure("!=", found, measure, Decimal(0), span)
                return all_of([there, not_zero], span, derived=True)
            case Cased(field=found):
                return Truthy(found, span)
        return self.computed(node)

    def chosen(self, node: Node, choice: Node) -> Condition | None:
        """The condition `node` with each of the values that a choice in it has; None where there is no room for it.

        The choice can be the condition itself.
        """
        span = self.syntax.span(node)
        test: Condition
        if choice.cls is ast.TernaryExpression:
            test, values = self.condition(choice.args[1]), choice.args[2:]
        else:
            found = self.field(choice.args[1])
            if found is None:
                return None
            test, values = Compare("!=", found, None, span), choice.args[1:]
        if not self.room.take(size(test)[0]):
            return None
        either = [value if choice is node else with_chosen(self.syntax, node, choice, value) for value in values]
        then, otherwise = (self._settled_or(each) for each in either)
        chosen = [all_of([test, then], span, derived=True), all_of([Not(test, span), otherwise], span, derived=True)]
        return any_of(chosen, span, derived=True)

    def _settled_or(self, node: Node) -> Condition:
        """The condition; where it is constant, nothing is said about that: it is one of two."""
        reader = replace(self, warnings=[]) if self.names(node).is_constant else self
        return reader.condition(node)

    def _of_a_choice(self, node: Node, choice: Node) -> Condition | None:
        """The same for a test of a choice, unless something is left to compute: that has no text of its own.

        What is said about one of the tests says nothing about the whole, so nothing is.
        """
        try:
            found = replace(self, warnings=[]).chosen(node, choice)
        except RuleError:  # with one of the values the test has no types, and is false
            return None
        if found is None or any(isinstance(leaf, Computed) for leaf in leaves(found)):
            return None
        return standing_at(self.syntax.span(node), found)

    def computed(self, node: Node) -> Computed:
        """The node as it is, for rule_engine's operations."""
        names = self.names(node)
        return Computed(
            self.syntax.source(node),
            tuple(sorted(names.fields)),
            bool(names.anchors),
            self._reason(node),
            self.syntax.span(node),
            turns_in(node) if names.anchors else (),
            truth_needs(node, self.field),
        )

    def warn(self, node: Node, detail: str, suggestion: str | None = None) -> None:
        """Add a warning at a node."""
        self.warnings.append(Problem(detail, self.syntax.span(node), suggestion=suggestion))

    def _reason(self, node: Node) -> str:
        waiting = [node]
        while waiting:
            found = waiting.pop(0)
            if reason := COMPUTED_REASONS.get(found.cls.__name__):
                return reason
            waiting.extend(children(found))
        return OTHERWISE_COMPUTED

    def _warn_of_loose_not(self, node: Node) -> None:
        inner = node.args[2]
        if inner.cls is ast.ComparisonExpression and not _in_parentheses(self.syntax, node, inner):
            first = self.field(inner.args[2])
            if first and first.type is FieldType.BOOLEAN:
                source = self.syntax.source(inner)
                self.warn(
                    node, f"`not` binds looser than {inner_operator(inner)}: this is not ({source}).", f"not ({source})"
                )


def _is_ascii(values: tuple[Any, ...]) -> TypeGuard[tuple[str, ...]]:
    return all(isinstance(value, str) and value.isascii() for value in values)


def inner_operator(node: Node) -> str:
    """`==` for a comparison node."""
    return OPERATORS[node.args[1]]


def _in_parentheses(syntax: Syntax, outer: Node, inner: Node) -> bool:
    """Whether the last operand of a node stands in parentheses: then the node ends after it."""
    return syntax.offsets[id(outer)][1] > syntax.offsets[id(inner)][1]


# Readers: one per kind of node; None where the node is not of a known shape.


def _comparison(checker: Checker, node: Node) -> Condition | None:
    sign = OPERATORS[node.args[1]]
    left, right = checker.value(node.args[2]), checker.value(node.args[3])
    if isinstance(left, Literal):
        left, right, sign = right, left, MIRRORED[sign]
    span = checker.syntax.span(node)
    match left, right:
        case Field(), Literal(value=value):
            return _field_with_literal(checker, node, sign, left, value)
        case Field(), Field():
            return _field_with_field(checker, node, sign, left, right)
        case Part(name=name), Literal(value=value):
            if sign in ("==", "!="):
                present = Present(name, span)
                is_null = Not(present, span) if value is None else Constant(value=False, span=span)
                return is_null if sign == "==" else (present if value is None else Constant(value=True, span=span))
        case Measured(field=found, measure=measure), Literal(value=Decimal() as value):
            return CompareMeasure(sign, found, measure, value, span)
        case Cased() as cased, Literal(value=str() as text) if sign in ("==", "!=") and text.isascii():
            test = _in_case(checker, node, "equals", cased, text)
            return test if sign == "==" else Not(test, span)
    if isinstance(right, Literal) and isinstance(right.value, bool) and sign in ("==", "!="):
        return _truth_value(checker, node, sign, expected=right.value)
    forms = as_linear(left), as_linear(right)
    return moments.compared(sign, forms[0], forms[1], span) if forms[0] and forms[1] else None


def _field_with_literal(checker: Checker, node: Node, sign: Operator, found: Field, value: Any) -> Condition | None:
    span = checker.syntax.span(node)
    if value is None:  # also of a computation that fails: `$pi / 0`
        return Compare(sign, found, None, span) if sign in ("==", "!=") else Constant(value=False, span=span)
    if found.type.is_list:
        if isinstance(value, tuple):
            checker.warn(node, f"This compares the whole list {found.name}, order included; `in` looks inside.")
            return None
        checker.warn(node, f"{found.name} is a {found.type}; this comparison can never hold.", _member(checker, node))
        return Constant(sign == "!=", span)
    if not is_a(value, found.type):
        always = f"{found.name} is a {found.type}, and this is not: the comparison is always true."
        never = f"{found.name} is a {found.type}, and this is not: the comparison is never true."
        checker.warn(node, always if sign == "!=" else never)
        return Constant(sign == "!=", span)
    return Compare(sign, found, value, span)


def _member(checker: Checker, node: Node) -> str:
    first, second = (checker.syntax.source(child) for child in node.args[2:4])
    return f"{first} in {second}" if checker.names(node.args[2]).is_constant else f"{second} in {first}"


def _field_with_field(checker: Checker, node: Node, sign: Operator, left: Field, right: Field) -> Condition | None:
    span = checker.syntax.span(node)
    if left.type is not right.type:
        if left.type.is_list and right.type.is_list:
            return None  # two empty lists are equal, whatever they are lists of
        always = f"A {left.type} and a {right.type}: where there is a value, this is always true."
        never = f"A {left.type} and a {right.type}: where there is a value, this is never true."
        missing = [Compare("==", each, None, span) for each in (left, right)]
        checker.warn(node, always if sign == "!=" else never)
        both = all_of(list(missing), span, derived=True)
        return both if sign == "==" else Not(both, span, derived=True)
    return None if left.type.is_list else CompareFields(sign, left, right, span)


_ALWAYS_BOOLEAN = (
    ast.ArithmeticComparisonExpression,
    ast.ComparisonExpression,
    ast.ContainsExpression,
    ast.FuzzyComparisonExpression,
    ast.LogicExpression,
)


def _truth_value(checker: Checker, node: Node, sign: Operator, *, expected: bool) -> Condition | None:
    """`(condition) == true`: only where the other side is a condition, never null."""
    other = node.args[2] if checker.names(node.args[3]).is_constant else node.args[3]
    is_test = other.cls is ast.FunctionCallExpression and other.args[1].cls is ast.GetAttributeExpression
    is_not = other.cls is ast.UnaryExpression and other.args[1] == "NOT"
    if not (other.cls in _ALWAYS_BOOLEAN or is_test or is_not):
        return None
    inner = checker.condition(other)
    if expected == (sign == "=="):
        return any_of([inner, Constant(value=False, span=inner.span)], checker.syntax.span(node), derived=True)
    return Not(inner, checker.syntax.span(node), derived=True)


def _pattern(checker: Checker, node: Node) -> Condition | None:
    kind, pattern = node.args[1], node.args[3].args[1]
    found = checker.value(node.args[2])
    if not isinstance(found, Field):
        return None
    span = checker.syntax.span(node)
    test = Matches(found, pattern, kind.endswith("FZM"), span)
    return Not(test, span) if kind.startswith("NE") else test


def _contains(checker: Checker, node: Node) -> Condition | None:
    container, member = checker.value(node.args[1]), checker.value(node.args[2])
    span = checker.syntax.span(node)
    match container, member:
        case Literal(value=tuple() as values), Field() if not member.type.is_list:
            if None in values:
                checker.warn(node, "A missing value is in no list, not even in one with null: test it with == null.")
            kept = tuple(of_type(values, member.type))
            return OneOf(member, kept, span) if kept else Constant(value=False, span=span)
        case Field(type=FieldType.STRING), Literal(value=str() as text):
            return TextTest("contains", container, text, span)
        case Cased() as cased, Literal(value=str() as text) if text.isascii():
            return _in_case(checker, node, "contains", cased, text)
        case Literal(value=tuple() as values), Cased() as cased if _is_ascii(values):
            tests = [_in_case(checker, node, "equals", cased, text) for text in values]
            return any_of(tests, span, derived=True) if tests else Constant(value=False, span=span)
        case Field(), Literal(value=value) if container.type.is_list and not isinstance(value, tuple):
            item = FieldType.STRING if container.type is FieldType.STRINGS else FieldType.NUMBER
            kept = tuple(of_type([value], item))
            if not kept:
                checker.warn(node, f"{container.name} is a {container.type}: this is never in it.")
                return Constant(value=False, span=span)
            return Holds(container, kept[0], span)
    return None


def _in_case(checker: Checker, node: Node, kind: TextTestKind, cased: Cased, text: str) -> Condition:
    """A test of ASCII text on a field's value in small letters, or in capitals."""
    span = checker.syntax.span(node)
    cased_text = text.lower() if cased.case == "lower" else text.upper()
    if text == cased_text:
        return TextTest(kind, cased.field, text, span, cased.case)
    in_lower = f"as_lower has no capital letters, so it never has {text[:40]!r}."
    in_upper = f"as_upper has no small letters, so it never has {text[:40]!r}."
    checker.warn(node, in_lower if cased.case == "lower" else in_upper, cased_text[:40])
    return Constant(value=False, span=span)


def _call(checker: Checker, node: Node) -> Condition | None:
    function, span = node.args[1], checker.syntax.span(node)
    if function.cls is ast.SymbolExpression:
        if function.args[1] == "in_cohort":
            argument = checker.value(node.args[2][0])
            if not isinstance(argument, Literal):
                return None
            cohort = str(argument.value)
            return InCohort(cohort, span, checker.cohorts.get(cohort))
        return None
    subject, argument = checker.value(function.args[1]), checker.value(node.args[2][0])
    kind: TextTestKind = "starts with" if function.args[2] == "starts_with" else "ends with"
    match subject, argument:
        case Field(type=FieldType.STRING), Literal(value=str() as text):
            return TextTest(kind, subject, text, span)
        case Cased() as cased, Literal(value=str() as text) if text.isascii():
            return _in_case(checker, node, kind, cased, text)
    return None


def _attribute(checker: Checker, node: Node) -> Condition | None:
    found = checker.value(node.args[1]) if node.args[2] == "is_empty" else None
    span = checker.syntax.span(node)
    match found:
        case Field(type=FieldType.STRING):
            return Compare("==", found, "", span)
        case Field() if found.type.is_list:
            return CompareMeasure("==", found, "length", Decimal(0), span)
    return None


def _coalesce(checker: Checker, node: Node) -> Condition | None:
    right = node.args[2]
    if right.cls in _ALWAYS_BOOLEAN and not is_logic(right) and not _in_parentheses(checker.syntax, node, right):
        left, first = checker.syntax.source(node.args[1]), checker.syntax.source(right)
        checker.warn(node, f"`??` binds looser than a comparison: this is {left} ?? ({first}).", f"{left} ?? ({first})")
    return checker.chosen(node, node)


_READERS: dict[Any, Callable[[Checker, Node], Condition | None]] = {
    ast.ArithmeticComparisonExpression: _comparison,
    ast.CoalesceExpression: _coalesce,
    ast.ComparisonExpression: _comparison,
    ast.ContainsExpression: _contains,
    ast.FunctionCallExpression: _call,
    ast.FuzzyComparisonExpression: _pattern,
    ast.GetAttributeExpression: _attribute,
}
