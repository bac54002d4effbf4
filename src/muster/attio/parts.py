"""From an Attio record to the part of a profile: which fields its attributes fill, and with what.

Attio's own attributes fill the built-in fields that mean the same (`BUILT_IN`). Every other attribute gets a field of
its own, named by its slug, so that rules can use a workspace's attributes at once. Where that name is spoken for by a
built-in field, by a word of the rule language, or by a field of another type, it is `attio_<slug>`, and where that is
too, `attio_<slug>_<type>`: the same name whenever the same attributes meet the same registry.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import bson

from muster.attio.models import Attribute
from muster.attio.values import current_values, simplify
from muster.records.documents import PartValue
from muster.records.fields import LARGEST_PART
from muster.records.registry import is_field_name
from muster.records.values import READERS, DoesNotFitError
from muster.rules import FieldType

Part = Literal["company", "person"]
Take = Literal["all", "first", "city", "region", "country", "currency", "first_name", "last_name", "company_name"]
"""Which piece of an attribute fills a field."""

LISTS = "lists"  # the field of both parts that list imports fill
_LONGEST_NAME = 45  # characters of a slug in a name, which takes 63

STRING, NUMBER, BOOLEAN, DATETIME = FieldType.STRING, FieldType.NUMBER, FieldType.BOOLEAN, FieldType.DATETIME
STRINGS, NUMBERS = FieldType.STRINGS, FieldType.NUMBERS


@dataclass(frozen=True, slots=True)
class AttioField:
    """A field of a part, and what of which attribute fills it."""

    name: str
    type: FieldType
    slug: str
    take: Take = "all"


_PLACE = (
    AttioField("city", STRING, "primary_location", "city"),
    AttioField("region", STRING, "primary_location", "region"),
    AttioField("country", STRING, "primary_location", "country"),
)

BUILT_IN: Mapping[Part, Sequence[AttioField]] = {
    "company": (
        AttioField("name", STRING, "name"),
        AttioField("description", STRING, "description"),
        AttioField("employee_range", STRING, "employee_range"),
        AttioField("estimated_arr_usd", STRING, "estimated_arr_usd"),
        AttioField("domains", STRINGS, "domains"),
        AttioField("categories", STRINGS, "categories"),
        AttioField("funding_raised_usd", NUMBER, "funding_raised_usd"),
        AttioField("founded_on", DATETIME, "foundation_date"),
        *_PLACE,
    ),
    "person": (
        AttioField("name", STRING, "name"),
        AttioField("email", STRING, "email_addresses", "first"),
        AttioField("emails", STRINGS, "email_addresses"),
        AttioField("job_title", STRING, "job_title"),
        AttioField("description", STRING, "description"),
        AttioField("phone", STRING, "phone_numbers", "first"),
        AttioField("company_name", STRING, "company", "company_name"),
        *_PLACE,
    ),
}

# Types of attributes with one value, and the type of a field of theirs; lists are of strings unless of numbers.
_TYPES: Mapping[str, FieldType] = {
    "text": STRING,
    "select": STRING,
    "status": STRING,
    "domain": STRING,
    "email-address": STRING,
    "phone-number": STRING,
    "personal-name": STRING,
    "record-reference": STRING,
    "actor-reference": STRING,
    "number": NUMBER,
    "rating": NUMBER,
    "currency": NUMBER,
    "checkbox": BOOLEAN,
    "date": DATETIME,
    "timestamp": DATETIME,
    "interaction": DATETIME,
    "multi-select": STRINGS,
}


def fields_of(attributes: Sequence[Attribute], part: Part, registered: Mapping[str, FieldType]) -> list[AttioField]:
    """The fields that these attributes fill, to be registered as "part.name". `registered`: the project's registry."""
    if not attributes:  # a key that may not read them: what a value is, its properties tell
        return list(BUILT_IN[part])
    known = {attribute.api_slug: attribute for attribute in attributes if not attribute.is_archived}
    fields = [field for field in BUILT_IN[part] if field.slug in known and _fits(known[field.slug], field)]
    whole = {field.slug for field in fields if field.take not in ("first", "company_name")}
    taken = {field.name for field in BUILT_IN[part]} | {LISTS}
    # Slugs that are names as they are come first: another that only resembles one does not take its name.
    for slug in sorted(known, key=lambda slug: (_as_name(slug) != slug, slug)):
        for own in _own_fields(known[slug], part):
            if slug not in whole or own.take in ("first_name", "last_name"):
                named = _named(own, part, registered, taken)
                taken.add(named.name)
                fields.append(named)
    return fields


