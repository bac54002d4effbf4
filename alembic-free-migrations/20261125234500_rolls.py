"""Lists of members that a job works through have a collection of their own: `rolls`."""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.migrations import create_declared
from muster.records.documents import RollPiece


class Forward:
    @free_fall_migration(document_models=[])
    async def create_rolls(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(RollPiece.get_motor_collection().database, [RollPiece])


class Backward:
    """Nothing to undo: an empty collection does no harm."""
