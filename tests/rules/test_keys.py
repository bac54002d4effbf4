"""Keys of rules: whoever has none of a rule's values is not let in by it."""

from typing import Any

import pytest

from muster.rules import compile_rule, key_of, oracle, read_rule, values_at
from tests.rules import generation
from tests.rules.engines import NOW, REGISTRY
from tests.rules.generation import Seeded
from tests.rules.test_agreement import readable


def test_nobody_without_the_key_is_let_in() -> None:
    """Random rules over random profiles, and enough of those who have the key are let in."""
    choices = Seeded(17)
    stored = [{"_id": number, **generation.profile(choices)} for number in range(150)]
    with_keys = let_in = 0
    for _ in range(1_500):
        rule = readable(generation.rule(choices))
        key = key_of(rule) if rule else None
        if rule is None or key is None:
            continue
        with_keys += 1
        maybe = compile_rule(rule)
        for profile in stored:
            if key.values.isdisjoint(values_at(profile, key.field)):
                assert not maybe(profile, NOW), (rule.text, profile)
            elif oracle(rule)(profile, NOW):
                let_in += 1
    assert with_keys > 80
    assert let_in > 80


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("lead.status == 'new' and lead.score > 5", "lead.status", {"new"}),
        (
            "lead.score > 5 and (lead.status == 'a' or lead.status in ['b', 'c'])",
            "lead.status",
            {"a", "b", "c"},
        ),
        ("'vip' in lead.tags and lead.status in ['a', 'b']", "lead.tags", {"vip"}),
        ("not (lead.score != 7)", "lead.score", {7.0}),
        ("$in_cohort('COH-1') and lead.score > 5", "contact.country", {"US"}),
        ("lead.status == 'new' or lead.score == 5", None, set()),
        ("lead.status == 'new' or lead.active", None, set()),
        ("lead.score > 5", None, set()),
        ("contact.country != 'US'", None, set()),
        ("lead.status == null", None, set()),
        ("not (lead.status == 'new')", None, set()),
    ],
)
def test_the_key_of_a_rule(text: str, field: str | None, values: set[Any]) -> None:
    """The fewest values that one of its conditions asks for."""
    inner = read_rule("contact.country == 'US' and lead.score < 90", REGISTRY)
    key = key_of(read_rule(text, REGISTRY, cohorts={"COH-1": inner}))
    assert (key and key.field, set(key.values) if key else set()) == (field, values)
