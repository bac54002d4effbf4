"""Read and check a rule: text or tree → `Rule`, with its typed condition, its fields and its scope."""

import re
from collections.abc import Mapping
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
from muster.rules.problems import Problem, RuleError, Span
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
    time_dependent: bool = field(compare=False)
    cohorts: tuple[str, ...] = field(compare=False)
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


def read_rule(
    source: str | Mapping[str, Any], registry: Registry, *, time_zone: str = "UTC", allow_cohorts: bool = False
) -> Rule:
    """Read and check a rule. `time_zone` is where `$today` begins. Raises only `RuleError`, for a bad rule.

    Problems carry a span in the text, or a JSON pointer into the tree. A rule that names other cohorts is refused
    unless the caller says that it can follow them.
    """
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise RuleError(Problem(f"There is no time zone {time_zone!r}.")) from error
    if isinstance(source, str):
        return _read_text(source, registry, time_zone, allow_cohorts, tree=None)
    written = read_tree(source, registry)
    try:
        return _read_text(written.text, registry, time_zone, allow_cohorts, tree=written.tree)
    except RuleError as error:
        raise RuleError(*(located(problem, written) for problem in error.problems)) from error


def _read_text(
    text: str, registry: Registry, time_zone: str, allow_cohorts: bool, tree: Mapping[str, Any] | None
) -> Rule:
    syntax = parse(text, engine_context(registry))
    vet(syntax, registry)
    build(syntax)
    checker = Checker(syntax, registry)
    condition = checker.condition(syntax.root)
    names = checker.names(syntax.root)
    cohorts = _cohorts(condition, syntax, allow_cohorts)
    scope, required = scope_of(frozenset(name.partition(".")[0] for name in names.fields))
    verdict = judge(condition, required)
    moments = [leaf for leaf in leaves(condition) if isinstance(leaf, CompareMoment)]
    return Rule(
        text=text,
        time_zone=time_zone,
        types=tuple((name, str(registry[name])) for name in sorted(names.fields) if name in registry),
        tree=condition_tree(condition, text) if tree is None else tree,
        fields=tuple(sorted(names.fields)),
        entity_scope=scope,
        required_parts=required,
        time_dependent=bool(moments or names.anchors),
        cohorts=cohorts,
        functions={name: known_functions()[name].version for name in sorted(names.functions)},
        always=verdict.always,
        windows=windows_of(condition),
        turns=turns_of(condition),
        warnings=(*checker.warnings, *verdict.warnings, *_warnings(verdict, checker.warnings, text, required)),
        condition=condition,
        registry=registry,
    )


def _cohorts(condition: Condition, syntax: Syntax, allow_cohorts: bool) -> tuple[str, ...]:
    named: list[InCohort] = [leaf for leaf in leaves(condition) if isinstance(leaf, InCohort)]
    problems = [
        Problem(f"{leaf.cohort[:40]!r} is not the number of a cohort, such as COH-3.", leaf.span)
        for leaf in named
        if not COHORT_ID.fullmatch(leaf.cohort)
    ]
    if not allow_cohorts:
        detail = (
            "A rule that names another cohort cannot be evaluated yet. Write that cohort's conditions here instead."
        )
        problems += [Problem(detail, leaf.span) for leaf in named]
    within = [leaf for leaf in leaves(condition) if isinstance(leaf, Computed) and "in_cohort" in leaf.text]
    if within and _calls_in_cohort(syntax):
        detail = '$in_cohort("COH-…") stands alone or in and, or, not; it is not part of a computation.'
        problems += [Problem(detail, leaf.span) for leaf in within]
    if problems:
        raise RuleError(*problems)
    return tuple(sorted({leaf.cohort for leaf in named}))


def _calls_in_cohort(syntax: Syntax) -> bool:
    waiting = [syntax.root]
    while waiting:
        node = waiting.pop()
        if node.cls is ast.SymbolExpression and node.args[1] == "in_cohort":
            return True
        waiting.extend(children(node))
    return False


def _warnings(verdict: Verdict, known: list[Problem], text: str, required: tuple[str, ...]) -> list[Problem]:
    """What is worth a second look about the whole rule."""
    found: list[Problem] = []
    everything = Span.within(text, 0, len(text))
    if verdict.always is not None and not any(problem.span == everything for problem in known):
        every = "every profile" + (f" with a {' and a '.join(required)}" if required else "")
        detail = f"This rule holds for {every if verdict.always else 'no profile'}, whatever its values."
        found.append(Problem(detail, everything))
    if {"person", "company"} <= set(required):
        detail = "This uses person and company fields: only profiles that have both parts are considered."
        found.append(Problem(detail, everything))
    return found
