"""Functions of values: what they answer, what they refuse, and a team's own."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest

from muster.rules import FunctionError, RuleError, compile_rule, explain, known_functions, oracle, plan_rule, read_rule
from muster.rules.functions import MAX_COMPARED, MAX_SIZE, read_function
from muster.rules.windows import turns_of
from tests.rules.engines import NOW, REGISTRY

PROFILE: dict[str, Any] = {
    "lead": {
        "name": "Acme, Inc.",
        "status": "x" * (MAX_SIZE + 1),
        "score": 5.0,
        "tags": ["a", "b", None],
        "created_at": NOW - timedelta(hours=36),
    },
    "contact": {"email": "Ada@WWW.Acme.co.uk"},
    "customer": {"tags": ["b", "a", "a", None]},
}


def holds(text: str, profile: dict[str, Any] = PROFILE) -> bool:
    """What oracle and predicate say, who must agree."""
    rule = read_rule(text, REGISTRY)
    found = oracle(rule)(profile, NOW)
    assert compile_rule(rule)(profile, NOW) is found
    assert explain(rule, profile, NOW).result is found
    return found


@pytest.mark.parametrize(
    "text",
    [
        *("$fuzzy(lead.name, 'inc acme') == 100", "$fuzzy(lead.name, 'Acme Incorporated') < 90"),
        *("$email_domain(contact.email) == 'www.acme.co.uk'", "$email_domain(contact.email) =~~ 'acme'"),
        *("$email_domain(lead.name) == null", "$email_domain('@' + lead.name) == null"),
        *("$root_domain(contact.email) == 'acme.co.uk'", "$root_domain('https://a.b.com:80/x?y#z' + '') == 'b.com'"),
        *("$root_domain('127.0.0.1') == null", "$root_domain('http://[') == null", "$root_domain('co.uk') == null"),
        *("$days_since(lead.created_at) == 1.5", "$days_since($now + t'P1D') == -1"),
        *("$overlap(lead.tags, customer.tags) == 2", "$overlap(lead.tags, ['z']) == 0"),
        *("$percentile(lead.score, 0, 20) == 25", "$percentile(lead.score, 0, 1) == 100"),
        *("$percentile(lead.score, 7, 7) == null", "$percentile(lead.score, 6, 9) == 0"),
        *("$distance_km(48.8566, 2.3522, 51.5074, -0.1278) > 343", "$distance_km(48.9, 2.4, 51.5, -0.1) < 344"),
        *("$distance_km(0, 0, 0, 180) > 20015", "$distance_km(91, 0, 0, 0) == null", "$distance_km(0, 0, 0, 0) == 0"),
    ],
)
def test_what_they_answer(text: str) -> None:
    """Usual values, and those at the edge."""
    assert holds(text)


@pytest.mark.parametrize(
    "call",
    [
        *("$fuzzy(lead.name, contact.country)", "$email_domain(contact.country)", "$root_domain(contact.country)"),
        *("$days_since(lead.last_activity_at)", "$overlap(lead.tags, company.domains)", "$percentile(lead.score, 0,"),
    ],
)
def test_null_in_null_out(call: str) -> None:
    """A missing value gives a missing value, which no test holds for."""
    call = call if call.endswith(")") else f"{call} lead.amount)"
    assert holds(f"{call} == null")
    assert not holds(call)


def test_inputs_are_bounded() -> None:
    """A text beyond what a function takes gives null, at once."""
    assert holds("$email_domain(lead.status + '@a.b') == null")
    assert holds(f"$fuzzy(lead.name, '{'x' * (MAX_COMPARED + 1)}') == null")


def test_they_run_in_python_and_the_rest_in_mongodb() -> None:
    """And the plan says so; the rule says which versions it was read with."""
    rule = read_rule("lead.score > 1 and $fuzzy(lead.name, 'acme') > 80", REGISTRY)
    plan = plan_rule(rule)
    assert plan.strategy == "hybrid"
    (reason,) = [piece.reason for piece in plan.pieces if piece.where == "python"]
    assert reason == "functions run in Python; asked only of profiles with lead.name"
    assert rule.functions == {"fuzzy": known_functions()["fuzzy"].version}


def test_a_function_that_looks_at_the_clock_makes_a_rule_time_dependent() -> None:
    """It is asked again with every tick, for no window says when its answer turns."""
    rule = read_rule("$days_since(lead.created_at) > 1", REGISTRY)
    assert rule.time_dependent
    assert turns_of(rule.condition) == ("tick",)
    assert not read_rule("$percentile(lead.score, 0, 1) > 1", REGISTRY).time_dependent


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("$fuzy(lead.name, 'a') > 1", "$fuzzy"),
        ("$fuzzy(lead.name) > 1", None),
        ("$fuzzy(lead.score, 'a') > 1", None),
        ("$email_domain(lead.name) > 1", None),
        ("$fuzzy == 1", None),
    ],
)
def test_wrong_calls_are_refused(text: str, suggestion: str | None) -> None:
    """Unknown names, counts and types of arguments, at their place."""
    with pytest.raises(RuleError) as caught:
        read_rule(text, REGISTRY)
    assert caught.value.problems[0].span is not None
    assert caught.value.problems[0].suggestion == suggestion


def tier(value: float, *, now: datetime) -> str | None:
    """The tier of a value."""
    if value < 0:
        raise RuntimeError("whatever a team's code may raise")
    return "gold" if value > 10 and now == NOW else None


def liar(value: float) -> str:
    """Gives what its annotation does not say."""
    return value  # type: ignore[return-value]  # the point of it


def endless(value: float) -> float:
    """Gives what no field can hold."""
    return value * math.inf


def undated(value: float) -> datetime:
    """Gives a moment that is nowhere in the world."""
    return datetime(2026, 1, int(value))  # noqa: DTZ001  the point of it


def untyped(value):  # type: ignore[no-untyped-def]
    """Without annotations."""
    return value


def starred(*values: float) -> float:
    """A parameter that rules cannot fill."""
    return sum(values)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Entry points that a team's packages bring, by name."""
    names: dict[str, str] = {}

    def entry_points(*, group: str) -> EntryPoints:
        return EntryPoints(
            EntryPoint(name, f"tests.rules.test_functions:{value}", group) for name, value in names.items()
        )

    monkeypatch.setattr("muster.rules.functions.entry_points", entry_points)
    known_functions.cache_clear()
    yield names
    known_functions.cache_clear()


