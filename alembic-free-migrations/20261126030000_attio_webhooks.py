"""What Attio tells us: the webhook of a project, marks, deliveries."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.attio.documents import DOCUMENTS
from muster.migrations import create_declared


class Forward:
    @free_fall_migration(document_models=[])
    async def create_collections(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(DOCUMENTS[0].get_motor_collection().database, DOCUMENTS)


class Backward:
    """Nothing to undo: older versions do not look at these."""
