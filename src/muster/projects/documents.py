"""What is stored of projects."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from beanie import Document
from pymongo import ASCENDING, IndexModel


class Project(Document):
    """A project of one owner. `_id` is its number, such as "PRJ-1"; times are aware UTC."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    owner: str
    name: str
    description: str = ""
    time_zone: str = "UTC"  # IANA name; "today" in rules is meant in it
    is_default: bool = False
    rev: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "projects"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("owner", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="owner_created_at"),
            IndexModel(
                [("owner", ASCENDING), ("is_default", ASCENDING)],
                name="one_default_per_owner",
                unique=True,
                partialFilterExpression={"is_default": True},
            ),
        ]


DOCUMENTS: Sequence[type[Document]] = (Project,)
