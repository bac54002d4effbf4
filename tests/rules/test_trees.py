"""Condition trees: read, written, and told where they are wrong."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.rules import RuleError, compile_rule, read_rule
from muster.rules.printing import quoted
from tests.rules.engines import NOW, REGISTRY, by_predicate, read_or_refuse
from tests.rules.test_agreement import readable, rules, seeded_profiles

PROFILES = seeded_profiles(60)

JSON_RULES_ENGINE = {
    "conditions": {
        "any": [
            {
                "all": [
                    {"fact": "lead", "path": "$.score", "operator": "greaterThanInclusive", "value": 50},
                    {"fact": "contact", "path": ".country", "operator": "in", "value": ["US", "FR"], "priority": 2},
                ],
                "name": "hot",
            },
            {"not": {"fact": "lead.tags", "operator": "doesNotContain", "value": "vip"}},
            {"fact": "lead.score", "operator": "lessThan", "value": {"fact": "lead", "path": "$.amount"}},
        ]
    },
    "event": {"type": "hot"},
}


def test_a_document_of_json_rules_engine_is_read_as_it_is() -> None:
    """Facts with paths, priorities, names, events, a value that is another fact."""
    rule = read_rule(JSON_RULES_ENGINE, REGISTRY)
    assert rule.text == (
        '((lead.score >= 50) and (contact.country in ["US", "FR"])) or (not ("vip" not in lead.tags))'
        " or (lead.score < lead.amount)"
    )
    assert rule.tree["any"][0] == {
        "all": [
            {"field": "lead.score", "operator": "greaterThanInclusive", "value": 50},
            {"field": "contact.country", "operator": "in", "value": ["US", "FR"]},
        ]
    }
    assert rule.tree["any"][2]["value"] == {"field": "lead.amount"}


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        ({"field": "lead.score", "operator": "equal", "value": 5}, "lead.score == 5"),
        ({"field": "lead.score", "operator": "equal", "value": None}, "lead.score == null"),
        ({"field": "lead.score", "operator": "notEqual", "value": 0.1}, "lead.score != 0.1"),
        ({"field": "lead.active", "operator": "equal", "value": True}, "lead.active == true"),
        ({"field": "lead.score", "operator": "lessThan", "value": -1e22}, "lead.score < -1E+22"),
        ({"field": "lead.score", "operator": "between", "value": [1, 5]}, "(lead.score >= 1 and lead.score <= 5)"),
        ({"field": "lead.status", "operator": "in", "value": ["a", "b"]}, 'lead.status in ["a", "b"]'),
        ({"field": "lead.status", "operator": "notIn", "value": []}, "lead.status not in []"),
        ({"field": "lead.status", "operator": "contains", "value": 'a"b'}, '"a\\"b" in lead.status'),
        ({"field": "lead.tags", "operator": "doesNotContain", "value": "a"}, '"a" not in lead.tags'),
        ({"field": "lead.status", "operator": "startsWith", "value": "a"}, 'lead.status.starts_with("a")'),
        ({"field": "lead.status", "operator": "endsWith", "value": "a"}, 'lead.status.ends_with("a")'),
        ({"field": "lead.status", "operator": "matches", "value": "^a\\d"}, 'lead.status =~~ "^a\\\\d"'),
        ({"field": "lead.status", "operator": "isEmpty"}, "(lead.status == null or lead.status.is_empty)"),
        ({"field": "lead.score", "operator": "isEmpty"}, "(lead.score == null)"),
        ({"field": "lead.tags", "operator": "isNotEmpty"}, "not (lead.tags == null or lead.tags.is_empty)"),
        (
            {"field": "lead.created_at", "operator": "before", "value": "2026-01-31"},
            'lead.created_at < d"2026-01-31T00:00:00+00:00"',
        ),
        (
            {
                "field": "lead.created_at",
                "operator": "after",
                "value": {"anchor": "today", "offset": -7, "unit": "days"},
            },
            'lead.created_at > $today - t"P7D"',
        ),
        (
            {"field": "lead.created_at", "operator": "withinLast", "value": {"amount": 36, "unit": "hours"}},
            '(lead.created_at >= $now - t"P1DT43200S" and lead.created_at <= $now)',
        ),
        (
            {"field": "lead.created_at", "operator": "moreThanAgo", "value": {"amount": 2, "unit": "week"}},
            'lead.created_at < $now - t"P14D"',
        ),
    ],
)
def test_an_operator_is_written_as_text(leaf: dict[str, Any], text: str) -> None:
    """The text says what the operator is defined to mean; the tree stays as it was given."""
    rule = read_rule(leaf, REGISTRY)
    assert rule.text == text
    assert rule.tree == leaf


TAGS = {"fact": "lead", "path": "$.tags"}
IN_TAGS = "$any([lead.status == each for each in lead.tags])"
ANY_OF_TWO = '$any([(each == "a") or (each == "b") for each in lead.tags])'


@pytest.mark.parametrize(
    ("field", "operator", "value", "text"),
    [
        ("lead.tags", "someFact:equal", "vip", '"vip" in lead.tags'),
        ("lead.tags", "someFact:equal", None, "$any([each == null for each in lead.tags])"),
        ("lead.points", "everyFact:greaterThan", 5, "$all([each > 5 for each in lead.points])"),
        ("lead.tags", "someFact:startsWith", "v", '$any([each.starts_with("v") for each in lead.tags])'),
        ("lead.tags", "someValue:contains", ["a", "b"], '("a" in lead.tags) or ("b" in lead.tags)'),
        ("lead.tags", "everyValue:contains", ["a", "b"], '("a" in lead.tags) and ("b" in lead.tags)'),
        ("lead.score", "someValue:equal", [], "false"),
        ("lead.score", "everyValue:equal", [], "true"),
        ("lead.score", "not:lessThan", 5, "not (lead.score < 5)"),
        ("lead.score", "swap:lessThan", 5, "lead.score > 5"),
        ("lead.status", "swap:contains", ["a"], 'lead.status in ["a"]'),
        ("lead.tags", "swap:in", "a", '"a" in lead.tags'),
        ("lead.status", "someValue:equal", {"fact": "lead", "path": "$.tags"}, IN_TAGS),
        ("lead.status", "in", {"fact": "lead.tags"}, "lead.status in lead.tags"),
        ("lead.points", "not:everyFact:not:in", [1], "not ($all([not (each in [1]) for each in lead.points]))"),
        ("lead.tags", "someFact:someValue:equal", ["a", "b"], ANY_OF_TWO),
        ("lead.score", "greaterThan", None, "(lead.score == null and false)"),
    ],
)
def test_decorators_of_json_rules_engine(field: str, operator: str, value: Any, text: str) -> None:
    """The first decorator is outermost; `benchmarks.trees` compares what they mean with json-rules-engine itself."""
    rule = read_rule({"field": field, "operator": operator, "value": value}, REGISTRY)
    assert rule.text == text
    assert read_rule(rule.tree, REGISTRY).text == text


def test_a_decorated_leaf_asks_only_its_own_field() -> None:
    """The name of a member is no field."""
    rule = read_rule({"field": "lead.tags", "operator": "everyFact:notEqual", "value": "a"}, REGISTRY)
    assert rule.fields == ("lead.tags",)
    holds = compile_rule(rule)
    assert holds({"lead": {"tags": []}}, NOW)
    assert holds({"lead": {"tags": ["b"]}}, NOW)
    assert not holds({"lead": {"tags": ["b", "a"]}}, NOW)
    assert not holds({"lead": {}}, NOW)


@pytest.mark.parametrize(
    ("tree", "pointer", "detail", "suggestion"),
    [
        ({"all": [{"field": "lead.scor", "operator": "equal", "value": 1}]}, "/all/0/field", "no field", "lead.score"),
        ({"fact": "lead", "path": "$.scor", "operator": "equal", "value": 1}, "/path", "no field", "lead.score"),
        ({"fact": "lead", "path": "$.a.b", "operator": "equal", "value": 1}, "/path", "one field", None),
        ({"field": "lead.score", "operator": "greaterTan", "value": 1}, "/operator", "no operator", "greaterThan"),
        ({"field": "lead.score", "operator": ["equal"], "value": 1}, "/operator", "no operator", None),
        ({"field": "lead.score", "value": 1}, "", "operator is missing", None),
        ({"operator": "equal", "value": 1}, "", "names its field", None),
        ({"field": "lead.score", "operator": "equal"}, "", "needs a value", None),
        ({"field": "lead.status", "operator": "isEmpty", "value": 1}, "/value", "takes no value", None),
        ({"field": "lead.status", "operator": "in", "value": "a"}, "/value", "list", None),
        ({"field": "lead.score", "operator": "between", "value": [1]}, "/value", "two values", None),
        ({"field": "lead.score", "operator": "greaterThan", "value": "a"}, "", "do not go together", None),
        ({"field": "lead.score", "operator": "equal", "value": {"$ne": None}}, "/value", "object", None),
        ({"field": "lead.score", "operator": "equal", "value": float("nan")}, "/value", "NaN", None),
        ({"field": "lead.created_at", "operator": "before", "value": "soon"}, "/value", "ISO 8601", None),
        (
            {"field": "lead.created_at", "operator": "before", "value": {"anchor": "then"}},
            "/value/anchor",
            "now or today",
            None,
        ),
        (
            {"field": "lead.created_at", "operator": "withinLast", "value": {"amount": 1, "unit": "dyas"}},
            "/value/unit",
            "unit is one of",
            "days",
        ),
        ({"field": "lead.status", "operator": "matches", "value": "("}, "", "regular expression", None),
        ({"field": "lead.score", "operator": "equal", "valeu": 1, "value": 1}, "/valeu", "no meaning", "value"),
        ({"not": [{"field": "lead.score", "operator": "equal", "value": 1}]}, "/not", "is an object", None),
        ({"all": {}}, "/all", "list of conditions", None),
        ({"all": [], "any": []}, "", "exactly one of", None),
        ({}, "", "exactly one of", None),
        ([], "", "is an object", None),
        ({"all": [{"expression": 5}]}, "/all/0/expression", "is text", None),
        (
            {"field": "lead.tags", "operator": "sumFact:equal", "value": 1},
            "/operator",
            "no decorator",
            "someFact:equal",
        ),
        (
            {"field": "lead.tags", "operator": "someFact:equl", "value": 1},
            "/operator",
            "no operator",
            "someFact:equal",
        ),
        ({"field": "lead.score", "operator": "someFact:equal", "value": 1}, "/field", "is a number", None),
        ({"field": "lead.score", "operator": "someValue:equal", "value": 1}, "/value", "this is none", None),
        ({"field": "lead.score", "operator": "swap:between", "value": [1, 2]}, "/operator", "swapped", None),
        ({"field": "lead.score", "operator": "not:" * 9 + "equal", "value": 1}, "/operator", "at most 8", None),
        ({"field": "lead.tags", "operator": "someFact:someValue:equal", "value": TAGS}, "/operator", "Two lists", None),
        ({"field": "lead.tags", "operator": "someFact:greaterThan", "value": 1}, "", "do not go together", None),
        ({"all": [{"condition": "hot"}]}, "/all/0/condition", "Put it in its place", None),
        ({"field": "lead.score", "operator": "in", "value": {"field": "lead.amount"}}, "/value", "nothing is in", None),
        (
            {"field": "lead.score", "operator": "equal", "value": {"fact": "lead", "pat": "$.amount"}},
            "/value/pat",
            "no meaning",
            "path",
        ),
        ({"operator": "inCohort", "value": "COH-3"}, "/value", "There is no cohort COH-3", None),
    ],
)
def test_an_error_has_a_pointer(tree: Any, pointer: str, detail: str, suggestion: str | None) -> None:
    """To the very thing that is wrong, as near as it can be told."""
    with pytest.raises(RuleError) as caught:
        read_rule(tree, REGISTRY)
    problem = caught.value.problems[0]
    assert (problem.pointer, problem.suggestion) == (pointer, suggestion)
    assert detail in problem.detail


def test_an_error_inside_of_an_expression_has_pointer_and_span() -> None:
    """The span counts inside the expression's own text."""
    tree = {"any": [{"field": "lead.score", "operator": "equal", "value": 1}, {"expression": " (lead.scor > 5) # hot"}]}
    with pytest.raises(RuleError) as caught:
        read_rule(tree, REGISTRY)
    assert caught.value.problems[0].as_json() == {
        "detail": "There is no field lead.scor.",
        "pointer": "/any/1/expression",
        "span": {"start": 2, "end": 11, "line": 1, "column": 3},
        "suggestion": "lead.score",
    }


