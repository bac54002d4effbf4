"""Indexes for rules on the wire."""

from pydantic import BaseModel, Field

from muster.api.requests import Body
from muster.cohorts.index_advice import Advice, State
from muster.rules import Use


class IndexOut(BaseModel):
    """An index on a field that rules use: there already, suggested, or not worth it, and why."""

    field: str
    name: str
    state: State
    reason: str
    uses: list[Use] = Field(description="How rules would ask it; `window` is a comparison with now.")
    cohorts: list[str] = Field(description="The cohorts whose rules could use it.")
    share: float | None = Field(description="Of the profiles, that the narrowest condition leads to; from 0 to 1.")
    size_bytes: int | None

    @classmethod
    def of(cls, advice: Advice) -> "IndexOut":
        """As the API shows it."""
        return cls(
            field=advice.field,
            name=advice.name,
            state=advice.state,
            reason=advice.reason,
            uses=advice.uses,
            cohorts=advice.cohorts,
            share=advice.share,
            size_bytes=advice.size,
        )


class IndexesIn(Body):
    """Which indexes to build: those suggested, unless fields are named."""

    project_id: str | None = None
    all: bool = Field(default=False, description="By the rules of all your projects.")
    fields: list[str] | None = Field(default=None, max_length=40, description="Instead of those suggested.")
    create: bool = Field(default=True, description="False only drops.")
    drop_unused: bool = Field(default=False, description="Drop those that no rule of a dynamic cohort speaks of.")


class LeftOutOut(BaseModel):
    """An index that could not be built."""

    field: str
    detail: str


class IndexesOut(BaseModel):
    """What became of indexes, by their fields."""

    created: list[str]
    existed: list[str]
    left_out: list[LeftOutOut]
    dropped: list[str]


class IndexesAcceptedOut(BaseModel):
    """The indexes are being built: follow `/v1/jobs/{job_id}`, whose result says what became of them."""

    job_id: str
    dropped: list[str]
