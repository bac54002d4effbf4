"""The field registry: which fields profiles of a project may have, and their types."""

import re
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from muster.errors import Conflict, Invalid, Problem
from muster.records.documents import FieldDefinition
from muster.records.fields import READ_ONLY
from muster.rules import PARTS, FieldType

MOST_OWN_FIELDS = 1_000  # of one project

# A name that the rule language can say, and that is no operator, constant or attribute of its own.
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,62}")
_WORDS = frozenset({"and", "or", "not", "in", "for", "if", "true", "false", "null", "inf", "nan"})
_ATTRIBUTES = frozenset({"length", "is_empty", "keys", "values", "items"})
_RESERVED = READ_ONLY | _WORDS | _ATTRIBUTES | {"id", "project_id"}


async def registry(project_id: str) -> dict[str, FieldType]:
    """The fields that profiles of this project may have, by name ("lead.score"): the built-in ones and its own."""
    fields = FieldDefinition.get_motor_collection().find(
        {"project_id": {"$in": [None, project_id]}}, {"_id": 0, "name": 1, "type": 1}
    )
    return {field["name"]: FieldType(field["type"]) for field in await fields.to_list(None)}


async def fields_of(project_id: str, after: str | None, limit: int, *, q: str = "") -> list[FieldDefinition]:
    """Up to `limit` fields in the order of their names, from behind the name `after`; with `q`, those that hold it."""
    name: dict[str, Any] = {"$gt": after} if after is not None else {}
    if q:
        name |= {"$regex": re.escape(q.replace("\0", "")), "$options": "i"}
    wanted = {"project_id": {"$in": [None, project_id]}, **({"name": name} if name else {})}
    return await FieldDefinition.find(wanted).sort("+name").limit(limit).to_list()


async def register_field(project_id: str, name: str, type_: FieldType) -> tuple[FieldDefinition, bool]:
    """Add a field to a project; whether it is new. A field that is there already with this type is left as it is.

    Raises Invalid for a name that rules could not say, Conflict when the field has another type.
    """
    _check_name(name)
    own = FieldDefinition.get_motor_collection()
    created = False
    found = await _field(project_id, name)
    if found is None:
        if await own.count_documents({"project_id": project_id}, limit=MOST_OWN_FIELDS) == MOST_OWN_FIELDS:
            raise Conflict(f"{project_id} has {MOST_OWN_FIELDS:,} fields of its own, which are the most.")
        found = FieldDefinition(
            id=ObjectId(), project_id=project_id, name=name, type=str(type_), created_at=datetime.now(UTC)
        )
        try:
            await found.insert()
            created = True
        except DuplicateKeyError:  # another request registered it just now
            found = await FieldDefinition.find_one({"project_id": project_id, "name": name})
    if found is None or found.type != type_:
        known_type = found.type if found else "another type"
        raise Conflict(f"{name} is registered as {known_type}; a field keeps its type.")
    return found, created


async def forget_fields(project_id: str) -> None:
    """Remove a project's own fields, when the project is gone."""
    await FieldDefinition.get_motor_collection().delete_many({"project_id": project_id})


async def _field(project_id: str, name: str) -> FieldDefinition | None:
    return await FieldDefinition.find_one({"project_id": {"$in": [None, project_id]}, "name": name})


def is_field_name(name: str) -> bool:
    """Whether a field can be named so, within its part: rules can say it, and it means nothing else there."""
    return bool(_NAME.fullmatch(name)) and name not in _RESERVED


def _check_name(name: str) -> None:
    part, dot, field = name.partition(".")
    if part not in PARTS or not dot:
        detail = f"A field is named part.name, and the part is one of {', '.join(PARTS)}."
        raise Invalid("The field cannot have this name.", [Problem(detail, "/name")])
    if not is_field_name(field):
        detail = f"{field[:100]!r} is no name for a field: a letter, then letters, digits or _, 63 at most; no keyword."
        raise Invalid("The field cannot have this name.", [Problem(detail, "/name")])
