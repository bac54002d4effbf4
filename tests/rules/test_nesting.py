"""Rules that name cohorts: dynamic ones stand for their rules, static ones are looked up."""

from typing import Any

import pytest

from muster.rules import IN_COHORTS, Rule, RuleError, cohorts_in, compile_rule, explain, oracle, plan_rule, read_rule
from muster.rules import nesting as nesting_module
from tests.rules import generation
from tests.rules.conftest import Profiles
from tests.rules.engines import NOW, REGISTRY, by_explanation, by_mongodb, by_oracle, by_predicate, read_or_refuse
from tests.rules.generation import Seeded

STATIC = ("COH-8", "COH-9")
HOT = read_rule("lead.score > 50", REGISTRY)
ABROAD = read_rule("contact.country != 'US' and $now - lead.created_at < t'P30D'", REGISTRY)


def nested(choices: Seeded, known: dict[str, Rule | None]) -> str:
    """A rule over random conditions and the cohorts known so far, in and, or, not."""
    pieces = [generation.rule(choices) for _ in range(choices.integer(0, 2))]
    pieces += [f"$in_cohort('{choices.choice(sorted(known))}')" for _ in range(choices.integer(1, 3))]
    negated = [f"{choices.choice(['', 'not '])}({piece})" for piece in pieces]
    return choices.choice([" and ", " or "]).join(negated)


@pytest.mark.parametrize("large", [frozenset(), frozenset(STATIC)], ids=["ids passed", "ids too many to pass"])
@pytest.mark.parametrize("written_out", [True, False], ids=["written out", "too large to write out"])
def test_engines_agree_on_nested_rules(
    profiles: Profiles, monkeypatch: pytest.MonkeyPatch, large: frozenset[str], written_out: bool
) -> None:
    """Chains and diamonds of random rules, with scopes of their own, over static cohorts as well."""
    if not written_out:
        monkeypatch.setattr(nesting_module, "MAX_WRITTEN_OUT", 1)
    choices = Seeded(7)
    stored = [{"_id": number, **generation.profile(choices)} for number in range(120)]
    profiles.insert_many(stored)
    members = {cohort: {number for number in range(120) if choices.integer(0, 2) == 0} for cohort in STATIC}
    handed = [
        {**profile, IN_COHORTS: [cohort for cohort in STATIC if profile["_id"] in members[cohort]]}
        for profile in stored
    ]
    telling = 0
    for _ in range(12):
        known: dict[str, Rule | None] = dict.fromkeys(STATIC)
        for number in range(1, 7):
            rule = read_or_refuse(nested(choices, known), known)
            if isinstance(rule, RuleError):
                continue
            known[f"COH-{number}"] = rule
            expected = by_oracle(rule, handed)
            telling += 0 < len(expected) < len(stored)
            plan = plan_rule(rule, large).given({cohort: members[cohort] for cohort in rule.looked_up})
            assert by_predicate(rule, handed) == expected, rule.text
            assert by_mongodb(rule, profiles, plan=plan) == expected, rule.text
            assert by_explanation(rule, handed[:5]) == {each for each in expected if each < 5}, rule.text
    assert telling > 20


def test_a_rule_knows_what_its_cohorts_rest_on() -> None:
    """Fields whose change can flip it, windows of time, static cohorts; its own scope stays its own."""
    middle = read_rule("$in_cohort('COH-2') or $in_cohort('COH-9')", REGISTRY, cohorts={"COH-2": ABROAD, "COH-9": None})
    rule = read_rule("company.name != null and $in_cohort('COH-3')", REGISTRY, cohorts={"COH-3": middle})
    assert rule.cohorts == ("COH-3",)
    assert rule.fields == ("company.name",)
    assert rule.entity_scope == ("company",)
    assert rule.watched == ("company", "company.name", "contact.country", "lead", "lead.created_at")
    assert rule.looked_up == ("COH-9",)
    assert rule.time_dependent
    assert rule.windows == ABROAD.windows


def test_the_scope_of_an_inner_rule_is_its_own() -> None:
    """`not $in_cohort(…)` holds for a company, which has no lead and so is in no cohort over leads."""
    rule = read_rule("not $in_cohort('COH-1')", REGISTRY, cohorts={"COH-1": HOT})
    company = {"company": {"name": "Acme"}}
    assert compile_rule(rule)(company, NOW)
    assert oracle(rule)(company, NOW)
    assert not compile_rule(rule)({"lead": {"score": 51}}, NOW)