def test_a_teams_function_is_called(installed: dict[str, str]) -> None:
    """By its entry point's name; what it raises, or gives of another type, is null."""
    installed |= {"tier": "tier", "liar": "liar", "endless": "endless", "undated": "undated"}
    assert known_functions()["tier"].signature == "$tier(value: number) -> string"
    assert known_functions()["tier"].description == "The tier of a value."
    assert holds("$tier(lead.score * 3) == 'gold'")
    assert holds("$tier(lead.score) == null")
    assert holds("$tier(-lead.score) == null")
    assert holds("$liar(lead.score) == null")
    assert holds("$endless(lead.score) == null")
    assert holds("$undated(lead.score) == null")
    assert read_rule("$tier(lead.score) == 'gold'", REGISTRY).time_dependent


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("untyped", "untyped", "parameter value of \\$untyped must be one of"),
        ("starred", "starred", "parameter values of \\$starred must be one of"),
        ("now", "tier", "cannot be named \\$now"),
        ("Tier", "tier", "cannot be named \\$Tier"),
        ("fuzzy", "tier", "there already is a function \\$fuzzy"),
        ("gone", "no_such_name", "cannot be imported"),
    ],
)
def test_a_teams_function_is_checked_when_it_is_loaded(
    installed: dict[str, str], name: str, value: str, why: str
) -> None:
    """With a sentence that names it."""
    installed[name] = value
    with pytest.raises(FunctionError, match=why):
        known_functions()


def test_a_function_has_one_result_type() -> None:
    """A result of several types could not be checked."""

    def either(value: float) -> str | float:
        return value

    with pytest.raises(FunctionError, match="must have one type"):
        read_function("either", either, version="1", provider="test")
