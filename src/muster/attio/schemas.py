"""Attio's connection and what is browsed, over the wire."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, SecretStr, StringConstraints

from muster.api.requests import Body
from muster.attio.browsing import Listed
from muster.attio.connection import State
from muster.attio.models import AttioList, Attribute, ListEntry, Record


class ConnectionIn(Body):
    """A key for a project. Attio makes it under Workspace settings → Developers."""

    read_only: ClassVar[frozenset[str]] = frozenset(
        {"connected", "workspace", "scopes", "missing_scopes", "key", "problem", "connected_at", "rev"}
    )

    api_key: Annotated[SecretStr, Field(min_length=1, max_length=500, description="Shown by no answer, ever.")]
    project_id: Annotated[str, StringConstraints(max_length=100)] | None = None


class WorkspaceOut(BaseModel):
    """An Attio workspace."""

    id: str | None
    name: str | None
    slug: str | None


class ConnectionOut(BaseModel):
    """How a project is connected. Without `connected`, `problem` says why, where there is a key."""

    project_id: str
    connected: bool
    workspace: WorkspaceOut | None
    scopes: list[str]
    missing_scopes: list[str]
    key: Literal["project", "installation"] | None
    problem: str | None
    connected_at: datetime | None
    rev: int

    @classmethod
    def of(cls, state: State) -> "ConnectionOut":
        """The answer; never the key."""
        found = state.workspace
        return cls(
            project_id=state.project_id,
            connected=state.connected,
            workspace=WorkspaceOut(id=found.workspace_id, name=found.workspace_name, slug=found.workspace_slug)
            if found
            else None,
            scopes=list(found.scopes) if found and state.connected else [],
            missing_scopes=list(found.missing_scopes) if found and state.connected else [],
            key=state.key,
            problem=state.problem,
            connected_at=state.connected_at,
            rev=state.rev,
        )


class RecordOut(BaseModel):
    """A company or a person of the workspace; `imported`: this project has it."""

    attio_record_id: str
    attio_object_type: Literal["company", "person"]
    name: str
    email: str | None
    domain: str | None
    attio_web_url: str | None
    created_at: datetime | None
    imported: bool
    values: dict[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, listed: Listed) -> "RecordOut":
        """The answer for a record as browsed."""
        record = listed.row
        assert isinstance(record, Record)  # noqa: S101  what `list_records` lists
        return cls(
            attio_record_id=listed.attio_record_id,
            attio_object_type="company" if listed.attio_object_type == "company" else "person",
            name=listed.name,
            email=listed.email,
            domain=listed.domain,
            attio_web_url=record.web_url,
            created_at=record.created_at,
            imported=listed.imported,
            values=record.values,
        )


class EntryOut(BaseModel):
    """An entry of a list, with the name of the record that stands there."""

    attio_record_id: str
    attio_object_type: Literal["list_entry"] = "list_entry"
    name: str
    email: str | None
    domain: str | None
    parent_record_id: str | None
    parent_object: str | None
    attio_web_url: str | None
    created_at: datetime | None
    imported: bool
    entry_values: dict[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, listed: Listed) -> "EntryOut":
        """The answer for an entry as browsed."""
        entry = listed.row
        assert isinstance(entry, ListEntry)  # noqa: S101  what `list_entries` lists
        return cls(
            attio_record_id=entry.entry_id,
            name=listed.name,
            email=listed.email,
            domain=listed.domain,
            parent_record_id=entry.parent_record_id,
            parent_object=entry.parent_object,
            attio_web_url=listed.parent.web_url if listed.parent else None,
            created_at=entry.created_at,
            imported=listed.imported,
            entry_values=entry.entry_values,
        )


class ListOut(BaseModel):
    """A list of the workspace."""

    list_id: str
    api_slug: str
    name: str
    parent_objects: list[str]
    created_at: datetime | None

    @classmethod
    def of(cls, found: AttioList) -> "ListOut":
        """The answer for a list."""
        return cls(
            list_id=found.list_id,
            api_slug=found.api_slug,
            name=found.name,
            parent_objects=list(found.parent_objects),
            created_at=found.created_at,
        )


class AttributeOut(BaseModel):
    """An attribute of an object or a list."""

    api_slug: str
    title: str
    description: str | None
    type: str
    is_multiselect: bool
    is_required: bool
    is_unique: bool
    is_system: bool

    @classmethod
    def of(cls, found: Attribute) -> "AttributeOut":
        """The answer for an attribute."""
        return cls(**{name: getattr(found, name) for name in cls.model_fields})
