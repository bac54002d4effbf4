"""Which conditions an index could answer, and which values a rule needs."""

from collections.abc import Mapping

import pytest

from muster.rules import AccessPath, plan_rule, read_rule
from muster.rules.conditions import Computed, leaves
from muster.rules.needs import needs_of
from muster.rules.predicates import to_predicate
from tests.rules import generation
from tests.rules.engines import NOW, REGISTRY, by_oracle
from tests.rules.generation import Seeded
from tests.rules.test_agreement import SEED, readable, seeded_profiles

ONE_AND_ONE = "lead.score > 5 and lead.status == 'new'"


def paths(text: str) -> list[Mapping[str, str]]:
    """Each path as a mapping of fields to uses."""
    return [uses(path) for path in plan_rule(read_rule(text, REGISTRY)).access_paths]


def uses(path: AccessPath) -> Mapping[str, str]:
    return {branch.field: branch.use for branch in path.branches}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lead.score > 5", [{"lead.score": "range"}]),
        ("lead.score > 5 and lead.score < 9", [{"lead.score": "range"}]),
        (ONE_AND_ONE, [{"lead.score": "range"}, {"lead.status": "equality"}]),
        ("lead.status in ['new', 'won']", [{"lead.status": "equality"}]),
        ("lead.status.starts_with('n')", [{"lead.status": "prefix"}]),
        ("'vip' in lead.tags and 'x' in lead.tags", [{"lead.tags": "member"}, {"lead.tags": "member"}]),
        ("lead.last_activity_at < $now - t'P30D'", [{"lead.last_activity_at": "window"}]),
        ("lead.active", [{"lead.active": "equality"}]),
        ("lead.score > 5 or lead.amount < 3", [{"lead.score": "range", "lead.amount": "range"}]),
        ("lead.score > 5 or lead.score == 1", [{"lead.score": "equality"}]),
        (f"({ONE_AND_ONE}) or lead.amount < 3", [{"lead.status": "equality", "lead.amount": "range"}]),
        ("lead.score > 5 and lead.amount * 2 > 3", [{"lead.score": "range"}]),
        ("lead.score > 5 or lead.status != 'new'", []),
        ("lead.score > 5 or lead.amount * 2 > 3", []),
        ("not (lead.score > 5)", []),
        ("not (lead.score != 5)", [{"lead.score": "equality"}]),
        ("lead.score == null", []),
        ("lead.status.ends_with('n') and lead.status.starts_with('')", []),
        ("lead.score < lead.amount", []),
    ],
)
def test_the_paths_of_a_rule(text: str, expected: list[Mapping[str, str]]) -> None:
    """Of an `and` each, of an `or` one with as many branches."""
    assert paths(text) == expected


def test_whoever_matches_is_on_every_path() -> None:
    """For random rules: a path may lead to too many profiles, never to too few."""
    stored = seeded_profiles(150)
    choices, followed = Seeded(SEED + 5), 0
    for _ in range(400):
        rule = readable(generation.rule(choices))
        if rule is None:
            continue
        members = by_oracle(rule, stored)
        for path in plan_rule(rule).access_paths:
            holds = [to_predicate(branch.condition, REGISTRY, "UTC") for branch in path.branches]
            reached = {each["_id"] for each in stored if any(branch(each, NOW) for branch in holds)}
            assert members <= reached, rule.text
            followed += bool(members)
    assert followed > 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lead.score * 2 + lead.amount > 3", {"lead.score", "lead.amount"}),
        ("lead.name[0].as_upper == 'A'", {"lead.name"}),
        ("lead.name.as_upper == contact.email", set()),
        ("lead.name[0].as_upper != 'A'", set()),
        ("$fuzzy(lead.name, contact.email) > 90", {"lead.name", "contact.email"}),
        ("$fuzzy(lead.name ?? '', 'x') > 90", set()),
        ("lead.points[0] == 1", {"lead.points"}),
        ("lead.name in lead.tags", {"lead.name", "lead.tags"}),
        ("lead.tags == ['a']", set()),
        ("(lead.score > 5 ? lead.score * 1 : lead.amount) > 3", set()),
        ("-lead.score * 1 > 3", {"lead.score"}),
        ("$email_domain(contact.email).ends_with('.de')", {"contact.email"}),
    ],
)
def test_the_values_that_a_computed_condition_needs(text: str, expected: set[str]) -> None:
    """What is missing makes it false, whatever the rest."""
    (leaf,) = (leaf for leaf in leaves(read_rule(text, REGISTRY).condition) if isinstance(leaf, Computed))
    assert {field.name for field in needs_of(leaf)} == expected


def test_mongodb_lets_through_only_who_has_the_values() -> None:
    """And does not ask twice where a comparison says as much. The strategy is that of the pieces, as before."""
    plan = plan_rule(read_rule("lead.score > 5 and lead.score * lead.amount > 3", REGISTRY))
    assert plan.match_at(NOW) == {
        "$and": [{"lead": {"$type": "object"}}, {"lead.score": {"$gt": 5.0}}, {"lead.amount": {"$ne": None}}]
    }
    alone = plan_rule(read_rule("lead.amount * 2 > 3", REGISTRY))
    assert alone.match_at(NOW) == {"$and": [{"lead": {"$type": "object"}}, {"lead.amount": {"$ne": None}}]}
    assert alone.strategy == "python"
    assert plan_rule(read_rule("not (lead.amount * 2 > 3)", REGISTRY)).match_at(NOW) == {"lead": {"$type": "object"}}
