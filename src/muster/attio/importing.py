"""An import, as the job that it is: fetch, write and store at once, then one commit, then the cohort.

Every step may be cut off by a crash and is found done, or done again, by the next attempt. A key that is revoked in the
middle, or an Attio that answers no more, fails the job: what was fetched is stored whole (files, metadata, profiles),
nothing of it is committed, no cohort is made. A retry, or another import, goes on from there and commits it all.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from muster.attio import selecting
from muster.attio.client import AttioClient, ObjectSlug
from muster.attio.company_names import CompanyNames
from muster.attio.connection import client_of
from muster.attio.documents import AttioImport
from muster.attio.ending import end
from muster.attio.flow import Flow
from muster.attio.marks import Marked, look_after
from muster.attio.models import Attribute
from muster.attio.reading import Reading, attributes_of, reading_of
from muster.attio.selecting import Batch, Batches
from muster.attio.state import State
from muster.attio.storing import Filed, Scene, store, write_files
from muster.attio.turns import turn
from muster.jobs.service import claim
from muster.jobs.working import LEASE_TTL, Claimed
from muster.projects.repository import repository_of
from muster.records import rolls
from muster.records.documents import RollPiece
from muster.records.rolls import Roll
from muster.settings import Settings
from muster.transactions import in_transaction


async def run_job(job_id: str, settings: Settings, *, ttl: timedelta = LEASE_TTL) -> None:
    """Do the import that a job names. Raises Busy or Done when the job is not to be had."""
    async with claim(job_id, ttl=ttl) as claimed:
        wait = partial(claimed.progress, claimed.job.progress.done)
        async with turn(claimed.job.project_id, job_id, ttl=ttl, waiting=wait):
            claimed.result = await _import(claimed, settings)
    if roll := claimed.job.arguments.get("record_ids"):
        await rolls.drop(roll["id"])
    if claimed.job.arguments.get("marked"):  # an event may have come too late for this refresh
        await look_after(claimed.job.project_id)


async def _import(claimed: Claimed, settings: Settings) -> dict[str, Any]:
    job, repository = claimed.job, repository_of(settings, claimed.job.project_id)
    state, marked, is_marked = State.of(job.checkpoint), Marked(job.project_id), bool(job.arguments.get("marked"))
    if not state.is_stored:
        async with await client_of(job.project_id, settings) as client:
            readings = _Readings(client, job.project_id)
            scene = Scene(
                job.project_id,
                job.id,
                repository,
                CompanyNames(client, job.project_id),
                readings.of,
                readings.of_list,
                refreshes=bool(job.arguments.get("refresh")),
                resumes=job.attempts > 1 and not is_marked,
            )
            selection = (
                (selecting.by_marks(client, marked), None)
                if is_marked
                else await _selection(client, job.project_id, job.arguments)
            )
            await _Storing(claimed, scene, state).run(selection)
        state.is_stored = True
        await claimed.checkpoint(state.as_checkpoint(), failures=[{"detail": remark} for remark in readings.remarks])
    result = await end(claimed, repository, state)
    await marked.take_away()
    return result


class _Storing:
    """Everything that is selected, through the flow, with progress. The total is known when all is fetched."""

    def __init__(self, claimed: Claimed, scene: Scene, state: State) -> None:
        self._claimed, self._scene, self._state = claimed, scene, state
        self._fetched = 0
        self._total: int | None = None
        self._flow: Flow[Batch, Filed]

    async def run(self, selection: tuple[Batches, int | None]) -> None:
        batches, self._total = selection
        self._flow = Flow(self._counted(batches), partial(write_files, self._scene), self._store)
        await self._claimed.progress(self._state.counts.done, self._total)
        await self._flow.run()
        await self._claimed.progress(self._state.counts.done, self._state.counts.done)

    async def _counted(self, batches: Batches) -> Batches:
        async for batch in batches:
            self._fetched += len(batch)
            yield batch

    async def _store(self, filed: Filed) -> None:
        await store(self._scene, filed, self._state, self._claimed)
        done = self._state.counts.done
        total = max(done, self._fetched) if self._flow.is_all_fetched else self._total
        result = self._state.as_result(refreshes=self._scene.refreshes)
        await self._claimed.progress(done, total if total is None else max(done, total), result=result)


class _Readings:
    """How objects and lists are read, asked for when the first of their records comes."""

    def __init__(self, client: AttioClient, project_id: str) -> None:
        self._client, self._project_id = client, project_id
        self._objects: dict[str, Reading] = {}
        self._lists: dict[str, Sequence[Attribute]] = {}
        self.remarks: list[str] = []

    async def of(self, object_slug: str) -> Reading:
        """Of an object; its attributes get their fields."""
        if object_slug not in self._objects:
            reading, remarks = await reading_of(self._client, self._project_id, object_slug)
            self._objects[object_slug] = reading
            self.remarks += remarks
        return self._objects[object_slug]

    async def of_list(self, list_slug: str) -> Sequence[Attribute]:
        """Of the entries of a list."""
        if list_slug not in self._lists:
            self._lists[list_slug] = await attributes_of(self._client, list_slug, "lists")
        return self._lists[list_slug]


async def _selection(client: AttioClient, project_id: str, arguments: Mapping[str, Any]) -> tuple[Batches, int | None]:
    """What to fetch, and how many that are, where that is known before."""
    if arguments.get("refresh"):
        rows = arguments["rows"]
        count = await AttioImport.get_motor_collection().count_documents({**rows, "project_id": project_id})
        return selecting.by_rows(client, project_id, rows), count
    source, q = arguments["source"], arguments.get("q")
    filter_ = msgspec.json.decode(arguments["filter"]) if arguments.get("filter") else None
    roll = Roll.of(arguments["record_ids"]) if arguments.get("record_ids") else None
    if source == "list":
        found = await selecting.list_named(client, arguments["list"])
        ids = [one async for some in _ids(roll) for one in some] if roll else None
        return selecting.by_list(client, found, filter_=filter_, q=q, ids=ids), None
    object_slug: ObjectSlug = source
    if roll is not None:
        return selecting.by_ids(client, object_slug, _ids(roll)), roll.count
    if q is not None:
        return selecting.by_search(client, object_slug, q), None
    return selecting.by_filter(client, object_slug, filter_), None


async def _ids(roll: Roll) -> AsyncIterator[Sequence[str]]:
    """The record ids that a request named. Raises Conflict when they are no longer kept."""
    for number in range(roll.pieces):
        yield await in_transaction(RollPiece.get_motor_collection(), partial(rolls.piece, roll, number))
