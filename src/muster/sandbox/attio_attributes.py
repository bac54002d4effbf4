"""The attributes of the stand-in's objects and lists, as Attio describes them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import NAMESPACE_URL, uuid5

if TYPE_CHECKING:
    from muster.sandbox.attio_world import Rows

Raw = dict[str, Any]

MANY = frozenset({"domains", "categories", "team", "email_addresses", "phone_numbers", "interests"})
OWN = frozenset(
    {
        *("tier", "seats", "is_partner", "renewal_on", "satisfaction", "account_owner"),
        *("beta_tester", "nps", "persona", "interests", "last_seen_at"),
        *("stage", "amount", "note", "next_step_on"),
    }
)
"""What somebody added to this workspace, beside what every workspace has."""

LOOKED_AT = 200  # rows that say which attributes there are, where nothing else does


def attribute(slug: str, type_: str | None, *, is_multiselect: bool) -> Raw:
    """One attribute."""
    return {
        "id": {"attribute_id": str(uuid5(NAMESPACE_URL, f"attribute/{slug}"))},
        "title": slug.replace("_", " ").capitalize(),
        "description": None,
        "api_slug": slug,
        "type": type_ or "text",
        "is_system_attribute": slug not in OWN,
        "is_writable": slug not in {"created_at", "created_by", "record_id"},
        "is_required": False,
        "is_unique": slug in {"domains", "email_addresses"},
        "is_multiselect": is_multiselect,
        "is_default_value_enabled": False,
        "is_archived": False,
        "default_value": None,
        "relationship": None,
        "created_at": "2025-01-06T09:00:00.000000000Z",
        "config": {},
    }


def _all(**types: str) -> list[Raw]:
    return [attribute(slug, type_, is_multiselect=slug in MANY) for slug, type_ in types.items()]


_COMMON = {"created_at": "timestamp", "created_by": "actor-reference"}
_ENTRIES = {"stage": "status", "amount": "currency", "note": "text", "next_step_on": "date", **_COMMON}

ATTRIBUTES: dict[str, list[Raw]] = {
    "companies": _all(
        record_id="text",
        name="text",
        domains="domain",
        description="text",
        categories="select",
        primary_location="location",
        employee_range="select",
        estimated_arr_usd="select",
        funding_raised_usd="currency",
        foundation_date="date",
        team="record-reference",
        tier="select",
        seats="number",
        is_partner="checkbox",
        renewal_on="date",
        satisfaction="rating",
        account_owner="actor-reference",
        **_COMMON,
    ),
    "people": _all(
        record_id="text",
        name="personal-name",
        email_addresses="email-address",
        description="text",
        company="record-reference",
        job_title="text",
        phone_numbers="phone-number",
        primary_location="location",
        linkedin="text",
        last_interaction="interaction",
        strongest_connection_strength="select",
        beta_tester="checkbox",
        nps="number",
        persona="select",
        interests="select",
        last_seen_at="timestamp",
        **_COMMON,
    ),
    "beta-testers": _all(**_ENTRIES),
    "sales-pipeline": _all(**_ENTRIES),
}


def attributes_of_types(types: Mapping[str, str | None], rows: "Rows | None") -> list[Raw]:
    """Attributes of a folder's objects: by the types it names, else by the values that its first rows have."""
    found: dict[str, str | None] = dict(types)
    many: set[str] = set()
    for place in range(min(len(rows), LOOKED_AT) if rows else 0):
        row = rows.row(place) if rows else {}
        named: Mapping[str, Sequence[Raw]] = row.get("values") or row.get("entry_values") or {}
        for slug, values in named.items():
            if values and not found.get(slug):
                found[slug] = values[0].get("attribute_type")
            found.setdefault(slug, None)
            if len(values) > 1:
                many.add(slug)
    return [attribute(slug, type_, is_multiselect=slug in many or slug in MANY) for slug, type_ in found.items()]
