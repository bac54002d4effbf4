"""Imports from Attio: indexes for a look by profile, address or record; and which records each import brought."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.attio.documents import AttioImport, ImportPiece
from muster.migrations import create_declared


class Forward:
    @free_fall_migration(document_models=[])
    async def build(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(AttioImport.get_motor_collection().database, (AttioImport, ImportPiece))


class Backward:
    """Nothing to undo: an earlier version does not look at these."""
