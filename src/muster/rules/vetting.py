"""What a rule may not contain, decided on the parsed tree, before rule_engine builds anything from it.

Each refusal is about safety or about meaning: what can run away (`**`, shifts, ranges, nested comprehensions), what
has another answer at every look (`$random`), what has no values in a profile (bytes, mappings), and what would reach
past the registered fields (underscores).
"""

from collections.abc import Callable, Iterator
from datetime import UTC
from decimal import Decimal, InvalidOperation
from itertools import islice

from rule_engine import ast, errors
from rule_engine.parser.utilities import parse_datetime, parse_float, parse_timedelta

from muster.rules.fields import PARTS, Registry
from muster.rules.functions import known_functions
from muster.rules.patterns import translate_pattern
from muster.rules.problems import Problem, RuleError, Span
from muster.rules.suggestions import closest
from muster.rules.syntax import NO_BYTES, Node, Syntax, children

MAX_NUMBER_DIGITS = 100
MAX_NUMBER_EXPONENT = 400  # doubles end at 308
MAX_PATTERN = 1_000  # characters of a regular expression
MAX_PATTERNS = 4_000  # of all in a rule together; each is compiled
MAX_PROBLEMS = 20  # told at once; each unknown name is compared with all that are known

FUNCTIONS: dict[str, tuple[int, int]] = {
    "abs": (1, 1),
    "all": (1, 1),
    "any": (1, 1),
    "in_cohort": (1, 1),
    "max": (1, 1),
    "min": (1, 1),
    "split": (1, 3),
    "sum": (1, 1),
}
"""Functions of the language, with the least and the most number of arguments; `known_functions` has more."""

VALUES = ("e", "now", "pi", "today")
"""`$`-names that are values."""

METHODS = ("ends_with", "starts_with")
"""Attributes that are called."""

ATTRIBUTES = (
    *("as_lower", "as_upper", "is_empty", "length", "to_ary", "to_set", "to_str"),
    *("ceiling", "floor"),
    *("date", "day", "hour", "microsecond", "millisecond", "minute", "month", "second", "to_epoch", "weekday", "year"),
    *("days", "microseconds", "seconds", "total_seconds"),
)

_REFUSED_NAMES = {
    "filter": "Write a comprehension: [x for x in … if …].",
    "map": "Write a comprehension: [… for x in …].",
    "parse_datetime": 'Write a datetime literal: d"2026-01-31".',
    "parse_float": "Register the field as a number.",
    "parse_timedelta": 'Write a duration literal: t"P30D".',
    "random": "A rule must give the same answer at every look.",
    "range": "Lists are written out: [1, 2, 3].",
    "re_groups": "Groups of a match are not kept.",
}
_REFUSED_OPERATORS = {"POW": "**", "BWLSH": "<<", "BWRSH": ">>"}
_REFUSED_LITERALS = {
    ast.BytesExpression: NO_BYTES,
    ast.MappingExpression: "A mapping {key: value} has no place in a rule.",
}


def vet(syntax: Syntax, registry: Registry) -> None:
    """Refuse what may not be built, and names that are not registered. Raises `RuleError` with every problem."""
    problems = list(islice(_problems(syntax, registry), MAX_PROBLEMS))
    if problems:
        raise RuleError(*problems)


def _problems(syntax: Syntax, registry: Registry) -> Iterator[Problem]:
    called: set[int] = set()
    waiting: list[tuple[Node, frozenset[str]]] = [(syntax.root, frozenset())]
    patterns = 0
    while waiting:
        node, variables = waiting.pop()
        if node.cls is ast.FuzzyComparisonExpression and node.args[3].cls is ast.StringExpression:
            patterns += len(node.args[3].args[1]) + 20
            if patterns > MAX_PATTERNS:
                detail = (
                    "The regular expressions of this rule are too many or too long together. "
                    "Split it into several cohorts."
                )
                yield Problem(detail, syntax.span(node))
                return
        if node.cls is ast.FunctionCallExpression:
            called.add(id(node.args[1]))
        faults = list(_faults(node, variables, is_called=id(node) in called))
        for detail, suggestion in faults:
            yield Problem(detail, syntax.span(node), suggestion=suggestion)
        if name := _profile_name(node, variables):
            if not faults and name not in registry and name not in PARTS:
                yield _unknown_name(name, registry, syntax.span(node))
            continue
        if node.cls is ast.ComprehensionExpression:
            variables |= {node.args[2]}
        waiting.extend((child, variables) for child in reversed(children(node)))


def _profile_name(node: Node, variables: frozenset[str]) -> str | None:
    """`lead.score` or `lead` where a node names a field or a part (well or badly); None where it does not."""
    if node.cls is ast.SymbolExpression and node.kwargs["scope"] is None and node.args[1] not in variables:
        return str(node.args[1])
    if node.cls is ast.GetAttributeExpression:
        target = node.args[1]
        if target.cls is ast.SymbolExpression and (part := _profile_name(target, variables)):
            return f"{part}.{node.args[2]}"
    return None


def _unknown_name(name: str, registry: Registry, span: Span) -> Problem:
    if "." in name:
        return Problem(f"There is no field {name}.", span, suggestion=closest(name, registry))
    expected = ", ".join(PARTS)
    same = next((field for field in sorted(registry) if field.partition(".")[2] == name), None)
    detail = f"{name} is not a part of a profile; the parts are {expected}. Text goes in quotes."
    return Problem(detail, span, suggestion=same or closest(name, PARTS))


Fault = tuple[str, str | None]


def _faults(node: Node, variables: frozenset[str], *, is_called: bool) -> Iterator[Fault]:
    if refused := _REFUSED_LITERALS.get(node.cls):
        yield refused, None
    elif len(node.args) == 4 and node.args[1] in _REFUSED_OPERATORS:
        yield f"The operator {_REFUSED_OPERATORS[node.args[1]]} is not allowed: its result can be of any size.", None
    elif check := _CHECKS.get(node.cls):
        yield from check(node, variables, is_called)


