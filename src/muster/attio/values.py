"""Attio's values made simple: an attribute's list of objects becomes the thing, or the list of things, that it says.

By the metadata of the attribute (one value or many) and by the names of a value's properties (what it is), because
`attribute_type` may be missing, wrong or new. What comes out is JSON and BSON: nothing that one of them could not hold.

    text, number, checkbox, date, timestamp, rating   the value itself; moments keep all their digits
    currency                    a number; its code stands beside it as `<slug>_currency`
    select, status              the title; the id where only that came
    record-reference            {"target_object", "target_record_id"}
    actor-reference             {"referenced_actor_type", "referenced_actor_id"}
    location                    the properties that are not null
    domain, email, phone, name  the text
    interaction                 {"interaction_type", "interacted_at", "owner_actor"}
    anything else               as it came, without what all values carry
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from muster.attio.models import Attribute

DEEPEST = 50  # levels of an unknown value; MongoDB takes a hundred in all

# What every value carries beside what it says.
_ENVELOPE = frozenset({"active_from", "active_until", "created_by_actor", "attribute_type"})
_LOCATION = (
    "line_1",
    "line_2",
    "line_3",
    "line_4",
    "locality",
    "region",
    "postcode",
    "country_code",
    "latitude",
    "longitude",
)
_NUMERIC = frozenset({"number", "rating", "currency"})
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_BEYOND_BSON = 2**63


def simplify(values: Mapping[str, Any], attributes: Sequence[Attribute]) -> dict[str, Any]:
    """The attributes of a record or an entry by slug, in order: null or [] where there is nothing."""
    known = {attribute.api_slug: attribute for attribute in attributes}
    current = {attribute.api_slug for attribute in attributes if not attribute.is_archived}
    simple: dict[str, Any] = {}
    for slug in values.keys() | current:
        attribute, active = known.get(slug), _active(values.get(slug))
        found = [one for value in active if (one := _simple(value, attribute)) not in (None, "", {})]
        many = len(found) > 1 or (attribute is not None and attribute.is_multiselect)
        simple[_key(slug)] = found if many else found[0] if found else None
        code = next((value["currency_code"] for value in active if value.get("currency_code")), None)
        if isinstance(code, str) and f"{slug}_currency" not in values.keys() | known.keys():
            simple[_key(f"{slug}_currency")] = clean_text(code)
    return dict(sorted(simple.items()))


def name_of(values: Mapping[str, Any]) -> str:
    """The name of a record: the text of a company, the full name of a person; empty when it has none."""
    for value in _active(values.get("name")):
        name = _simple(value, None)
        if isinstance(name, str) and name.strip():
            return " ".join(name.split())
    return ""


def full_name(value: Mapping[str, Any]) -> str | None:
    """A person's name as one text."""
    whole = value.get("full_name")
    if isinstance(whole, str) and whole.strip():
        return clean_text(whole)
    parts = [part for name in ("first_name", "last_name") if isinstance(part := value.get(name), str) and part]
    return clean_text(" ".join(parts)) or None


def current_values(values: Mapping[str, Any], slug: str) -> list[Mapping[str, Any]]:
    """The values of one attribute as Attio sent them, without those that are past."""
    return _active(values.get(slug))


def _active(values: Any) -> list[Mapping[str, Any]]:
    """The values that hold now, as objects, whatever form they came in."""
    if values is None:
        return []
    listed = values if isinstance(values, list) else [values]
    objects = [value if isinstance(value, Mapping) else {"value": value} for value in listed if value is not None]
    return [value for value in objects if value.get("active_until") is None]


def _simple(value: Mapping[str, Any], attribute: Attribute | None) -> Any:
    names = value.keys()
    if "value" in names:
        found = value["value"]
        return _number(found) if attribute is not None and attribute.type in _NUMERIC else _plain(found)
    if "currency_value" in names:
        return _number(value["currency_value"])
    for choice in ("option", "status"):
        if choice in names:
            return _title(value[choice], choice)
    if "target_record_id" in names:
        return _only(value, ("target_object", "target_record_id"))
    if "referenced_actor_type" in names or "referenced_actor_id" in names:
        return _only(value, ("referenced_actor_type", "referenced_actor_id"))
    if "interaction_type" in names or "interacted_at" in names:
        return _only(value, ("interaction_type", "interacted_at", "owner_actor"))
    for text, original in _TEXTS:
        if text in names or original in names:
            return _plain(value.get(text) or value.get(original))
    if not names.isdisjoint(("full_name", "first_name", "last_name")):
        return full_name(value)
    if not names.isdisjoint(_LOCATION):
        return {name: item for name, item in _only(value, _LOCATION).items() if item is not None}
    return _plain({name: item for name, item in value.items() if name not in _ENVELOPE})


# The property that says it, and the one that does where the first is empty. An e-mail's domain is no domain.
_TEXTS = (
    ("email_address", "original_email_address"),
    ("phone_number", "original_phone_number"),
    ("domain", "root_domain"),
)


def _title(choice: Any, kind: str) -> Any:
    """The title of an option or a status; the id where there is no title; a bare id as it is."""
    if not isinstance(choice, Mapping):
        return _plain(choice)
    title, ids = choice.get("title"), choice.get("id")
    if isinstance(title, str) and title:
        return clean_text(title)
    return _plain(ids.get(f"{kind}_id")) if isinstance(ids, Mapping) else _plain(ids)


def _only(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: _plain(value.get(name)) for name in names}


def _number(value: Any) -> Any:
    """A number, also where it came as text; what is none stays as it is."""
    if isinstance(value, str):
        try:
            read = float(value)
        except ValueError:
            return _plain(value)
        whole = int(read) if math.isfinite(read) and read.is_integer() and abs(read) < 2**53 else read
        return _plain(whole)
    return _plain(value)


def _plain(value: Any, depth: int = 0) -> Any:
    """A value that JSON and BSON both hold: whole numbers of 64 bits, finite ones, text that is text, keys that are."""
    match value:
        case None | bool():
            return value
        case str():
            return clean_text(value)
        case int():
            return value if -_BEYOND_BSON <= value < _BEYOND_BSON else str(value)
        case float():
            return value if math.isfinite(value) else None
        case _ if depth == DEEPEST:
            return None
        case Mapping():
            return {_key(str(name)): _plain(item, depth + 1) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item, depth + 1) for item in value]
        case _:
            return clean_text(str(value))


def clean_text(text: str) -> str:
    """Text that JSON and BSON hold: no NUL, no half of a surrogate pair."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _key(name: str) -> str:
    """A key that MongoDB takes for nothing but a key."""
    return clean_text(name).replace(".", "_").replace("$", "_") or "_"
