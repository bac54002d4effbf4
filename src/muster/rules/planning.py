"""What MongoDB decides and what Python checks afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from muster.rules.problems import Span
from muster.rules.reading import Rule
from muster.rules.running import Predicate, oracle


@dataclass(frozen=True)
class Piece:
    """Where one piece of a rule runs, and why."""

    text: str
    span: Span | None
    where: Literal["mongodb", "python"]
    reason: str


@dataclass(frozen=True)
class Plan:
    """How a rule runs."""

    strategy: Literal["mongodb", "hybrid", "python"]
    residual: str | None
    pieces: tuple[Piece, ...]
    projection: Mapping[str, int]
    rule: Rule
    predicate: Predicate

    def match_at(self, now: datetime) -> dict[str, Any]:
        """The MongoDB filter, scope included."""
        assert now.tzinfo
        return {part: {"$type": "object"} for part in self.rule.required_parts}

    def accepts(self, profile: Mapping[str, Any], now: datetime) -> bool:
        """The residual."""
        return self.predicate(profile, now)


def plan_rule(rule: Rule) -> Plan:
    """Plan a rule."""
    piece = Piece(rule.text, Span.within(rule.text, 0, len(rule.text)), "python", "not planned yet")
    return Plan("python", rule.text, (piece,), dict.fromkeys(rule.fields, 1), rule, oracle(rule))
