"""Who is in a cohort, and which cohorts somebody is in."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.api.paging import decode_cursor, encode_cursor, object_id, page_of
from muster.cohorts.documents import Cohort, Membership, generation_id, ids_of, row_id
from muster.cohorts.progress import check_of
from muster.cohorts.scans import BATCH
from muster.cohorts.schemas import MemberOut, ProfileCohortOut
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import open_snapshot
from muster.errors import NotFound
from muster.records.documents import Profile

LOOKED_AT = 20_000  # members that one page of those who match, or do not, looks at

Place = tuple[Any, ...]

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


Order = Literal["joined", "id"]
Rows = Sequence[Mapping[str, Any]]


async def page(
    owner: str, cohort_id: str, *, order: Order, matching: bool | None = None, limit: int, cursor: str | None
) -> tuple[list[MemberOut], str | None]:
    """A page of members, by when they entered or by the order of their profiles; any page costs the same.

    `matching` takes only those who match the cohort's rule now, or only those who no longer do. Then a page ends, also
    an empty one, after LOOKED_AT members; the next one goes on behind them. Raises Conflict without a rule.
    """
    cohort = await cohort_of(owner, cohort_id)
    if matching is None:
        rows = await _rows(cohort, order, _position(order, cursor), limit + 1)
        items, next_cursor = page_of(rows, limit, partial(_place, order))
        return await shown(items), next_cursor
    items, last, place = list[Mapping[str, Any]](), None, _position(order, cursor)
    async with open_snapshot() as snapshot:
        check = await check_of(cohort, snapshot)
        for _ in range(LOOKED_AT // BATCH):
            rows = await _rows(cohort, order, place, BATCH, snapshot.session)
            matches = await check.matching([row["profile"] for row in rows])
            items += [row for row in rows if (row["profile"] in matches) == matching]
            last = rows[-1] if len(rows) == BATCH else None
            if last is None or len(items) > limit:
                break
            place = _place(order, last)
    if len(items) > limit:
        items, last = items[:limit], items[limit - 1]
    return await shown(items), None if last is None else encode_cursor(_place(order, last))


def _place(order: Order, row: Mapping[str, Any]) -> Place:
    """Where a row stands in an order."""
    return (row["entered_at"], str(row["profile"])) if order == "joined" else (str(row["profile"]),)


def _position(order: Order, cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    return decode_cursor(cursor, datetime, str) if order == "joined" else decode_cursor(cursor, str)


async def _rows(
    cohort: Cohort, order: Order, after: Place | None, limit: int, session: AsyncIOMotorClientSession | None = None
) -> Rows:
    """Up to `limit` rows of the members that readers see, from behind a place on."""
    if cohort.active is None:
        return []
    generation = generation_id(cohort.id, cohort.active.number)
    query: dict[str, Any] = {"generation": generation, "in": True}
    if order == "joined":
        sort = [("generation", 1), ("in", 1), ("entered_at", 1), ("profile", 1)]
        if after is not None:
            entered_at, profile = after
            later = {"entered_at": {"$gt": entered_at}}
            query["$or"] = [later, {"entered_at": entered_at, "profile": {"$gt": object_id(profile)}}]
    else:
        sort = [("_id", 1)]
        query["_id"] = ids_of(generation)
        if after is not None:
            query["_id"]["$gt"] = row_id(generation, object_id(after[0]))
    rows = Membership.get_motor_collection().find(query, session=session).sort(sort).limit(limit)
    return await rows.to_list(None)


async def shown(rows: Sequence[Mapping[str, Any]]) -> list[MemberOut]:
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
    """How a profile is shown in a list of members."""
    contact, person, company = (profile.get(part) or {} for part in ("contact", "person", "company"))
    domains = company.get("domains") or [None]
    name, kind = name_and_type(profile)
    return MemberOut(
        pii_id=profile["pii_id"],
        name=name,
        type=kind,
        email=contact.get("email") or person.get("email"),
        domain=domains[0],
        entered_at=entered_at,
        cause=cause,
    )


def name_and_type(profile: Mapping[str, Any]) -> tuple[str | None, Literal["company", "person"]]:
    """What a profile is called, and what it is: the contact's name before the person's before the company's."""
    contact, person, company = (profile.get(part) or {} for part in ("contact", "person", "company"))
    is_company = "company" in profile and "person" not in profile and "contact" not in profile
    name = contact.get("name") or person.get("name") or company.get("name") or (profile.get("lead") or {}).get("name")
    return name, "company" if is_company else "person"


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