@pytest.mark.parametrize("text", ["lead.active) or (true", "lead.active # )", "true or", "'"])
def test_an_expression_cannot_leave_its_place(text: str) -> None:
    """It is parsed by itself first; a comment in it does not swallow what follows."""
    tree = {"all": [{"expression": text}, {"field": "lead.score", "operator": "equal", "value": 1}]}
    rule = read_or_refuse(tree)
    if isinstance(rule, RuleError):
        assert rule.problems[0].pointer == "/all/0/expression"
    else:
        assert not compile_rule(rule)({"lead": {"active": True, "score": 2}}, NOW)
        assert compile_rule(rule)({"lead": {"active": True, "score": 1}}, NOW)


def deep(levels: int) -> Any:
    """Lists inside of lists."""
    found: Any = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    "leaf",
    [
        {"field": "lead.score", "operator": "in", "value": deep(5000)},
        {"field": "lead.score", "operator": deep(5000), "value": 1},
        {"field": deep(5000), "operator": "equal", "value": 1},
        {"fact": "lead", "path": deep(5000), "operator": "equal", "value": 1},
        {"field": "lead.score", "operator": "equal", "value": 10**5000},
        {"field": "lead.score", "operator": "equal", "value": -(10**400)},
        {"field": "lead.score", "operator": "equal", "value": float("inf")},
        {"field": "lead.created_at", "operator": "withinLast", "value": {"amount": 10**400, "unit": "days"}},
        {"field": "lead.created_at", "operator": "withinLast", "value": {"amount": float("nan"), "unit": "days"}},
        {"field": "lead.created_at", "operator": "withinLast", "value": {"amount": 1, "unit": deep(5000)}},
        {"field": "lead.created_at", "operator": "before", "value": {"anchor": deep(5000)}},
        {"field": "lead.created_at", "operator": "before", "value": {"anchor": "now", "offset": 1e300}},
        {"field": "lead.created_at", "operator": "before", "value": "99999-01-01"},
        {"field": "lead.status", "operator": "equal", "value": "\ud800"},
        {"field": "lead.status", "operator": "in", "value": ["x"] * 20_000},
        {"field": "lead.status", "operator": "equal", "value": "x" * 2_000_000},
        {"field": "lead.__class__", "operator": "equal", "value": 1},
        {"field": "lead.score) or (true", "operator": "equal", "value": 1},
        {1: 2, "field": "lead.score", "operator": "equal", "value": 1},
    ],
)
def test_hostile_trees_are_refused(leaf: dict[Any, Any]) -> None:
    """With Muster's own error, and a place."""
    refused = read_or_refuse({"all": [leaf]})
    assert isinstance(refused, RuleError)
    assert all(problem.pointer is not None or "characters" in problem.detail for problem in refused.problems)


