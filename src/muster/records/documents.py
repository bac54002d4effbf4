"""What is stored of records: profiles, and the definitions of their fields."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from beanie import Document, PydanticObjectId
from pymongo import ASCENDING, IndexModel
from pymongo.collation import Collation, CollationAlternate, CollationMaxVariable, CollationStrength

# Of addresses: capitals and white space make no difference.
ADDRESS_COLLATION = Collation(
    "en",
    strength=CollationStrength.SECONDARY,
    alternate=CollationAlternate.SHIFTED,
    maxVariable=CollationMaxVariable.SPACE,
)

PartValue = dict[str, Any]


class Profile(Document):
    """Everything known about one person or company of a project.

    A part that a profile has not is absent from the stored document, never null, and so is a field of a part.
    `_id` is opaque and new whenever a profile is created, also after a deletion. Times are aware UTC, in milliseconds.
    """

    id: PydanticObjectId
    project_id: str
    pii_id: str
    rev: int  # raised by exactly one with every effective change
    created_at: datetime
    updated_at: datetime
    lead: PartValue | None = None
    contact: PartValue | None = None
    customer: PartValue | None = None
    person: PartValue | None = None
    company: PartValue | None = None

    class Settings:
        name = "profiles"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("pii_id", ASCENDING)], name="project_pii_id", unique=True),
            IndexModel(
                [("project_id", ASCENDING), ("contact.email", ASCENDING)],
                name="project_address",
                collation=ADDRESS_COLLATION,
                partialFilterExpression={"contact.email": {"$exists": True}},
            ),
        ]


class FieldDefinition(Document):
    """One field of the registry: "lead.score" and its type. `project_id` is None for the built-in fields."""

    id: PydanticObjectId
    project_id: str | None = None
    name: str
    type: str  # a value of muster.rules.FieldType
    created_at: datetime

    class Settings:
        name = "fields"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("name", ASCENDING)], name="project_name", unique=True),
        ]


class RollPiece(Document):
    """A piece of a roll: `pii_id`s that a job has to work through. `_id` is "roll|number"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    roll: str
    project_id: str
    pii_ids: list[str | None]  # None: erased since
    expires_at: datetime

    class Settings:
        name = "rolls"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("roll", ASCENDING)], name="roll"),
            IndexModel([("project_id", ASCENDING)], name="project"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ]


DOCUMENTS: Sequence[type[Document]] = (Profile, FieldDefinition, RollPiece)
