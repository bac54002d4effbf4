"""Text → syntax tree, by rule_engine's own grammar, with spans and within bounds.

rule_engine's parser first makes a tree of deferred nodes and then builds it, and *building* folds constants: a
hostile rule hangs there (`$range(3000000).length > 0` took 7.6 s). So we take the deferred tree, put a span on each
node, count tokens and depth, and let nothing build before `vetting` has seen it.
"""

import codecs
import copy
import re
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeGuard

from rule_engine import Context, errors
from rule_engine.ast import LogicExpression
from rule_engine.engine import Rule as EngineRule
from rule_engine.parser import Parser, _DeferredAstNode

from muster.rules.problems import Problem, RuleError, Span

MAX_TEXT = 310_000  # characters: a text of 300 kB is a fair value, and the scanner takes 190 bytes for each
MAX_TOKENS = 2_000  # a list of 1,000 values, or 500 conditions: what can be checked in well under 100 ms
MAX_DEPTH = 40  # levels; a chain of `and` or `or` is one level, however long

NO_BYTES = "Bytes have no place in a rule: no field holds them."
UNFINISHED_ESCAPE = r"This text has a backslash that begins no character; a backslash itself is written \\."


class Node(Protocol):
    """rule_engine's deferred node: what will be built, of which parts."""

    cls: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    method: str

    def build(self) -> Any:
        """rule_engine's own node, folded where it is constant."""


def is_node(found: object) -> TypeGuard[Node]:
    """Whether something in a node's arguments is a node itself."""
    return isinstance(found, _DeferredAstNode)