def part_of(
    values: Mapping[str, Any],
    attributes: Sequence[Attribute],
    fields: Sequence[AttioField],
    *,
    company_names: Mapping[str, str] | None = None,
    lists: Sequence[str] = (),
    simple: Mapping[str, Any] | None = None,
) -> PartValue:
    """The part that a record gives its profile, in stored form. `fields` are those of `fields_of`.

    `company_names` knows companies by their record ids. A value that its field cannot hold is left out; the file
    has it. Fields that nothing fills are absent. `simple` is what `simplify` makes of the values, where it is known.
    """
    simple = simplify(values, attributes) if simple is None else simple
    part: PartValue = {}
    for field in fields:
        found = _take(field, simple.get(field.slug), values, company_names or {})
        if found is None or found in ([], ""):
            continue
        try:
            part[field.name] = READERS[field.type](found)
        except DoesNotFitError:
            continue
    if lists:
        part[LISTS] = list(dict.fromkeys(lists))
    return _small_enough(dict(sorted(part.items())))


def company_of(values: Mapping[str, Any]) -> str | None:
    """The record id of the company that a person is at."""
    for value in current_values(values, "company"):
        found = value.get("target_record_id")
        if isinstance(found, str) and found:
            return found
    return None


def _fits(attribute: Attribute, field: AttioField) -> bool:
    """Whether a built-in field means this attribute: a workspace may have another type under the same slug."""
    if field.take in ("city", "region", "country"):
        return attribute.type == "location"
    if field.take == "company_name":
        return attribute.type == "record-reference"
    type_ = _type_of(attribute)
    return type_ == field.type or (type_ in (STRING, STRINGS) and (field.type is STRINGS or field.take == "first"))


def _type_of(attribute: Attribute) -> FieldType | None:
    """The type of the field that holds this attribute; None for those that have none."""
    single = _TYPES.get(attribute.type)
    if single is None or not attribute.is_multiselect:
        return single
    return NUMBERS if single is NUMBER else STRINGS


def _own_fields(attribute: Attribute, part: Part) -> list[AttioField]:
    slug, type_ = attribute.api_slug, _type_of(attribute)
    if attribute.type == "location":
        pieces: Sequence[Take] = ("city", "region", "country")
        return [AttioField(f"{slug}_{piece}", STRING, slug, piece) for piece in pieces]
    if type_ is None:
        return []
    fields = [AttioField(slug, type_, slug)]
    if attribute.type == "currency":
        fields.append(AttioField(f"{slug}_currency", STRING, slug, "currency"))
    if attribute.type == "personal-name" and part == "person" and slug == "name":
        fields += [AttioField("first_name", STRING, slug, "first_name")]
        fields += [AttioField("last_name", STRING, slug, "last_name")]
    return fields


def _named(field: AttioField, part: Part, registered: Mapping[str, FieldType], taken: set[str]) -> AttioField:
    """The field under the first name that it can have."""
    base = _as_name(field.name)
    suffix = str(field.type).replace("list of string", "strings").replace("list of number", "numbers")
    names = [base, f"attio_{base}", f"attio_{base}_{suffix}"]
    names += [f"attio_{base}_{suffix}_{number}" for number in range(2, 100)]
    name = next(
        name
        for name in names
        if is_field_name(name) and name not in taken and registered.get(f"{part}.{name}", field.type) == field.type
    )
    return AttioField(name, field.type, field.slug, field.take)


def _as_name(slug: str) -> str:
    """A slug as rules can say it; what is too long keeps its beginning and is told apart by a digest."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", slug)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(slug.encode(errors="replace")).hexdigest()[:6]
        return f"{name[: _LONGEST_NAME - 7]}_{digest}"
    return name


def _take(field: AttioField, simple: Any, values: Mapping[str, Any], company_names: Mapping[str, str]) -> Any:
    first = simple[0] if isinstance(simple, list) and simple else simple
    match field.take:
        case "city" | "region" | "country":
            names = {"city": "locality", "region": "region", "country": "country_code"}
            return first.get(names[field.take]) if isinstance(first, Mapping) else None
        case "company_name":
            return company_names.get(company_of(values) or "")
        case "currency" | "first_name" | "last_name":
            name = "currency_code" if field.take == "currency" else field.take
            return next((value.get(name) for value in current_values(values, field.slug)), None)
        case "all" if field.type.is_list:
            listed = simple if isinstance(simple, list) else [simple]
            return [found for each in listed if (found := _scalar(each)) is not None]
    return _scalar(first)


def _scalar(value: Any) -> Any:
    """What a field holds of a value that has several properties: the id, or the moment."""
    if isinstance(value, Mapping):
        names = ("target_record_id", "referenced_actor_id", "interacted_at")
        return next((value[name] for name in names if value.get(name)), None)
    return value


def _small_enough(part: PartValue) -> PartValue:
    """The part without its longest values, where it would be larger than profiles may have it."""
    while len(bson.encode(part)) > LARGEST_PART:
        longest = max(part, key=lambda name: len(bson.encode({"": part[name]})))
        part = {name: value for name, value in part.items() if name != longest}
    return part
