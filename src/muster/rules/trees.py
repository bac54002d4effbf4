"""Condition trees: json-rules-engine's documents as they are, and ours; and typed conditions back into trees.

A tree is written out as text, with a map from stretches of that text to JSON pointers, and the text is read like any
other. So there is one reader, one check, one meaning; a problem found in the text is told at its place in the tree.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from muster.rules.fields import Registry
from muster.rules.problems import Problem, RuleError
from muster.rules.syntax import MAX_DEPTH, MAX_TEXT, MAX_TOKENS, parse
from muster.rules.tree_leaves import IGNORED, Leaf, Refused, Writer
from muster.rules.vetting import MAX_PROBLEMS


@dataclass
class Written:
    """A tree written out as text, with the tree in our own shape."""

    text: str = ""
    tree: Mapping[str, Any] = field(default_factory=dict)
    places: list[tuple[int, int, str]] = field(default_factory=list)
    """Start, end and JSON pointer of each stretch, inner ones after the outer."""
    expressions: list[tuple[int, int, str, str]] = field(default_factory=list)
    """Of each `{"expression": …}`: where its text would start, where it ends, its pointer, its own text."""


def located(problem: Problem, written: Written) -> Problem:
    """A problem of the written text, told at its place in the tree."""
    span = problem.span
    if span is None:
        return problem
    for start, end, pointer, text in written.expressions:
        if start <= span.start and span.end <= end:
            own = span.within(text, span.start - start, span.end - start)
            return replace(problem, pointer=pointer, span=own)
    around = [
        (end - start, -len(pointer), pointer)
        for start, end, pointer in written.places
        if start <= span.start and span.end <= end
    ]
    return replace(problem, pointer=min(around)[2] if around else "", span=None)


def read_tree(tree: Any, registry: Registry) -> Written:
    """Write a tree out as text. Raises `RuleError` with pointers to everything that is wrong with its shape."""
    writer = _Reader(registry)
    if isinstance(tree, Mapping) and "conditions" in tree:
        written = writer.node(tree["conditions"], "/conditions", 0)  # a whole json-rules-engine rule, with its event
    else:
        written = writer.node(tree, "", 0)
    if writer.problems:
        raise RuleError(*writer.problems)
    return Written("".join(writer.pieces), written, writer.places, writer.expressions)


@dataclass
class _Reader(Writer):
    expressions: list[tuple[int, int, str, str]] = field(default_factory=list)
    count: int = 0

    def node(self, tree: Any, pointer: str, depth: int) -> Mapping[str, Any]:
        start, outer = self.length, len(self.places)
        self.count += 1
        if len(self.problems) >= MAX_PROBLEMS:
            raise RuleError(*self.problems)
        if depth > MAX_DEPTH or self.count > MAX_TOKENS or self.length > MAX_TEXT:
            raise RuleError(
                Problem("The tree is too deep or too large here. Split it into several cohorts.", pointer=pointer)
            )
        ours: Mapping[str, Any] = {}
        if not isinstance(tree, Mapping):
            self.refuse(
                pointer, 'A condition is an object: {"all": […]}, {"any": […]}, {"not": …} or a leaf with a field.'
            )
        else:
            with suppress(Refused):
                ours = self._object(tree, pointer, depth)
        self.places.insert(outer, (start, self.length, pointer))
        return ours

    def _object(self, tree: Mapping[str, Any], pointer: str, depth: int) -> Mapping[str, Any]:
        kinds = [kind for kind in ("all", "any", "not", "expression") if kind in tree]
        if "condition" in tree:
            detail = "A condition kept elsewhere under a name is not part of the document. Put it in its place."
            self.fail(f"{pointer}/condition", detail)
        leaf = "operator" in tree or "fact" in tree or "field" in tree
        if len(kinds) + leaf != 1:
            self.fail(pointer, "A condition has exactly one of all, any, not, expression, or an operator with a field.")
        if leaf:
            return Leaf(self, tree, pointer).write()
        self.known(tree, (kinds[0], *IGNORED), pointer)
        inner = tree[kinds[0]]
        below = f"{pointer}/{kinds[0]}"
        if kinds[0] == "expression":
            return {"expression": self._expression(inner, below)}
        if kinds[0] == "not":
            self.write("not (")
            ours = self.node(inner, below, depth + 1)
            self.write(")")
            return {"not": ours}
        if not isinstance(inner, (list, tuple)):
            self.fail(below, f"{kinds[0]} takes a list of conditions.")
        if not inner:
            self.write("true", below)  # json-rules-engine's answer, for all and any alike
        return {kinds[0]: [self._member(kinds[0], part, below, index, depth) for index, part in enumerate(inner)]}

    def _member(self, kind: str, part: Any, below: str, index: int, depth: int) -> Mapping[str, Any]:
        if index:
            self.write(" and " if kind == "all" else " or ")
        self.write("(")
        ours = self.node(part, f"{below}/{index}", depth + 1)
        self.write(")")
        return ours

    def _expression(self, text: Any, pointer: str) -> str:
        if not isinstance(text, str):
            self.fail(pointer, "An expression is text.")
        try:
            syntax = parse(text)  # by itself, so that it cannot close a parenthesis that it did not open
        except RuleError as error:
            self.count += len(text) // 2  # so that many bad expressions do not take long, either
            self.problems += [replace(problem, pointer=pointer) for problem in error.problems]
            raise Refused from error
        self.count += syntax.tokens
        start, end = syntax.offsets[id(syntax.root)]  # without a comment, which would swallow what follows
        self.expressions.append((self.length - start, self.length + end - start, pointer, text))
        self.write(text[start:end])
        return str(text)
