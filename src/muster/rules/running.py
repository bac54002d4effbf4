"""A rule as a Python predicate: by its meaning (`oracle`), and fast (`compile_rule`)."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from muster.rules.oracle import build_oracle
from muster.rules.predicates import Predicate, to_predicate
from muster.rules.reading import Rule


def oracle(rule: Rule) -> Predicate:
    """What the rule means, scope included; slow, and the judge of everything else."""
    if rule.cohorts:
        raise ValueError("a rule that names other cohorts has no meaning for a profile alone")
    decide = build_oracle(rule.text, rule.registry, rule.time_zone)
    required = rule.required_parts

    def holds(profile: Mapping[str, Any], now: datetime) -> bool:
        return all(profile.get(part) is not None for part in required) and decide(profile, now)

    return holds


@lru_cache(maxsize=4096)
def compile_rule(rule: Rule) -> Predicate:
    """The whole rule, scope included, as a fast function of a profile and an aware `now`. Kept for equal rules."""
    return to_predicate(rule.condition, rule.registry, rule.time_zone, rule.required_parts)
