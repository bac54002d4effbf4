"""What can never hold, or always does: found beyond constants, and never claimed wrongly."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.rules import oracle, plan_rule, read_rule
from muster.rules.translating import nothing
from tests.rules import generation
from tests.rules.engines import NOW, REGISTRY
from tests.rules.test_agreement import Drawn, Seeded, readable, seeded_profiles, stored_profiles

NEVER = [
    "lead.score > 5 and lead.score < 3",
    "lead.score > 5 and lead.score <= 5",
    "lead.score == 5 and lead.score != 5.0",
    "lead.score == 5 and lead.score == null",
    "lead.score > 5 and not lead.score",
    "lead.status == 'a' and lead.status == 'b'",
    "lead.status in ['a', 'b'] and lead.status not in ['a', 'b', 'c']",
    "lead.status == 'a' and (lead.status == 'b' or lead.status == 'c')",
    "lead.status == '' and lead.status",
    "lead.active and lead.active == false",
    "lead.active != true and lead.active != false and lead.active != null",
    "lead.created_at > d'2026-02-01' and lead.created_at < d'2026-01-01'",
    "lead.created_at < $now - t'P30D' and $now - lead.created_at < t'P20D'",
    "lead.tags.length > 3 and lead.tags.length < 2",
    "'a' in lead.tags and not ('a' in lead.tags)",
    "'a' in lead.tags and lead.tags == null",
    "lead.status =~~ 'a' and lead.status == null",
    "lead.score + 1 > 5 and not (lead.score + 1 > 5)",
    "lead.score == lead.amount and lead.score != lead.amount",
    "lead.score > lead.amount and lead.amount == null",
    "customer == null and customer.plan == 'pro'",
    "lead == null",
]
ALWAYS = [
    "lead.score > 5 or not (lead.score > 5)",
    "lead.score <= 5 or lead.score > 5 or lead.score == null",
    "lead.status != 'a' or lead.status != 'b'",
    "lead.active or lead.active == false or lead.active == null",
    "lead.tags or not lead.tags",
    "lead != null",
    "(lead.score + 1 > 5) or not (lead.score + 1 > 5)",
    "not (lead.score > 5 and lead.score < 3)",
]
NEITHER = [
    "lead.score <= 5 or lead.score > 5",
    "lead.score >= 5 and lead.score <= 5",
    "not (lead.score > 5) and not (lead.score <= 5)",
    "lead.status > 'a' and lead.status < 'b'",
    "lead.score < 0.30000000000000001 and lead.score > 0.29999999999999998",
    "lead.score < 0.30000000000000001 and lead.score >= 0.3",
    "'a' in lead.tags and 'b' in lead.tags",
    "lead.created_at < $now and lead.created_at > $today",
    "lead.status =~~ 'a' or lead.status !~~ 'b'",
    "customer == null or customer.plan == 'pro'",
]


@pytest.mark.parametrize("text", NEVER)
def test_what_excludes_itself_never_holds_and_costs_nothing(text: str) -> None:
    """Told to the author; MongoDB is not asked to look at any profile."""
    rule = read_rule(text, REGISTRY)
    assert rule.always is False
    assert "holds for no profile" in rule.warnings[-1].detail
    plan = plan_rule(rule)
    assert (plan.match_at(NOW), plan.residual) == (nothing(), None)


@pytest.mark.parametrize("text", ALWAYS)
def test_what_covers_everything_always_holds(text: str) -> None:
    """Only the scope is left to ask for."""
    rule = read_rule(text, REGISTRY)
    assert rule.always is True
    assert "holds for every profile with a lead" in rule.warnings[-1].detail
    assert plan_rule(rule).match_at(NOW) == {"lead": {"$type": "object"}}


@pytest.mark.parametrize("text", NEITHER)
def test_nothing_is_said_of_what_depends(text: str) -> None:
    """A missing value is outside of every order; intervals touch."""
    rule = read_rule(text, REGISTRY)
    assert (rule.always, rule.warnings) == (None, ())


@pytest.mark.parametrize(
    ("text", "piece", "detail"),
    [
        ("lead.active or (lead.score > 5 and lead.score < 3)", "lead.score > 5 and lead.score < 3", "never hold"),
        (
            "lead.active and (lead.score > 5 or not (lead.score > 5))",
            "lead.score > 5 or not (lead.score > 5)",
            "always",
        ),
    ],
)
def test_a_piece_is_told_at_its_place(text: str, piece: str, detail: str) -> None:
    """The rule as a whole depends; one piece of it does not."""
    rule = read_rule(text, REGISTRY)
    assert rule.always is None
    (warning,) = rule.warnings
    assert detail in warning.detail
    assert warning.span is not None
    assert piece in text[warning.span.start : warning.span.end]


WORDS = ["''", "'a'", "'b'"]
LENGTHS = ["t'P30D'", "t'P1D'"]


def narrow(choices: Any) -> str:
    """A rule's text over few fields and values, so that contradictions are common."""
    field = choices.choice(["lead.score", "lead.amount"])
    tests = [
        f"{field} {choices.choice(generation.SIGNS)} {choices.choice(['0', '1', '2', '0.30000000000000001', '0.3'])}",
        f"{field} {choices.choice(['==', '!='])} null",
        f"lead.status {choices.choice(generation.SIGNS)} {choices.choice(WORDS)}",
        f"lead.status {choices.choice(['in', 'not in'])} ['a', 'b']",
        f"lead.active {choices.choice(['==', '!='])} {choices.choice(['true', 'false', 'null'])}",
        choices.choice(["lead.active", "lead.status", "lead.score", "lead.tags"]),
        f"lead.score {choices.choice(generation.SIGNS)} lead.amount",
        f"lead.tags.length {choices.choice(generation.SIGNS)} {choices.integer(0, 2)}",
        f"lead.created_at {choices.choice(generation.SIGNS)} $now - {choices.choice(LENGTHS)}",
        f"customer {choices.choice(['==', '!='])} null",
        "customer.plan == 'pro'",
        "'a' in lead.tags",
    ]
    one = choices.choice(tests)
    return f"not ({one})" if choices.integer(0, 3) == 0 else one


