"""Records over the wire."""

from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from muster.api.requests import Body
from muster.records.documents import FieldDefinition, Profile
from muster.records.importing import ImportReport
from muster.rules import FieldType

Record = dict[str, Any]
"""A part of a profile, flat: `{pii_id, status, score, …, updated_at, rev}`. Fields without a value are left out."""


def record_of(profile: Profile, part: str) -> Record:
    """The flat form of a part that the profile has."""
    fields: dict[str, Any] = getattr(profile, part)
    return {"pii_id": profile.pii_id, **fields, "updated_at": profile.updated_at, "rev": profile.rev}


class ProfileAnswer(BaseModel):
    """A profile as a whole; a part that it has not is null."""

    pii_id: str
    lead: dict[str, Any] | None
    contact: dict[str, Any] | None
    customer: dict[str, Any] | None
    person: dict[str, Any] | None
    company: dict[str, Any] | None
    cohorts: list[str]
    experiment_ids: list[str]
    created_at: datetime
    updated_at: datetime
    rev: int

    @classmethod
    def of(cls, profile: Profile, cohorts: list[str], experiments: list[str]) -> "ProfileAnswer":
        """The answer for a stored profile in these cohorts and experiments."""
        stored = profile.model_dump(include=set(cls.model_fields) - {"cohorts", "experiment_ids"})
        return cls(**stored, cohorts=cohorts, experiment_ids=experiments)


class ErasedAnswer(BaseModel):
    """What an erasure removed: how much of each kind, such as `{"profiles": 1, "memberships": 3, "changes": 7}`.

    `changes` are entries in the history of cohorts that named the profile; they stay without the name.
    """

    pii_id: str
    removed: dict[str, int]


class FailedLine(BaseModel):
    """A line of an import that was not taken; `line` counts from 1."""

    line: int
    detail: str


class ImportAnswer(BaseModel):
    """How an import went. `upserted` counts every accepted line, `failed` lists the first 1,000 of the others."""

    upserted: int
    unchanged: int
    failed_count: int
    failed: list[FailedLine]

    @classmethod
    def of(cls, report: ImportReport) -> "ImportAnswer":
        """The answer for a finished import."""
        return cls(
            upserted=report.upserted,
            unchanged=report.unchanged,
            failed_count=report.failed_count,
            failed=[FailedLine(line=number, detail=detail) for number, detail in report.failed],
        )


class SavedImportAnswer(ImportAnswer):
    """How an import went whose profiles were saved as a cohort. `job_id` stands while that is being filled."""

    cohort_id: str
    job_id: str | None


class NewField(Body):
    """A field to register, such as `{"name": "lead.nps", "type": "number"}`."""

    read_only: ClassVar[frozenset[str]] = frozenset({"built_in"})

    name: str
    type: FieldType = Field(strict=False)  # it comes as a string


class FieldAnswer(BaseModel):
    """A field of the registry."""

    name: str
    type: FieldType
    built_in: bool

    @classmethod
    def of(cls, field: FieldDefinition) -> "FieldAnswer":
        """The answer for a stored field."""
        return cls(name=field.name, type=FieldType(field.type), built_in=field.project_id is None)
