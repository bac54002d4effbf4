"""When a rule changes its answer by the clock alone: which profiles, between two moments.

A comparison of a field with now ± d flips only for values that now ± d has passed meanwhile, so those who may flip are
found by an interval of that field. Anything else that looks at the clock is asked again whenever a unit of time turns:
`$now.year` with the year, `$today` with the day of the project's time zone, and what is finer with every tick.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from rule_engine import ast

from muster.rules.conditions import CompareMoment, Computed, Condition, Turn, leaves
from muster.rules.functions import known_functions
from muster.rules.oracle import start_of_day
from muster.rules.syntax import Node, children

_OF_ATTRIBUTE: dict[str, Turn] = {
    "year": "year",
    "month": "month",
    "date": "day",
    "day": "day",
    "weekday": "day",
    "hour": "hour",
    "minute": "minute",
    "second": "second",
}
_UNITS: dict[Turn, int] = {"year": 1, "month": 2, "day": 3, "hour": 4, "minute": 5, "second": 6}  # of a time tuple


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A comparison of `field` with `anchor` + `offset`."""

    field: str
    anchor: Literal["now", "today"]
    offset: timedelta

    def between(self, earlier: datetime, later: datetime, time_zone: str = "UTC") -> tuple[datetime, datetime]:
        """The closed interval, in milliseconds as stored, of the values whose answer may differ between two moments."""
        ends = [earlier, later]
        if self.anchor == "today":
            # A zone that turns its clocks back just after midnight has its days go back, too: so the ends are sorted.
            ends = [start_of_day(each, ZoneInfo(time_zone)) for each in ends]
        low, high = (each.astimezone(UTC) + self.offset for each in sorted(ends))
        return _floored(low), _floored(high)


def _floored(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def windows_of(condition: Condition) -> tuple[Window, ...]:
    """The comparisons with now or today, give or take, that a condition makes; sorted."""
    found = (leaf for leaf in leaves(condition) if isinstance(leaf, CompareMoment))
    return tuple(sorted({Window(leaf.field.name, leaf.anchor, leaf.offset) for leaf in found}))


def turns_of(condition: Condition) -> tuple[Turn, ...]:
    """What must turn for the rest of a condition to be asked again; empty where windows say it all."""
    found = {turn for leaf in leaves(condition) if isinstance(leaf, Computed) for turn in leaf.turns}
    return ("tick",) if "tick" in found else tuple(sorted(found))


def turns_in(node: Node) -> tuple[Turn, ...]:
    """The same of a node that is computed."""
    found: set[Turn] = set()
    waiting = [node]
    while waiting:
        here = waiting.pop()
        attribute = here.args[2] if here.cls is ast.GetAttributeExpression and _is_now(here.args[1]) else None
        if attribute in _OF_ATTRIBUTE:
            found.add(_OF_ATTRIBUTE[attribute])
        elif _is_now(here) or _calls_clock(here):
            found.add("tick")
        elif _names(here, "today"):
            found.add("today")
        else:
            waiting.extend(children(here))
    return tuple(sorted(found))


def _calls_clock(node: Node) -> bool:
    return any(_names(node, name) for name, function in known_functions().items() if function.looks_at_clock)


def _is_now(node: Node) -> bool:
    return _names(node, "now")


def _names(node: Node, name: str) -> bool:
    return node.cls is ast.SymbolExpression and node.kwargs["scope"] is not None and node.args[1] == name


def turned(turn: Turn, earlier: datetime, later: datetime, time_zone: str = "UTC") -> bool:
    """Whether a unit differs between two moments."""
    if turn == "tick":
        return earlier != later
    if turn == "today":
        zone = ZoneInfo(time_zone)
        return start_of_day(earlier, zone) != start_of_day(later, zone)
    units = _UNITS[turn]
    return earlier.astimezone(UTC).timetuple()[:units] != later.astimezone(UTC).timetuple()[:units]


def turned_between(turns: tuple[Turn, ...], earlier: datetime, later: datetime, time_zone: str = "UTC") -> bool:
    """Whether any of these units differs between two moments."""
    return any(turned(turn, earlier, later, time_zone) for turn in turns)


def intervals(
    windows: tuple[Window, ...], earlier: datetime, later: datetime, time_zone: str = "UTC"
) -> list[tuple[str, datetime, datetime]]:
    """By field, the closed intervals of the values whose answer may differ between two moments."""
    return [(window.field, *window.between(earlier, later, time_zone)) for window in windows]
