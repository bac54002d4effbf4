"""What is written to `changes`: single entries, the difference that a run made, and what an erasure takes out again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId, Timestamp
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import OperationFailure

from muster.cohorts.documents import Cause, Change, Membership, Run, Written, generation_id
from muster.cohorts.snapshot import Snapshot, is_gone, open_snapshot
from muster.jobs.documents import FINISHED, Job
from muster.records.documents import Profile
from muster.transactions import in_transaction

ROWS_AT_ONCE = 10_000
ENTRIES_PER_TRANSACTION = 2_000  # more would hold more than a small server's cache can
BEHIND_EVERY_ID = "~"  # sorts behind every hexadecimal digit
LAST_ID = "f" * 24
BY_PROFILE = "cohort_profile"  # the index; it passes over what else a profile has, however long the history is


def entry(
    cohort_id: str,
    generation: int,
    profile: ObjectId,
    pii_id: str | None,
    *,
    entered: bool,
    cause: Cause | str,
    at: datetime,
    as_of: Timestamp,
    run: str | None = None,
) -> dict[str, Any]:
    """One entry as it is stored. `pii_id` is None for a profile that is erased already."""
    made = {
        "cohort": cohort_id,
        "generation": generation,
        "profile": profile,
        "pii_id": pii_id,
        "change": "entered" if entered else "left",
        "cause": str(cause),
        "at": at,
        "as_of": as_of,
    }
    return made if run is None else {**made, "run": run}


async def forget(profiles: Collection[ObjectId], *, session: AsyncIOMotorClientSession | None = None) -> int:
    """Take the names of erased profiles out of all entries; the number of entries.

    What is left is that somebody entered or left, so that the sizes of the past stay what they were. An erasure does
    this in its transaction; so does the watcher when it sees the profile gone: nobody writes its name after that.
    """
    result = await Change.get_motor_collection().update_many(
        {"profile": {"$in": list(profiles)}, "pii_id": {"$type": "string"}}, {"$set": {"pii_id": None}}, session=session
    )
    return result.modified_count


def cause_of(run_cause: str) -> Cause:
    """Why members enter and leave by a run: its rule decides, unless they were given."""
    return Cause(run_cause) if run_cause in {Cause.MANUAL, Cause.IMPORT} else Cause.RULE


async def write_difference(run: Run) -> Run:
    """Write whom a run let in and out; the run with its exact numbers. May be repeated, and begun by several at once.

    A difference can be a million entries, too many for the transaction that put the generation in place. That one only
    noted that the difference is pending; the rows of both generations stay until it is written. The old ones have not
    changed since, and of the new ones every later change is on record, so the two can be compared as they were at the
    switch, whenever that is done. Each transaction writes some entries and how far they reach.
    """
    while run.pending:
        await _forget_erased(await _last_written(run))
        if _written(run).after == BEHIND_EVERY_ID:
            await _finish(run)
        else:
            try:
                async with open_snapshot() as snapshot:
                    await _write_parts(run, snapshot)
            except OperationFailure as error:
                if not is_gone(error):
                    raise
        # As if all were written when its cohort is gone and took the run along.
        run = await Run.get(run.id) or run.model_copy(update={"pending": False})
    return run


async def _write_parts(run: Run, snapshot: Snapshot) -> None:
    """Write part after part as they are in a snapshot, until all is written or somebody else was quicker."""
    later = await _before_later_changes(run, snapshot)
    while _written(run).after != BEHIND_EVERY_ID:
        part = await _compare(run, later, snapshot)
        pieces = range(0, max(1, len(part.differing)), ENTRIES_PER_TRANSACTION)
        for start in pieces:
            some = part.differing[start : start + ENTRIES_PER_TRANSACTION]
            if not await _write(run, some, part.upto if start == pieces[-1] else some[-1][0]):
                return
            await _forget_erased([ObjectId(profile) for profile, _ in some])


async def write_left_behind() -> int:
    """Write the differences whose runs nobody works on any more; how many there were."""
    done = 0
    async for run in Run.find({"pending": True}):
        job = await Job.get(run.id)
        if job is None or job.state in FINISHED:  # else its next attempt does it
            await write_difference(run)
            done += 1
    return done


Differing = tuple[str, bool]  # a profile's id in hexadecimal, and whether it entered


@dataclass(frozen=True, slots=True)
class _Part:
    """The difference between two generations for the profiles up to `upto`."""

    differing: Sequence[Differing]
    upto: str


def _written(run: Run) -> Written:
    return run.written or Written()


async def _compare(run: Run, later: Mapping[str, bool], snapshot: Snapshot) -> _Part:
    """The next part of a difference, in the order of the profiles."""
    after = _written(run).after
    before = await _members(run.cohort, run.previous, after, snapshot)
    now = await _members(run.cohort, run.generation, after, snapshot)
    upto = min([ids[-1] for ids in (before, now) if len(ids) == ROWS_AT_ONCE], default=BEHIND_EVERY_ID)
    then = {profile for profile in now if profile <= upto}
    for profile, was_member in later.items():
        if after < profile <= upto:
            (then.add if was_member else then.discard)(profile)
    shown = {profile for profile in before if profile <= upto}
    return _Part([(profile, profile in then) for profile in sorted(shown ^ then)], upto)


async def _members(cohort_id: str, number: int | None, after: str, snapshot: Snapshot) -> list[str]:
    """The next members of a generation, by the ids of their profiles in hexadecimal."""
    prefix = generation_id(cohort_id, number or 0) + "|"
    rows = Membership.get_motor_collection().find(
        {"_id": {"$gt": prefix + after, "$lt": prefix + BEHIND_EVERY_ID}, "in": True},
        {"_id": 1},
        session=snapshot.session,
        batch_size=ROWS_AT_ONCE,
    )
    found = await rows.sort("_id", 1).limit(ROWS_AT_ONCE).to_list(None)
    return [row["_id"][len(prefix) :] for row in found]


async def _before_later_changes(run: Run, snapshot: Snapshot) -> dict[str, bool]:
    """Who was a member at the switch, as their first change since tells: whoever left was one, whoever entered not."""
    query = {"cohort": run.cohort, "at": {"$gte": run.at}, "generation": run.generation, "run": None}
    later = Change.get_motor_collection().find(
        query,
        {"_id": 0, "profile": 1, "change": 1},
        session=snapshot.session,
        batch_size=ROWS_AT_ONCE,
        hint="cohort_at",
    )
    first: dict[str, bool] = {}
    async for change in later.sort([("at", 1), ("_id", 1)]):
        first.setdefault(str(change["profile"]), change["change"] == "left")
    return first


def between(after: str, upto: str) -> dict[str, ObjectId]:
    """The condition for profiles behind one and up to another, both in hexadecimal."""
    bounds = {"$lte": ObjectId(LAST_ID if upto == BEHIND_EVERY_ID else upto)}
    return {"$gt": ObjectId(after), **bounds} if after else bounds


async def _write(run: Run, some: Sequence[Differing], upto: str) -> bool:
    """Write these entries, and that everything up to `upto` is written. False when somebody else was quicker."""
    before = _written(run)
    entered = sum(is_member for _, is_member in some)
    written = Written(
        since=before.after, after=upto, entered=before.entered + entered, left=before.left + len(some) - entered
    )

    async def commit(session: AsyncIOMotorClientSession) -> bool:
        # Nobody deletes rows of the two generations as long as `pending` stands, so what was compared was whole.
        ours = await Run.get_motor_collection().update_one(
            {"_id": run.id, "pending": True, "written.after": before.after},
            {"$set": {"written": written.model_dump()}},
            session=session,
        )
        if ours.matched_count == 0:
            return False
        if some:
            await Change.get_motor_collection().insert_many(await _entries(run, some, session), session=session)
        return True

    stands = await in_transaction(Run.get_motor_collection(), commit)
    if stands:
        run.written = written
    return stands


async def _entries(run: Run, some: Sequence[Differing], session: AsyncIOMotorClientSession) -> list[dict[str, Any]]:
    ids = [ObjectId(profile) for profile, _ in some]
    profiles = Profile.get_motor_collection().find(
        {"_id": {"$in": ids}}, {"pii_id": 1}, session=session, batch_size=ENTRIES_PER_TRANSACTION
    )
    names = {profile["_id"]: profile["pii_id"] async for profile in profiles}
    if run.generation is None or run.as_of is None:
        raise ValueError(f"{run.id} put no generation in place")
    return [
        entry(
            run.cohort,
            run.generation,
            profile,
            names.get(profile),
            entered=is_member,
            cause=cause_of(run.cause),
            at=run.at,
            as_of=run.as_of,
            run=run.id,
        )
        for profile, (_, is_member) in zip(ids, some, strict=True)
    ]


async def _last_written(run: Run) -> list[ObjectId]:
    """The profiles in the last transaction, ours or a dead process's."""
    written = _written(run)
    if not written.after:
        return []
    query = {"cohort": run.cohort, "profile": between(written.since, written.after), "at": run.at, "run": run.id}
    last = Change.get_motor_collection().find(query, {"_id": 0, "profile": 1}, hint=BY_PROFILE)
    return [change["profile"] async for change in last]


async def _forget_erased(ids: Collection[ObjectId]) -> None:
    """Look after the names that a transaction wrote, once it stands.

    An erasure that began before has not seen its entries: if the profile is gone by now, its name goes here; if it goes
    later, the watcher sees both.
    """
    profiles = Profile.get_motor_collection()
    wanted = {"_id": {"$in": list(ids)}}
    if await profiles.count_documents(wanted) < len(ids):
        await forget(set(ids) - {profile["_id"] async for profile in profiles.find(wanted, {"_id": 1})})


async def _finish(run: Run) -> None:
    written = _written(run)
    await Run.get_motor_collection().update_one(
        {"_id": run.id, "pending": True},
        {"$set": {"pending": False, "added": written.entered, "removed": written.left}, "$unset": {"written": ""}},
    )
