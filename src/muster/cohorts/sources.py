"""Where the members of a static cohort come from, other than its rule: a list, an import, or another cohort."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from muster.cohorts.documents import Cause, Cohort, StoredRule
from muster.cohorts.scans import Batches, Scan
from muster.cohorts.schemas import CohortIn
from muster.cohorts.snapshot import Snapshot
from muster.cohorts.undoing import profiles_at
from muster.errors import Conflict, Invalid, Problem
from muster.projects.documents import Project
from muster.records import rolls
from muster.records.documents import Profile
from muster.records.rolls import Roll, RollWriter
from muster.records.values import DoesNotFitError, read_datetime

Imported = Callable[[str, str], Awaitable[AsyncIterator[Sequence[str]] | None]]
"""Called with a project and an import's id: the `pii_id`s that it brought, in batches; None when it is not known."""

IMPORTS: list[Imported] = []
"""Who knows imports. `muster.app` fills it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A roll, or the members of another cohort: of the present when `at` is None."""

    cause: Cause
    roll: Roll | None = None
    cohort: str | None = None
    at: datetime | None = None

    def as_arguments(self) -> dict[str, Any]:
        """As a job's arguments hold it."""
        return asdict(self) | {"cause": self.cause.value}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Source":
        """As it came out of a job's arguments."""
        roll = Roll.of(stored["roll"]) if stored["roll"] else None
        return cls(Cause(stored["cause"]), roll, stored["cohort"], stored["at"])


async def source_of(project: Project, body: CohortIn) -> tuple[Source | None, StoredRule | None]:
    """What a new cohort takes its members from, kept for the job, and the rule that comes along with them.

    None when its rule decides, or when it begins empty. Raises Invalid, pointing at what does not fit.
    """
    given = [name for name in ("members", "import_id", "from_cohort") if getattr(body, name) is not None]
    if given and body.kind == "dynamic":
        problem = Problem("A dynamic cohort takes its members from its rule.", pointer=f"/{given[0]}")
        raise Invalid(f'`{given[0]}` is for `"kind": "static"`.', [problem])
    if len(given) > 1:
        problems = [Problem("Give one of these.", pointer=f"/{name}") for name in given]
        raise Invalid("Members come from a list, from an import or from another cohort.", problems)
    if body.at is not None and body.from_cohort is None:
        problem = Problem("This moment is for the members of `from_cohort`.", pointer="/at")
        raise Invalid("`at` goes with `from_cohort`.", [problem])
    if body.members is not None:
        await _refuse_unknown(project.id, body.members)
        return Source(Cause.MANUAL, roll=await rolls.keep(project.id, body.members)), None
    if body.import_id is not None:
        return Source(Cause.IMPORT, roll=await _imported(project.id, body.import_id)), None
    if body.from_cohort is not None:
        return await _from_cohort(project, body.from_cohort, body.at)
    return None, None


async def _refuse_unknown(project_id: str, members: Sequence[str]) -> None:
    """Raise Invalid naming the members that are nobody's `pii_id`."""
    known: set[str] = set()
    for start in range(0, len(members), 10_000):
        query = {"project_id": project_id, "pii_id": {"$in": members[start : start + 10_000]}}
        known.update([found["pii_id"] async for found in Profile.get_motor_collection().find(query, {"pii_id": 1})])
    problems = [
        Problem(f"There is no profile {pii_id!r} in {project_id}.", pointer=f"/members/{index}")
        for index, pii_id in enumerate(members)
        if pii_id not in known
    ]
    if problems:
        raise Invalid(f"{len(problems)} of the {len(members)} members are not known.", problems[:100])


async def _imported(project_id: str, import_id: str) -> Roll:
    for known in IMPORTS:
        if (batches := await known(project_id, import_id)) is not None:
            writer = RollWriter(project_id)
            async for pii_ids in batches:
                await writer.add(pii_ids)
            return await writer.close()
    detail = f"There is no import {import_id} whose profiles are known."
    raise Invalid(detail, [Problem(detail, pointer="/import_id")])


async def _from_cohort(project: Project, cohort_id: str, at: str | None) -> tuple[Source, StoredRule | None]:
    cohort = await Cohort.find_one({"_id": cohort_id, "owner": project.owner, "project_id": project.id})
    if cohort is None:
        detail = f"There is no cohort {cohort_id} in {project.id}."
        raise Invalid(detail, [Problem(detail, pointer="/from_cohort")])
    if cohort.active is None:
        raise Conflict(f"{cohort_id} is being evaluated for the first time; it has no members yet.")
    try:
        moment = None if at is None else read_datetime(at)
    except DoesNotFitError as error:
        raise Invalid("`at` is no moment.", [Problem(str(error), pointer="/at")]) from None
    return Source(Cause.MANUAL, cohort=cohort_id, at=moment), cohort.rule


async def members_of(source: Source, project_id: str, snapshot: Snapshot, scan: Scan) -> Batches:
    """The ids of the profiles that a source names, in batches, nobody twice."""
    seen: set[bytes] = set()
    async for profiles in _batches(source, project_id, snapshot, scan):
        fresh = {profile.binary: profile for profile in profiles if profile.binary not in seen}
        seen.update(fresh)
        yield list(fresh.values())


async def _batches(source: Source, project_id: str, snapshot: Snapshot, scan: Scan) -> Batches:
    if source.roll is not None:
        scan.total = source.roll.count
        async for piece in rolls.pieces(source.roll, snapshot.session):
            wanted = {"project_id": project_id, "pii_id": {"$in": piece}}
            found = Profile.get_motor_collection().find(wanted, {"_id": 1}, session=snapshot.session)
            scan.scanned += len(piece)
            yield [profile["_id"] for profile in await found.to_list(None)]
        return
    cohort = await Cohort.find_one({"_id": source.cohort}, session=snapshot.session)
    if cohort is None or cohort.active is None:
        raise Conflict(f"{source.cohort}, whose members were to be taken over, was deleted.")
    scan.total = cohort.member_count if source.at is None else None
    async for profiles in profiles_at(cohort.id, min(source.at or snapshot.now, snapshot.now), snapshot):
        scan.scanned += len(profiles)
        yield profiles
