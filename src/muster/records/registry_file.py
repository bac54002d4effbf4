"""The built-in fields: `rules/fields.yaml` into the registry, as the fields that belong to no project."""

from datetime import UTC, datetime
from pathlib import Path

import yaml
from pymongo import UpdateOne

from muster.errors import StartError
from muster.records.documents import FieldDefinition
from muster.rules import PARTS, FieldType


def read(path: Path) -> dict[str, FieldType]:
    """The fields of a registry file by name, such as "lead.score". Raises StartError when it does not hold."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {
            f"{part}.{name}": FieldType(type_) for part, fields in content.items() for name, type_ in fields.items()
        }
    except (OSError, yaml.YAMLError, ValueError, AttributeError) as error:
        raise StartError(f"The field registry {path} cannot be read: {error}") from error


async def apply(path: Path) -> None:
    """Write the built-in fields; doing it twice does no harm.

    Raises StartError when the file gives a field another type than it has: values of the old type are stored.
    """
    fields = read(path)
    foreign = sorted({name.partition(".")[0] for name in fields} - set(PARTS))
    if foreign:
        raise StartError(f"The field registry {path} names unknown parts: {', '.join(foreign)}.")
    now = datetime.now(UTC)
    collection = FieldDefinition.get_motor_collection()
    await collection.bulk_write(
        [
            UpdateOne(
                {"project_id": None, "name": name},
                {"$setOnInsert": {"type": str(type_), "created_at": now}},
                upsert=True,
            )
            for name, type_ in fields.items()
        ],
        ordered=False,
    )
    async for stored in collection.find({"project_id": None}):
        wanted = fields.get(stored["name"])
        if wanted is not None and wanted != stored["type"]:
            raise StartError(f"{stored['name']} is a {stored['type']} in the database, and {path} calls it {wanted}.")
