"""How far an import is, as its job's checkpoint holds it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(slots=True)
class Counts:
    """How an import went so far. The first five are records or entries, each in one of them."""

    imported: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    gone: int = 0  # of a refresh: not in Attio any more
    conflicts: int = 0  # people among the first three who did not join the profile with their address
    files: int = 0  # written
    pieces: int = 0

    @property
    def done(self) -> int:
        """Records and entries that are through."""
        return self.imported + self.updated + self.unchanged + self.failed + self.gone


@dataclass(slots=True)
class State:
    """Where the next attempt goes on."""

    counts: Counts = field(default_factory=Counts)
    is_stored: bool = False  # everything was fetched, and is stored
    is_committed: bool = False  # or git refused, which has been told
    commit: str | None = None
    cohort_id: str | None = None
    added: int | None = None  # to a cohort that was there before

    @classmethod
    def of(cls, checkpoint: dict[str, Any] | None) -> Self:
        """As a job's checkpoint holds it; the beginning without one."""
        return cls() if checkpoint is None else cls(**{**checkpoint, "counts": Counts(**checkpoint["counts"])})

    def as_result(self, *, refreshes: bool) -> dict[str, Any]:
        """As its job shows it: in the end, and what so far of one that is under way or broke off."""
        counts = self.counts
        result: dict[str, Any] = {
            "imported": counts.imported,
            "updated": counts.updated,
            "unchanged": counts.unchanged,
            "failed": counts.failed,
            "files": counts.files,
            "commit": self.commit,
            "cohort_id": self.cohort_id,
            "conflicts": counts.conflicts,
        }
        added = {} if self.added is None else {"added": self.added}
        return result | added | ({"gone": counts.gone} if refreshes else {})

    def as_checkpoint(self) -> dict[str, Any]:
        """For the job's document."""
        return asdict(self)
