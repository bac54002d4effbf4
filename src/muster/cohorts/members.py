"""Who is in a cohort, and which cohorts somebody is in; and the members of static cohorts, by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from bson import ObjectId
from bson.errors import InvalidId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.read_concern import ReadConcern

from muster.api.paging import decode_cursor, page_of
from muster.cohorts import changes
from muster.cohorts.documents import Cause, Change, Cohort, Kind, Membership, generation_id, ids_of, row_id
from muster.cohorts.generations import row, server_time
from muster.cohorts.schemas import MemberOut, ProfileCohortOut
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import open_snapshot
from muster.errors import Conflict, Invalid, NotFound
from muster.records.documents import Profile

PER_TRANSACTION = 1_000

SHOWN: Mapping[str, int] = {
    "pii_id": 1,
    "contact.name": 1,
    "contact.email": 1,
    "lead.name": 1,
    "person.name": 1,
    "person.email": 1,
    "company.name": 1,
    "company.domains": 1,
}


async def page(
    owner: str, cohort_id: str, *, order: Literal["joined", "id"], limit: int, cursor: str | None
) -> tuple[list[MemberOut], str | None]:
    """A page of members, by when they entered or by the order of their profiles; any page costs the same."""
    cohort = await cohort_of(owner, cohort_id)
    if cohort.active is None:
        return [], None
    generation = generation_id(cohort.id, cohort.active.number)
    query: dict[str, Any] = {"generation": generation, "in": True}
    if order == "joined":
        sort = [("generation", 1), ("in", 1), ("entered_at", 1), ("profile", 1)]
        if cursor is not None:
            entered_at, profile = decode_cursor(cursor, datetime, str)
            later = {"entered_at": {"$gt": entered_at}}
            query["$or"] = [later, {"entered_at": entered_at, "profile": {"$gt": _object_id(profile)}}]
    else:
        sort = [("_id", 1)]
        query["_id"] = ids_of(generation)
        if cursor is not None:
            (profile,) = decode_cursor(cursor, str)
            query["_id"]["$gt"] = row_id(generation, _object_id(profile))
    rows = await Membership.get_motor_collection().find(query).sort(sort).limit(limit + 1).to_list(None)
    items, next_cursor = page_of(
        rows,
        limit,
        lambda last: (last["entered_at"], str(last["profile"])) if order == "joined" else (str(last["profile"]),),
    )
    return await _shown(items), next_cursor


async def _shown(rows: Sequence[Mapping[str, Any]]) -> list[MemberOut]:
    """Members with their names. One whose profile was erased a moment ago is left out: the watcher is on its way."""
    ids = [found["profile"] for found in rows]
    profiles = {
        profile["_id"]: profile async for profile in Profile.get_motor_collection().find({"_id": {"$in": ids}}, SHOWN)
    }
    return [
        member_out(profiles[found["profile"]], found["entered_at"], found["cause"])
        for found in rows
        if found["profile"] in profiles
    ]


def member_out(profile: Mapping[str, Any], entered_at: datetime, cause: str) -> MemberOut:
    """How a profile is shown in a list of members: the contact's name before the person's before the company's."""
    contact, person, company = (profile.get(part) or {} for part in ("contact", "person", "company"))
    is_company = "company" in profile and "person" not in profile and "contact" not in profile
    domains = company.get("domains") or [None]
    return MemberOut(
        pii_id=profile["pii_id"],
        name=contact.get("name")
        or person.get("name")
        or company.get("name")
        or (profile.get("lead") or {}).get("name"),
        type="company" if is_company else "person",
        email=contact.get("email") or person.get("email"),
        domain=domains[0],
        entered_at=entered_at,
        cause=cause,
    )


async def cohort_ids_of(_project_id: str, profile: ObjectId) -> list[str]:
    """The ids of the cohorts that a profile is in: what `GET /v1/profiles/{pii_id}` shows."""
    return [cohort.id for cohort, _ in await _cohorts_of(profile)]


async def cohorts_of_profile(project_id: str, pii_id: str) -> list[ProfileCohortOut]:
    """The cohorts that a profile is in, oldest cohort first. Raises NotFound for an unknown profile."""
    profile = await Profile.get_motor_collection().find_one({"project_id": project_id, "pii_id": pii_id}, {"_id": 1})
    if profile is None:
        raise NotFound(f"There is no profile {pii_id!r}.")
    return [
        ProfileCohortOut(
            id=cohort.id, name=cohort.name, kind=cohort.kind, entered_at=found["entered_at"], cause=found["cause"]
        )
        for cohort, found in await _cohorts_of(profile["_id"])
    ]


async def _cohorts_of(profile: ObjectId) -> list[tuple[Cohort, Mapping[str, Any]]]:
    """Each cohort that shows this profile as a member, with the row, in order of creation."""
    rows = {
        found["generation"]: found
        async for found in Membership.get_motor_collection().find({"profile": profile, "in": True})
    }
    ids = {generation.partition("|")[0] for generation in rows}
    cohorts = await Cohort.find({"_id": {"$in": list(ids)}}).sort("created_at", "_id").to_list()
    return [
        (cohort, rows[generation])
        for cohort in cohorts
        if cohort.active and (generation := generation_id(cohort.id, cohort.active.number)) in rows
    ]


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


def _object_id(text: str) -> ObjectId:
    try:
        return ObjectId(text)
    except InvalidId:
        raise Invalid("The cursor is not one that this list gave out; start again without it.") from None