def test_a_rule_over_another_version_of_a_cohort_is_another_rule() -> None:
    """Compiled rules are kept by equality, so it must tell them apart."""
    one, other = (
        read_rule("$in_cohort('COH-1')", REGISTRY, cohorts={"COH-1": read_rule(text, REGISTRY)})
        for text in ("lead.score > 5", "lead.score > 6")
    )
    assert one != other
    assert compile_rule(one)({"lead": {"score": 5.5}}, NOW)
    assert not compile_rule(other)({"lead": {"score": 5.5}}, NOW)


def test_many_diamonds_on_top_of_each_other_cost_no_more_than_their_levels() -> None:
    """Written out, forty levels of two would be a million million conditions."""
    known: dict[str, Rule | None] = {"COH-1": HOT}
    for number in range(2, 42):
        inner = f"$in_cohort('COH-{number - 1}')"
        known[f"COH-{number}"] = read_rule(f"{inner} and ({inner} or lead.active)", REGISTRY, cohorts=known)
    rule = known["COH-41"]
    assert rule is not None
    plan = plan_rule(rule)
    assert plan.strategy != "mongodb"
    assert "too large a filter" in plan.pieces[0].reason
    assert rule.watched == ("lead", "lead.active", "lead.score")


def test_what_contradicts_a_named_cohort_is_told() -> None:
    """Across the border of the two rules."""
    rule = read_rule("$in_cohort('COH-1') and lead.score < 50", REGISTRY, cohorts={"COH-1": HOT})
    assert rule.always is False
    assert plan_rule(rule).match_at(NOW) == {"_id": {"$in": []}}


def test_explain_opens_the_named_cohort() -> None:
    """Its conditions are the children; their places are not in this text, so they have none."""
    rule = read_rule("lead.active and $in_cohort('COH-1')", REGISTRY, cohorts={"COH-1": ABROAD})
    found = explain(rule, {"lead": {"active": True}, "contact": {"country": "FR"}}, NOW).as_json()
    inner = found["children"][1]
    assert (inner["text"], inner["result"]) == ("$in_cohort('COH-1')", False)
    assert inner["children"][0] == {
        "text": "contact.country != 'US'",
        "span": None,
        "result": True,
        "actual": "FR",
    }


def test_a_piece_says_what_stands_for_the_cohort() -> None:
    """One piece for each place where a cohort is named."""
    rule = read_rule("$in_cohort('COH-1') and $in_cohort('COH-9')", REGISTRY, cohorts={"COH-1": HOT, "COH-9": None})
    first, second = plan_rule(rule).pieces
    assert first.reason == "the rule of that cohort stands for it"
    assert second.reason == "the members of a static cohort are passed along by their ids"


def test_where_cohorts_can_be_named() -> None:
    """Only those that are known, alone or in and, or, not; in both forms."""
    known = {"COH-3": None, "COH-12": HOT}
    text = "lead.active and not $in_cohort('COH-3') or $in_cohort(\"COH-12\")"
    rule = read_rule(text, REGISTRY, cohorts=known)
    assert rule.cohorts == ("COH-12", "COH-3")
    assert read_rule(rule.tree, REGISTRY, cohorts=known).tree == rule.tree
    for wrong, detail in {
        "$in_cohort('vip')": "not the number of a cohort",
        "$any([$in_cohort('COH-3')])": "stands alone",
        "$in_cohort('COH-13')": "There is no cohort COH-13 here",
        "$in_cohort(lead.status)": "number of a cohort|stands alone",
    }.items():
        with pytest.raises(RuleError, match=detail):
            read_rule(wrong, REGISTRY, cohorts=known)


def test_numbers_of_cohorts_are_found_in_any_source() -> None:
    """Before the rule is read, so that the cohorts can be."""
    tree: Any = {"all": [{"operator": "inCohort", "value": "COH-12"}, {"expression": "$in_cohort('COH-3')"}]}
    assert cohorts_in(tree) == {"COH-12", "COH-3"}
    assert cohorts_in("not $in_cohort('COH-7') # COH-8") == {"COH-7", "COH-8"}
