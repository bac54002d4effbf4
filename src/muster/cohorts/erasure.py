"""What an erasure takes out of cohorts, in its own transaction: members, counts, and the name in the history.

Rows in place are the watcher's, and it would take these out by itself a moment later. Here they go at once, so that
whoever reads after the answer sees neither the member nor a count with it. The watcher minds no more than it would
mind an earlier self: what it decided on rows that are gone by now does not commit, and is decided anew. It only stays
the one who cleans up behind a decision that was under way: where it, or a run, writes the profile in once more, lists
do not show a member without its profile, and the deletion that the watcher has yet to see takes the row out again.

Rows of other generations nobody reads. They stay until they are purged, for a run may have yet to compare them; what
they say is an `_id` that no longer names anybody.
"""

from collections.abc import Mapping

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts import changes
from muster.cohorts.documents import Cause, Change, Cohort, Membership, generation_id
from muster.cohorts.snapshot import open_snapshot


async def erase(
    session: AsyncIOMotorClientSession, _project_id: str, profile: ObjectId, _pii_id: str
) -> Mapping[str, int]:
    """Take a profile out of every cohort and its name out of their history; how many of both."""
    cohorts, memberships = Cohort.get_motor_collection(), Membership.get_motor_collection()
    found = memberships.find({"profile": profile, "in": True}, {"generation": 1}, session=session)
    rows = {row["generation"]: row["_id"] async for row in found}
    ids = sorted({generation.partition("|")[0] for generation in rows})
    in_place = cohorts.find({"_id": {"$in": ids}, "active": {"$ne": None}}, {"active.number": 1}, session=session)
    left = [
        (cohort["_id"], cohort["active"]["number"], row)
        async for cohort in in_place
        if (row := rows.get(generation_id(cohort["_id"], cohort["active"]["number"])))
    ]
    if left:
        await memberships.delete_many({"_id": {"$in": [row for _, _, row in left]}}, session=session)
        counted = [cohort_id for cohort_id, _, _ in left]
        await cohorts.update_many({"_id": {"$in": counted}}, {"$inc": {"member_count": -1}}, session=session)
        async with open_snapshot() as snapshot:
            now, as_of = snapshot.now, snapshot.as_of
        await Change.get_motor_collection().insert_many(
            [
                changes.entry(cohort_id, number, profile, None, entered=False, cause=Cause.RECORD, at=now, as_of=as_of)
                for cohort_id, number, _ in left
            ],
            session=session,
        )
    return {"memberships": len(left), "changes": await changes.forget([profile], session=session)}
