"""Condition → Python function, as generated code.

The code holds only names made here and constants passed beside it: nothing that a user typed is ever compiled. Text
such as `lead.get('score')` is made from registered names that rule_engine's grammar read as symbols.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

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
    leaves,
)
from muster.rules.fields import Registry
from muster.rules.limits import as_double
from muster.rules.oracle import IN_COHORTS, Predicate, build_oracle, start_of_day
from muster.rules.patterns import compile_pattern
from muster.rules.printing import condition_text
from muster.rules.reading import Rule
from muster.rules.translating import stored_literal, stored_values

_NO_PART: Mapping[str, Any] = {}


@lru_cache(maxsize=4096)
def compile_rule(rule: Rule) -> Predicate:
    """The whole rule, scope included, as a fast function of a profile and an aware `now`. Kept for equal rules.

    Static cohorts that a profile is in stand in it under `IN_COHORTS`.
    """
    return to_predicate(rule.condition, rule.registry, rule.time_zone, rule.required_parts)


def to_predicate(
    condition: Condition, registry: Registry, time_zone: str, required_parts: tuple[str, ...] = ()
) -> Predicate:
    """A function of a profile and now. `required_parts` must be there for anything to hold."""
    writer = _Writer(registry, time_zone)
    expression = writer.write(condition)
    before: list[str] = []
    for part, uses in writer.parts.items():
        if part in required_parts or uses > 1:
            expression = expression.replace(f"@{part}.", f"{part}.")
            if part not in required_parts:
                before.append(f"{part} = profile.get({part!r}) or no_part")
        else:  # looked up where it is used: often an earlier condition has decided
            expression = expression.replace(f"@{part}.", f"(profile.get({part!r}) or no_part).")
    source = "\n".join(
        (
            "def holds(profile, now):",
            *(f"    {part} = profile.get({part!r})\n    if {part} is None: return False" for part in required_parts),
            "    try:",
            *(f"        {line}" for line in before),
            *(f"        {anchor} = {code}" for anchor, code in writer.anchors.items()),
            f"        return {expression}",
            "    except (TypeError, AttributeError, ValueError):",
            "        return otherwise(profile, now)",
        )
    )
    otherwise = _by_oracle(condition, registry, time_zone)
    names: dict[str, Any] = {"no_part": _NO_PART, "otherwise": otherwise, **writer.constants}
    exec(compile(source, "<rule>", "exec"), names)  # noqa: S102  our own text: see the module's head
    holds: Predicate = names["holds"]
    return holds


def _by_oracle(condition: Condition, registry: Registry, time_zone: str) -> Predicate:
    """For values of a type other than the registered: they make the fast code raise, and the oracle decides."""
    decide: list[Predicate] = []

    def otherwise(profile: Mapping[str, Any], now: datetime) -> bool:
        if not decide:
            inner = {leaf.cohort: leaf.rule for leaf in leaves(condition) if isinstance(leaf, InCohort)}
            decide.append(build_oracle(condition_text(condition), registry, time_zone, tuple(inner.items())))
        return decide[0](profile, now)

    return otherwise


@dataclass
class _Writer:
    """Writes one condition as a Python expression that is True or False, in which `@lead.` stands for a part."""

    registry: Registry
    time_zone: str
    parts: Counter[str] = field(default_factory=Counter)
    anchors: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)

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
                return self._ordered(operator, found, f"({self._anchor(anchor)} + {self._constant(offset)})")
            case CompareFields(operator=operator, left=left, right=right):
                return self._compare_fields(operator, left, right)
            case CompareMeasure():
                return self._compare_measure(condition)
            case OneOf(field=found, values=values):
                return f"({self._value(found)} in {self._constant(frozenset(stored_values(values)))})"
            case Holds(field=found, value=value):
                comparison = stored_literal("==", value)
                return (
                    "False" if comparison is None else self._guarded(found, f"{self._constant(comparison[1])} in {{}}")
                )
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
                decide = self._constant(build_oracle(text, self.registry, self.time_zone))
                return f"{decide}(profile, now)"
            case InCohort(cohort=cohort, rule=None):
                return f"({self._constant(cohort)} in profile.get({IN_COHORTS!r}, ()))"
            case InCohort(rule=rule):
                return f"{self._constant(compile_rule(rule))}(profile, now)"
        raise AssertionError(condition)

    def _compare(self, condition: Compare) -> str:
        value = self._value(condition.field)
        if condition.value is None:
            return f"({value} is {'not ' if condition.operator == '!=' else ''}None)"
        comparison = stored_literal(condition.operator, condition.value)
        if comparison is None:
            return str(condition.operator == "!=")
        operator, literal = comparison
        return self._ordered(operator, condition.field, self._constant(literal))

    def _ordered(self, operator: str, found: Field, other: str) -> str:
        if operator in ("==", "!="):
            return f"({self._value(found)} {operator} {other})"
        return self._guarded(found, f"{{}} {operator} {other}")

    def _compare_fields(self, operator: str, left: Field, right: Field) -> str:
        if operator in ("==", "!="):
            return f"({self._value(left)} {operator} {self._value(right)})"
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
        value = "{}.lower()" if condition.folded else "{}"
        text = self._constant(condition.text)
        tests = {
            "contains": f"{text} in {value}",
            "starts with": f"{value}.startswith({text})",
            "ends with": f"{value}.endswith({text})",
            "equals": f"{value} == {text}",
        }
        return self._guarded(condition.field, tests[condition.kind])

    def _guarded(self, found: Field, test: str) -> str:
        """`test` of the field's value, false when there is none."""
        variable = f"{found.part}_{found.attribute}"
        return f"(({variable} := {self._value(found)}) is not None and {test.replace('{}', variable)})"

    def _value(self, found: Field) -> str:
        self.parts[found.part] += 1
        return f"@{found.part}.get({found.attribute!r})"

    def _anchor(self, anchor: str) -> str:
        if anchor == "today":
            zone = self._constant(ZoneInfo(self.time_zone))
            self.anchors["today"] = f"{self._constant(start_of_day)}(now, {zone})"
        return anchor

    def _constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name
