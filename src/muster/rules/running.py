"""Run a rule in Python."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from muster.rules.oracle import build_oracle
from muster.rules.reading import Rule

Predicate = Callable[[Mapping[str, Any], datetime], bool]


def oracle(rule: Rule) -> Predicate:
    """The meaning of the whole rule, scope included."""
    decide = build_oracle(rule.text, rule.registry, rule.time_zone)

    def holds(profile: Mapping[str, Any], now: datetime) -> bool:
        return all(profile.get(part) is not None for part in rule.required_parts) and decide(profile, now)

    return holds


def compile_rule(rule: Rule) -> Predicate:
    """The whole rule as a predicate."""
    return oracle(rule)
