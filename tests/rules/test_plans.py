"""How a plan splits a rule, and what it says about it."""

from datetime import UTC, datetime, timedelta

import pytest

from muster.rules import plan_rule, read_rule
from muster.rules.capabilities import ABILITIES, MAX_SEARCHED_TEXT
from muster.rules.conditions import Leaf
from muster.rules.translating import to_filter
from tests.rules.conftest import Profiles
from tests.rules.engines import NOW, REGISTRY

PYTHON = "lead.amount * 2 > 3"


@pytest.mark.parametrize(
    ("text", "strategy", "residual"),
    [
        ("lead.score > 5 and lead.active", "mongodb", None),
        (f"lead.score > 5 and {PYTHON}", "hybrid", PYTHON),
        (f"lead.score > 5 or {PYTHON}", "python", f"lead.score > 5 or ({PYTHON})"),
        (f"(lead.score > 5 and {PYTHON}) or lead.active", "hybrid", f"(lead.score > 5 and ({PYTHON})) or lead.active"),
        (f"not (lead.score > 5 or {PYTHON})", "hybrid", f"not ({PYTHON})"),
        (f"not (lead.score > 5 and {PYTHON})", "python", f"not (lead.score > 5) or not ({PYTHON})"),
        (f"lead.score > 5 and (lead.active and {PYTHON})", "hybrid", PYTHON),
        (f"{PYTHON} and lead.score in []", "mongodb", None),
        (f"{PYTHON} or true", "mongodb", None),
        (PYTHON, "python", PYTHON),
    ],
)
def test_only_what_lets_through_enough_is_pushed_down(text: str, strategy: str, residual: str | None) -> None:
    """Of an `and` any part; of an `or` something of every branch, or nothing."""
    plan = plan_rule(read_rule(text, REGISTRY))
    assert (plan.strategy, plan.residual) == (strategy, residual)


def test_every_piece_says_where_it_runs_and_why() -> None:
    """A piece that MongoDB could decide, but for its neighbour in an `or`, names that neighbour."""
    text = f"lead.score > 5 and (lead.active or {PYTHON}) and lead.status =~ '(a|b)'"
    pieces = plan_rule(read_rule(text, REGISTRY)).pieces
    assert [(piece.text, piece.where) for piece in pieces] == [
        ("lead.score > 5", "mongodb"),
        ("lead.active", "python"),
        (PYTHON, "python"),
        ("lead.status =~ '(a|b)'", "python"),
    ]
    assert f"`{PYTHON}`" in pieces[1].reason
    assert "decimal" in pieces[2].reason
    assert "asked only" not in pieces[2].reason
    assert pieces[3].reason.endswith("; asked only of profiles with lead.status")
    assert all(text[piece.span.start : piece.span.end] == piece.text for piece in pieces)


def test_the_residual_is_given_only_its_fields() -> None:
    """And never a path inside of another, which MongoDB refuses."""
    plan = plan_rule(read_rule(f"lead.score > 5 and {PYTHON}", REGISTRY))
    assert plan.projection == {"lead.amount": 1}
    both = plan_rule(read_rule("(customer == null or customer.plan == 'a') or lead.amount * 2 > 3", REGISTRY))
    assert both.projection == {"customer": 1, "lead.amount": 1}


def test_the_filter_is_fresh_and_bound_to_its_moment() -> None:
    """A caller may add to it; a later run sees a later now."""
    plan = plan_rule(read_rule("lead.created_at < $now - t'P1D'", REGISTRY))
    first = plan.match_at(NOW)
    first["project_id"] = "PRJ-1"
    assert plan.match_at(NOW) == {
        "$and": [{"lead": {"$type": "object"}}, {"lead.created_at": {"$lt": NOW - timedelta(1)}}]
    }
    assert plan.match_at(NOW + timedelta(1)) != plan.match_at(NOW)


def test_a_rule_that_nothing_can_meet_reads_nothing(profiles: Profiles) -> None:
    """MongoDB answers from the filter alone."""
    profiles.insert_many([{"_id": number, "lead": {"score": number}} for number in range(50)])
    plan = plan_rule(read_rule(f"lead.score > 1 and lead.active == 1 and {PYTHON}", REGISTRY))
    explained = profiles.find(plan.match_at(NOW)).explain()
    assert explained["executionStats"]["totalDocsExamined"] == 0
    assert plan.residual is None


def test_no_string_of_a_rule_can_act_as_an_operator() -> None:
    """Whatever the text, it stands where MongoDB takes a value."""
    for text in ("$where", "$expr", "$$ROOT", "$lead.name", "function() { return true }", "a\0b"):
        rule = read_rule({"field": "lead.status", "operator": "equal", "value": text}, REGISTRY)
        assert plan_rule(rule).match_at(NOW)["$and"][1] == {"lead.status": {"$eq": text}}


def test_long_text_is_searched_for_in_python() -> None:
    """A pattern that MongoDB refuses is not sent to it."""
    short, long = "x" * MAX_SEARCHED_TEXT, "x" * (MAX_SEARCHED_TEXT + 1)
    assert plan_rule(read_rule(f'"{short}" in lead.status', REGISTRY)).strategy == "mongodb"
    assert plan_rule(read_rule(f'"{long}" in lead.status', REGISTRY)).strategy == "python"


def test_the_table_and_the_translator_agree() -> None:
    """Every kind that the table gives to MongoDB has a translation; every kind of leaf has a row."""
    kinds = {row.kind for row in ABILITIES}
    assert kinds == set(Leaf.__args__)
    given = {row.kind.__name__ for row in ABILITIES if row.where == "mongodb"}
    for text in (
        *("lead.score > 5", "lead.created_at < $now", "lead.score < lead.amount", "lead.status.length > 1"),
        *("lead.score in [1]", "'a' in lead.tags", "'a' in lead.status", "lead.active", "customer != null", "true"),
        *("lead.status =~ 'a'", "$in_cohort('COH-1')"),
    ):
        condition = read_rule(text, REGISTRY, cohorts={"COH-1": None}).condition
        given.discard(type(condition).__name__)
        to_filter(condition, {"now": NOW, "today": NOW}, {"COH-1": []})
    assert given == set()


def test_the_wire_form() -> None:
    """As the contract has it; the pipeline is as it would run now."""
    plan = plan_rule(read_rule(f"lead.score > 5 and {PYTHON}", REGISTRY))
    found = plan.as_json(datetime(2026, 1, 1, tzinfo=UTC))
    assert set(found) == {"strategy", "pipeline", "residual", "pieces"}
    assert found["pipeline"] == [
        {
            "$match": {
                "$and": [{"lead": {"$type": "object"}}, {"lead.score": {"$gt": 5.0}}, {"lead.amount": {"$ne": None}}]
            }
        }
    ]
    assert found["pieces"][0]["span"] == {"start": 0, "end": 14, "line": 1, "column": 1}
