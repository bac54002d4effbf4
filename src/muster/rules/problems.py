"""What is wrong with a rule, or worth a second look, and where."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a rule's text: 0-based character offsets, `end` exclusive; `line` and `column` count from 1."""

    start: int
    end: int
    line: int
    column: int

    @classmethod
    def within(cls, text: str, start: int, end: int) -> "Span":
        """The span from `start` to `end` of `text`, both clipped to it."""
        start = max(0, min(start, len(text)))
        end = max(start, min(end, len(text)))
        line_start = text.rfind("\n", 0, start) + 1
        return cls(start, end, text.count("\n", 0, start) + 1, start - line_start + 1)

    def as_json(self) -> dict[str, int]:
        """The wire form of the contract."""
        return {"start": self.start, "end": self.end, "line": self.line, "column": self.column}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, with its place: a `span` in the text, a JSON `pointer` in a tree, or both.

    With both, the span counts inside the text that stands at the pointer. `suggestion` is what the author may have
    meant, ready to be put in place of what stands there.
    """

    detail: str
    span: Span | None = None
    pointer: str | None = None
    suggestion: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The wire form of the contract: absent members are left out."""
        members = {
            "detail": self.detail,
            "pointer": self.pointer,
            "span": self.span and self.span.as_json(),
            "suggestion": self.suggestion,
        }
        return {name: value for name, value in members.items() if value is not None}


class RuleError(Exception):
    """A rule cannot be used. The only exception that this package raises for a rule, whatever the rule."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.problems = problems
