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
    subject_id: str  # the Attio record whose profile it is: the record itself, or the entry's parent
    parent_object: str | None = None  # of an entry: "companies" or "people"
    addresses: list[str] = Field(default_factory=list)  # of a person, normalised
    conflict: str | None = None  # why a person did not join the profile that has the same address
    sync_error: str | None = None  # with sync_status "error": what is wrong
    uncommitted: bool = False  # the file has changed since the last commit
    job_id: str | None = None  # the import that wrote this last

    class Settings:
        name = "attio_imports"
        indexes: ClassVar[list[Any]] = [
            IndexModel(
                [("project_id", ASCENDING), ("attio_object_type", ASCENDING), ("_id", ASCENDING)], name="project_type"
            ),
            IndexModel([("project_id", ASCENDING), ("_id", ASCENDING)], name="project"),
            IndexModel([("project_id", ASCENDING), ("attio_record_id", ASCENDING)], name="project_record"),
            IndexModel([("project_id", ASCENDING), ("subject_id", ASCENDING)], name="project_subject"),
            IndexModel([("project_id", ASCENDING), ("pii_id", ASCENDING)], name="project_pii_id"),
            IndexModel([("project_id", ASCENDING), ("addresses", ASCENDING)], name="project_addresses"),
            IndexModel(
                [("project_id", ASCENDING), ("uncommitted", ASCENDING)],
                name="project_uncommitted",
                partialFilterExpression={"uncommitted": True},
            ),
        ]


class ImportPiece(Document):
    """What one batch of an import brought. `_id` is "IMP-1|0". All pieces together are the import.

    `items` are `{"id": <attio id>, "pii_id": ...}`, null where the record failed or its profile was erased since.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    import_id: str
    project_id: str
    number: int
    items: list[dict[str, Any]]

    class Settings:
        name = "attio_import_pieces"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("import_id", ASCENDING), ("number", ASCENDING)], name="import_number"),
            IndexModel([("import_id", ASCENDING), ("items.id", ASCENDING)], name="import_items"),
            IndexModel([("project_id", ASCENDING), ("items.pii_id", ASCENDING)], name="project_profiles"),
        ]


class AttioHook(Document):
    """How Attio tells a project of changes. `_id` is the project's id; the secrets are in its file of secrets."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    webhook_id: str | None = None  # at Attio; None when only a secret was given
    target_url: str | None = None
    last_delivery_at: datetime | None = None
    job_id: str | None = None  # the refresh that looks after the marks

    class Settings:
        name = "attio_hooks"


class AttioMark(Document):
    """What Attio says has changed and was not fetched again yet. `_id` is that of its import, which may not be there.

    `version` rises with every event: whoever fetched on behalf of an earlier one leaves the mark.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    object_type: str
    attio_id: str
    list_slug: str | None = None
    version: int
    tries: int = 0
    due_at: datetime

    class Settings:
        name = "attio_marks"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("due_at", ASCENDING)], name="project_due"),
            IndexModel([("due_at", ASCENDING)], name="due"),
        ]


class AttioDelivery(Document):
    """A delivery of Attio's that was taken. `_id` is a digest of the project and its `Idempotency-Key`."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    expires_at: datetime

    class Settings:
        name = "attio_deliveries"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ]


def import_key(project_id: str, object_type: str, attio_id: str) -> str:
    """The `_id` of an import."""
    return f"{project_id}|{object_type}|{attio_id}"


DOCUMENTS: Sequence[type[Document]] = (
    AttioConnection,
    AttioImport,
    ImportPiece,
    AttioHook,
    AttioMark,
    AttioDelivery,
)
