"""The history of cohorts: `changes` carry the `pii_id`, runs their outcome; both are found by time.

Runs of before have not written their differences, so the history of a cohort begins with its latest run of then.
"""

from beanie import free_fall_migration
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Change, Run, RunState
from muster.migrations import create_declared
from muster.records.documents import Profile


class Forward:
    @free_fall_migration(document_models=[])
    async def replace_indexes(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        for collection in (Change.get_motor_collection(), Run.get_motor_collection()):
            if "cohort" in await collection.index_information():
                await collection.drop_index("cohort")
        await create_declared(Change.get_motor_collection().database, (Change, Run))

    @free_fall_migration(document_models=[])
    async def fill_in(self, session: AsyncIOMotorClientSession) -> None:  # noqa: ARG002 - Beanie passes it
        before = {"$add": [{"$subtract": ["$member_count", "$added"]}, "$removed"]}
        await Run.get_motor_collection().update_many(
            {"state": {"$exists": False}},
            [{"$set": {"state": RunState.SUCCEEDED.value, "pending": False, "count_before": before}}],
        )
        named = [
            {"$match": {"pii_id": {"$exists": False}}},
            {"$lookup": {"from": Profile.Settings.name, "localField": "profile", "foreignField": "_id", "as": "found"}},
            {"$project": {"pii_id": {"$ifNull": [{"$first": "$found.pii_id"}, None]}}},
            {"$merge": {"into": Change.Settings.name, "whenMatched": "merge", "whenNotMatched": "discard"}},
        ]
        await Change.get_motor_collection().aggregate(named).to_list(None)


class Backward:
    """Nothing to undo: the earlier version reads these documents, and builds what indexes it needs."""
