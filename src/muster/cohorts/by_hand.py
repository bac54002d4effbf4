"""The members of static cohorts, put in and taken out by hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.read_concern import ReadConcern

from muster.cohorts import changes
from muster.cohorts.documents import Cause, Change, Cohort, Kind, Membership, generation_id, row_id
from muster.cohorts.generations import row, server_time
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import open_snapshot
from muster.errors import Conflict
from muster.records.documents import Profile

PER_TRANSACTION = 1_000


@dataclass(slots=True)
class ByHand:
    """What adding or removing a list came to. `others` were unknown, or no members."""

    done: int = 0
    already: int = 0
    others: list[str] = field(default_factory=list)


async def add(owner: str, cohort_id: str, pii_ids: Sequence[str]) -> ByHand:
    """Put profiles into a static cohort. Raises Conflict on a dynamic one."""
    return await _by_hand(await _static(owner, cohort_id), pii_ids, adding=True)


async def remove(owner: str, cohort_id: str, pii_ids: Sequence[str]) -> ByHand:
    """Take profiles out of a static cohort. Raises Conflict on a dynamic one."""
    return await _by_hand(await _static(owner, cohort_id), pii_ids, adding=False)


async def _static(owner: str, cohort_id: str) -> Cohort:
    cohort = await cohort_of(owner, cohort_id)
    if cohort.kind is Kind.DYNAMIC:
        raise Conflict(f"{cohort_id} is dynamic: its rule decides who is in. Change the rule, or a record.")
    if cohort.active is None or cohort.filling is not None or cohort.run is not None:
        raise Conflict(f"{cohort_id} is being evaluated; try again when it is ready.")
    return cohort


async def _by_hand(cohort: Cohort, pii_ids: Sequence[str], *, adding: bool) -> ByHand:
    wanted = list(dict.fromkeys(pii_ids))
    total = ByHand()
    client = Membership.get_motor_collection().database.client
    for start in range(0, len(wanted), PER_TRANSACTION):
        part = wanted[start : start + PER_TRANSACTION]
        async with await client.start_session() as session:
            one = await session.with_transaction(
                lambda inside, part=part: _write_by_hand(inside, cohort, part, adding=adding),
                read_concern=ReadConcern("snapshot"),
            )
        total.done += one.done
        total.already += one.already
        total.others += one.others
    return total


async def _write_by_hand(
    session: AsyncIOMotorClientSession, cohort: Cohort, pii_ids: Sequence[str], *, adding: bool
) -> ByHand:
    """One transaction: rows, changes, the count, and a touch of each profile.

    The touch makes an erasure of the same profile conflict with us, so that no row outlives its profile, and lets the
    one change stream carry the change to whatever follows this cohort. It raises no `rev`: nothing of the record
    changed.
    """
    generation_number = cohort.active.number if cohort.active else 0
    generation = generation_id(cohort.id, generation_number)
    profiles = Profile.get_motor_collection()
    memberships = Membership.get_motor_collection()
    query = {"project_id": cohort.project_id, "pii_id": {"$in": list(pii_ids)}}
    known = {found["pii_id"]: found["_id"] async for found in profiles.find(query, {"pii_id": 1}, session=session)}
    ids = {row_id(generation, profile): profile for profile in known.values()}
    present = {
        found["profile"]
        async for found in memberships.find({"_id": {"$in": list(ids)}, "in": True}, {"profile": 1}, session=session)
    }
    affected = [profile for profile in known.values() if (profile in present) != adding]
    others = [pii_id for pii_id in pii_ids if pii_id not in known or (not adding and known[pii_id] not in present)]
    result = ByHand(done=len(affected), already=len(present) if adding else 0, others=others)
    if not affected:
        return result
    counted = await Cohort.get_motor_collection().update_one(
        {"_id": cohort.id, "kind": Kind.STATIC.value, "active.number": generation_number, "run": None},
        {"$inc": {"member_count": len(affected) if adding else -len(affected)}},
        session=session,
    )
    if counted.matched_count == 0:
        raise Conflict(f"{cohort.id} was changed or deleted at this moment; look at it and try again.")
    now = await server_time()
    async with open_snapshot() as snapshot:
        as_of = snapshot.as_of
    if adding:
        rows = [
            row(generation, profile, is_member=True, entered_at=now, cause=Cause.MANUAL, as_of=as_of)
            for profile in affected
        ]
        await memberships.insert_many(rows, session=session)
    else:
        await memberships.delete_many(
            {"_id": {"$in": [row_id(generation, profile) for profile in affected]}}, session=session
        )
    names = {profile: pii_id for pii_id, profile in known.items()}
    await Change.get_motor_collection().insert_many(
        [
            changes.entry(
                cohort.id,
                generation_number,
                profile,
                names[profile],
                entered=adding,
                cause=Cause.MANUAL,
                at=now,
                as_of=as_of,
            )
            for profile in affected
        ],
        session=session,
    )
    await profiles.update_many({"_id": {"$in": affected}}, {"$inc": {"touched": 1}}, session=session)
    return result
