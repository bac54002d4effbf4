"""The history of cohorts on the wire."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from muster.cohorts.documents import Cause, Run, RunState


class ChangeOut(BaseModel):
    """One profile that entered or left. Those of one run share its `run`; other changes were live, or by hand."""

    id: str
    pii_id: str
    change: Literal["entered", "left"]
    cause: Cause
    at: datetime
    run: str | None
    rule_version: int = Field(description="Rises with every run that gave the cohort new members.")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "ChangeOut":
        """The wire form of an entry that names somebody."""
        return cls(
            id=str(stored["_id"]),
            pii_id=stored["pii_id"],
            change=stored["change"],
            cause=stored["cause"],
            at=stored["at"],
            run=stored.get("run"),
            rule_version=stored["generation"],
        )


class RunOut(BaseModel):
    """One full evaluation. One that did not succeed left the members as they were, and has an `error`."""

    id: str = Field(description="Also the number of its job.")
    state: RunState
    error: str | None
    cause: str
    rule: str | None
    rule_version: int | None
    replaced: int | None = Field(description="The rule version of before; null for the first fill of a cohort.")
    strategy: str | None
    scanned: int
    matched: int
    added: int
    removed: int
    pending: bool = Field(description="Its changes are still being written; until then added and removed may be off.")
    member_count: int | None
    elapsed_ms: float | None
    at: datetime

    @classmethod
    def of(cls, run: Run) -> "RunOut":
        """The wire form of a stored run."""
        return cls(
            id=run.id,
            state=run.state,
            error=run.error,
            cause=run.cause,
            rule=run.rule_text,
            rule_version=run.generation,
            replaced=run.previous,
            strategy=run.strategy,
            scanned=run.scanned,
            matched=run.matched,
            added=run.added,
            removed=run.removed,
            pending=run.pending,
            member_count=run.member_count,
            elapsed_ms=run.elapsed_ms,
            at=run.at,
        )


class PointOut(BaseModel):
    """The size right after a moment, and how many entered and left since the point before."""

    at: datetime
    size: int
    entered: int
    left: int


class SizesOut(BaseModel):
    """How a cohort grew and shrank: a point per moment of change, or the last moment of each of many intervals."""

    since: datetime
    until: datetime
    size_before: int = Field(description="At `since`.")
    interval_seconds: float | None = Field(description="Null when every moment of change has its own point.")
    items: list[PointOut]
    next_cursor: None = None
