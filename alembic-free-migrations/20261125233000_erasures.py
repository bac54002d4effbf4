"""The index by which an erasure finds the jobs that list a profile among their failures."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.jobs.documents import Job
from muster.migrations import create_declared


class Forward:
    @free_fall_migration(document_models=[])
    async def create_index(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(Job.get_motor_collection().database, [Job])


class Backward:
    """Nothing to undo: an index more does no harm."""
