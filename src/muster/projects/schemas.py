"""Projects over the wire."""

from datetime import datetime
from functools import cache
from typing import Annotated, ClassVar
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, StringConstraints

from muster.api.requests import Body
from muster.projects.documents import Project


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones()) | {"UTC"}


def _time_zone(name: str) -> str:
    if name not in _time_zones():
        raise ValueError(f"{name[:100]!r} is not a time zone; take an IANA name such as Europe/Paris.")
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Description = Annotated[str, StringConstraints(max_length=10_000)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]

_READ_ONLY = frozenset({"id", "owner", "is_default", "created_at", "updated_at", "rev"})


class NewProject(Body):
    """What makes a project."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    name: Name
    description: Description = ""
    time_zone: TimeZone = "UTC"


class ProjectPatch(Body):
    """What may change of a project; what is left out stays."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    name: Name | None = None
    description: Description | None = None
    time_zone: TimeZone | None = None


class ProjectAnswer(BaseModel):
    """A project as others see it."""

    id: str
    name: str
    description: str
    time_zone: str
    is_default: bool
    created_at: datetime
    updated_at: datetime
    rev: int

    @classmethod
    def of(cls, project: Project) -> "ProjectAnswer":
        """The answer for a stored project."""
        return cls(**project.model_dump(exclude={"owner", "revision_id"}))
