"""The text of one generated function: the names in it, and values written as Python expressions.

The text holds only names made here, numbers that Python prints, and constants passed beside it: nothing that a user
typed is ever compiled. Parts and fields are looked up by registered names that rule_engine's grammar read as symbols.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

from muster.rules.conditions import Field
from muster.rules.near import Near
from muster.rules.oracle import start_of_day

Kind = Literal["truth", "text", "double", "decimal", "moment", "duration", "list", "set", "part", "null"]
"""What a written value is. A double stands for the decimal that Python prints for it, as a stored number does."""

_start_of_day = lru_cache(maxsize=64)(start_of_day)  # one `now` serves many profiles


@dataclass(frozen=True, slots=True)
class Written:
    """A value as Python text. Where all of `needs` hold, `value` is there, and never None; else the value is null.

    `needs` bind the variables that `value` speaks of, so they stand before it, in their order. What cannot be computed
    although they hold raises.
    """

    kind: Kind
    value: str
    needs: tuple[str, ...] = ()
    element: Kind | None = None
    """Of a list or set, what all members are; None when they differ or that is not known."""
    literal: tuple[Any] | None = None
    """A constant's value."""
    near: Near | None = None
    """Of a decimal, a double near it."""


NULL = Written("null", "None", ("False",))


class NotWrittenError(Exception):
    """This has no generated code; the oracle computes it."""


def both(*conditions: str) -> str:
    """That all of them hold, as text that can stand anywhere."""
    kept = [condition for condition in conditions if condition != "True"]
    if "False" in kept:
        return "False"
    text = " and ".join(kept) or "True"
    return text if len(kept) < 2 and _stands_alone(text) else f"({text})"


def _stands_alone(text: str) -> bool:
    """A name, or all of it in one pair of parentheses."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth and position < len(text) - 1:
            return text.isidentifier()
    return True


def known(written: Written) -> str:
    """That the needs of a value hold. Computing it may still fail, and raise."""
    return both(*written.needs)


def computed(written: Written) -> str:
    """That a value is not null, computing it: what fails must not pass for a value because nobody looked at it."""
    return both(*written.needs, f"{written.value} is not None")


def nullable(written: Written) -> str:
    """The value, or None."""
    return f"({written.value} if {known(written)} else None)" if written.needs else written.value


def truth_of(written: Written) -> str:
    """Whether a value counts as true: neither null, nor empty, 0 or false."""
    tests = {
        "double": f"{written.value} != 0",
        "decimal": f"{written.value} != 0",
        "duration": f"bool({written.value})",
        "list": f"len({written.value}) != 0",
        "moment": f"{written.value} is not None",
        "null": "False",
        "part": f"len({written.value}) != 0",
        "set": f"len({written.value}) != 0",
        "text": f'{written.value} != ""',
        "truth": written.value,
    }
    return both(*written.needs, tests[written.kind])


@dataclass
class Source:
    """The names of one generated function. `@lead.` stands for a part until it is known how often it is used."""

    time_zone: str
    parts: Counter[str] = field(default_factory=Counter)
    anchors: dict[str, str] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=dict)
    variables: int = 0

    def copied(self) -> "Source":
        """A copy to write on, which can be thrown away."""
        return replace(self, parts=self.parts.copy(), anchors=self.anchors.copy(), names=self.names.copy())

    def field(self, found: Field, default: str = "") -> str:
        """The look-up of a field; None, or the default, where it is missing."""
        self.parts[found.part] += 1
        return f"@{found.part}.get({found.attribute!r}{default and f', {default}'})"

    def anchor(self, name: str) -> str:
        """`now`, or `today`, which is found once for each call."""
        if name == "today":
            zone = self.constant(ZoneInfo(self.time_zone))
            self.anchors["today"] = f"{self.named('start_of_day', _start_of_day)}(now, {zone})"
        return name

    def constant(self, value: Any) -> str:
        """A name of its own for a value."""
        return self.named(f"k{len(self.names)}", value)

    def named(self, name: str, value: Any) -> str:
        """A name that the text may use for a value."""
        self.names[name] = value
        return name

    def variable(self) -> str:
        """A fresh variable."""
        self.variables += 1
        return f"v{self.variables}"

    def bound(self, written: Written) -> Written:
        """The same value in a variable, to be used more than once."""
        if written.value.isidentifier():
            return written
        variable = self.variable()
        return replace(
            written, value=variable, needs=(*written.needs, f"(({variable} := {written.value}) is not None)")
        )

    def unless_none(self, kind: Kind, value: str, needs: tuple[str, ...] = (), element: Kind | None = None) -> Written:
        """A value that can be None although its needs hold."""
        variable = self.variable()
        return Written(kind, variable, (*needs, f"({variable} := {value}) is not None"), element)

    def compiled(self, name: str, text: str) -> Callable[..., Any]:
        """The function of that name, from its finished text."""
        names = dict(self.names)
        exec(compile(text, "<rule>", "exec"), names)  # noqa: S102  our own text: see the module's head
        function: Callable[..., Any] = names[name]
        return function
