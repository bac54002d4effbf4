"""What a profile must be, kept by the one writer that writes it, and what a cohort must be, kept by its editor."""

from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from muster.records.updates import Changes
from tests.simulation.drawing import PARTS, after

Parts = dict[str, dict[str, Any]]


@dataclass(slots=True)
class Book:
    """A profile of one writer: its parts and revision. No parts, not even none, while there is no profile."""

    parts: Parts | None = None
    rev: int = 0

    def ask(self, changes: Changes) -> bool:
        """Change it as the product must; whether that changes anything."""
        parts = after(self.parts, changes)
        if parts == self.parts:
            return False
        self.parts, self.rev = parts, self.rev + 1
        return True

    def erase(self) -> None:
        """Whoever is written again is somebody new."""
        self.parts, self.rev = None, 0

    def differs(self, stored: dict[str, Any] | None) -> bool:
        """Whether MongoDB has something else."""
        if stored is None or self.parts is None:
            return stored is not None or self.parts is not None
        return self.rev != stored["rev"] or self.parts != {part: stored[part] for part in PARTS if part in stored}


@dataclass(slots=True)
class Known:
    """A cohort as its editor knows it. `given` are the members of a static one; None: to be seen when all is quiet."""

    id: str
    project: str
    kind: str
    rule: str | None = None
    given: set[ObjectId] | None = None
    doubtful: set[ObjectId] = field(default_factory=set)  # erased, or created again, while they were put in or out
