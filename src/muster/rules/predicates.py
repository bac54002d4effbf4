"""Condition → Python function, as generated code. `source` says what may stand in it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from typing import Any

from muster.rules.building import FAILURES
from muster.rules.computed import write_computed
from muster.rules.conditions import (
    And,
    Compare,
    CompareFields,
    CompareMeasure,
    CompareMoment,
    Computed,
    Condition,
    Constant,
    Field,
    Holds,
    InCohort,
    Matches,
    Not,
    OneOf,
    Or,
    Present,
    TextTest,
    Truthy,
    pushed_in,
)
from muster.rules.fields import FieldType, Registry
from muster.rules.limits import as_double
from muster.rules.oracle import IN_COHORTS, Predicate, build_oracle
from muster.rules.patterns import compile_pattern
from muster.rules.printing import condition_text
from muster.rules.reading import Rule
from muster.rules.source import NotWrittenError, Source
from muster.rules.translating import stored_literal, stored_values

_NO_PART: Mapping[str, Any] = {}
_NO_NUMBER = float("nan")  # no comparison with it holds


@lru_cache(maxsize=4096)
def compile_rule(rule: Rule) -> Predicate:
    """The whole rule, scope included, as a fast function of a profile and an aware `now`. Kept for equal rules.

    Static cohorts that a profile is in stand in it under `IN_COHORTS`.
    """
    return to_predicate(rule.condition, rule.registry, rule.time_zone, rule.required_parts)


def to_predicate(
    condition: Condition, registry: Registry, time_zone: str, required_parts: tuple[str, ...] = ()
) -> Predicate:
    """A function of a profile and now. `required_parts` must be there for anything to hold.

    It is written for profiles as they are stored: fields may be missing, and values have the registered types. What is
    otherwise makes it raise; then one decides that also knows nulls, and in the end the oracle.
    """

    def by_oracle() -> Predicate:
        return _by_oracle(condition, registry, time_zone)

    def with_nulls() -> Predicate:
        return _generated(_Writer(Source(time_zone), registry, nulls=True), condition, required_parts, by_oracle)

    return _generated(_Writer(Source(time_zone), registry, nulls=False), condition, required_parts, with_nulls)


def _generated(
    writer: "_Writer", condition: Condition, required_parts: tuple[str, ...], otherwise: Callable[[], Predicate]
) -> Predicate:
    expression, source = writer.write(pushed_in(condition)), writer.source
    before: list[str] = []
    for part, uses in source.parts.items():
        if part in required_parts or uses > 1:
            expression = expression.replace(f"@{part}.", f"{part}.")
            if part not in required_parts:
                before.append(f"{part} = profile.get({part!r}) or no_part")
        else:  # looked up where it is used: often an earlier condition has decided
            expression = expression.replace(f"@{part}.", f"(profile.get({part!r}) or no_part).")
    text = (
        "def holds(profile, now):",
        *(f"    {part} = profile.get({part!r})\n    if {part} is None: return False" for part in required_parts),
        "    try:",
        *(f"        {line}" for line in before),
        *(f"        {anchor} = {code}" for anchor, code in source.anchors.items()),
        f"        return {expression}",
        "    except failures:",
        "        return otherwise()(profile, now)",
    )
    source.names |= {"no_part": _NO_PART, "failures": FAILURES, "otherwise": cache(otherwise)}
    try:
        return source.compiled("holds", "\n".join(text))
    except (SyntaxError, RecursionError, MemoryError):  # Python reads no more than 200 brackets inside each other
        return otherwise()


def _by_oracle(condition: Condition, registry: Registry, time_zone: str) -> Predicate:
    """Leaf by leaf, each built when it is first asked: with other cohorts' rules in it, the whole has no text."""
    match condition:
        case And(parts=parts) | Or(parts=parts):
            holds = all if isinstance(condition, And) else any
            several = [_by_oracle(part, registry, time_zone) for part in parts]
            return lambda profile, now: holds(decide(profile, now) for decide in several)
        case Not(part=part):
            denied = _by_oracle(part, registry, time_zone)
            return lambda profile, now: not denied(profile, now)
    leaf, inner = condition, ((condition.cohort, condition.rule),) if isinstance(condition, InCohort) else ()
    built = cache(lambda: build_oracle(condition_text(leaf), registry, time_zone, inner))

    def decide(profile: Mapping[str, Any], now: datetime) -> bool:
        return built()(profile, now)

    return decide