def test_no_conditions_hold_for_everything() -> None:
    """As json-rules-engine has it, for `all` and for `any`."""
    for kind in ("all", "any"):
        assert compile_rule(read_rule({kind: []}, REGISTRY))({}, NOW)


def test_a_tree_too_deep_is_refused() -> None:
    """Before recursion ends."""
    tree: dict[str, Any] = {"all": []}
    for _ in range(5000):
        tree = {"not": tree}
    with pytest.raises(RuleError, match="too deep"):
        read_rule(tree, REGISTRY)


@settings(max_examples=200, deadline=None)
@given(rules())
def test_text_to_tree_to_text_loses_nothing(text: str) -> None:
    """The tree of a text means the same, and the text of that tree gives the same tree again."""
    rule = readable(text)
    if rule is None:
        return
    again = read_rule(rule.tree, REGISTRY)
    assert by_predicate(again, PROFILES) == by_predicate(rule, PROFILES)
    assert again.fields == rule.fields
    assert read_rule(again.tree, REGISTRY).text == again.text


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_any_text_survives_as_a_value(text: str) -> None:
    """Quotes, backslashes, control characters, NUL, letters of every script."""
    rule = read_rule({"field": "lead.status", "operator": "equal", "value": text}, REGISTRY)
    holds = compile_rule(read_rule(f"lead.status == {quoted(text)}", REGISTRY))
    for predicate in (holds, compile_rule(rule)):
        assert predicate({"lead": {"status": text}}, NOW)
        assert not predicate({"lead": {"status": text + "x"}}, NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["all", "any", "not", "field", "fact", "path", "operator", "value", "expression", "anchor", "x"]
            ),
            inner | st.sampled_from(["lead.score", "lead", "$.score", "equal", "in", "between", "withinLast", "now"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_no_tree_raises_anything_else(tree: Any) -> None:
    """Fuzzing by structure."""
    if isinstance(tree, str):
        return
    rule = read_or_refuse(tree)
    if isinstance(rule, RuleError):
        assert all(problem.pointer is not None or problem.span is not None for problem in rule.problems)
    else:
        assert compile_rule(rule)({"lead": {}}, NOW) in (True, False)
