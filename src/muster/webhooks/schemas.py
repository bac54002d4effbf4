"""Webhooks over the wire."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from muster.api.requests import Body
from muster.webhooks.addresses import LONGEST
from muster.webhooks.documents import Attempt, Delivery, DeliveryState, Event, Webhook

Subscribed = Literal["cohort.entered", "cohort.left", "job.finished"]


def _each_once(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


Url = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=LONGEST)]
Description = Annotated[str, StringConstraints(max_length=1_000)]
Events = Annotated[list[Subscribed], Field(min_length=1), AfterValidator(_each_once)]
CohortIds = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=1_000),
    AfterValidator(_each_once),
]

_READ_ONLY = frozenset(
    {
        *("id", "secret", "disabled_reason", "failing_since", "previous_secret_signs_until"),
        *("created_at", "updated_at", "rev"),
    }
)


class WebhookIn(Body):
    """A new webhook. Without `cohort_ids` it tells of every cohort of the project."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY | {"active"}

    url: Url = Field(examples=["https://example.com/muster"])
    events: Events
    cohort_ids: CohortIds | None = Field(
        default=None, description="Only changes of these cohorts, and jobs about them. Null: all of the project."
    )
    description: Description = ""
    project_id: str | None = None


class WebhookPatch(Body):
    """What may change of a webhook; what is left out stays. `"cohort_ids": null` means all cohorts again."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY | {"project_id"}

    # The defaults stand for nothing: what counts is which properties were given.
    url: Url = ""
    events: Events = Field(default_factory=list)
    cohort_ids: CohortIds | None = None
    description: Description = ""
    active: bool = True


class WebhookOut(BaseModel):
    """A webhook. `disabled_reason` says why Muster switched it off; one that its owner switched off has none."""

    id: str
    project_id: str
    url: str
    description: str
    events: list[str]
    cohort_ids: list[str] | None
    active: bool
    disabled_reason: str | None
    failing_since: datetime | None
    previous_secret_signs_until: datetime | None
    created_at: datetime
    updated_at: datetime
    rev: int

    @classmethod
    def of(cls, webhook: Webhook, **more: Any) -> Self:
        """The wire form of a stored webhook."""
        return cls(
            id=webhook.id,
            project_id=webhook.project_id,
            url=webhook.url,
            description=webhook.description,
            events=webhook.events,
            cohort_ids=webhook.cohort_ids,
            active=webhook.active,
            disabled_reason=webhook.disabled_reason,
            failing_since=webhook.failing_since,
            previous_secret_signs_until=webhook.previous_until,
            created_at=webhook.created_at,
            updated_at=webhook.updated_at,
            rev=webhook.rev,
            **more,
        )


class WebhookWithSecret(WebhookOut):
    """A webhook with its secret, which no other answer shows."""

    secret: str


class DeliveryOut(BaseModel):
    """One message, and what became of it. `id` is the `webhook-id` that the receiver sees."""

    id: str
    webhook_id: str
    event: Event
    cohort_id: str | None
    job_id: str | None
    change_count: int
    state: DeliveryState
    attempt_count: int
    attempts: list[Attempt] = Field(description="The latest 20, the oldest first.")
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None
    expires_at: datetime

    @classmethod
    def of(cls, delivery: Delivery, **more: Any) -> Self:
        """The wire form of a stored delivery."""
        return cls(
            id=delivery.id,
            webhook_id=delivery.webhook,
            event=delivery.event,
            cohort_id=delivery.cohort,
            job_id=delivery.job.id if delivery.job else None,
            change_count=len(delivery.entries),
            state=delivery.state,
            attempt_count=delivery.attempt_count,
            attempts=delivery.attempts,
            next_attempt_at=delivery.due_at if delivery.state is DeliveryState.PENDING else None,
            created_at=delivery.created_at,
            ended_at=delivery.ended_at,
            expires_at=delivery.expires_at,
            **more,
        )


class DeliveryWithPayload(DeliveryOut):
    """A delivery with what it would say if it were sent now; null when nobody is left in it."""

    payload: dict[str, Any] | None
