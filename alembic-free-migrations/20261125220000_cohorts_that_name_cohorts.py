"""The index by which the cohorts that name another one are found."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Cohort
from muster.migrations import create_declared


class Forward:
    @free_fall_migration(document_models=[])
    async def create_index(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(Cohort.get_motor_collection().database, [Cohort])


class Backward:
    """Nothing to undo: an index more does no harm."""
