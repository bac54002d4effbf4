"""An index on the addresses of contacts, so that people from Attio find the profile that they belong to.

Addresses stay as they are stored: the index itself takes no notice of capitals and white space.
"""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.migrations import create_declared
from muster.records.documents import Profile


class Forward:
    @free_fall_migration(document_models=[])
    async def build(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(Profile.get_motor_collection().database, (Profile,))


class Backward:
    """Nothing to undo: an earlier version has no use for the index, and no trouble with it."""
