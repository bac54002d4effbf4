"""The first migration: every collection with its indexes, and the built-in fields of the registry.

It builds what the documents declare today. A later change of an index is a migration of its own; on a new database
that one then finds its work done.
"""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.migrations import create_declared
from muster.records import registry_file
from muster.resources import DOCUMENTS
from muster.settings import bundled


class Forward:
    @free_fall_migration(document_models=[])
    async def create_collections(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await create_declared(DOCUMENTS[0].get_motor_collection().database, DOCUMENTS)

    @free_fall_migration(document_models=[])
    async def load_registry(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        await registry_file.apply(bundled("rules") / "fields.yaml")


class Backward:
    """Nothing to undo: dropping everybody's data is not a step back."""
