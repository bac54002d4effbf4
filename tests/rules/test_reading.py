"""What read_rule says about a rule, and about what is wrong with one."""

import pytest

from muster.rules import FieldType, RuleError, read_rule
from muster.rules.choices import MAX_CHOICES
from tests.rules.engines import REGISTRY


@pytest.mark.parametrize(
    ("text", "scope", "required"),
    [
        ("customer.plan == 'pro'", ("lead", "contact", "customer"), ("lead",)),
        ("contact.email != null and lead.score > 5", ("lead", "contact"), ("lead",)),
        ("lead.score > 5", ("lead",), ("lead",)),
        ("person.name == 'Ada'", ("person",), ("person",)),
        ("company.name == 'Acme'", ("company",), ("company",)),
        ("company.name == 'Acme' and lead.score > 5", ("lead", "company"), ("lead",)),
        ("person.name == 'Ada' and company.name == 'Acme'", ("person", "company"), ("person", "company")),
        ("customer == null", ("lead", "contact", "customer"), ("lead",)),
        ("$any([tag == 'a' for tag in customer.tags])", ("lead", "contact", "customer"), ("lead",)),
        ("true", (), ()),
    ],
)
def test_scope_follows_from_the_parts_that_are_named(
    text: str, scope: tuple[str, ...], required: tuple[str, ...]
) -> None:
    """The table of the contract; parts inside of computations count too."""
    rule = read_rule(text, REGISTRY)
    assert rule.entity_scope == scope
    assert rule.required_parts == required


def test_fields_are_sorted_and_a_bare_part_stands_by_its_name() -> None:
    """Each field once, also those inside of computations."""
    text = "customer == null or lead.score + lead.amount > 5 or lead.amount > 1 or $any([x for x in lead.tags])"
    assert read_rule(text, REGISTRY).fields == ("customer", "lead.amount", "lead.score", "lead.tags")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$now - lead.created_at > t'P30D'", True),
        ("lead.created_at >= $today", True),
        ("lead.created_at.year == $now.year", True),
        ("$now > d'2027-01-01'", True),
        ("lead.created_at > d'2026-01-01'", False),
    ],
)
def test_a_rule_over_time_is_recognised(text: str, expected: bool) -> None:
    """Because its members change with no change of a record."""
    assert read_rule(text, REGISTRY).time_dependent is expected


@pytest.mark.parametrize(
    ("text", "at", "detail", "suggestion"),
    [
        ("lead.scor > 5", "lead.scor", "no field lead.scor", "lead.score"),
        ("led.score > 5", "led.score", "no field led.score", "lead.score"),
        ("score > 5", "score", "not a part of a profile", "lead.score"),
        ("lead.status == new", "new", "Text goes in quotes", None),
        ("lead.score > 'x'", "lead.score > 'x'", "a number, text", None),
        ("lead.score > 5 and lead.status < 3", "lead.status < 3", "text, a number", None),
        ("lead.status.lenght > 3", "lead.status.lenght", "no attribute lenght", "length"),
        ("lead.status.starts_with", "lead.status.starts_with", "is called", None),
        ("lead.status.starts_with('a', 'b')", "lead.status.starts_with('a', 'b')", "takes 1 argument", None),
        ("$nov > lead.created_at", "$nov", "no $nov", "$now"),
        ("$abs(1, 2) > lead.score", "$abs(1, 2)", "takes 1 argument", None),
        ("lead.score = 5", "=", "written ==", "=="),
        ("lead.score > 5 AND lead.active", "AND", "Did not expect", "and"),
        ("lead.score >", "", "ends too early", None),
        ("lead.status == 'x", "'x", "never closed", None),
        ("lead.score @ 5", "@", "has no meaning", None),
        ("lead.created_at > d'2026-13-01'", "d'2026-13-01'", "ISO 8601", None),
        ("lead.score < 010", "010", "leading zeros", None),
        ("lead.score ?? 0 > 5", "lead.score ?? 0 > 5", "binds looser", None),
        ("lead.active and customer", "customer", "is a part", "customer != null"),
        ("$in_cohort('COH-3') and lead.active", "$in_cohort('COH-3')", "There is no cohort COH-3", None),
    ],
)
def test_an_error_says_where_and_what_was_meant(text: str, at: str, detail: str, suggestion: str | None) -> None:
    """The span cuts exactly the place out of the text."""
    with pytest.raises(RuleError) as caught:
        read_rule(text, REGISTRY)
    problem = caught.value.problems[0]
    assert problem.span is not None
    assert text[problem.span.start : problem.span.end] == at
    assert detail in problem.detail
    assert problem.suggestion == suggestion


