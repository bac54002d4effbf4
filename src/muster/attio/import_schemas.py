"""Imports over the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from muster.api.requests import Body
from muster.attio.documents import AttioImport
from muster.attio.files import ObjectType
from muster.cohorts.schemas import Description, Name

MOST_IDS = 10_000

RecordId = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\s/\x00-\x1f\x7f]+$")]
RecordIds = Annotated[list[RecordId], Field(min_length=1, max_length=MOST_IDS)]
SyncStatus = Literal["synced", "pending", "error"]


class SaveAsCohort(Body):
    """The static cohort to make of what is imported."""

    name: Name
    description: Description = ""


class ImportIn(Body):
    """What to import: everything of a source, or what one of `record_ids`, `q` and `filter` selects.

    With `refresh`, what was imported before is fetched again: of all sources, or of the one that is named.
    """

    source: Literal["companies", "people", "list"] | None = None
    list: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = Field(
        default=None, description="The slug or id of a list, with `source` `list`."
    )
    record_ids: RecordIds | None = None
    q: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = Field(
        default=None, description="Part of the name, or of the e-mail address or domain."
    )
    filter: Annotated[dict[str, Any], Field(min_length=1)] | None = Field(
        default=None, description="A filter in Attio's own grammar.", examples=[{"job_title": {"$contains": "chief"}}]
    )
    refresh: bool = False
    project_id: str | None = None
    save_as_cohort: SaveAsCohort | None = None
    add_to_cohort: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        default=None, description="The id of a static cohort that what is imported is put into, in place of a new one."
    )


class ImportJobOut(BaseModel):
    """The job that imports."""

    job_id: str


class ImportOut(BaseModel):
    """A record or list entry that was imported.

    `sync_status` is `synced` when it is as Attio last had it, `pending` while news of it waits to be fetched, and
    `error`, with the reason in `sync_error`, when Attio has it no longer or it cannot be stored.
    """

    attio_record_id: str
    attio_object_type: ObjectType
    name: str
    attio_web_url: str | None
    local_file_path: str | None
    attributes: dict[str, Any]
    list_slug: str | None
    parent_object: str | None
    parent_record_id: str | None
    imported_at: datetime
    sync_status: SyncStatus
    sync_error: str | None
    conflict: str | None
    experiment_ids: list[str]
    pii_id: str | None
    job_id: str | None

    @classmethod
    def of(cls, found: AttioImport) -> "ImportOut":
        """The answer for a stored import."""
        values = {name: getattr(found, name) for name in cls.model_fields if name != "parent_record_id"}
        return cls(**values, parent_record_id=found.subject_id if found.parent_object else None)
