"""The compiled predicate, beyond what the engines are compared on."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.rules import compile_rule, oracle, read_rule
from tests.rules.engines import NOW, REGISTRY


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
