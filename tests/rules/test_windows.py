"""Who may flip by the clock alone: found by windows and turns, judged by the oracle at both times."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.rules import Rule, RuleError, Window, intervals, oracle, read_rule, turned_between
from muster.rules.windows import turned
from tests.rules import generation
from tests.rules.conftest import Profiles
from tests.rules.engines import NOW, REGISTRY
from tests.rules.test_agreement import Drawn, stored_profiles

DAY = timedelta(days=1)
ZONES = ["UTC", "America/St_Johns", "Pacific/Apia", "Asia/Kolkata", "Europe/Berlin"]
CLOCK = [
    "$now.hour > 9",
    "$now.weekday == 'Monday'",
    "lead.created_at.year > $now.year - 1",
    "lead.created_at.date < $today",
    "$today.month == 6",
    "$now in [lead.created_at]",
    'd"2026-06-15T12:30:45.679" < $now',
    "$now.minute == 30",
]


def about_time(choices: Drawn) -> str:
    """A rule's text with windows, things that turn, and others."""
    kinds = [
        generation._window,
        generation._window,
        lambda choices: choices.choice(CLOCK),
        lambda choices: generation.rule(choices, 0),
    ]
    parts = [f"({choices.choice(kinds)(choices)})" for _ in range(choices.integer(1, 3))]
    denied = [f"not {part}" if choices.integer(0, 3) == 0 else part for part in parts]
    return f" {choices.choice(['and', 'or'])} ".join(denied)


@st.composite
def rules_about_time(draw: st.DrawFn) -> str:
    """Texts of such rules."""
    return about_time(Drawn(draw))


MOMENTS = st.builds(
    lambda near, away: near + away,
    st.sampled_from([each for each in generation.MOMENTS if 1500 < each.year < 8000]),
    st.sampled_from(generation.DURATIONS[:-1])
    | st.timedeltas(-DAY, DAY)
    | st.sampled_from([30 * DAY, -30 * DAY, timedelta(microseconds=400)]),
)


def readable_in(text: str, zone: str) -> Rule | None:
    """The rule, or None when it is refused for its types."""
    try:
        return read_rule(text, REGISTRY, time_zone=zone)
    except RuleError:
        return None


def flips(rule: Rule, earlier: datetime, later: datetime, profile: dict[str, Any]) -> bool:
    """Whether the oracle answers differently at two moments."""
    holds = oracle(rule)
    return holds(profile, earlier) != holds(profile, later)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rules_about_time(), st.sampled_from(ZONES), MOMENTS, MOMENTS, stored_profiles())
def test_nobody_outside_of_the_windows_flips(
    text: str, zone: str, one: datetime, other: datetime, stored: list[dict[str, Any]]
) -> None:
    """Brute force over times: the oracle at both."""
    rule = readable_in(text, zone)
    if rule is None:
        return
    earlier, later = sorted((one, other))
    may = may_flip(rule.windows, rule.turns, zone, earlier, later)
    for profile in stored:
        assert may(profile) or not flips(rule, earlier, later, profile)
    if not rule.windows and not rule.turns:
        assert not rule.time_dependent


TIMES = [
    NOW + length
    for length in [
        *(timedelta(), timedelta(milliseconds=1), timedelta(seconds=20), timedelta(minutes=40), timedelta(hours=5)),
        *(timedelta(hours=13), DAY, timedelta(days=17), timedelta(days=40), timedelta(days=400)),
    ]
]
AROUND = [timedelta(milliseconds=each) for each in (-1, 0, 1)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "text",
    [
        *CLOCK,
        "lead.created_at < $now - t'P30D'",
        "not (lead.created_at <= $now + t'PT36H')",
        "lead.created_at == $today",
        "lead.created_at != $today - t'P1D'",
        "lead.created_at >= $today - t'P1D'",
        "$now.month == 6",
        "$now.year == 2026",
        "$now.second > 30",
    ],
)
def test_exhaustively_at_the_edges(text: str, zone: str) -> None:
    """Every pair of times, with values on and beside the edge of every window at every time: those who flip may."""
    rule = readable_in(text, zone)
    assert rule is not None
    edges = [edge for window in rule.windows for time in TIMES for edge in window.between(time, time, zone)]
    values = [None, *TIMES, *(edge + beside for edge in edges for beside in AROUND)]
    profiles = [{"lead": {"created_at": value} if value else {}} for value in values]
    holds = oracle(rule)
    answers = {time: [holds(profile, time) for profile in profiles] for time in TIMES}
    flipped = 0
    for earlier, later in combinations(TIMES, 2):
        may = may_flip(rule.windows, rule.turns, zone, earlier, later)
        for profile, before, after in zip(profiles, answers[earlier], answers[later], strict=True):
            assert may(profile) or before == after
            flipped += before != after
    assert flipped


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules_about_time(), MOMENTS, MOMENTS, stored_profiles())
def test_mongodb_finds_those_who_may_flip(
    profiles: Profiles, text: str, one: datetime, other: datetime, stored: list[dict[str, Any]]
) -> None:
    """The filter lets through everybody whom the clock flips."""
    rule = readable_in(text, "UTC")
    if rule is None:
        return
    profiles.delete_many({})
    profiles.insert_many(stored)
    earlier, later = sorted((one, other))
    found = {each["_id"] for each in profiles.find(flip_filter(rule.windows, rule.turns, "UTC", earlier, later))}
    assert {each["_id"] for each in stored if flips(rule, earlier, later, each)} <= found


