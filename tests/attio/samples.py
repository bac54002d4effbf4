"""Attio's metadata and values as Attio sends them, for every type there is."""

from typing import Any

from muster.attio.models import Attribute

ACTOR = {"type": "workspace-member", "id": "50cf242c-7fa3-4cad-87d0-75b1af71c57b"}


def attribute(slug: str, type_: str, *, many: bool = False, archived: bool = False, system: bool = False) -> Attribute:
    """The metadata of one attribute."""
    return Attribute.of(
        {
            "id": {"attribute_id": f"id of {slug}"},
            "api_slug": slug,
            "title": slug,
            "type": type_,
            "is_multiselect": many,
            "is_archived": archived,
            "is_system_attribute": system,
        }
    )


def value(type_: str, **properties: Any) -> dict[str, Any]:
    """One value with what all of them carry."""
    return {
        "active_from": "2023-04-03T15:21:06.447000000Z",
        "active_until": None,
        "created_by_actor": ACTOR,
        **properties,
        "attribute_type": type_,
    }


def text(words: Any) -> dict[str, Any]:
    """A value of a text attribute."""
    return value("text", value=words)


def option(title: str, option_id: str = "7d2a1c") -> dict[str, Any]:
    """A value of a select attribute."""
    return value("select", option={"id": {"option_id": option_id}, "title": title, "is_archived": False})


def location(**properties: Any) -> dict[str, Any]:
    """A value of a location attribute; what is not given is null."""
    names = ("line_1", "line_2", "line_3", "line_4", "locality", "region", "postcode", "country_code")
    empty = dict.fromkeys((*names, "latitude", "longitude"))
    return value("location", **empty | properties)


COMPANY = (
    attribute("name", "text", system=True),
    attribute("domains", "domain", many=True, system=True),
    attribute("description", "text", system=True),
    attribute("team", "record-reference", many=True, system=True),
    attribute("categories", "select", many=True, system=True),
    attribute("primary_location", "location", system=True),
    attribute("employee_range", "select", system=True),
    attribute("estimated_arr_usd", "select", system=True),
    attribute("funding_raised_usd", "currency", system=True),
    attribute("foundation_date", "date", system=True),
    attribute("first_interaction", "interaction", system=True),
    attribute("created_at", "timestamp", system=True),
)
PERSON = (
    attribute("name", "personal-name", system=True),
    attribute("email_addresses", "email-address", many=True, system=True),
    attribute("company", "record-reference", system=True),
    attribute("job_title", "text", system=True),
    attribute("description", "text", system=True),
    attribute("phone_numbers", "phone-number", many=True, system=True),
    attribute("primary_location", "location", system=True),
)
