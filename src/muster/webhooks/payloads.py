"""What a delivery says, made when it is sent: so that it names nobody who has been erased since."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from muster.cohorts.documents import Change, Cohort
from muster.jobs.documents import Job
from muster.jobs.schemas import job_out
from muster.records.documents import Profile
from muster.webhooks.documents import Delivery, Event, FinishedJob


async def payload_of(delivery: Delivery) -> dict[str, Any] | None:
    """`{type, timestamp, data}`, or None when nothing is left to tell."""
    match delivery.event:
        case Event.ENTERED | Event.LEFT:
            data = await _changes(delivery)
        case Event.JOB:
            data = await _job(delivery.job, delivery.project_id) if delivery.job else None
        case Event.TEST:
            data = {"webhook_id": delivery.webhook, "project_id": delivery.project_id}
    if data is None:
        return None
    return {"type": delivery.event.value, "timestamp": _moment(delivery.at), "data": data}


def written(payload: Mapping[str, Any]) -> str:
    """The body, as it is signed and sent."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))


async def _changes(delivery: Delivery) -> dict[str, Any] | None:
    """The changes in their order, by whoever still has a name.

    Of an erased profile only its leaving is told, with null as its `pii_id`: somebody less, and nobody may know who.
    """
    stored = Change.get_motor_collection().find({"_id": {"$in": delivery.entries}})
    found = {change["_id"]: change async for change in stored}
    changes = [found[entry] for entry in delivery.entries if entry in found]
    names = await _pii_ids({change["profile"] for change in changes if not change.get("pii_id")})
    for change in changes:
        change["pii_id"] = change.get("pii_id") or names.get(change["profile"])
    told = [change for change in changes if change["pii_id"] is not None or delivery.event is Event.LEFT]
    if not told:
        return None
    cohort = await Cohort.get_motor_collection().find_one({"_id": delivery.cohort}, {"name": 1})
    return {
        "project_id": delivery.project_id,
        "cohort_id": delivery.cohort,
        "cohort_name": cohort["name"] if cohort else None,
        "changes": [
            {
                "pii_id": change["pii_id"],
                "change": change["change"],
                "cause": change["cause"],
                "at": _moment(change["at"]),
                "run_id": change.get("run"),
            }
            for change in told
        ],
    }


async def _pii_ids(profiles: set[ObjectId]) -> dict[ObjectId, str]:
    if not profiles:
        return {}
    found = Profile.get_motor_collection().find({"_id": {"$in": list(profiles)}}, {"pii_id": 1})
    return {profile["_id"]: profile["pii_id"] async for profile in found}


async def _job(ended: FinishedJob, project_id: str) -> dict[str, Any] | None:
    """The job as it ended then; without its result when it has been tried again since."""
    job = await Job.get(ended.id)
    if job is None:
        return None
    out = job_out(job)
    same = job.finished_at == ended.finished_at
    return {
        "project_id": project_id,
        "job_id": job.id,
        "kind": job.kind,
        "state": "failed" if ended.state == "quarantined" else ended.state,
        "cohort_id": job.arguments.get("cohort_id"),
        "result": out.result if same else None,
        "failure_count": len(out.failures) if same else None,
        "error": out.error if same else None,
        "created_at": _moment(job.created_at),
        "finished_at": _moment(ended.finished_at),
    }


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
