"""Oracle, predicate, MongoDB with residual, and explain give the same members for random rules over random profiles."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.rules import Rule, plan_rule
from tests.rules import generation
from tests.rules.computed_generation import computation
from tests.rules.conftest import Profiles
from tests.rules.engines import by_explanation, by_mongodb, by_oracle, by_predicate, read_or_refuse
from tests.rules.generation import Seeded
from tests.rules.planting import naive_negation

T = TypeVar("T")
SEED = 20260615


class Drawn:
    """Choices that Hypothesis draws, and shrinks."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def choice(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Texts of rules."""
    return generation.rule(Drawn(draw))


@st.composite
def stored_profiles(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A few profiles as MongoDB stores them."""
    choices = Drawn(draw)
    return [{"_id": number, **generation.profile(choices)} for number in range(draw(st.integers(1, 4)))]


def readable(text: str) -> Rule | None:
    """The rule, or None when it is refused for its types."""
    rule = read_or_refuse(text)
    return rule if isinstance(rule, Rule) else None


def disagreements(rule: Rule, stored: list[dict[str, Any]], profiles: Profiles) -> dict[str, set[Any]]:
    """By engine, the ids about which it differs from the oracle."""
    expected = by_oracle(rule, stored)
    found = {
        "predicate": by_predicate(rule, stored) ^ expected,
        "mongodb": by_mongodb(rule, profiles) ^ expected,
        "explain": by_explanation(rule, stored[:3]) ^ {each for each in expected if each < 3},
    }
    return {engine: ids for engine, ids in found.items() if ids}


def seeded_profiles(count: int) -> list[dict[str, Any]]:
    """Always the same profiles."""
    choices = Seeded(SEED)
    return [{"_id": number, **generation.profile(choices)} for number in range(count)]


def test_engines_agree_on_seeded_rules(profiles: Profiles) -> None:
    """Hundreds of rules over two hundred profiles; all strategies occur, and most rules split the profiles."""
    stored = seeded_profiles(200)
    profiles.insert_many(stored)
    choices, strategies, telling = Seeded(SEED + 1), Counter[str](), 0
    for _ in range(700):
        text = generation.rule(choices)
        rule = readable(text)
        if rule is None:
            strategies["refused"] += 1
            continue
        strategies[plan_rule(rule).strategy] += 1
        telling += 0 < len(by_predicate(rule, stored)) < len(stored)
        assert disagreements(rule, stored, profiles) == {}, text
    assert strategies["mongodb"] > 150
    assert strategies["hybrid"] > 50
    assert strategies["python"] > 50
    assert strategies["refused"] < 150
    assert telling > 250


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=rules(), stored=stored_profiles())
def test_engines_agree_on_drawn_rules(profiles: Profiles, text: str, stored: list[dict[str, Any]]) -> None:
    """The same, with rules and profiles that Hypothesis draws and shrinks."""
    rule = readable(text)
    if rule is None:
        return
    profiles.delete_many({})
    profiles.insert_many(stored)
    assert disagreements(rule, stored, profiles) == {}


def test_computations_have_the_oracles_meaning() -> None:
    """Nested computations of every kind, as generated code; in memory, for MongoDB has no part in them."""
    stored, choices, read = seeded_profiles(40), Seeded(SEED + 2), 0
    for _ in range(300):
        text = computation(choices)
        rule = readable(text)
        if rule is not None:
            read += 1
            assert by_predicate(rule, stored) == by_oracle(rule, stored), text
    assert read > 250


def test_a_planted_bug_is_found(profiles: Profiles) -> None:
    """`not` by turning the operator round, the way one would write it first, differs within a few dozen rules."""
    stored = seeded_profiles(200)
    profiles.insert_many(stored)
    choices = Seeded(SEED + 1)
    readables = (rule for _ in range(300) if (rule := readable(generation.rule(choices))))
    with naive_negation():
        assert any("mongodb" in disagreements(rule, stored, profiles) for rule in readables)
