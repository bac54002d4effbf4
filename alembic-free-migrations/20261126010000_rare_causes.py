"""An index for the changes that are not those of records, so that a look for another cause is quick."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Change
from muster.migrations import create_declared


class Forward:
    @free_fall_migration(document_models=[])
    async def build(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(Change.get_motor_collection().database, (Change,))


class Backward:
    """Nothing to undo: an earlier version has no use for the index, and no trouble with it."""
