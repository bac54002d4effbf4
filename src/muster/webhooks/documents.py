"""What is stored of webhooks: where to send what, every message with its attempts, and how far the relay came."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from beanie import Document
from bson import ObjectId, Timestamp
from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, DESCENDING, IndexModel

KEEP = timedelta(days=7)  # deliveries, whatever became of them
ATTEMPTS_SHOWN = 20  # the latest of each delivery


class Event(StrEnum):
    """What a delivery tells of; its payload's `type`."""

    ENTERED = "cohort.entered"
    LEFT = "cohort.left"
    JOB = "job.finished"
    TEST = "webhook.test"


class DeliveryState(StrEnum):
    """Dropped: nothing was left to tell, because every profile in it was erased before it was sent."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


class Webhook(Document):
    """Where to send what. `_id` is its number, such as "WHK-1".

    What was decided before `since`, a cluster time, or seen before `since_at` is not told here. `wake_at` is when the
    sender looks here next (None: nothing waits), and `wakes` counts those who asked for a look, so that a sender which
    finds nothing more to send does not overwrite a request of the same moment.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    owner: str
    url: str
    description: str = ""
    events: list[str]
    cohort_ids: list[str] | None = None
    active: bool = True
    disabled_reason: str | None = None
    secret: bytes  # encrypted under the key of the data folder
    previous_secret: bytes | None = None  # signs beside the new one until then
    previous_until: datetime | None = None
    since: Timestamp
    since_at: datetime
    made: int = 0  # deliveries so far: the number of the last one
    failures: int = 0  # in a row
    failing_since: datetime | None = None
    resting_until: datetime | None = None
    wake_at: datetime | None = None
    wakes: int = 0
    rev: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "webhooks"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="project"),
            IndexModel([("active", ASCENDING), ("wake_at", ASCENDING)], name="active_wake"),
        ]


class FinishedJob(BaseModel):
    """The end of a job that a delivery tells of; a retried job may have another one since."""

    id: str
    state: str
    finished_at: datetime


class Attempt(BaseModel):
    """One try at sending. `status` is the answer's, `error` says why it does not count as delivered."""

    at: datetime
    duration_ms: float
    status: int | None = None
    error: str | None = None
    response: str | None = None  # the beginning of the answer's body


class Delivery(Document):
    """One message to one webhook. `_id` is the `webhook-id` of all its attempts, made from what it tells.

    It holds the ids of changes, not their content: the payload is built when it is sent, so that an erased profile is
    in none. `number` counts the deliveries of one webhook, in the order of what they tell.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    webhook: str
    project_id: str
    number: int
    event: Event
    at: datetime  # when what it tells of happened; of many changes the last
    cohort: str | None = None
    entries: list[ObjectId] = Field(default_factory=list)  # of `changes`
    job: FinishedJob | None = None
    state: DeliveryState = DeliveryState.PENDING
    due_at: datetime | None = None  # the next attempt, while pending
    tries: int = 0  # since it was made, or sent again by hand: decides how long the next pause is
    attempt_count: int = 0
    attempts: list[Attempt] = Field(default_factory=list)
    created_at: datetime
    ended_at: datetime | None = None
    expires_at: datetime

    class Settings:
        name = "webhook_deliveries"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("webhook", ASCENDING), ("number", DESCENDING)], name="newest"),
            IndexModel([("webhook", ASCENDING), ("state", ASCENDING), ("number", DESCENDING)], name="state_newest"),
            IndexModel(
                [("webhook", ASCENDING), ("number", ASCENDING), ("due_at", ASCENDING)],
                name="pending",
                partialFilterExpression={"state": DeliveryState.PENDING.value},
            ),
            IndexModel([("entries", ASCENDING)], name="entries"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        ]


class RelayState(Document):
    """How far the relay has followed changes and jobs. `_id` is RELAY.

    `token` is a resume token; before the first one `start_at`, a cluster time. `deployment` is the UUID of `changes`:
    a token of another collection would be accepted in silence.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # always RELAY
    token: dict[str, Any] | None = None
    start_at: Timestamp | None = None
    deployment: str = ""
    saved_at: datetime
    lag_ms: float = 0.0  # from a write to the commit of its deliveries
    lost_histories: int = 0
    lost_history_reason: str | None = None
    lost_history_at: datetime | None = None

    class Settings:
        name = "relay_states"


RELAY = "webhooks"

DOCUMENTS: Sequence[type[Document]] = (Webhook, Delivery, RelayState)
