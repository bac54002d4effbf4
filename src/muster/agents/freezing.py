"""The leads of a cohort as of one moment, in the order in which they are dealt, however many there are.

Members come in the order of their rows; leads are dealt in that of their `pii_id`s. So they are sorted as lines of
text, in runs that fit into memory and wait in nameless files.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import merge
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any, Self

from bson import ObjectId
from pymongo import ASCENDING

from muster.agents.asked import Asked
from muster.agents.documents import WaitingLead
from muster.cohorts.documents import Cohort, Membership, generation_id, ids_of
from muster.cohorts.snapshot import Snapshot
from muster.errors import Conflict, NotFound
from muster.records.documents import Profile

LINES_IN_MEMORY = 200_000
AT_ONCE = 5_000  # members read
LINES_AT_ONCE = 1_000

NOT_WAITING = 10**15  # milliseconds since 1970: behind all who wait

Report = Callable[[int], Awaitable[None]]


@dataclass(slots=True)
class Spool:
    """Any number of lines, read back in order. Close it to give the files back."""

    _lines: list[str] = field(default_factory=list)
    _runs: list[IO[str]] = field(default_factory=list)
    _files: ExitStack = field(default_factory=ExitStack)
    count: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    async def add(self, lines: Sequence[str]) -> None:
        """Take some lines, none with a line feed in it."""
        self._lines += lines
        self.count += len(lines)
        if len(self._lines) >= LINES_IN_MEMORY:
            await asyncio.to_thread(self._put_by)

    async def batches(self) -> AsyncIterator[list[str]]:
        """All lines, in order."""
        await asyncio.to_thread(self._lines.sort)
        for run in self._runs:
            run.seek(0)
        lines: Iterator[str] = merge(iter(self._lines), *(map(_without_end, run) for run in self._runs))
        while batch := list(islice(lines, LINES_AT_ONCE)):
            yield batch
            await asyncio.sleep(0)

    def _put_by(self) -> None:
        run = self._files.enter_context(TemporaryFile("w+", encoding="utf-8", newline="\n"))  # noqa: SIM115  it is
        self._lines.sort()
        run.writelines(f"{line}\n" for line in self._lines)
        self._runs.append(run)
        self._lines = []


@dataclass(frozen=True, slots=True)
class Lead:
    """A lead in its place. `owner` is the place of its agent among those of the job, -1 another agent, None nobody."""

    pii_id: str
    owner: int | None

    def line(self, since: int) -> str:
        """Sorts by since when it waits, then by the `pii_id`, which has no control characters."""
        return f"{since:016d}\t{self.pii_id}\t{'' if self.owner is None else self.owner}"

    @classmethod
    def of(cls, line: str) -> Self:
        """What a line says."""
        _, pii_id, owner = line.split("\t")
        return cls(pii_id, int(owner) if owner else None)


@dataclass(slots=True)
class Members:
    """The members of a cohort: leads to deal, those without a lead, and how many stay with their agents."""

    leads: Spool
    others: Spool
    left_alone: int = 0

    async def in_order(self) -> AsyncIterator[list[Lead]]:
        """The leads as they are dealt."""
        async for lines in self.leads.batches():
            yield [Lead.of(line) for line in lines]


async def read_members(asked: Asked, members: Members, snapshot: Snapshot, report: Report | None = None) -> None:
    """Read the members as they are in a snapshot. Raises NotFound, and Conflict while the first evaluation runs."""
    places = {agent_id: place for place, agent_id in enumerate(asked.agent_ids)}
    seen = 0
    async for profiles in _profiles(asked.cohort_id, snapshot):
        since = await _waiting([profile["_id"] for profile in profiles], snapshot) if asked.respect_capacity else {}
        lines, others = [], []
        for profile in profiles:
            lead = profile.get("lead")
            if lead is None:
                others.append(profile["pii_id"])
                continue
            owner = lead.get("agent_id")
            if owner is not None and not asked.reassign:
                members.left_alone += 1
                continue
            found = Lead(profile["pii_id"], None if owner is None else places.get(owner, -1))
            lines.append(found.line(since.get(profile["_id"], NOT_WAITING)))
        await members.leads.add(lines)
        await members.others.add(others)
        seen += len(profiles)
        if report is not None:
            await report(seen)


async def fewer_than(limit: int, cohort: Cohort, asked: Asked, look_at: int) -> bool:
    """Whether a cohort has fewer leads to deal than `limit`; not, where `look_at` members are not all of it."""
    if cohort.member_count < limit:
        return True
    wanted: dict[str, Any] = {"lead": {"$exists": True}}
    if not asked.reassign:
        wanted["lead.agent_id"] = {"$exists": False}
    found = looked_at = 0
    async for rows in _rows(cohort, None):
        query = {"_id": {"$in": [row["profile"] for row in rows]}, **wanted}
        found += await Profile.get_motor_collection().count_documents(query, limit=limit)
        looked_at += len(rows)
        if found >= limit or looked_at >= look_at:
            return False
    return True


async def _profiles(cohort_id: str, snapshot: Snapshot) -> AsyncIterator[list[dict[str, Any]]]:
    cohort = await Cohort.find_one({"_id": cohort_id}, session=snapshot.session)
    if cohort is None:
        raise NotFound(f"{cohort_id} was deleted before its leads were assigned.")
    if cohort.active is None:
        raise Conflict(f"{cohort_id} is being evaluated for the first time; it has no members yet.")
    shown = {"pii_id": 1, "lead.agent_id": 1}
    async for rows in _rows(cohort, snapshot):
        ids = [row["profile"] for row in rows]
        found = Profile.get_motor_collection().find({"_id": {"$in": ids}}, shown, session=snapshot.session)
        yield await found.to_list(None)


async def _rows(cohort: Cohort, snapshot: Snapshot | None) -> AsyncIterator[list[dict[str, Any]]]:
    if cohort.active is None:
        return
    rows = Membership.get_motor_collection().find(
        {"_id": ids_of(generation_id(cohort.id, cohort.active.number)), "in": True},
        {"_id": 0, "profile": 1},
        session=snapshot.session if snapshot else None,
        sort=[("_id", ASCENDING)],
        batch_size=AT_ONCE,
    )
    try:
        while batch := await rows.to_list(AT_ONCE):
            yield batch
    finally:
        await rows.close()


async def _waiting(profiles: Sequence[ObjectId], snapshot: Snapshot) -> dict[ObjectId, int]:
    """Since when, in milliseconds, these wait for capacity, where they do."""
    waiting = WaitingLead.get_motor_collection().find({"_id": {"$in": profiles}}, session=snapshot.session)
    return {lead["_id"]: _milliseconds(lead["since"]) async for lead in waiting}


def _milliseconds(moment: datetime) -> int:
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def _without_end(line: str) -> str:
    return line[:-1]
