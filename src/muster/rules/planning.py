"""How a rule runs: what MongoDB's filter decides, and what Python checks over what the filter lets through.

The filter may let through too much, never too little. So of an `and` any part may be pushed down; of an `or`, either
something of every branch or nothing. Of a part that only Python can decide, this much: that the values are there
without which it does not hold.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeGuard
from zoneinfo import ZoneInfo

from muster.rules.access import PROFILE_ID, AccessPath, Branch, access_paths
from muster.rules.capabilities import ability
from muster.rules.conditions import (
    And,
    Compare,
    Condition,
    Constant,
    InCohort,
    Leaf,
    Not,
    Or,
    all_of,
    any_of,
    leaves,
    names_of,
    pushed_in,
    simplified,
)
from muster.rules.needs import needs_of
from muster.rules.nesting import written_out
from muster.rules.oracle import IN_COHORTS, Predicate, start_of_day
from muster.rules.predicates import to_predicate
from muster.rules.printing import condition_text
from muster.rules.problems import Span
from muster.rules.reading import Rule
from muster.rules.translating import Filter, everything, nothing, project, scope_filter, to_filter


@dataclass(frozen=True)
class Piece:
    """Where one piece of a rule runs, and why. `text` and `span` are of the rule's text."""

    text: str
    span: Span
    where: Literal["mongodb", "python"]
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The wire form of the contract."""
        return {"text": self.text, "span": self.span.as_json(), "where": self.where, "reason": self.reason}


@dataclass(frozen=True)
class Plan:
    """How a rule runs. `pushed` goes into the filter; `remaining` is checked in Python, None when nothing remains.

    A rule that looks into static cohorts (`rule.looked_up`) runs once it is `given` their members.
    """

    rule: Rule
    strategy: Literal["mongodb", "hybrid", "python"]
    pieces: tuple[Piece, ...]
    pushed: Condition | None
    remaining: Condition | None
    members: Mapping[str, AbstractSet[Any]] = field(default_factory=dict)

    def given(self, members: Mapping[str, AbstractSet[Any]]) -> "Plan":
        """The same plan with the `_id`s of the profiles that are members of each static cohort, by its number."""
        return replace(self, members=members)

    @property
    def residual(self) -> str | None:
        """The text of what Python checks, None when MongoDB decides it all."""
        return None if self.remaining is None else condition_text(self.remaining)

    @property
    def projection(self) -> Mapping[str, int]:
        """A MongoDB projection of the fields that the residual needs."""
        return {} if self.remaining is None else project(names_of(self.remaining))

    def match_at(self, now: datetime) -> Filter:
        """The filter over profile documents at an aware `now`, scope included, without `project_id`. A fresh dict."""
        if self.finds_nobody:
            return nothing()
        parts = scope_filter(self.rule.required_parts)
        if self.pushed is not None:
            pushed = self.filter_of(self.pushed, now)
            parts += pushed["$and"] if isinstance(self.pushed, And) else [pushed]
        if not parts:
            return everything()
        return parts[0] if len(parts) == 1 else {"$and": parts}

    @property
    def finds_nobody(self) -> bool:
        """Whether the filter lets nobody through, whatever is stored."""
        return isinstance(self.pushed, Constant)

    def filter_of(self, condition: Condition, now: datetime) -> Filter:
        """The filter for something that is pushed down, alone, at an aware `now`."""
        moments = {"now": now, "today": start_of_day(now, ZoneInfo(self.rule.time_zone))}
        return to_filter(condition, moments, self.members)

    @cached_property
    def access_paths(self) -> tuple[AccessPath, ...]:
        """The ways to all that the filter lets through by indexes on fields, where there are such indexes."""
        return () if self.pushed is None else access_paths(self.pushed)

    def on_path(self, path: AccessPath) -> Predicate:
        """Whether a profile is among those that a path of conditions on fields leads to."""
        branches = [to_predicate(branch.condition, self.rule.registry, self.rule.time_zone) for branch in path.branches]
        return lambda profile, now: any(holds(profile, now) for holds in branches)

    def named(self, branch: Branch) -> int | None:
        """How many profiles a branch names, as members of static cohorts; None for one on a field."""
        if branch.field != PROFILE_ID:
            return None
        return sum(len(self.members[leaf.cohort]) for leaf in leaves(branch.condition) if isinstance(leaf, InCohort))

    def accepts(self, profile: Mapping[str, Any], now: datetime) -> bool:
        """Whether the residual holds for a profile that passed the filter. True when there is no residual."""
        if self.members:
            its_own = [cohort for cohort, members in self.members.items() if profile["_id"] in members]
            profile = {**profile, IN_COHORTS: its_own}
        return self._predicate(profile, now)

    @cached_property
    def _predicate(self) -> Predicate:
        if self.remaining is None:
            return lambda _profile, _now: True
        return to_predicate(self.remaining, self.rule.registry, self.rule.time_zone)

    def as_json(self, now: datetime) -> dict[str, Any]:
        """The wire form of the contract, with the pipeline as it would run at `now`."""
        return {
            "strategy": self.strategy,
            "pipeline": [{"$match": self.match_at(now)}],
            "residual": self.residual,
            "pieces": [piece.as_json() for piece in self.pieces],
        }


def plan_rule(rule: Rule, large: AbstractSet[str] = frozenset()) -> Plan:
    """Plan a rule against the table in `capabilities`, with the rules of the dynamic cohorts that it names.

    `large` are the static cohorts whose members are too many to be passed to MongoDB.
    """
    condition = simplified(pushed_in(written_out(rule.condition, large)))
    if rule.always is not None:
        condition = Constant(rule.always, rule.condition.span)
    decided = _Decided(condition)
    pushed, remaining = _let_through(condition, decided), _remaining(condition, decided)
    if isinstance(condition, Constant):
        pushed, remaining = (None if condition.value else condition), None
    strategy: Literal["mongodb", "hybrid", "python"] = "mongodb"
    if remaining is not None:
        strategy = "hybrid" if decided.partly(condition) else "python"
    return Plan(rule, strategy, tuple(_pieces(rule, condition, decided)), pushed, remaining)


class _Decided:
    """What MongoDB decides of a condition and of every part of it: looked up once, for all around a part ask about it.

    Decided partly means that something can be pushed down which is true wherever the part is.
    """

    def __init__(self, condition: Condition) -> None:
        self._wholly: set[int] = set()
        self._partly: set[int] = set()
        self._look_up(condition)

    def wholly(self, part: Condition) -> bool:
        """Whether MongoDB decides all of it exactly."""
        return id(part) in self._wholly

    def partly(self, part: Condition) -> bool:
        """Whether MongoDB decides anything of it."""
        return id(part) in self._partly

    def _look_up(self, condition: Condition) -> None:
        match condition:
            case And(parts=parts) | Or(parts=parts):
                for part in parts:
                    self._look_up(part)
                wholly = all(map(self.wholly, parts))
                partly = (any if isinstance(condition, And) else all)(map(self.partly, parts))
            case Not(part=part):
                self._look_up(part)
                wholly = partly = self.wholly(part)
            case _:
                wholly = partly = ability(condition).where == "mongodb"
        self._wholly |= {id(condition)} if wholly else set()
        self._partly |= {id(condition)} if partly else set()


def _let_through(condition: Condition, decided: _Decided) -> Condition | None:
    """What MongoDB can be asked: what it decides, and that there are the values which the rest needs.

    True wherever the condition is; None where that says nothing.
    """
    if decided.wholly(condition):
        return condition
    if isinstance(condition, (And, Or)):
        return _joined(condition, [_let_through(part, decided) for part in condition.parts])
    there: list[Condition] = [Compare("!=", field, None, condition.span) for field in needs_of(condition)]
    return all_of(there, condition.span, derived=True) if there else None


def _joined(condition: And | Or, parts: list[Condition | None]) -> Condition | None:
    known = [part for part in parts if part is not None]
    if isinstance(condition, Or):
        return any_of(known, condition.span) if len(known) == len(parts) else None
    return all_of(_without_repetition(known), condition.span) if known else None


def _without_repetition(parts: list[Condition]) -> list[Condition]:
    """The parts of an `and`, without asking whether there is a value where another part asks for more."""
    flat = [each for part in parts for each in (part.parts if isinstance(part, And) else (part,))]
    needed = {field for each in flat for field in needs_of(each)}
    kept = [each for each in flat if not (_asks_for_a_value(each) and each.field in needed)]
    return list({replace(each, span=flat[0].span): each for each in kept}.values())


def _asks_for_a_value(condition: Condition) -> TypeGuard[Compare]:
    return isinstance(condition, Compare) and condition.operator == "!=" and condition.value is None


def _remaining(condition: Condition, decided: _Decided) -> Condition | None:
    """What is left to check where the pushed part holds."""
    if decided.wholly(condition):
        return None
    if isinstance(condition, And):
        return all_of([left for part in condition.parts if (left := _remaining(part, decided))], condition.span)
    return condition


def _pieces(rule: Rule, condition: Condition, decided: _Decided) -> list[Piece]:
    """One piece per leaf, in the order of the text; parts that were made from one stretch of text are one piece."""
    found: dict[Span, Piece] = {}
    cohorts = {leaf.span for leaf in leaves(rule.condition) if isinstance(leaf, InCohort)}
    alone = {id(part) for part in _conjuncts(condition)}
    for leaf, spoiler in _with_spoilers(condition, None, decided):
        row = ability(leaf)
        where, reason = row.where, row.reason
        if where == "mongodb" and spoiler:
            where = "python"
            reason = f"MongoDB could decide it, but not the other branch {_short(rule, spoiler)} of the same `or`"
        elif where == "python" and id(leaf) in alone and (needs := needs_of(leaf)):
            names = " and ".join(field.name for field in needs)
            reason = f"{reason}; asked only of profiles with {names}"
        text = rule.text[leaf.span.start : leaf.span.end]
        if leaf.span in cohorts and not isinstance(leaf, InCohort):
            reason = "the rule of that cohort stands for it" + (f"; {reason}" if where == "python" else "")
        piece = Piece(text, leaf.span, where, reason)
        if leaf.span not in found or where == "python":
            found[leaf.span] = piece
    return [found[span] for span in sorted(found, key=lambda span: (span.start, span.end))]


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    """What must hold for the condition to hold."""
    for part in condition.parts if isinstance(condition, And) else ():
        yield from _conjuncts(part)
    if not isinstance(condition, And):
        yield condition


def _with_spoilers(condition: Condition, spoiler: Leaf | None, decided: _Decided) -> list[tuple[Leaf, Leaf | None]]:
    match condition:
        case And(parts=parts) | Or(parts=parts):
            blocking = next((part for part in parts if not decided.partly(part)), None)
            if blocking is not None and isinstance(condition, Or):
                spoiler = next(leaf for leaf in leaves(blocking) if ability(leaf).where == "python")
            return [found for part in parts for found in _with_spoilers(part, spoiler, decided)]
        case Not(part=part):
            return _with_spoilers(part, spoiler, decided)
    return [(condition, spoiler)]


def _short(rule: Rule, leaf: Leaf) -> str:
    text = rule.text[leaf.span.start : leaf.span.end]
    return f"`{text}`" if len(text) <= 60 else f"`{text[:57]}…`"
