"""Read and check a rule: text or tree → `Rule`, with its typed condition, its fields and its scope."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rule_engine import ast

from muster.rules.building import build, engine_context
from muster.rules.checking import Checker
from muster.rules.conditions import (
    CompareMoment,
    Computed,
    Condition,
    InCohort,
    Turn,
    leaves,
)
from muster.rules.contradictions import Verdict, judge
from muster.rules.fields import Registry, scope_of
from muster.rules.functions import known_functions
from muster.rules.nesting import size, written_out
from muster.rules.problems import Problem, RuleError, Span
from muster.rules.suggestions import closest
from muster.rules.syntax import Syntax, children, parse
from muster.rules.tree_printing import condition_tree
from muster.rules.trees import located, read_tree
from muster.rules.vetting import vet
from muster.rules.windows import Window, turns_of, windows_of

COHORT_ID = re.compile(r"COH-[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Rule:
    """A rule that was read and checked. Rules are equal when they mean the same by their text, types and time zone."""

    text: str
    time_zone: str
    types: tuple[tuple[str, str], ...]
    """The registered types that it rests on: of the fields that it names."""
    tree: Mapping[str, Any] = field(compare=False)
    fields: tuple[str, ...] = field(compare=False)
    """The fields it looks at, sorted; a part that stands for itself (`customer == null`) by the part's name."""
    entity_scope: tuple[str, ...] = field(compare=False)
    required_parts: tuple[str, ...] = field(compare=False)
    """The parts without which it does not hold."""
    watched: tuple[str, ...] = field(compare=False)
    """The fields and parts whose change can flip it, its scope and the cohorts that it names included; sorted."""
    looked_up: tuple[str, ...] = field(compare=False)
    """The static cohorts whose members it asks for, by itself or through dynamic ones; sorted."""
    time_dependent: bool = field(compare=False)
    inner: tuple[tuple[str, "Rule | None"], ...]
    """The cohorts that it names: a dynamic one with the rule that it follows, a static one with None."""
    functions: Mapping[str, str] = field(compare=False)
    """The functions that it calls, with their versions as they are now."""
    always: bool | None = field(compare=False)
    """True or False where it is that for every profile in its scope, whatever the values; None where that depends."""
    windows: tuple[Window, ...] = field(compare=False)
    """Its comparisons of a field with now or today ± d: whoever the clock may flip has the field in one of them."""
    turns: tuple[Turn, ...] = field(compare=False)
    """For what no window says of its looking at the clock: the units whose turning asks it again of everybody."""
    warnings: tuple[Problem, ...] = field(compare=False)
    condition: Condition = field(compare=False, repr=False)
    registry: Registry = field(compare=False, repr=False)
    size: tuple[int, int] = field(compare=False)
    """How many conditions it is with those of the cohorts that it names, and how many levels deep."""
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Kept, because rules are keys of caches, and those inside of each other would be hashed over and over.
        object.__setattr__(self, "_hash", hash((self.text, self.time_zone, self.types, self.inner)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def cohorts(self) -> tuple[str, ...]:
        """The numbers of the cohorts that it names, sorted."""
        return tuple(cohort for cohort, _ in self.inner)


def cohorts_in(source: str | Mapping[str, Any]) -> frozenset[str]:
    """The numbers of cohorts that stand in a rule, read or not, right or wrong; a few too many at the most."""
    found: set[str] = set()
    waiting: list[Any] = [source]
    while waiting:
        match waiting.pop():
            case str(text):
                found.update(COHORT_ID.findall(text))
            case Mapping() as branch:
                waiting.extend(branch.values())
            case list(members):
                waiting.extend(members)
    return frozenset(found)


def read_rule(
    source: str | Mapping[str, Any],
    registry: Registry,
    *,
    time_zone: str = "UTC",
    cohorts: Mapping[str, Rule | None] | None = None,
) -> Rule:
    """Read and check a rule. `time_zone` is where `$today` begins. Raises only `RuleError`, for a bad rule.

    Problems carry a span in the text, or a JSON pointer into the tree. `cohorts` are those that the rule may name: a
    dynamic one with its rule, a static one with None.
    """
    cohorts = cohorts or {}
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RuleError(Problem(f"There is no time zone {time_zone!r}.")) from error
    if isinstance(source, str):
        return _read_text(source, registry, time_zone, cohorts, tree=None)
    written = read_tree(source, registry)
    try:
        return _read_text(written.text, registry, time_zone, cohorts, tree=written.tree)
    except RuleError as error:
        raise RuleError(*(located(problem, written) for problem in error.problems)) from error


def _read_text(
    text: str,
    registry: Registry,
    time_zone: str,
    cohorts: Mapping[str, Rule | None],
    tree: Mapping[str, Any] | None,
) -> Rule:
    syntax = parse(text, engine_context(registry))
    vet(syntax, registry)
    build(syntax)
    checker = Checker(syntax, registry, cohorts)
    condition = checker.condition(syntax.root)
    names = checker.names(syntax.root)
    inner = _inner(condition, syntax, cohorts)
    followed = [rule for _, rule in inner if rule is not None]
    scope, required = scope_of(frozenset(name.partition(".")[0] for name in names.fields))
    verdict = judge(written_out(condition), required)
    moments = [leaf for leaf in leaves(condition) if isinstance(leaf, CompareMoment)]
    return Rule(
        text=text,
        time_zone=time_zone,
        types=tuple((name, str(registry[name])) for name in sorted(names.fields) if name in registry),
        tree=condition_tree(condition, text) if tree is None else tree,
        fields=tuple(sorted(names.fields)),
        entity_scope=scope,
        required_parts=required,
        watched=_together(names.fields, required, *(rule.watched for rule in followed)),
        looked_up=_together((name for name, rule in inner if rule is None), *(rule.looked_up for rule in followed)),
        time_dependent=bool(moments or names.anchors) or any(rule.time_dependent for rule in followed),
        inner=inner,
        functions={name: known_functions()[name].version for name in sorted(names.functions)},
        always=verdict.always,
        windows=_together(windows_of(condition), *(rule.windows for rule in followed)),
        turns=_turns(turns_of(condition), *(rule.turns for rule in followed)),
        warnings=(*checker.warnings, *verdict.warnings, *_warnings(verdict, checker.warnings, text, required)),
        condition=condition,
        registry=registry,
        size=size(condition),
    )


def _together(*groups: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted({each for group in groups for each in group}))


def _turns(*groups: tuple[Turn, ...]) -> tuple[Turn, ...]:
    found: tuple[Turn, ...] = _together(*groups)
    return ("tick",) if "tick" in found else found


def _inner(
    condition: Condition, syntax: Syntax, cohorts: Mapping[str, Rule | None]
) -> tuple[tuple[str, Rule | None], ...]:
    named: list[InCohort] = [leaf for leaf in leaves(condition) if isinstance(leaf, InCohort)]
    problems: list[Problem] = []
    for leaf in named:
        if not COHORT_ID.fullmatch(leaf.cohort):
            detail = f"{leaf.cohort[:40]!r} is not the number of a cohort, such as COH-3."
            problems.append(Problem(detail, leaf.span))
        elif leaf.cohort not in cohorts:
            detail = f"There is no cohort {leaf.cohort} here."
            problems.append(Problem(detail, leaf.span, suggestion=closest(leaf.cohort, list(cohorts))))
    within = [leaf for leaf in leaves(condition) if isinstance(leaf, Computed) and "in_cohort" in leaf.text]
    if within and _calls_in_cohort(syntax):
        detail = '$in_cohort("COH-…") stands alone or in and, or, not; it is not part of a computation.'
        problems += [Problem(detail, leaf.span) for leaf in within]
    if problems:
        raise RuleError(*problems)
    return tuple(sorted({leaf.cohort: leaf.rule for leaf in named}.items()))


def _calls_in_cohort(syntax: Syntax) -> bool:
    waiting = [syntax.root]
    while waiting:
        node = waiting.pop()
        if node.cls is ast.SymbolExpression and node.args[1] == "in_cohort":
            return True
        waiting.extend(children(node))
    return False


_HOLDS_FOR = {
    (): "This rule holds for every profile, whatever its values.",
    ("lead",): "This rule holds for every profile with a lead, whatever its values.",
    ("person",): "This rule holds for every profile with a person, whatever its values.",
    ("company",): "This rule holds for every profile with a company, whatever its values.",
    ("person", "company"): "This rule holds for every profile with a person and a company, whatever its values.",
}


def _warnings(verdict: Verdict, known: list[Problem], text: str, required: tuple[str, ...]) -> list[Problem]:
    """What is worth a second look about the whole rule."""
    found: list[Problem] = []
    everything = Span.within(text, 0, len(text))
    if verdict.always is not None and not any(problem.span == everything for problem in known):
        for_none = "This rule holds for no profile, whatever its values."
        found.append(Problem(_HOLDS_FOR[required] if verdict.always else for_none, everything))
    if {"person", "company"} <= set(required):
        detail = "This uses person and company fields: only profiles that have both parts are considered."
        found.append(Problem(detail, everything))
    return found
