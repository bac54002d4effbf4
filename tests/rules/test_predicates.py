"""The compiled predicate, beyond what the engines are compared on."""

import decimal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.rules import compile_rule, oracle, read_rule
from muster.rules.conditions import Not
from muster.rules.predicates import to_predicate
from tests.rules.engines import NOW, REGISTRY

COMPUTED = [
    *("lead.score * 2 > 100", "lead.amount + 0.1 == 0.3", "lead.amount / lead.score > 1", "lead.amount // 3 == 1"),
    *(
        "lead.score % 2 == 1",
        "-lead.score < 3",
        "$abs(lead.amount) > 1",
        "lead.amount.floor == 2",
        "lead.score & 1 == 1",
    ),
    *("lead.amount * $pi > 3", "lead.name.length > lead.score", "(lead.score ?? lead.amount) > 1"),
    *(
        "lead.name + lead.status == 'Adanew'",
        "lead.name.as_upper == 'ADA'",
        "lead.name[0] == 'A'",
        "lead.name[9] == 'A'",
    ),
    *("lead.name[:2] == 'Ad'", "lead.name.as_lower =~ 'a'", "lead.status in lead.name", "lead.score.to_str == '5.0'"),
    *(
        "lead.name.as_upper.starts_with('A')",
        "(lead.active ? lead.name : lead.status) == 'Ada'",
        "lead.name in lead.tags",
    ),
    *("lead.created_at.date == $today", "lead.created_at.weekday == 'Monday'", "lead.created_at.year == $now.year"),
    *("lead.created_at + t'P1D' > lead.last_activity_at", "(lead.created_at - lead.last_activity_at).days > 1"),
    *("lead.tags[0] == 'a'", "lead.tags[-1] == 'b'", "lead.tags[5] == 'a'", "lead.points[lead.score] == 1"),
    *("$any([tag == 'a' for tag in lead.tags])", "$all([tag.length > 1 for tag in lead.tags if tag != 'a'])"),
    *(
        "$sum(lead.points) > 3",
        "$max(lead.points) == 3",
        "$min([lead.score, lead.amount]) < 3",
        "lead.tags == ['a', 'b']",
    ),
    *(
        "(lead.tags.to_set & {'a', 'z'}).length > 0",
        "lead.name in [lead.status, 'Ada']",
        "$split(lead.name, 'd').length > 1",
    ),
    *("$fuzzy(lead.name, 'ada') > 90", "$days_since(lead.created_at) > 1", "$overlap(lead.tags, ['a']) == 1"),
    *("$percentile(lead.score, 0, 10) > 10", "$email_domain(lead.name + '@a.b') == 'a.b'", "lead.tags[0:1] == ['a']"),
]
LEADS: list[dict[str, Any]] = [
    {},
    {"score": 0, "amount": 0.2, "name": "", "tags": [], "points": []},
    {
        "score": 5.0,
        "amount": 2.5,
        "name": "Ada",
        "status": "new",
        "active": True,
        "tags": ["a", "b"],
        "points": [1.0, 3],
    },
    {"score": 61, "amount": -4.0, "name": "\u212a", "status": "d", "tags": ["a", None], "points": [None, 1.5]},
    {"created_at": NOW, "last_activity_at": NOW - timedelta(days=3), "active": False, "name": "Ada", "tags": ["Ada"]},
    {"created_at": NOW.replace(hour=0, minute=0, second=0, microsecond=0), "status": "Ada", "name": None},
]


@pytest.mark.parametrize(
    "lead",
    [
        {"score": "60", "status": 5, "tags": "abc", "created_at": "2026"},
        {"score": [1], "status": ["a"], "tags": 5, "created_at": datetime(2026, 1, 1)},  # noqa: DTZ001  the wrong kind
        {"score": {}, "status": {}, "tags": {}, "created_at": 5},
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        *("lead.score > 50", "lead.status < 'a'", "'a' in lead.status", "lead.status.starts_with('a')"),
        *("lead.status.length > 1", "lead.created_at < $now", "lead.status =~ 'a'", "lead.score in [60]"),
    ],
)
def test_values_of_another_type_than_registered_give_the_oracles_answer(text: str, lead: dict[str, Any]) -> None:
    """They should not be there; one that is must not end an evaluation."""
    rule = read_rule(text, REGISTRY)
    assert compile_rule(rule)({"lead": lead}, NOW) == oracle(rule)({"lead": lead}, NOW)