@pytest.mark.parametrize(
    ("text", "windows", "turns"),
    [
        ("lead.score > 5", (), ()),
        ('$now - lead.created_at > t"P30D"', (Window("lead.created_at", "now", -30 * DAY),), ()),
        (
            "lead.created_at < $now and not (lead.created_at > $today - t'P1D')",
            (Window("lead.created_at", "now", timedelta()), Window("lead.created_at", "today", -DAY)),
            (),
        ),
        ("lead.created_at.date == $today", (), ("today",)),
        ("lead.created_at.date == $now.date or lead.created_at.year < $now.year", (), ("day", "year")),
        ("$now in [lead.created_at] or $now.hour > 3", (), ("tick",)),
    ],
)
def test_windows_and_turns_are_data(text: str, windows: tuple[Window, ...], turns: tuple[str, ...]) -> None:
    """What the live side needs to know of a rule, before any clock is read."""
    rule = read_rule(text, REGISTRY)
    assert (rule.windows, rule.turns) == (windows, turns)


def test_a_window_is_narrow() -> None:
    """Only the values that now - 30 days has passed."""
    rule = read_rule('$now - lead.created_at > t"P30D"', REGISTRY)
    later = NOW + timedelta(minutes=1)
    may = may_flip(rule.windows, rule.turns, "UTC", NOW, later)
    inside, outside = NOW - 30 * DAY, NOW - 30 * DAY - timedelta(milliseconds=1)
    assert may({"lead": {"created_at": inside}})
    assert not may({"lead": {"created_at": outside}})
    assert not may({"lead": {"created_at": inside + timedelta(minutes=1, milliseconds=1)}})
    assert not may({"lead": {}})
    assert flip_filter(rule.windows, rule.turns, "UTC", NOW, later) == {
        "$or": [{"lead.created_at": {"$gte": inside, "$lte": inside + timedelta(minutes=1)}}]
    }


@pytest.mark.parametrize("turn", ["year", "month", "day", "hour", "minute", "second"])
def test_a_unit_turns_at_its_end(turn: str) -> None:
    """And not before."""
    end = datetime(2027, 1, 1, tzinfo=UTC)
    assert turned(turn, end - timedelta(milliseconds=1), end)
    assert not turned(turn, end, end + timedelta(milliseconds=999))


def test_today_turns_with_the_day_of_the_project() -> None:
    """Midnight in Kolkata is half past six in the evening of UTC."""
    midnight = datetime(2026, 6, 15, 18, 30, tzinfo=UTC)
    assert turned("today", midnight - timedelta(milliseconds=1), midnight, "Asia/Kolkata")
    assert not turned("today", midnight - timedelta(milliseconds=1), midnight, "UTC")


def may_flip(
    windows: tuple[Window, ...], turns: tuple[Any, ...], time_zone: str, earlier: datetime, later: datetime
) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a profile that stays as it is may be answered differently at two moments."""
    everyone = turned_between(turns, earlier, later, time_zone)
    ranges = [(name.partition("."), low, high) for name, low, high in intervals(windows, earlier, later, time_zone)]

    def flips(profile: Mapping[str, Any]) -> bool:
        values = (((profile.get(part) or {}).get(name), low, high) for (part, _, name), low, high in ranges)
        return everyone or any(value is not None and low <= value <= high for value, low, high in values)

    return flips


def flip_filter(
    windows: tuple[Window, ...], turns: tuple[Any, ...], time_zone: str, earlier: datetime, later: datetime
) -> dict[str, Any]:
    """The MongoDB filter of the profiles that may be answered differently at two moments; scope not included."""
    if turned_between(turns, earlier, later, time_zone):
        return {}
    if not windows or earlier == later:
        return {"_id": {"$in": []}}
    ranges = intervals(windows, earlier, later, time_zone)
    return {"$or": [{field: {"$gte": low, "$lte": high}} for field, low, high in ranges]}
