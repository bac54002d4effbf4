"""Attio's values made simple: every type, every oddity, and nothing that JSON or BSON could not hold."""

import json
from typing import Any

import bson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.attio.values import name_of, simplify
from tests.attio.samples import ACTOR, attribute, location, option, text, value

MOMENT = "2023-04-03T15:21:06.123456789Z"

CASES: dict[str, tuple[str, list[Any], Any]] = {
    "text": ("text", [text("Acme")], "Acme"),
    "empty text": ("text", [text("")], None),
    "number": ("number", [value("number", value=42)], 42),
    "number as text": ("number", [value("number", value="42.50")], 42.5),
    "no number": ("number", [value("number", value="a lot")], "a lot"),
    "false": ("checkbox", [value("checkbox", value=False)], False),
    "zero": ("rating", [value("rating", value=0)], 0),
    "date": ("date", [value("date", value="2023-04-03")], "2023-04-03"),
    "nine digits": ("timestamp", [value("timestamp", value=MOMENT)], MOMENT),
    "select": ("select", [option("$10B+")], "$10B+"),
    "bare option": ("select", [value("select", option="9a84b21e")], "9a84b21e"),
    "option without title": ("select", [value("select", option={"id": {"option_id": "9a84"}, "title": None})], "9a84"),
    "option of text": ("select", ["9a84b21e"], "9a84b21e"),
    "multi-select by its type": ("multi-select", [option("a"), option("b")], ["a", "b"]),
    "status": ("status", [value("status", status={"id": {"status_id": "1"}, "title": "Won"})], "Won"),
    "bare status": ("status", [value("status", status="9a84b21e")], "9a84b21e"),
    "record": (
        "record-reference",
        [value("record-reference", target_object="people", target_record_id="8f1c")],
        {"target_object": "people", "target_record_id": "8f1c"},
    ),
    "actor": (
        "actor-reference",
        [value("actor-reference", referenced_actor_type="system", referenced_actor_id=None)],
        {"referenced_actor_type": "system", "referenced_actor_id": None},
    ),
    "location": (
        "location",
        [location(locality="Paris", country_code="FR", latitude="48.8566")],
        {"locality": "Paris", "country_code": "FR", "latitude": "48.8566"},
    ),
    "empty location": ("location", [location()], None),
    "domain": ("domain", [value("domain", domain="app.acme.com", root_domain="acme.com")], "app.acme.com"),
    "e-mail": (
        "email-address",
        [
            value(
                "email-address",
                original_email_address="Ada@Acme.com",
                email_address="ada@acme.com",
                email_domain="acme.com",
                email_root_domain="acme.com",
                email_local_specifier="ada",
            )
        ],
        "ada@acme.com",
    ),
    "phone": (
        "phone-number",
        [value("phone-number", original_phone_number="01 23", country_code="FR", phone_number="+33123")],
        "+33123",
    ),
    "phone as it was typed": (
        "phone-number",
        [value("phone-number", original_phone_number="ext. 5", country_code=None, phone_number=None)],
        "ext. 5",
    ),
    "interaction": (
        "interaction",
        [value("interaction", interaction_type="email", interacted_at=MOMENT, owner_actor=ACTOR)],
        {"interaction_type": "email", "interacted_at": MOMENT, "owner_actor": ACTOR},
    ),
    "name": (
        "personal-name",
        [value("personal-name", first_name="Ada", last_name="Lovelace", full_name="Ada Lovelace")],
        "Ada Lovelace",
    ),
    "name in parts": ("personal-name", [value("personal-name", first_name="Ada", last_name=None, full_name="")], "Ada"),
    "nameless": ("personal-name", [value("personal-name", first_name="", last_name="", full_name="")], None),
    "unknown type": ("quantum", [value("quantum", spin="up", of={"a": [1]})], {"spin": "up", "of": {"a": [1]}}),
    "past values": ("text", [text("now"), text("once") | {"active_until": MOMENT}], "now"),
    "several where one is said to be": ("text", [text("a"), text("b")], ["a", "b"]),
    "nothing": ("text", [], None),
    "null": ("text", None, None),  # type: ignore[dict-item]
    "a single object": ("text", text("Acme"), "Acme"),  # type: ignore[dict-item]
    "half a surrogate pair": ("text", [text("a\ud83d\x00b")], "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}b"),
    "no finite number": ("number", [value("number", value=float("inf"))], None),
    "a very large number": ("number", [value("number", value=10**30)], str(10**30)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_type_becomes_simple(name: str) -> None:
    type_, values, simple = CASES[name]
    assert simplify({"it": values}, [attribute("it", type_)])["it"] == simple


@pytest.mark.parametrize("name", CASES)
def test_an_attribute_of_many_is_always_a_list(name: str) -> None:
    type_, values, simple = CASES[name]
    expected = [] if simple is None else simple if isinstance(simple, list) else [simple]
    assert simplify({"it": values}, [attribute("it", type_, many=True)])["it"] == expected


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0] not in ("number", "quantum")])
def test_without_metadata_the_properties_tell(name: str) -> None:
    _, values, simple = CASES[name]
    assert simplify({"it": values}, []) == {"it": simple}


