"""Which webhooks want to know of what happened, and the deliveries that this makes."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId, Timestamp

from muster.cohorts.documents import Cohort
from muster.jobs.documents import Job
from muster.webhooks.batches import Entry, batched, delivery_id
from muster.webhooks.documents import KEEP, DeliveryState, Event, FinishedJob, Webhook
from muster.webhooks.entries import JobEnd

Told = AbstractSet[tuple[str, ObjectId]]
"""Changes that are in a delivery already, each with its webhook."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A delivery that has no number yet."""

    id: str
    webhook: str
    project_id: str
    event: Event
    at: datetime
    cohort: str | None = None
    entries: tuple[ObjectId, ...] = ()
    job: FinishedJob | None = None

    def stored(self, number: int, now: datetime) -> dict[str, Any]:
        """The document, without its `_id`."""
        return {
            "webhook": self.webhook,
            "project_id": self.project_id,
            "number": number,
            "event": self.event.value,
            "at": self.at,
            "cohort": self.cohort,
            "entries": list(self.entries),
            "job": self.job.model_dump() if self.job else None,
            "state": DeliveryState.PENDING.value,
            "due_at": now,
            "tries": 0,
            "attempt_count": 0,
            "attempts": [],
            "created_at": now,
            "ended_at": None,
            "expires_at": now + KEEP,
        }


async def drafts_for(happened: Sequence[Entry | JobEnd], told: Told = frozenset()) -> Sequence[Draft]:
    """The deliveries of what happened, in its order, for every active webhook that wants to know."""
    entries = [one for one in happened if isinstance(one, Entry)]
    ends = [one for one in happened if isinstance(one, JobEnd)]
    project_of = await _projects_of({entry.cohort for entry in entries})
    jobs = {job.id: job for job in await Job.find({"_id": {"$in": [end.id for end in ends]}}).to_list()}
    projects = set(project_of.values()) | {job.project_id for job in jobs.values()}
    if not projects:
        return []
    drafts: list[Draft] = []
    wanting = {"active": True, "project_id": {"$in": list(projects)}}
    for webhook in await Webhook.find(wanting).sort("_id").to_list():
        wanted = [
            entry
            for entry in entries
            if project_of.get(entry.cohort) == webhook.project_id
            and _wants(webhook, entry.event, entry.cohort, entry.as_of, entry.at)
            and (webhook.id, entry.id) not in told
        ]
        drafts += _of_changes(webhook, wanted)
        drafts += [
            _of_job(webhook, end)
            for end in ends
            if (job := jobs.get(end.id)) is not None
            and job.project_id == webhook.project_id
            and _wants(webhook, Event.JOB, job.arguments.get("cohort_id"), end.as_of, end.finished_at)
        ]
    return drafts


def _wants(webhook: Webhook, event: Event, cohort: str | None, as_of: Timestamp, at: datetime) -> bool:
    """Whether a webhook asked for this before it was decided, or before readers saw it.

    Live changes count by `as_of`: their `at` may lie a little before the write that they are about. The difference of
    a run counts by `at`: its snapshot may be older by however long the run took.
    """
    if event.value not in webhook.events:
        return False
    if webhook.cohort_ids is not None and cohort not in webhook.cohort_ids:
        return False
    return as_of > webhook.since or at >= webhook.since_at


def _of_changes(webhook: Webhook, entries: Sequence[Entry]) -> Sequence[Draft]:
    by_cohort: dict[str, list[Entry]] = {}
    for entry in entries:
        by_cohort.setdefault(entry.cohort, []).append(entry)
    return [
        Draft(
            id=delivery_id(webhook.id, batch[0].event, *(str(entry.id) for entry in batch)),
            webhook=webhook.id,
            project_id=webhook.project_id,
            event=batch[0].event,
            at=batch[-1].at,
            cohort=cohort,
            entries=tuple(entry.id for entry in batch),
        )
        for cohort, of_cohort in by_cohort.items()
        for batch in batched(of_cohort)
    ]


def _of_job(webhook: Webhook, end: JobEnd) -> Draft:
    return Draft(
        id=delivery_id(webhook.id, Event.JOB, end.id, end.finished_at.isoformat()),
        webhook=webhook.id,
        project_id=webhook.project_id,
        event=Event.JOB,
        at=end.finished_at,
        job=FinishedJob(id=end.id, state=end.state, finished_at=end.finished_at),
    )


async def _projects_of(cohorts: AbstractSet[str]) -> Mapping[str, str]:
    if not cohorts:
        return {}
    found = Cohort.get_motor_collection().find({"_id": {"$in": list(cohorts)}}, {"project_id": 1})
    return {cohort["_id"]: cohort["project_id"] async for cohort in found}