@pytest.mark.parametrize("text", COMPUTED)
def test_computed_pieces_are_code(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle is asked by no profile whose values have their types, whatever is missing, zero or out of range."""
    rule = read_rule(text, REGISTRY)
    expected = [oracle(rule)({"lead": lead}, NOW) for lead in LEADS]
    monkeypatch.setattr("muster.rules.predicates.build_oracle", None)
    holds = to_predicate(rule.condition, rule.registry, rule.time_zone, rule.required_parts)
    assert [holds({"lead": lead}, NOW) for lead in LEADS] == expected


def test_what_fails_is_null_although_nobody_looks_at_it() -> None:
    """A date out of the calendar is null, also where it is only asked whether it is there."""
    profile = {"lead": {"created_at": datetime(9999, 12, 31, tzinfo=UTC)}}
    for text, expected in (
        ("t'P2D' + lead.created_at == null", True),
        ("t'P2D' + lead.created_at != lead.name", False),
        ("($now + (lead.created_at - $now) + t'P2D') == lead.last_activity_at", True),
        ("lead.created_at + (lead.created_at - $now)", False),
        ("(lead.created_at + (lead.created_at - $now)) == lead.name", True),
    ):
        rule = read_rule(text, REGISTRY)
        assert oracle(rule)(profile, NOW) is expected, text
        assert compile_rule(rule)(profile, NOW) is expected, text


def test_what_is_too_deep_for_pythons_parser_is_decided_all_the_same() -> None:
    """Rules of nested cohorts can grow so deep, written out in each other."""
    rule = read_rule("lead.score * 2 > 100", REGISTRY)
    condition = rule.condition
    for _ in range(300):
        condition = Not(condition, condition.span)
    holds = to_predicate(condition, rule.registry, rule.time_zone)
    assert [holds({"lead": {"score": score}}, NOW) for score in (50.0, 51.0, None)] == [False, True, False]


def test_numbers_are_of_28_digits_whatever_the_thread_has_set() -> None:
    """The calling thread's own decimal context has no say."""
    holds = compile_rule(read_rule("lead.amount / 3 == 0.3333333333333333333333333333", REGISTRY))
    with decimal.localcontext() as context:
        context.prec = 3
        assert holds({"lead": {"amount": 1.0}}, NOW)


def test_equal_rules_share_one_predicate() -> None:
    """Reading a rule again does not compile it again."""
    assert compile_rule(read_rule("lead.score > 51", REGISTRY)) is compile_rule(read_rule("lead.score > 51", REGISTRY))


def test_now_is_what_the_caller_says() -> None:
    """Nothing looks at a clock."""
    holds = compile_rule(read_rule("$now - lead.created_at > t'P1D' and lead.created_at.year == $now.year", REGISTRY))
    profile = {"lead": {"created_at": NOW}}
    assert not holds(profile, NOW)
    assert holds(profile, NOW + timedelta(days=2))
    assert not holds(profile, NOW + timedelta(days=400))


def test_today_begins_in_the_projects_time_zone() -> None:
    """Also on the day when the clock changes."""
    rule = read_rule("lead.created_at >= $today", REGISTRY, time_zone="Europe/Paris")
    just_before = datetime(2026, 3, 28, 22, 59, 59, 999000, tzinfo=UTC)
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)
    for engine in (compile_rule(rule), oracle(rule)):
        assert not engine({"lead": {"created_at": just_before}}, noon)
        assert engine({"lead": {"created_at": just_before + timedelta(milliseconds=1)}}, noon)


def test_the_profile_is_only_read() -> None:
    """No engine adds or changes anything."""
    profile: dict[str, Any] = {"lead": {"score": 1.5, "tags": ["a"]}, "contact": None}
    rule = read_rule("contact.email == null and 'a' in lead.tags and lead.score * 2 > 1", REGISTRY)
    assert compile_rule(rule)(profile, NOW)
    assert oracle(rule)(profile, NOW)
    assert profile == {"lead": {"score": 1.5, "tags": ["a"]}, "contact": None}