@pytest.mark.parametrize(("sent", "simple"), [(1000, 1000), ("1000.50", 1000.5), ("1000", 1000), (None, None)])
def test_a_currency_is_a_number_with_its_code_beside_it(sent: Any, simple: Any) -> None:
    values = {"budget": [value("currency", currency_value=sent, currency_code="EUR")]}
    assert simplify(values, [attribute("budget", "currency")]) == {"budget": simple, "budget_currency": "EUR"}


def test_an_attribute_of_that_name_is_not_overwritten_by_a_currencys_code() -> None:
    values = {"budget": [value("currency", currency_value=1, currency_code="EUR")], "budget_currency": [text("mine")]}
    assert simplify(values, []) == {"budget": 1, "budget_currency": "mine"}


def test_attributes_without_a_value_are_there_and_archived_ones_only_with_one() -> None:
    attributes = [
        attribute("one", "text"),
        attribute("many", "select", many=True),
        attribute("old", "text", archived=True),
        attribute("older", "text", archived=True),
    ]
    assert simplify({"old": [text("x")]}, attributes) == {"many": [], "old": "x", "one": None}


def test_the_order_in_which_attio_sends_is_no_difference() -> None:
    values = {"b": [text("1")], "a": [text("2")], "c.$d": [text("3")]}
    assert list(simplify(values, [])) == ["a", "b", "c__d"]
    assert list(simplify(dict(reversed(values.items())), [])) == ["a", "b", "c__d"]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"name": [text("  Acme \n Inc ")]}, "Acme Inc"),
        ({"name": [value("personal-name", first_name="Ada", last_name="L", full_name=None)]}, "Ada L"),
        ({"name": []}, ""),
        ({"name": None}, ""),
        ({}, ""),
        ({"name": [text(" ")]}, ""),
        ({"name": [text(5)]}, ""),
        ({"name": [text("once") | {"active_until": MOMENT}, text("now")]}, "now"),
    ],
)
def test_the_name_of_a_record(values: dict[str, Any], name: str) -> None:
    assert name_of(values) == name


# Whatever JSON can say, with the property names that mean something to us thrown in.
PROPERTIES = st.sampled_from(
    [
        "value",
        "option",
        "status",
        "title",
        "id",
        "currency_value",
        "currency_code",
        "target_record_id",
        "locality",
        "full_name",
        "first_name",
        "email_address",
        "phone_number",
        "domain",
        "interacted_at",
        "active_until",
        "$x",
        "a.b",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PROPERTIES | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(sorted({case[0] for case in CASES.values()} | {"currency"}))
SLUGS = st.sampled_from(["name", "a", "b", "tier", "x.y"])


@settings(max_examples=300, deadline=None)
@given(values=st.dictionaries(SLUGS, JSON, max_size=4), types=st.dictionaries(SLUGS, st.tuples(TYPES, st.booleans())))
def test_whatever_comes_is_json_and_bson_and_the_same_again(
    values: dict[str, Any], types: dict[str, tuple[str, bool]]
) -> None:
    attributes = [attribute(slug, type_, many=many) for slug, (type_, many) in types.items()]
    simple = simplify(values, attributes)
    assert simple == simplify(json.loads(json.dumps(values)), attributes)
    assert json.loads(json.dumps(simple, allow_nan=False)) == simple
    json.dumps(simple, ensure_ascii=False).encode()
    assert bson.decode(bson.encode(simple)) == simple
    for slug, (_, many) in types.items():
        assert isinstance(simple[slug.replace(".", "_")], list) or not many
    assert isinstance(name_of(values), str)
