"""What the relay follows: one change stream of the database, of inserts into `changes` and of jobs that end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import Timestamp
from pymongo.change_stream import ChangeStream
from pymongo.database import Database

from muster.cohorts.documents import Change
from muster.cohorts.stream import ReadAhead, StreamEnded
from muster.jobs.documents import FINISHED, Job
from muster.webhooks.batches import Entry

AWAIT_MS = 500
CHANGES, JOBS = Change.Settings.name, Job.Settings.name

_ENDED = {"$in": list(FINISHED)}
_PIPELINE: Sequence[Mapping[str, Any]] = (
    {
        "$match": {
            "$or": [
                {"ns.coll": CHANGES, "operationType": "insert"},
                {"ns.coll": JOBS, "operationType": "update", "updateDescription.updatedFields.state": _ENDED},
                # A small document may be replaced as a whole where its update says a field.
                {"ns.coll": JOBS, "operationType": "replace", "fullDocument.state": _ENDED},
            ]
        }
    },
    {
        "$project": {
            "operationType": 1,
            "ns.coll": 1,
            "clusterTime": 1,
            "wallTime": 1,
            "documentKey": 1,
            "fullDocument._id": 1,
            "fullDocument.cohort": 1,
            "fullDocument.change": 1,
            "fullDocument.profile": 1,
            "fullDocument.at": 1,
            "fullDocument.as_of": 1,
            "state": {"$ifNull": ["$updateDescription.updatedFields.state", "$fullDocument.state"]},
            "finished_at": {"$ifNull": ["$updateDescription.updatedFields.finished_at", "$fullDocument.finished_at"]},
        }
    },
)


LONG_AGO = Timestamp(0, 0)


@dataclass(frozen=True, slots=True)
class JobEnd:
    """A job that ended. `as_of` is the cluster time of that write, LONG_AGO where nobody knows it any more."""

    id: str
    state: str
    finished_at: datetime
    as_of: Timestamp


@dataclass(frozen=True, slots=True)
class Seen:
    """One event of the stream."""

    what: Entry | JobEnd
    token: Mapping[str, Any]
    written_at: datetime


class Entries(ReadAhead[Seen]):
    """The stream, from a resume token on, or without one from a cluster time on."""

    def __init__(self, token: Mapping[str, Any] | None, start_at: Timestamp | None = None) -> None:
        super().__init__(token)
        self._start_at = None if token else start_at

    def _watch(self) -> "ChangeStream[dict[str, Any]]":
        database: Database[dict[str, Any]] = Change.get_motor_collection().database.delegate
        return database.watch(
            list(_PIPELINE),
            resume_after=self.token,
            start_at_operation_time=self._start_at,
            max_await_time_ms=AWAIT_MS,
        )

    def _event(self, document: Mapping[str, Any]) -> Seen:
        if document["operationType"] not in {"insert", "update", "replace"}:
            raise StreamEnded(f"the database is gone ({document['operationType']})")
        what: Entry | JobEnd
        if document["ns"]["coll"] == CHANGES:
            what = Entry.of(document["fullDocument"])
        else:
            job_id, ended_at = document["documentKey"]["_id"], document["finished_at"]
            what = JobEnd(job_id, document["state"], ended_at or document["wallTime"], document["clusterTime"])
        return Seen(what, document["_id"], document["wallTime"])