@dataclass
class _Writer:
    """Writes one condition as a Python expression that is True or False.

    With `nulls`, fields may hold null; without, a null makes some of the tests raise.
    """

    source: Source
    registry: Registry
    nulls: bool

    def write(self, condition: Condition) -> str:
        match condition:
            case And(parts=parts):
                return f"({' and '.join(self.write(part) for part in parts)})"
            case Or(parts=parts):
                return f"({' or '.join(self.write(part) for part in parts)})"
            case Not(part=part):
                return f"(not {self.write(part)})"
            case Constant(value=value):
                return str(value)
            case Compare():
                return self._compare(condition)
            case CompareMoment(operator=operator, field=found, anchor=anchor, offset=offset):
                return self._ordered(operator, found, f"({self.source.anchor(anchor)} + {self._constant(offset)})")
            case CompareFields(operator=operator, left=left, right=right):
                return self._compare_fields(operator, left, right)
            case CompareMeasure():
                return self._compare_measure(condition)
            case OneOf(field=found, values=values):
                return f"({self._value(found)} in {self._constant(frozenset(stored_values(values)))})"
            case Holds(field=found, value=value):
                comparison = stored_literal("==", value)
                if comparison is None:
                    return "False"
                return self._held(found, f"{self._constant(comparison[1])} in {{}}", nothing="()")
            case TextTest():
                return self._text_test(condition)
            case Matches(field=found, pattern=pattern, anchored=anchored):
                search = self._constant(compile_pattern(pattern, anchored=anchored).search)
                return self._guarded(found, f"{search}({{}}) is not None")
            case Truthy(field=str(part)):
                return f"bool(profile.get({part!r}))"
            case Truthy(field=Field() as found):
                return f"bool({self._value(found)})"
            case Present(part=part):
                return f"(profile.get({part!r}) is not None)"
            case Computed(text=text):
                return self._computed(text)
            case InCohort(cohort=cohort, rule=None):
                return f"({self._constant(cohort)} in profile.get({IN_COHORTS!r}, ()))"
            case InCohort(rule=rule):
                return f"{self._constant(compile_rule(rule))}(profile, now)"
        raise AssertionError(condition)

    def _compare(self, condition: Compare) -> str:
        operator, found, value = condition.operator, condition.field, condition.value
        if value is None or (isinstance(value, bool) and operator in ("==", "!=")):
            return f"({self._value(found)} is {'not ' if operator == '!=' else ''}{value})"
        comparison = stored_literal(operator, value)
        if comparison is None:
            return str(operator == "!=")
        return self._ordered(comparison[0], found, self._constant(comparison[1]))

    def _computed(self, text: str) -> str:
        source = self.source.copied()
        try:
            written = write_computed(text, source, self.registry)
        except NotWrittenError:
            decide = self._constant(build_oracle(text, self.registry, self.source.time_zone))
            return f"{decide}(profile, now)"
        self.source = source
        return written

    def _ordered(self, operator: str, found: Field, other: str) -> str:
        if operator in ("==", "!="):
            return f"({self._value(found)} {operator} {other})"
        if found.type is FieldType.NUMBER and not self.nulls:
            return f"({self._number(found)} {operator} {other})"
        return self._guarded(found, f"{{}} {operator} {other}")

    def _number(self, found: Field) -> str:
        """The field's value; when it is missing, a number with which no comparison holds."""
        return self.source.field(found, self.source.named("no_number", _NO_NUMBER))

    def _held(self, found: Field, test: str, nothing: str) -> str:
        """`test` of the field's value, which does not hold for `nothing`: that stands for a missing value."""
        if self.nulls:
            return self._guarded(found, test)
        return f"({test.replace('{}', self.source.field(found, nothing))})"

    def _compare_fields(self, operator: str, left: Field, right: Field) -> str:
        if operator in ("==", "!="):
            return f"({self._value(left)} {operator} {self._value(right)})"
        if left.type is FieldType.NUMBER and not self.nulls:
            return f"({self._number(left)} {operator} {self._number(right)})"
        other = f"{right.part}_{right.attribute}"
        return self._guarded(right, self._guarded(left, f"{{}} {operator} {other}"))

    def _compare_measure(self, condition: CompareMeasure) -> str:
        denied = condition.operator == "!="
        comparison = as_double("==" if denied else condition.operator, condition.value)
        if comparison is None:
            return str(denied)
        measures = {"length": "len({})", "millisecond": "{}.microsecond / 1000"}
        measure = measures.get(condition.measure, f"{{}}.{condition.measure}")
        test = self._guarded(condition.field, f"{measure} {comparison[0]} {self._constant(comparison[1])}")
        return f"(not {test})" if denied else test

    def _text_test(self, condition: TextTest) -> str:
        value = f"{{}}.{condition.case}()" if condition.case else "{}"
        text = self._constant(condition.text)
        tests = {
            "contains": f"{text} in {value}",
            "starts with": f"{value}.startswith({text})",
            "ends with": f"{value}.endswith({text})",
            "equals": f"{value} == {text}",
        }
        test = tests[condition.kind]
        return (
            self._held(condition.field, test, nothing='""') if condition.text else self._guarded(condition.field, test)
        )

    def _guarded(self, found: Field, test: str) -> str:
        """`test` of the field's value, false when there is none."""
        variable = f"{found.part}_{found.attribute}"
        return f"(({variable} := {self._value(found)}) is not None and {test.replace('{}', variable)})"

    def _value(self, found: Field) -> str:
        return self.source.field(found)

    def _constant(self, value: Any) -> str:
        return self.source.constant(value)
