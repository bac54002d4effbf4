"""What the audit of memberships came to: `audits`."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Audit
from muster.migrations import create_declared


class Forward:
    @free_fall_migration(document_models=[])
    async def create_audits(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(Audit.get_motor_collection().database, [Audit])


class Backward:
    """Nothing to undo: an empty collection does no harm."""
