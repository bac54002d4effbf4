"""Read and check a rule."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rule_engine import ast

from muster.rules.fields import PARTS, Registry, scope_of
from muster.rules.oracle import build, engine_context
from muster.rules.problems import Problem, RuleError
from muster.rules.syntax import Syntax, children, parse
from muster.rules.vetting import vet


@dataclass(frozen=True)
class Rule:
    """A rule that was read and checked."""

    text: str
    tree: Mapping[str, Any]
    fields: tuple[str, ...]
    entity_scope: tuple[str, ...]
    required_parts: tuple[str, ...]
    time_dependent: bool
    cohorts: tuple[str, ...]
    warnings: tuple[Problem, ...]
    condition: Any
    registry: Registry
    time_zone: str


def read_rule(source: str | Mapping[str, Any], registry: Registry, *, time_zone: str = "UTC") -> Rule:
    """Read text or a tree. Raises `RuleError` for a bad one."""
    if not isinstance(source, str):
        raise RuleError(Problem("Condition trees are not read yet.", pointer=""))
    syntax = parse(source)
    vet(syntax)
    build(parse(source, engine_context(registry)))
    names, moments = _names(syntax)
    scope, required = scope_of(frozenset(name.partition(".")[0] for name in names))
    return Rule(
        text=source,
        tree={"expression": source},
        fields=tuple(sorted(names)),
        entity_scope=scope,
        required_parts=required,
        time_dependent=bool(moments),
        cohorts=(),
        warnings=(),
        condition=None,
        registry=dict(registry),
        time_zone=time_zone,
    )


def _names(syntax: Syntax) -> tuple[set[str], set[str]]:
    names: set[str] = set()
    moments: set[str] = set()
    waiting = [syntax.root]
    while waiting:
        node = waiting.pop()
        if (
            node.cls is ast.GetAttributeExpression
            and node.args[1].cls is ast.SymbolExpression
            and node.args[1].args[1] in PARTS
        ):
            names.add(f"{node.args[1].args[1]}.{node.args[2]}")
            continue
        if node.cls is ast.SymbolExpression:
            if node.kwargs["scope"] is None and node.args[1] in PARTS:
                names.add(node.args[1])
            elif node.args[1] in ("now", "today"):
                moments.add(node.args[1])
        waiting.extend(children(node))
    return names, moments