def _number(node: Node, _variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    text = node.args[1]
    if text in ("nan", "inf"):
        yield f"{text} is not a number that a field can hold.", None
    elif len(text) > MAX_NUMBER_DIGITS:
        yield f"A number has at most {MAX_NUMBER_DIGITS} digits.", None
    else:
        try:
            value: Decimal = parse_float(text)
            if value and abs(value.adjusted()) > MAX_NUMBER_EXPONENT:
                yield "This number is outside of what a field can hold (about ±1.8e308).", None
        except (errors.FloatSyntaxError, InvalidOperation):
            yield "Not a number as rules write it: no leading zeros, and digits after the exponent.", None


def _moment(node: Node, _variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    try:
        parse_datetime(node.args[1], UTC).astimezone(UTC)
    except (errors.DatetimeSyntaxError, ValueError):
        yield 'Not a date and time: write ISO 8601, for example d"2026-01-31" or d"2026-01-31T12:00:00Z".', None
    except OverflowError:
        yield "This date is outside of the years 1 to 9999.", None


def _duration(node: Node, _variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    try:
        parse_timedelta(node.args[1])
    except errors.TimedeltaSyntaxError:
        yield 'Not a duration: write ISO 8601 without months and years, for example t"P30D" or t"PT12H".', None
    except OverflowError:
        yield "This duration is longer than a thousand million days.", None


def _string(node: Node, _variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    try:
        node.args[1].encode()
    except UnicodeEncodeError:
        yield "This text holds half of a surrogate pair, which is not a character.", None


def _symbol(node: Node, _variables: frozenset[str], is_called: bool) -> Iterator[Fault]:
    name = node.args[1]
    if node.kwargs["scope"] is None:
        if name.startswith("_"):
            yield f"{name} begins with an underscore: such names are not part of a rule.", None
    elif name in _REFUSED_NAMES:
        yield f"${name} is not allowed in a rule. {_REFUSED_NAMES[name]}", None
    elif name not in VALUES and name not in FUNCTIONS and name not in known_functions():
        yield f"There is no ${name}.", _dollar(closest(name, (*VALUES, *FUNCTIONS, *known_functions())))
    elif name not in VALUES and not is_called:
        yield f"${name} is a function: write ${name}(…).", None


def _dollar(name: str | None) -> str | None:
    return name and f"${name}"


def _attribute(node: Node, variables: frozenset[str], is_called: bool) -> Iterator[Fault]:
    target, name = node.args[1], node.args[2]
    if name.startswith("_"):
        yield f"{name} begins with an underscore: such names are not part of a rule.", None
    elif _profile_name(target, variables) and target.cls is ast.SymbolExpression:
        return  # a field: checked against the registry
    elif name in METHODS:
        if not is_called:
            yield f'{name} is called: write .{name}("…").', None
    elif name not in ATTRIBUTES:
        yield f"There is no attribute {name} here.", closest(name, (*ATTRIBUTES, *METHODS))


def _call(node: Node, _variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    function, given = node.args[1], len(node.args[2])
    if function.cls is ast.SymbolExpression and function.kwargs["scope"] is not None:
        name = function.args[1]
        if added := known_functions().get(name):
            least = most = len(added.parameters)
        else:
            least, most = FUNCTIONS.get(name, (given, given))
        if not least <= given <= most:
            one = f"${function.args[1]} takes {least} argument(s), not {given}."
            several = f"${function.args[1]} takes {least} to {most} arguments, not {given}."
            yield one if least == most else several, None
    elif function.cls is ast.GetAttributeExpression and function.args[2] in METHODS:
        if given != 1:
            yield f"The test .{function.args[2]} takes 1 argument, not {given}.", None
    else:
        yield "Only functions like $sum and tests like .starts_with can be called.", None


def _pattern(node: Node, _variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    subject, pattern = node.args[2], node.args[3]
    if _is_constant(subject):
        # rule_engine would fold it while building, on Python's `re`, which a pattern can keep busy for ever.
        yield "The text that a regular expression is tried on must come from a field.", None
    elif pattern.cls is not ast.StringExpression:
        yield "The regular expression must be written out as text in the rule, not computed.", None
    elif len(pattern.args[1]) > MAX_PATTERN:
        yield f"A regular expression has at most {MAX_PATTERN:,} characters.", None
    else:
        try:
            translate_pattern(pattern.args[1])
        except ValueError as error:
            yield f"This regular expression cannot be used: {error}.", None


def _is_constant(node: Node) -> bool:
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if found.cls is ast.SymbolExpression and found.kwargs["scope"] is None:
            return False
        waiting.extend(children(found))
    return True


def _comprehension(node: Node, variables: frozenset[str], _is_called: bool) -> Iterator[Fault]:
    name = node.args[2]
    if variables:
        yield "A comprehension inside a comprehension is not allowed: its cost multiplies.", None
    if name in PARTS or name.startswith("_"):
        yield f"{name} cannot name the variable of a comprehension: it is a part of a profile or begins with _.", None


_CHECKS: dict[type, Callable[[Node, frozenset[str], bool], Iterator[Fault]]] = {
    ast.ComprehensionExpression: _comprehension,
    ast.DatetimeExpression: _moment,
    ast.FloatExpression: _number,
    ast.FunctionCallExpression: _call,
    ast.FuzzyComparisonExpression: _pattern,
    ast.GetAttributeExpression: _attribute,
    ast.StringExpression: _string,
    ast.SymbolExpression: _symbol,
    ast.TimedeltaExpression: _duration,
}
