"""From a record to the part of a profile: fields that rules can name, values that they can hold."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muster.attio.models import Attribute
from muster.attio.parts import AttioField, Part, company_of, fields_of, part_of
from muster.records.fields import LARGEST_PART, Fields
from muster.records.registry_file import read as read_registry
from muster.rules import FieldType
from muster.settings import bundled
from tests.attio.samples import COMPANY, PERSON, attribute, location, option, text, value
from tests.attio.test_values import JSON

REGISTRY = read_registry(bundled("rules") / "fields.yaml")


def registered(
    attributes: tuple[Attribute, ...], part: Part, own: dict[str, FieldType] | None = None
) -> dict[str, str]:
    """The fields of these attributes that are not built in, by name."""
    fields = fields_of(attributes, part, REGISTRY | (own or {}))
    return {field.name: str(field.type) for field in fields if f"{part}.{field.name}" not in REGISTRY}


def test_a_company() -> None:
    values = {
        "name": [text("Acme")],
        "domains": [value("domain", domain="acme.com", root_domain="acme.com")],
        "categories": [option("SaaS"), option("B2B")],
        "primary_location": [location(locality="Paris", region="IDF", country_code="FR")],
        "employee_range": [option("11-50")],
        "estimated_arr_usd": [option("$10B+")],
        "funding_raised_usd": [value("currency", currency_value="1500000", currency_code="USD")],
        "foundation_date": [value("date", value="1999-12-31")],
        "team": [value("record-reference", target_object="people", target_record_id="8f1c")],
        "first_interaction": [
            value(
                "interaction", interaction_type="email", interacted_at="2023-04-03T15:21:06.123456789Z", owner_actor={}
            )
        ],
        "description": [],
    }
    fields = fields_of(COMPANY, "company", REGISTRY)
    assert part_of(values, COMPANY, fields, lists=["vip", "vip", "a"]) == {
        "name": "Acme",
        "domains": ["acme.com"],
        "categories": ["SaaS", "B2B"],
        "city": "Paris",
        "region": "IDF",
        "country": "FR",
        "employee_range": "11-50",
        "estimated_arr_usd": "$10B+",
        "funding_raised_usd": 1_500_000.0,
        "founded_on": datetime(1999, 12, 31, tzinfo=UTC),
        "team": ["8f1c"],
        "first_interaction": datetime(2023, 4, 3, 15, 21, 6, 123_000, tzinfo=UTC),
        "lists": ["vip", "a"],
    }


def test_a_person() -> None:
    values = {
        "name": [value("personal-name", first_name="Ada", last_name="Lovelace", full_name="Ada Lovelace")],
        "email_addresses": [value("email-address", email_address=each) for each in ("ada@a.example", "ada@b.example")],
        "phone_numbers": [value("phone-number", phone_number="+33123", country_code="FR")],
        "company": [value("record-reference", target_object="companies", target_record_id="c1")],
        "job_title": [text("Countess")],
        "primary_location": [location(country_code="GB")],
    }
    fields = fields_of(PERSON, "person", REGISTRY)
    part = part_of(values, PERSON, fields, company_names={"c1": "Acme"})
    assert part == {
        "name": "Ada Lovelace",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": "ada@a.example",
        "emails": ["ada@a.example", "ada@b.example"],
        "phone": "+33123",
        "phone_numbers": ["+33123"],
        "company": "c1",
        "company_name": "Acme",
        "job_title": "Countess",
        "country": "GB",
    }
    assert company_of(values) == "c1"
    assert "company_name" not in part_of(values, PERSON, fields)


def test_without_metadata_the_built_in_fields_are_filled() -> None:
    fields = fields_of((), "company", REGISTRY)
    values = {"name": [text("Acme")], "domains": [value("domain", domain="acme.com")], "tier": [option("Gold")]}
    assert part_of(values, (), fields) == {"name": "Acme", "domains": ["acme.com"]}


@pytest.mark.parametrize(
    ("type_", "many", "fields"),
    [
        ("text", False, {"own": "string"}),
        ("number", False, {"own": "number"}),
        ("number", True, {"own": "list of number"}),
        ("rating", False, {"own": "number"}),
        ("checkbox", False, {"own": "boolean"}),
        ("date", False, {"own": "datetime"}),
        ("timestamp", False, {"own": "datetime"}),
        ("interaction", False, {"own": "datetime"}),
        ("currency", False, {"own": "number", "own_currency": "string"}),
        ("select", False, {"own": "string"}),
        ("select", True, {"own": "list of string"}),
        ("multi-select", False, {"own": "list of string"}),
        ("status", False, {"own": "string"}),
        ("record-reference", True, {"own": "list of string"}),
        ("actor-reference", False, {"own": "string"}),
        ("location", False, {"own_city": "string", "own_country": "string", "own_region": "string"}),
        ("domain", False, {"own": "string"}),
        ("email-address", True, {"own": "list of string"}),
        ("phone-number", False, {"own": "string"}),
        ("personal-name", False, {"own": "string"}),
        ("quantum", False, {}),
    ],
)
def test_an_attribute_of_the_workspaces_own_gets_a_field(type_: str, many: bool, fields: dict[str, str]) -> None:
    assert registered((*COMPANY[:1], attribute("own", type_, many=many)), "company") == fields


def test_archived_attributes_get_none() -> None:
    assert registered((*COMPANY[:1], attribute("own", "text", archived=True)), "company") == {}


@pytest.mark.parametrize(
    ("slug", "type_", "name"),
    [
        ("city", "text", "attio_city"),  # a built-in field, which the primary location fills
        ("lists", "select", "attio_lists"),
        ("length", "number", "attio_length"),  # a word of the rule language
        ("updated_at", "timestamp", "attio_updated_at"),
        ("in", "text", "attio_in"),
        ("2nd-owner", "text", "attio_2nd_owner"),
        ("größe", "text", "gr__e"),
        ("nps", "number", "attio_nps"),  # registered with another type
        ("arr", "number", "attio_arr_number"),  # and so is what it would be called then
        ("estimated_arr_usd", "currency", "attio_estimated_arr_usd"),  # the same slug with another meaning
        ("x" * 80, "text", "x" * 38 + "_d929cd"),
    ],
)
def test_a_name_that_is_spoken_for_gives_way(slug: str, type_: str, name: str) -> None:
    own = {"company.nps": FieldType.STRING, "company.arr": FieldType.STRING, "company.attio_arr": FieldType.STRING}
    found = fields_of((*COMPANY[:1], attribute(slug, type_)), "company", REGISTRY | own)
    assert [field.name for field in found if field.slug == slug and field.take != "currency"] == [name]
    # Once registered, it is the same name again.
    again = fields_of(
        (*COMPANY[:1], attribute(slug, type_)),
        "company",
        REGISTRY | own | {f"company.{field.name}": field.type for field in found},
    )
    assert again == found


def test_slugs_that_only_look_alike_stay_apart() -> None:
    attributes = (*COMPANY[:1], attribute("deal-size", "text"), attribute("deal_size", "text"))
    fields = {field.slug: field.name for field in fields_of(attributes, "company", REGISTRY)}
    assert fields == {"name": "name", "deal_size": "deal_size", "deal-size": "attio_deal_size"}


def test_what_does_not_fit_is_left_out_and_the_rest_stays() -> None:
    attributes = (*COMPANY, attribute("score", "number"), attribute("day", "date"), attribute("story", "text"))
    values = {
        "name": [text("Acme")],
        "score": [value("number", value="a lot")],
        "day": [value("date", value="someday")],
        "story": [text("x" * 600_000)],
        "description": [text("y" * 450_000)],
        "domains": [value("domain", domain="z" * 300_000), value("domain", domain="w" * 300_000)],
    }
    part = part_of(values, attributes, fields_of(attributes, "company", REGISTRY))
    assert part == {"name": "Acme", "description": "y" * 450_000}
    assert LARGEST_PART == 1_000_000


ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from(
            ["name", "domains", "primary_location", "email_addresses", "company", "city", "tier", "x-y", "in"]
        ),
        st.sampled_from(
            [
                "text",
                "number",
                "checkbox",
                "currency",
                "date",
                "select",
                "status",
                "record-reference",
                "location",
                "email-address",
                "quantum",
            ]
        ),
        st.booleans(),
    ),
    unique_by=lambda each: each[0],
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(described=ATTRIBUTES, part=st.sampled_from(["company", "person"]), data=st.data())
def test_whatever_comes_passes_the_registry(
    described: list[tuple[str, str, bool]], part: Any, data: st.DataObject
) -> None:
    """Every name can be registered, is one attribute's alone, and every value is stored as it is."""
    attributes = [attribute(slug, type_, many=many) for slug, type_, many in described]
    fields = fields_of(attributes, part, REGISTRY)
    assert len({field.name for field in fields}) == len(fields)
    own = {f"{part}.{field.name}": field.type for field in fields}
    assert all(REGISTRY.get(name, type_) == type_ for name, type_ in own.items())
    values = {slug: data.draw(JSON) for slug, _, _ in described}
    found = part_of(values, attributes, fields, company_names={"c1": "Acme"}, lists=["vip"])
    read = Fields(REGISTRY | own).read_part(part, found)
    assert (read.problems, read.values) == ([], found)
    assert fields_of(attributes, part, REGISTRY | own) == fields
    assert all(isinstance(field, AttioField) for field in fields)