def woven(choices: Any, depth: int = 2) -> str:
    """Such tests in and, or, not."""
    if depth == 0:
        return narrow(choices)
    parts = [f"({woven(choices, depth - choices.integer(1, 2) if depth > 1 else 0)})" for _ in range(3)]
    return f" {choices.choice(['and', 'or'])} ".join(parts)


@st.composite
def woven_rules(draw: st.DrawFn) -> str:
    """Texts of such rules."""
    return woven(Drawn(draw))


def contradicts(text: str, stored: list[dict[str, Any]]) -> bool:
    """Whether the oracle knows a profile about which a verdict or a warning is wrong."""
    rule = readable(text)
    if rule is None or (rule.always is None and not rule.warnings):
        return False
    holds = oracle(rule)
    within = [profile for profile in stored if all(profile.get(part) is not None for part in rule.required_parts)]
    if rule.always is not None:
        return any(holds(profile, NOW) is not rule.always for profile in within)
    for warning in rule.warnings:
        if warning.span is None or not warning.detail.startswith(("This can never hold", "This always holds")):
            continue
        piece = readable(rule.text[warning.span.start : warning.span.end])
        if piece is None:
            continue
        expected = warning.detail.startswith("This always holds")
        part_holds = oracle(piece)
        there = [each for each in within if all(each.get(part) is not None for part in piece.required_parts)]
        if any(part_holds(profile, NOW) is not expected for profile in there):
            return True
    return False


def test_no_verdict_is_wrong_over_seeded_rules() -> None:
    """Thousands of rules; verdicts are common among them, and none is contradicted by a profile."""
    stored, choices, verdicts = seeded_profiles(150), Seeded(7), 0
    for _ in range(1200):
        text = woven(choices)
        rule = readable(text)
        assert rule is not None, text
        verdicts += rule.always is not None or bool(rule.warnings)
        assert not contradicts(text, stored), text
    assert verdicts > 100


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(woven_rules(), stored_profiles())
def test_no_verdict_is_wrong_over_drawn_rules(text: str, stored: list[dict[str, Any]]) -> None:
    """The same, with rules and profiles that Hypothesis draws and shrinks."""
    assert not contradicts(text, stored)
