"""What is stored of Attio: which workspace a project is connected with, and what was imported from it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from beanie import Document
from pydantic import Field
from pymongo import ASCENDING, IndexModel


class AttioConnection(Document):
    """The workspace that a project is bound to until it is disconnected. `_id` is the project's id. No key in here."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    workspace_id: str
    workspace_name: str | None = None
    workspace_slug: str | None = None
    connected_at: datetime
    rev: int = 1  # rises with every key

    class Settings:
        name = "attio_connections"


class AttioImport(Document):
    """One record or list entry that was imported. `_id` is "PRJ-1|person|<attio id>" (`import_key`)."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    attio_record_id: str  # of an entry: the entry's id
    attio_object_type: str  # "company" | "person" | "list_entry"
    name: str = ""
    attio_web_url: str | None = None
    local_file_path: str | None = None  # below the project's repository
    attributes: dict[str, Any] = Field(default_factory=dict)
    list_slug: str | None = None
    imported_at: datetime
    sync_status: str = "synced"  # "synced" | "pending" | "error"
    experiment_ids: list[str] = Field(default_factory=list)
    pii_id: str | None = None

    class Settings:
        name = "attio_imports"
        indexes: ClassVar[list[Any]] = [
            IndexModel(
                [("project_id", ASCENDING), ("attio_object_type", ASCENDING), ("_id", ASCENDING)], name="project_type"
            ),
        ]


def import_key(project_id: str, object_type: str, attio_id: str) -> str:
    """The `_id` of an import."""
    return f"{project_id}|{object_type}|{attio_id}"


DOCUMENTS: Sequence[type[Document]] = (AttioConnection, AttioImport)
