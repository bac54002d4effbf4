"""A project with profiles and cohorts on the real servers, and a watcher that runs beside the test."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn

from muster.app import create_app
from muster.cohorts import service, watcher
from muster.cohorts.documents import Cohort, Membership, generation_id
from muster.cohorts.schemas import CohortIn
from muster.cohorts.slices import ALL
from muster.embedded.ports import free_port
from muster.projects.documents import Project
from muster.records.documents import Profile
from muster.records.indexes import drop_field_index, field_indexes
from muster.records.registry import register_field
from muster.records.service import registry, upsert_parts
from muster.resources import Resources
from muster.rules import FieldType
from tests.recount import Counted, Recount
from tests.waiting import until

Parts = Mapping[str, Any]
SLICE = ALL.name  # of its lease and of its state, where there is one


class Workspace:
    """One project, written to as its users would, one layer below HTTP."""

    def __init__(self, project: Project) -> None:
        self.project = project

    async def put(self, **profiles: Parts) -> None:
        """Replace the named parts of profiles; a part that is None goes."""
        await upsert_parts(self.project.id, list(profiles.items()))

    async def register(self, name: str, field_type: str) -> None:
        """Add a field to the project's registry."""
        await register_field(self.project.id, name, FieldType(field_type))

    async def erase(self, *pii_ids: str) -> None:
        """Delete profiles."""
        await Profile.get_motor_collection().delete_many({"project_id": self.project.id, "pii_id": {"$in": pii_ids}})

    async def cohort(self, rule: str, **more: Any) -> Cohort:
        """Create a dynamic cohort, evaluated when this returns."""
        body = CohortIn.model_validate({"name": rule[:100], "kind": "dynamic", "rule": rule} | more)
        return await service.create(self.project.owner, body)

    async def members(self, cohort: Cohort | str) -> set[str]:
        """The `pii_id`s of those whom readers see in a cohort."""
        found = await Cohort.get(cohort if isinstance(cohort, str) else cohort.id)
        assert found is not None
        if found.active is None:
            return set()
        rows = Membership.get_motor_collection().find(
            {"generation": generation_id(found.id, found.active.number), "in": True}
        )
        ids = [row["profile"] async for row in rows]
        profiles = Profile.get_motor_collection().find({"_id": {"$in": ids}}, {"pii_id": 1})
        return {profile["pii_id"] async for profile in profiles} | {str(i) for i in ids if not await Profile.get(i)}

    async def differences(self, now: datetime | None = None) -> list[str]:
        """Each cohort of the project whose members, or count, are not what the oracle says."""
        everybody = Profile.get_motor_collection().find({"project_id": self.project.id})
        profiles = {profile["pii_id"]: profile async for profile in everybody}
        counted: list[Counted[str]] = []
        async for cohort in Cohort.find({"project_id": self.project.id}):
            rule = cohort.rule.text if cohort.kind == "dynamic" and cohort.rule else None
            counted.append(Counted(cohort.id, rule, sorted(await self.members(cohort)), cohort.member_count))
        recount: Recount[str] = Recount(await registry(self.project.id), self.project.time_zone)
        recount.take(profiles)
        return recount.differences(counted, now or datetime.now(UTC))

    async def settles(self, *, seconds: float = 30) -> None:
        """Wait until every membership equals the oracle's recount, and every change before now was applied."""
        await until(self._is_right, seconds=seconds)

    async def _is_right(self) -> bool:
        return not await self.differences()


async def drop_field_indexes() -> None:
    """Drop the indexes that rules asked for: they outlive the tests that made them."""
    for field in await field_indexes():
        await drop_field_index(field)


@pytest.fixture
async def workspace(clean: Resources) -> Workspace:  # noqa: ARG001  wanted for what it empties
    """An empty project of "ada"."""
    now = datetime.now(UTC)
    project = Project(id="PRJ-1", owner="ada", name="Test", is_default=True, created_at=now, updated_at=now)
    await project.insert()
    return Workspace(project)


@asynccontextmanager
async def watching(holder: str = "test") -> AsyncIterator["asyncio.Task[None]"]:
    """A watcher in this process for as long as the block lasts."""
    task = asyncio.create_task(watcher.watch(holder))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def live(workspace: Workspace) -> AsyncIterator[Workspace]:
    """A workspace with its watcher."""
    async with watching():
        yield workspace


@asynccontextmanager
async def serving(resources: Resources) -> AsyncIterator[str]:
    """The application behind a real uvicorn on a port, in this process."""
    port = free_port()
    config = uvicorn.Config(create_app(resources.settings), port=port, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    try:
        await until(started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running
