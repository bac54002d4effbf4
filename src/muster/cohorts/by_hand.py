"""The members of static cohorts, put in and taken out by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from motor.motor_asyncio import AsyncIOMotorClientSession as Session

from muster.cohorts import changes
from muster.cohorts.documents import Cause, Change, Cohort, Kind, Membership, generation_id, row_id
from muster.cohorts.generations import row, server_time
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import open_snapshot
from muster.errors import Conflict
from muster.jobs.documents import Job
from muster.jobs.service import claim, create_job, send
from muster.jobs.working import Claimed
from muster.records import rolls
from muster.records.documents import Profile
from muster.records.rolls import PER_PIECE, Roll
from muster.transactions import in_transaction

PREFIX, KIND = "MEM", "members"  # of jobs that edit members by hand
MOST_AT_ONCE = 10_000  # more go to a worker, with progress, and can be cancelled


@dataclass(slots=True)
class ByHand:
    """What adding or removing a list came to. `others` were unknown, or no members."""

    done: int = 0
    already: int = 0
    others: list[str] = field(default_factory=list)


async def add(owner: str, cohort_id: str, pii_ids: Sequence[str]) -> ByHand | Job:
    """Put profiles into a static cohort; many of them by a job. Raises Conflict on a dynamic one."""
    return await _by_hand(await static_cohort(owner, cohort_id), pii_ids, adding=True)


async def add_imported(owner: str, cohort_id: str, pii_ids: Sequence[str]) -> ByHand:
    """Put some profiles of an import into a static cohort; doing it twice changes nothing. Raises as `add`."""
    cohort = await static_cohort(owner, cohort_id)
    write = partial(_write, cohort, list(dict.fromkeys(pii_ids)), adding=True, cause=Cause.IMPORT)
    return await in_transaction(Membership.get_motor_collection(), write)


async def remove(owner: str, cohort_id: str, pii_ids: Sequence[str]) -> ByHand | Job:
    """Take profiles out of a static cohort; many of them by a job. Raises Conflict on a dynamic one."""
    return await _by_hand(await static_cohort(owner, cohort_id), pii_ids, adding=False)


async def static_cohort(owner: str, cohort_id: str) -> Cohort:
    """A cohort whose members can be changed by hand now. Raises NotFound, Conflict."""
    cohort = await cohort_of(owner, cohort_id)
    if cohort.kind is Kind.DYNAMIC:
        raise Conflict(f"{cohort_id} is dynamic: its rule decides who is in. Change the rule, or a record.")
    if cohort.filling is not None or cohort.run is not None:
        raise Conflict(f"{cohort_id} is being evaluated; try again when it is ready.")
    if cohort.active is None:
        raise Conflict(f"{cohort_id} has no members, because finding them failed; retry its job, or delete it.")
    return cohort


async def _by_hand(cohort: Cohort, pii_ids: Sequence[str], *, adding: bool) -> ByHand | Job:
    wanted = list(dict.fromkeys(pii_ids))
    if len(wanted) > MOST_AT_ONCE:
        roll = await rolls.keep(cohort.project_id, wanted)
        arguments = {"cohort_id": cohort.id, "adding": adding, "roll": asdict(roll)}
        job = await create_job(PREFIX, KIND, cohort.project_id, cohort.owner, arguments)
        await send(job)
        return job
    total = ByHand()
    for start in range(0, len(wanted), PER_PIECE):
        one = await in_transaction(
            Membership.get_motor_collection(), partial(_write, cohort, wanted[start : start + PER_PIECE], adding=adding)
        )
        total.done += one.done
        total.already += one.already
        total.others += one.others
    return total


async def run_job(job_id: str) -> None:
    """Add or remove the roll of a job. Raises Busy or Done when the job is not to be had.

    Each piece of the roll is one transaction with the job's checkpoint, so an attempt goes on behind the last one, and
    counts nobody twice. Cancelled or failed, what is done stays.
    """
    async with claim(job_id) as claimed:
        arguments = claimed.job.arguments
        roll, adding = Roll.of(arguments["roll"]), arguments["adding"]
        cohort = await static_cohort(claimed.job.owner, arguments["cohort_id"])
        so_far = claimed.job.checkpoint or {"pieces": 0, "done": 0, "already": 0, "failed": 0}
        while so_far["pieces"] < roll.pieces:
            so_far = await in_transaction(
                Membership.get_motor_collection(), partial(_write_piece, claimed, cohort, roll, so_far, adding=adding)
            )
            await claimed.progress(min(so_far["pieces"] * PER_PIECE, roll.count), roll.count)
        counts = {"added": so_far["done"], "already": so_far["already"]} if adding else {"removed": so_far["done"]}
        claimed.result = {"cohort_id": cohort.id, **counts, "failed_count": so_far["failed"]}
    await rolls.drop(roll.id)


async def _write_piece(
    claimed: Claimed, cohort: Cohort, roll: Roll, before: Mapping[str, int], session: Session, *, adding: bool
) -> dict[str, int]:
    """The next piece, read in the transaction too: an erasure that is seen here has left the roll as well."""
    pii_ids = await rolls.piece(roll, before["pieces"], session)
    one = await _write(cohort, pii_ids, session, adding=adding)
    after = {
        "pieces": before["pieces"] + 1,
        "done": before["done"] + one.done,
        "already": before["already"] + one.already,
        "failed": before["failed"] + len(one.others),
    }
    detail = "There is no such profile." if adding else "This is no member."
    failures = [{"pii_id": pii_id, "detail": detail} for pii_id in one.others]
    await claimed.checkpoint(after, failures=failures, session=session)
    return after


async def _write(
    cohort: Cohort, pii_ids: Sequence[str], session: Session, *, adding: bool, cause: Cause = Cause.MANUAL
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
            row(generation, profile, is_member=True, entered_at=now, cause=cause, as_of=as_of) for profile in affected
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
                cause=cause,
                at=now,
                as_of=as_of,
            )
            for profile in affected
        ],
        session=session,
    )
    await profiles.update_many({"_id": {"$in": affected}}, {"$inc": {"touched": 1}}, session=session)
    return result
