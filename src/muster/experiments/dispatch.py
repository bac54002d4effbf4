"""Where runs go: the small interface behind which Modal, a webhook or a local function stand.

A run is sent in parts, nearly always one. `start` hands a part over, `look` asks what became of it. Both answer
`Accepted`, `Pending` or `Finished`, or raise: `Trouble` when another time may do, `Refusal` when it will not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from muster.experiments.documents import ExperimentRun, Part
from muster.experiments.wire import Content, Refusal


@dataclass(frozen=True, slots=True)
class Accepted:
    """The other side has the part and works on it: by this name, or to be told at this address."""

    call_id: str | None = None
    result_url: str | None = None


@dataclass(frozen=True, slots=True)
class Pending:
    """Not done yet; `done` personas are, as far as the other side says."""

    done: int | None = None
    retry_after: float | None = None  # seconds


@dataclass(frozen=True, slots=True)
class Finished:
    """The results as JSON, one for each persona of the part, in their order."""

    results: Sequence[bytes | memoryview]


class Unknown(Refusal):
    """The other side does not know of the work: it forgot, or was not the one who accepted."""


Outcome = Accepted | Pending | Finished


@dataclass(frozen=True, slots=True)
class Parcel:
    """A part of a run, to be handed over. `personas` streams each one's JSON; `report` is told how many are done."""

    run: ExperimentRun
    part: Part
    content: Content
    personas: Callable[[], AsyncIterator[list[bytes]]]
    report: Callable[[int], Awaitable[None]]


class Backend(Protocol):
    """Who runs experiments."""

    async def start(self, parcel: Parcel) -> Outcome:
        """Hand a part over. A second time it carries the same run id and number, so that the other side drops it."""

    async def look(self, run: ExperimentRun, part: Part) -> Outcome:
        """What became of a part that was accepted."""


OpenBackend = Callable[[], AbstractAsyncContextManager[Backend]]
