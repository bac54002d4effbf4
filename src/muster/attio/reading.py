"""How records and entries are read: the attributes of their object or list, and the fields that these fill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from muster.attio.client import AttioClient
from muster.attio.errors import AttioKeyRefused
from muster.attio.models import Attribute
from muster.attio.parts import AttioField, Part, fields_of
from muster.errors import Conflict, Invalid
from muster.records.registry import register_field, registry

FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class Reading:
    """The attributes of one object, and the registered fields of the part that its records give a profile."""

    part: Part
    attributes: Sequence[Attribute]
    fields: Sequence[AttioField]


async def reading_of(client: AttioClient, project_id: str, object_slug: str) -> tuple[Reading, list[str]]:
    """Ask for an object's attributes and register a field for each that is new; and what could not be as wished.

    A field that is registered with another type stays as it is: the attribute gets a field beside it, or none.
    """
    part: Part = "person" if object_slug == "people" else "company"
    attributes = await attributes_of(client, object_slug)
    registered = await registry(project_id)
    fields, remarks = [], []
    for field in fields_of(attributes, part, registered):
        name = f"{part}.{field.name}"
        known_type = registered.get(f"{part}.{field.slug}")
        if name not in registered:
            try:
                await register_field(project_id, name, field.type)
            except (Conflict, Invalid) as refused:
                remarks.append(f"The attribute {field.slug} of {object_slug} fills no field: {refused.detail}")
                continue
        if field.name == f"attio_{field.slug}" and known_type not in (None, field.type):
            taken = f"{part}.{field.slug}"
            remarks.append(f"{taken} is registered as {known_type}; the attribute of this name fills {name}.")
        fields.append(field)
    return Reading(part, attributes, fields), remarks


async def attributes_of(
    client: AttioClient, slug: str, of: Literal["objects", "lists"] = "objects"
) -> Sequence[Attribute]:
    """The attributes of an object or a list; none for a key that may read the records but not their configuration."""
    try:
        return await client.fetch_attributes(slug, of)
    except AttioKeyRefused as refused:
        if refused.attio_status != FORBIDDEN:
            raise
        return []
