"""Which changes travel together: pure, so that what is told, and in which order, can be tested by brute force."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId, Timestamp

from muster.webhooks.documents import Event

PER_DELIVERY = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, as far as the relay has to know it."""

    id: ObjectId
    cohort: str
    event: Event
    profile: ObjectId
    at: datetime
    as_of: Timestamp

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Entry":
        """The entry of a document of `changes`."""
        event = Event.ENTERED if stored["change"] == "entered" else Event.LEFT
        return cls(stored["_id"], stored["cohort"], event, stored["profile"], stored["at"], stored["as_of"])


def batched(entries: Iterable[Entry]) -> Sequence[Sequence[Entry]]:
    """Cut one cohort's changes into lists of one event each, at most PER_DELIVERY long.

    Read one after the other they tell of every profile in the order in which it happened. Entries and exits of
    different profiles may overtake each other: else a mixed burst would be as many lists as changes.
    """
    batches: list[list[Entry]] = []
    open_batch: dict[Event, int] = {}  # where the next change of this event may still go
    last_told: dict[ObjectId, int] = {}  # the batch with the latest change of a profile
    for entry in entries:
        place = open_batch.get(entry.event, -1)
        if place < last_told.get(entry.profile, 0) or len(batches[place]) >= PER_DELIVERY:
            place = open_batch[entry.event] = len(batches)
            batches.append([])
        batches[place].append(entry)
        last_told[entry.profile] = place
    return batches


def delivery_id(webhook_id: str, event: Event, *told: str) -> str:
    """The `webhook-id` of a delivery: the same whoever makes it, as long as it tells the same."""
    digest = hashlib.sha256("\0".join((webhook_id, event.value, *told)).encode()).hexdigest()
    return f"msg_{digest[:32]}"
