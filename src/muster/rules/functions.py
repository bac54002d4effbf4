"""Functions of values, such as `$fuzzy` and `$email_domain`, and a team's own: plain Python, typed by annotation.

MongoDB has no twin for them, so they run in Python; the oracle and the compiled predicate call the same function. What
is null stays null: a function never sees a missing value, nor a text or a list beyond `MAX_SIZE`; where it raises, or
gives what its annotation does not say, the result is null.

A team's function is an entry point of the group `muster.functions`: its name there is its name in rules, its
annotations say what it takes (`str`, `float`, `bool`, `datetime`, `list[str]`, `list[float]`), its docstring what it
does. A keyword-only `now: datetime` makes it one that looks at the clock.
"""

import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points
from importlib.metadata import version as installed_version
from types import NoneType
from typing import Any
from urllib.parse import urlsplit

from muster.rules.fields import FieldType

GROUP = "muster.functions"
MAX_SIZE = 10_000  # characters of a text, members of a list
MAX_COMPARED = 1_000  # characters of a text that is compared with another: that takes time by the product of both
EARTH_RADIUS_KM = 6371.0088

_TYPES: dict[Any, FieldType] = {
    str: FieldType.STRING,
    float: FieldType.NUMBER,
    bool: FieldType.BOOLEAN,
    datetime: FieldType.DATETIME,
    list[str]: FieldType.STRINGS,
    list[float]: FieldType.NUMBERS,
}
_UNSIZED = frozenset((FieldType.NUMBER, FieldType.BOOLEAN, FieldType.DATETIME))
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN = frozenset(
    (
        *("abs", "all", "any", "e", "filter", "in_cohort", "map", "max", "min", "now", "parse_datetime", "parse_float"),
        *("parse_timedelta", "pi", "random", "range", "re_groups", "split", "sum", "today"),
    )
)


class FunctionError(Exception):
    """A team's function cannot be used; the sentence says which, and why."""


@dataclass(frozen=True)
class Function:
    """A function that rules can call. Each parameter has the types that it takes, mostly one."""

    name: str
    parameters: tuple[tuple[str, tuple[FieldType, ...]], ...]
    result: FieldType
    description: str
    version: str
    provider: str
    looks_at_clock: bool
    python: Callable[..., Any]

    @property
    def signature(self) -> str:
        """`$fuzzy(left: string, right: string) -> number`."""
        given = ", ".join(f"{name}: {' or '.join(types)}" for name, types in self.parameters)
        return f"${self.name}({given}) -> {self.result}"

    def call(self, arguments: tuple[Any, ...], now: Callable[[], datetime]) -> Any:
        """The result for rule_engine's values, None where there is none; may raise what the function raises."""
        plain = [_plain(argument) for argument in arguments]
        if any(value is None or (isinstance(value, str | list) and len(value) > MAX_SIZE) for value in plain):
            return None
        found = self.python(*plain, now=now()) if self.looks_at_clock else self.python(*plain)
        return found if _is_a(found, self.result) else None

    def on_plain_values(self) -> Callable[..., Any]:
        """The same for generated code: of values as annotations know them, none of them null; `now` comes last.

        A number that it gives stands for the decimal that it prints as. Raises TypeError for one that does not.
        """
        sized = [index for index, (_, types) in enumerate(self.parameters) if not _UNSIZED.issuperset(types)]
        python, looks_at_clock, is_number = self.python, self.looks_at_clock, self.result is FieldType.NUMBER

        def call(*arguments: Any) -> Any:
            for index in sized:
                if len(arguments[index]) > MAX_SIZE:
                    return None
            try:
                found = python(*arguments[:-1], now=arguments[-1]) if looks_at_clock else python(*arguments)
            except Exception:  # noqa: BLE001  whatever a team's code may raise
                return None
            if is_number and type(found) is float:
                return found if math.isfinite(found) else None
            if not _is_a(found, self.result):
                return None
            if not _is_stored(found):
                raise TypeError("not as a profile would store it")
            return found

        return call


def _plain(value: Any) -> Any:
    """A value of rule_engine's as annotations know it: numbers are floats; a list has no nulls."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value if each is not None]
    return value


def _is_a(value: Any, expected: FieldType) -> bool:
    match expected:
        case FieldType.STRING:
            return isinstance(value, str)
        case FieldType.NUMBER:
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case FieldType.BOOLEAN:
            return isinstance(value, bool)
        case FieldType.DATETIME:
            return isinstance(value, datetime) and value.tzinfo is not None
    member = FieldType.STRING if expected is FieldType.STRINGS else FieldType.NUMBER
    return isinstance(value, list) and all(_is_a(each, member) for each in value)


def _is_stored(value: Any) -> bool:
    """Whether the numbers in a value are such as profiles store."""
    if isinstance(value, list):
        return all(map(_is_stored, value))
    return (
        not isinstance(value, int | float)
        or type(value) in (bool, float)
        or (type(value) is int and abs(value) <= 2**53)
    )


def read_function(name: str, python: Any, *, version: str, provider: str) -> Function:
    """A Python function by its annotations. Raises FunctionError for one that rules cannot call."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise FunctionError(f"{provider}: a function cannot be named ${name}: lower case, and no name of the language.")
    try:
        hints, signature = typing.get_type_hints(python), inspect.signature(python)
    except (TypeError, ValueError, NameError) as error:
        raise FunctionError(f"{provider}: ${name} is not a function with annotations: {error}.") from error
    parameters, clock = [], False
    for parameter in signature.parameters.values():
        types = _types(hints.get(parameter.name))
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name == "now" and types == (FieldType.DATETIME,):
            clock = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) and types:
            parameters.append((parameter.name, types))
        else:
            known = ", ".join(each.__name__ if isinstance(each, type) else str(each) for each in _TYPES)
            raise FunctionError(f"{provider}: parameter {parameter.name} of ${name} must be one of {known}.")
    result = _types(hints.get("return"))
    if len(result) != 1:
        raise FunctionError(f"{provider}: the result of ${name} must have one type, or that type or None.")
    description = inspect.getdoc(python) or ""
    return Function(name, tuple(parameters), result[0], description, version, provider, clock, python)


