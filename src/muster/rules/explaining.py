"""Why a profile is in or out: every condition of a rule with its result and the values it saw."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from muster.rules.conditions import And, Condition, InCohort, Not, Or, names_of
from muster.rules.predicates import to_predicate
from muster.rules.problems import Span
from muster.rules.reading import Rule


@dataclass(frozen=True)
class Explanation:
    """One condition for one profile. `actual` maps each field that a leaf looked at to its value, None if missing."""

    text: str
    span: Span | None  # in the rule's text; None for what stands in the rule of a cohort that it names
    result: bool
    actual: Mapping[str, Any]
    children: tuple["Explanation", ...]

    def as_json(self) -> dict[str, Any]:
        """The wire form of the contract: the value itself where a leaf looks at one field, values by name if more."""
        found: dict[str, Any] = {"text": self.text, "span": self.span and self.span.as_json(), "result": self.result}
        if len(self.actual) == 1:
            found["actual"] = next(iter(self.actual.values()))
        elif self.actual:
            found["actual"] = dict(self.actual)
        if self.children:
            found["children"] = [child.as_json() for child in self.children]
        return found


def explain(rule: Rule, profile: Mapping[str, Any], now: datetime) -> Explanation:
    """Explain a rule for one profile at an aware `now`. The root's result is what the oracle says."""
    found = _explained(rule, rule.condition, profile, now)
    missing = [part for part in rule.required_parts if profile.get(part) is None]
    if not missing:
        return found
    scope = tuple(
        Explanation(f"{part} != null", None, result=False, actual={part: None}, children=()) for part in missing
    )
    whole = Span.within(rule.text, 0, len(rule.text))
    return Explanation(rule.text, whole, result=False, actual={}, children=(*scope, found))


def _explained(rule: Rule, condition: Condition, profile: Mapping[str, Any], now: datetime) -> Explanation:
    text = rule.text[condition.span.start : condition.span.end]
    match condition:
        case And(parts=parts, derived=False) | Or(parts=parts, derived=False):
            children = tuple(_explained(rule, part, profile, now) for part in parts)
            results = [child.result for child in children]
            result = all(results) if isinstance(condition, And) else any(results)
            return Explanation(text, condition.span, result, {}, children)
        case Not(part=part, derived=False) if part.span != condition.span:
            child = _explained(rule, part, profile, now)
            return Explanation(text, condition.span, not child.result, {}, (child,))
        case InCohort(rule=inner) if inner is not None:
            whole = _without_spans(explain(inner, profile, now))
            children = whole.children or (whole,)
            return Explanation(text, condition.span, whole.result, {}, children)
    result = to_predicate(condition, rule.registry, rule.time_zone)(profile, now)
    actual = {name: _actual(profile, name) for name in sorted(names_of(condition))}
    return Explanation(text, condition.span, result, actual, ())


def _without_spans(found: Explanation) -> Explanation:
    return replace(found, span=None, children=tuple(_without_spans(child) for child in found.children))


def _actual(profile: Mapping[str, Any], name: str) -> Any:
    part, _, attribute = name.partition(".")
    found = profile.get(part)
    return found.get(attribute) if attribute and isinstance(found, Mapping) else None if attribute else found