def make_node(like: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Node:
    """A node of the same kind with other parts."""
    made: Node = _DeferredAstNode(like.cls, args=args, kwargs=kwargs, method=like.method)
    return made


# Escapes that Python's codec knows. Others are kept as they stand, backslash and all, by doubling the backslash;
# the codec would do the same and warn.
_UNKNOWN_ESCAPE = re.compile(
    r"""\\(?:(?P<octal>[4-7][0-7]{2})|(?P<known>[\\'"abfnrtvxuUN0-7])|(?P<other>.))""", re.DOTALL
)


@dataclass(frozen=True)
class Syntax:
    """A parsed rule, nothing of it built."""

    text: str
    root: Node
    offsets: dict[int, tuple[int, int]]
    """From `id(node)` to the node's start and end in the text."""
    tokens: int

    def span(self, node: Node) -> Span:
        """Where a node stands."""
        start, end = self.offsets[id(node)]
        line = bisect_left(self._newlines, start)  # counting them anew for every node takes long in a long text
        return Span(start, end, line + 1, start - (self._newlines[line - 1] + 1 if line else 0) + 1)

    @cached_property
    def _newlines(self) -> list[int]:
        return [match.start() for match in re.finditer("\n", self.text)]

    def source(self, node: Node) -> str:
        """The text of a node."""
        start, end = self.offsets[id(node)]
        return self.text[start:end]


def children(node: Node) -> list[Node]:
    """The nodes directly below a node, from left to right."""
    found: list[Node] = []
    for argument in (*node.args, *node.kwargs.values()):
        if is_node(argument):
            found.append(argument)
        elif isinstance(argument, (tuple, deque)):
            found += [member for member in argument if is_node(member)]
    return found


def is_logic(node: Node, operator: str | None = None) -> bool:
    """Whether a node is `and` or `or` (`"AND"`, `"OR"`)."""
    return node.cls is LogicExpression and operator in (None, node.args[1])


def chain(node: Node) -> list[Node]:
    """The operands of a chain `a and b and c`, flattened without recursion: chains may be thousands long."""
    operator, operands, waiting = node.args[1], [], [node]
    while waiting:
        found = waiting.pop()
        if is_logic(found, operator):
            waiting.extend((found.args[3], found.args[2]))
        else:
            operands.append(found)
    return operands


class _LocatingParser(Parser):  # type: ignore[misc]  # rule_engine has no types that mypy reads
    """rule_engine's parser, with its own tables, that remembers where each deferred node stands."""

    def __init__(self) -> None:
        # The tables are those of rule_engine's parser: building them anew takes 0.2 s.
        self.context: Any = None
        self._lexer = EngineRule.parser._lexer.clone(self)  # noqa: SLF001  the tables are the grammar; no public way in
        self._parser = copy.copy(EngineRule.parser._parser)  # noqa: SLF001
        self._parser.productions = [self._locating(production) for production in self._parser.productions]
        self._offsets: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def _locating(self, production: Any) -> Any:
        if not production.func:
            return production
        located = copy.copy(production)
        action: Callable[[Any], None] = getattr(self, production.func)

        def locate(symbols: Any) -> None:
            symbol = symbols.slice[0]
            start, end = symbol.lexpos, symbol.endlexpos
            try:
                action(symbols)
            except errors.EngineError as error:
                is_bytes = isinstance(error, errors.BytesSyntaxError)
                raise _Located(NO_BYTES if is_bytes else UNFINISHED_ESCAPE, start, end) from error
            if is_node(symbols[0]):
                self._offsets.setdefault(id(symbols[0]), (start, end))

        located.callable = locate
        return located

    def read(self, text: str, context: Context | None) -> tuple[Node, dict[int, tuple[int, int]], int]:
        """Parse under a lock: PLY keeps its state on the parser."""
        with self._lock:
            self.context, self._offsets = context, {}
            lexer = self._lexer
            lexer.lineno = 1
            lexer.input(text)
            reader = _TokenReader(lexer)
            try:
                root = self._parser.parse(None, lexer=lexer, tracking=True, tokenfunc=reader.token)
                return root, self._offsets, reader.count
            finally:
                self.context, self._offsets = None, {}


class _Located(Exception):  # a syntax error on its way out of PLY
    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message, self.start, self.end = message, start, end


class _TokenReader:
    """Counts tokens, marks their ends, and settles unknown escapes."""

    def __init__(self, lexer: Any) -> None:
        self.lexer = lexer
        self.count = 0

    def token(self) -> Any:
        token = self.lexer.token()
        if token is None:
            return None
        token.endlexpos = self.lexer.lexpos
        self.count += 1
        if self.count > MAX_TOKENS:
            detail = f"The rule has more than {MAX_TOKENS:,} words and signs. Split it into several cohorts."
            raise _Located(detail, token.lexpos, token.endlexpos)
        if token.type == "STRING" and token.value[0] != "r" and "\\" in token.value:
            token.value = _UNKNOWN_ESCAPE.sub(_settle_escape, token.value)
        return token


def _settle_escape(match: re.Match[str]) -> str:
    if octal := match["octal"]:
        return f"\\u{int(octal, 8):04x}"
    return match[0] if match["known"] else "\\" + match[0]


_parser = _LocatingParser()


def parse(text: str, context: Context | None = None) -> Syntax:
    """Parse a rule's text; raises `RuleError` with a span for anything that is not in the grammar or too big.

    `context` is put into the nodes, for those who will build them afterwards.
    """
    if len(text) > MAX_TEXT:
        raise RuleError(Problem(f"The rule has {len(text):,} characters; {MAX_TEXT:,} are the most."))
    if not text.strip():
        raise RuleError(
            Problem("The rule is empty. Write a condition, for example: lead.score > 50.", Span.within(text, 0, 0))
        )
    try:
        codecs.encode(text, "utf-8")
        root, offsets, tokens = _parser.read(text, context)
    except _Located as error:
        raise RuleError(Problem(error.message, Span.within(text, error.start, error.end))) from error
    except errors.RuleSyntaxError as error:
        raise RuleError(_syntax_problem(text, error)) from error
    except UnicodeEncodeError as error:
        detail = "The rule holds half of a surrogate pair, which is not a character."
        raise RuleError(Problem(detail, Span.within(text, error.start, error.end))) from error
    syntax = Syntax(text, root.args[1], offsets, tokens)
    _fill_offsets(syntax)
    return syntax


def _fill_offsets(syntax: Syntax) -> None:
    """Give nodes that the grammar makes inside one action their parent's place; measure the depth on the way."""
    waiting = [(syntax.root, 0, (0, len(syntax.text)))]
    while waiting:
        node, depth, around = waiting.pop()
        place = syntax.offsets.setdefault(id(node), around)
        if depth > MAX_DEPTH:
            detail = f"The rule is nested more than {MAX_DEPTH} levels deep here. Split it into several cohorts."
            raise RuleError(Problem(detail, Span.within(syntax.text, *place)))
        operator = node.args[1] if is_logic(node) else None
        for child in children(node):
            deeper = not (operator and is_logic(child, operator))
            waiting.append((child, depth + deeper, place))


def _syntax_problem(text: str, error: errors.RuleSyntaxError) -> Problem:
    token = error.token
    if token is None:
        if "reserved for future use" in error.message:
            return Problem("The words elif, else and while are reserved.", Span.within(text, 0, len(text)))
        return Problem(
            "The rule ends too early: something is missing at its end.", Span.within(text, len(text), len(text))
        )
    start = token.lexpos
    if token.type == "error":
        if text[start] in "\"'":
            return Problem("This quote is never closed.", Span.within(text, start, len(text)))
        if text[start] == "=":
            return Problem("Equality is written ==.", Span.within(text, start, start + 1), suggestion="==")
        return Problem(f"The character {text[start]!r} has no meaning in a rule.", Span.within(text, start, start + 1))
    end = getattr(token, "endlexpos", start + 1)
    return Problem(
        f"Did not expect {text[start:end][:40]!r} here.",
        Span.within(text, start, end),
        suggestion=_instead(text[start:end]),
    )


def _instead(word: str) -> str | None:
    return {"AND": "and", "OR": "or", "NOT": "not", "IN": "in", "&": "and", "|": "or", "null": None}.get(word)