def _types(hint: Any) -> tuple[FieldType, ...]:
    """The field types of an annotation, None left out; empty where it is none that rules know."""
    members = [hint] if hint in _TYPES else [each for each in typing.get_args(hint) if each is not NoneType]
    return tuple(_TYPES[each] for each in members) if members and all(each in _TYPES for each in members) else ()


@lru_cache(maxsize=1)
def known_functions() -> Mapping[str, Function]:
    """Every function that rules can call, by name: Muster's and those that are installed. Raises FunctionError."""
    found: dict[str, Function] = {}
    for python, (version, library) in _OURS.items():
        try:
            full = f"{version}+{library}.{installed_version(library)}" if library else version
        except PackageNotFoundError:
            continue  # what its library is missing for is not offered
        found[python.__name__] = read_function(python.__name__, python, version=full, provider="muster")
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        if entry.name in found:
            raise FunctionError(f"{entry.value}: there already is a function ${entry.name}; take another name.")
        found[entry.name] = load(entry)
    return found


def load(entry: EntryPoint) -> Function:
    """A team's function. Raises FunctionError when it cannot be imported or called by rules."""
    try:
        python = entry.load()
    except Exception as error:
        raise FunctionError(f"{entry.value}: ${entry.name} cannot be imported: {error!r}.") from error
    provider, version = (entry.dist.name, entry.dist.version) if entry.dist else (entry.value, "unknown")
    return read_function(entry.name, python, version=version, provider=provider)


def fuzzy(left: str, right: str) -> float | None:
    """How alike two texts of up to 1,000 characters are, from 0 to 100, whatever case, punctuation, order of words."""
    if max(len(left), len(right)) > MAX_COMPARED:
        return None
    from rapidfuzz import fuzz, utils  # noqa: PLC0415  see _OURS

    return float(fuzz.token_sort_ratio(left, right, processor=utils.default_process))


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float | None:
    """The distance between two places in kilometres along the earth's surface; coordinates in degrees."""
    if max(abs(latitude), abs(other_latitude)) > 90 or max(abs(longitude), abs(other_longitude)) > 180:
        return None
    first, second = math.radians(latitude), math.radians(other_latitude)
    across = math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    along = math.sin((second - first) / 2) ** 2
    chord = min(1.0, along + math.cos(first) * math.cos(second) * across)
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(chord))


def email_domain(email: str) -> str | None:
    """What stands after the @ of an e-mail address, in lower case; null for what is no address."""
    local, _, domain = email.strip().rpartition("@")
    return domain.lower() if local and domain and not re.search(r"\s", domain) else None


def root_domain(address: str) -> str | None:
    """The registered domain of a host name, a URL or an e-mail address: acme.co.uk of https://www.acme.co.uk/x."""
    try:
        host = urlsplit(address.strip() if "://" in address else f"//{address.strip()}").hostname
    except ValueError:
        return None
    if not host or len(host) > 253 or not re.fullmatch(r"[^\s/:@]+\.[^\s/:@]*[^\s/:@\d.]", host):
        return None
    found: str | None = _suffixes().privatesuffix(host)
    return found


@lru_cache(maxsize=1)
def _suffixes() -> Any:
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415  see _OURS

    return PublicSuffixList()


def days_since(moment: datetime, *, now: datetime) -> float:
    """How many days have passed since a moment, with a fraction; negative when it is yet to come."""
    return (now - moment.astimezone(UTC)).total_seconds() / 86_400


def overlap(left: list[str] | list[float], right: list[str] | list[float]) -> float:
    """How many different values two lists have in common."""
    return len(set(left) & set(right))


def percentile(value: float, lower: float, upper: float) -> float | None:
    """Where a value stands between two bounds, from 0 (the lower, or below) to 100; null when the bounds are none."""
    if not lower < upper:
        return None
    return min(100.0, max(0.0, (value - lower) / (upper - lower) * 100))


_OURS: dict[Callable[..., Any], tuple[str, str | None]] = {
    fuzzy: ("1", "rapidfuzz"),
    distance_km: ("1", None),
    email_domain: ("1", None),
    root_domain: ("1", "publicsuffixlist"),
    days_since: ("1", None),
    overlap: ("1", None),
    percentile: ("1", None),
}
"""With the version of what each computes, raised when an answer may change, and the library that it rests on: loaded
when it is first called, for most processes never call it."""
