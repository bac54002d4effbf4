"""Why a profile is in or out."""

from muster.rules import explain, read_rule
from tests.rules.engines import NOW, REGISTRY


def test_every_condition_has_its_result_and_what_it_saw() -> None:
    """Down to the leaves, with the values of the profile."""
    text = "lead.score > 50 and (contact.country == 'US' or not (customer.plan == 'pro'))"
    profile = {"lead": {"score": 60}, "contact": {"country": "FR"}}
    found = explain(read_rule(text, REGISTRY), profile, NOW).as_json()
    assert found["text"] == text
    assert found["result"] is True
    score, either = found["children"]
    assert (score["text"], score["result"], score["actual"]) == ("lead.score > 50", True, 60)
    country, denied = either["children"]
    assert (country["text"], country["result"], country["actual"]) == ("contact.country == 'US'", False, "FR")
    assert (denied["text"], denied["result"]) == ("not (customer.plan == 'pro')", True)
    assert denied["children"][0]["actual"] is None


def test_a_leaf_over_two_fields_shows_both() -> None:
    """By name."""
    found = explain(read_rule("lead.score * 2 > lead.amount", REGISTRY), {"lead": {"score": 4, "amount": 7}}, NOW)
    assert found.as_json()["actual"] == {"lead.amount": 7, "lead.score": 4}
    assert found.result


def test_what_is_written_as_one_is_explained_as_one() -> None:
    """A choice, a default, `not in`: one condition with its own text."""
    for text in ("(customer.lifetime_value ?? 0) > 5", "lead.status not in ['a']", "lead.active ? true : false"):
        found = explain(read_rule(text, REGISTRY), {"lead": {"status": "b", "active": True}}, NOW)
        assert found.text == text
        assert found.children == ()


def test_a_profile_out_of_scope_is_out_and_is_told_why() -> None:
    """The conditions may hold all the same."""
    found = explain(read_rule("contact.country != 'US'", REGISTRY), {"contact": {"country": "FR"}}, NOW)
    assert not found.result
    scope, condition = found.children
    assert (scope.text, scope.result) == ("lead != null", False)
    assert condition.result
