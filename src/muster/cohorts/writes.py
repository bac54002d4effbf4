"""What one transaction of the watcher writes: rows, entries in `changes`, counts."""

from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from muster.cohorts.decisions import Counted, Decisions
from muster.cohorts.documents import Change, Cohort, Membership
from muster.cohorts.evaluation import DUPLICATE_KEY


class RulesMoved(Exception):
    """What we decided on moved between our snapshot and our commit: decide anew.

    A generation mostly; or the rows themselves, under a watcher that slept while another one followed.
    """


async def write(decisions: Decisions, session: AsyncIOMotorClientSession) -> None:
    """Write all of it within the session's transaction. Raises RulesMoved: then nothing of it may be committed."""
    await _write_rows(decisions, session)
    if decisions.changes:
        await Change.get_motor_collection().insert_many(decisions.changes, session=session)
    if decisions.counts:
        counted = [_count(generation, *numbers) for generation, numbers in decisions.counts.items()]
        result = await Cohort.get_motor_collection().bulk_write(counted, session=session)
        if result.matched_count < len(counted):
            raise RulesMoved


async def _write_rows(decisions: Decisions, session: AsyncIOMotorClientSession) -> None:
    """Raises RulesMoved when a row is not what it was in our snapshot: then the counts would be wrong."""
    memberships = Membership.get_motor_collection()
    if decisions.inserted:
        try:
            await memberships.insert_many(decisions.inserted, ordered=False, session=session)
        except BulkWriteError as error:
            if any(failure["code"] == DUPLICATE_KEY for failure in error.details["writeErrors"]):
                raise RulesMoved from error
            raise
    if decisions.deleted:
        deleted = await memberships.delete_many({"_id": {"$in": decisions.deleted}}, session=session)
        if deleted.deleted_count < len(decisions.deleted):
            raise RulesMoved
    if decisions.replaced:
        replacements = [ReplaceOne({"_id": entry["_id"]}, entry) for entry in decisions.replaced]
        replaced = await memberships.bulk_write(replacements, ordered=False, session=session)
        if replaced.matched_count < len(replacements):
            raise RulesMoved


def _count(generation: Counted, net: int, rows: int) -> UpdateOne:
    """Count a batch's rows on their cohort, on the condition that the generation is still where we saw it.

    And that it still follows its rule, where the rule decided: a cohort that became static meanwhile keeps the members
    that it had. One that follows none only loses erased profiles. The rows are counted too, because as many who enter
    as leave would change nothing in the document, and what is not written conflicts with nothing.
    """
    here: dict[str, Any] = {"_id": generation.cohort_id}
    if generation.is_filling:
        return UpdateOne({**here, "filling.number": generation.number}, {"$inc": {"filling.live_writes": rows}})
    here["active.number"] = generation.number
    if generation.follows:
        here["active.rule"] = {"$ne": None}
    return UpdateOne(here, {"$inc": {"member_count": net, "active.live_writes": rows}})