def test_every_error_is_reported_at_once() -> None:
    """Unknown fields together; type errors of all operands together."""
    with pytest.raises(RuleError) as caught:
        read_rule("lead.scor > 5 and (lead.statu == 'a' or not lead.tag == 'b')", REGISTRY)
    assert [problem.suggestion for problem in caught.value.problems] == ["lead.score", "lead.status", "lead.tags"]
    with pytest.raises(RuleError) as caught:
        read_rule("lead.score > 'a' or (lead.status < 5 and lead.active)", REGISTRY)
    assert len(caught.value.problems) == 2


def test_lines_and_columns_count_from_one() -> None:
    """For a rule over several lines."""
    with pytest.raises(RuleError) as caught:
        read_rule("lead.active\n  and lead.scor > 5", REGISTRY)
    assert caught.value.problems[0].as_json() == {
        "detail": "There is no field lead.scor.",
        "span": {"start": 18, "end": 27, "line": 2, "column": 7},
        "suggestion": "lead.score",
    }


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("lead.score == '5'", "never true"),
        ("lead.score != '5'", "always true"),
        ("lead.tags == 'a'", "can never hold"),
        ("lead.tags == ['a']", "whole list"),
        ("5 in lead.tags", "never in it"),
        ("lead.status in ['a', null]", "missing value is in no list"),
        ("lead.status == lead.score", "where there is a value, this is never true"),
        ("lead.active or 1 < 2", "always true"),
        ("lead.active and lead.score in []", "no profile"),
        ("lead.active ?? lead.score > 5", "binds looser"),
        ("not lead.active == true", "binds looser"),
        ("person.name == 'Ada' and company.name == 'Acme'", "both parts"),
        ("true", "every profile"),
    ],
)
def test_worth_a_warning(text: str, detail: str) -> None:
    """What is surely not meant is told, and the rule is read all the same."""
    assert detail in " ".join(problem.detail for problem in read_rule(text, REGISTRY).warnings)


@pytest.mark.parametrize(
    "text", ["lead.score > 5", "not (lead.status == 'a')", "lead.active ? true : false", "not lead.active"]
)
def test_nothing_to_warn_about(text: str) -> None:
    """A warning that is wrong is worse than none."""
    assert read_rule(text, REGISTRY).warnings == ()


def test_equal_rules_are_one_key_and_other_types_make_another() -> None:
    """Compiled predicates are kept by rule."""
    rule = read_rule("lead.score != null", REGISTRY)
    assert rule == read_rule("lead.score != null", {**REGISTRY, "lead.other": FieldType.STRING})
    assert rule != read_rule("lead.score != null", {**REGISTRY, "lead.score": FieldType.STRING})
    assert hash(rule) == hash(read_rule("lead.score != null", REGISTRY))


def test_what_the_author_typed_is_kept() -> None:
    """Comments, blanks and all."""
    text = "  lead.score   > 5 # hot"
    assert read_rule(text, REGISTRY).text == text


def test_an_unknown_time_zone_is_refused() -> None:
    """Before it can be asked for midnight."""
    with pytest.raises(RuleError, match="time zone"):
        read_rule("lead.created_at > $today", REGISTRY, time_zone="Mars/Olympus")


@pytest.mark.parametrize(
    "shape", ["({} ? lead.active : contact.opted_in)", "(({} ? 1 : 2) == 1)", "({} == (lead.active ? true : {}))"]
)
def test_choices_inside_of_each_other_do_not_grow(shape: str) -> None:
    """Each one written out doubles what it is about: beyond a few they are computed as they stand."""
    text = "customer.churned"
    for _ in range(12):
        text = shape.replace("{}", text) if len(text) < 2_000 else text
    rule = read_rule(text, REGISTRY)
    assert rule.size[0] < 4 * MAX_CHOICES
