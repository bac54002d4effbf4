"""The size of a cohort over time, counted from its runs and changes.

A run tells the size right before and right after it; the changes beside it tell how it went on. So the sizes are exact
also where profiles were erased since, and while the difference of a run is still being written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from muster.cohorts.documents import Change, Cohort, Run, RunState
from muster.cohorts.history_schemas import PointOut, SizesOut
from muster.cohorts.service import cohort_of
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.errors import Invalid, Problem

MOST_POINTS = 1_000
EXACT_UP_TO = 5_000  # changes that are looked at one by one before they are counted by intervals
MILLISECOND = timedelta(milliseconds=1)

Stored = Mapping[str, Any]


async def sizes(owner: str, cohort_id: str, *, since: datetime | None, until: datetime | None, points: int) -> SizesOut:
    """The size after each moment of change behind `since` and up to `until`; without them all there are.

    With more moments than `points` they are counted by that many equal intervals, and each point is the last moment of
    one. Raises Invalid when the time ends before it begins.
    """
    cohort = await cohort_of(owner, cohort_id)
    async with open_snapshot() as snapshot:
        since, until = since or await _beginning(cohort, snapshot), min(until or snapshot.now, snapshot.now)
        if since > until:
            raise Invalid("The time ends before it begins.", [Problem("`from` is later than `to`, or than now.")])
        history = _History(cohort_id, snapshot, since, until, await _runs(cohort_id, since, until, snapshot))
        interval = None
        parts = await history.moments()
        if parts is None or len(parts) > points:
            interval = max(MILLISECOND, MILLISECOND * ceil((until - since) / points / MILLISECOND))
            parts = await history.intervals(interval)
        before = await history.size_before(parts)
    size, items = before, list[PointOut]()
    for part in parts:
        size = part.size_after(size)
        items.append(PointOut(at=part.last, size=size, entered=part.entered, left=part.left))
    return SizesOut(
        since=since,
        until=until,
        size_before=before,
        interval_seconds=interval.total_seconds() if interval else None,
        items=items,
    )


async def recent_sizes(cohorts: Sequence[Cohort], *, since: datetime, points: int) -> dict[str, list[int]]:
    """For each cohort its sizes at `points` equally spaced moments behind `since`, the last one now, in one look."""
    ids = [cohort.id for cohort in cohorts]
    async with open_snapshot() as snapshot:
        interval = max(MILLISECOND, MILLISECOND * ceil((snapshot.now - since) / points / MILLISECOND))
        place = {"$floor": {"$divide": [{"$subtract": ["$at", since]}, round(interval / MILLISECOND)]}}
        new = {"cohort": {"$in": ids}, "at": {"$gt": since}}
        counted: dict[str, list[Stored]] = {cohort_id: [] for cohort_id in ids}
        for group in await _counted(new, place, snapshot, cohort="$cohort"):
            counted[group["_id"]["cohort"]].append(group)
        runs: dict[str, list[Run]] = {cohort_id: [] for cohort_id in ids}
        succeeded = {**new, "state": RunState.SUCCEEDED.value}
        async for run in Run.find(succeeded, session=snapshot.session).sort("at"):
            runs[run.cohort].append(run)
        counts = await Cohort.get_motor_collection().find(
            {"_id": {"$in": ids}}, {"member_count": 1}, session=snapshot.session
        ).to_list(None)  # fmt: skip
    sizes_now = {found["_id"]: int(found["member_count"]) for found in counts}
    return {
        cohort_id: _recent(
            counted[cohort_id],
            runs[cohort_id],
            now=sizes_now.get(cohort_id, 0),
            since=since,
            interval=interval,
            points=points,
        )
        for cohort_id in ids
    }


def _recent(
    counted: Iterable[Stored], runs: Sequence[Run], *, now: int, since: datetime, interval: timedelta, points: int
) -> list[int]:
    placed: dict[Any, list[Run]] = {}
    for run in runs:
        placed.setdefault(float((run.at - since) // interval), []).append(run)
    parts = _placed_parts(counted, placed)
    size, found = _before(parts.values(), runs, now), list[int]()
    for place in range(points):
        if (part := parts.get(float(place))) is not None:
            size = part.size_after(size)
        found.append(size)
    found[-1] = now
    return found


@dataclass(slots=True)
class _Part:
    """What happened in one moment, or in one interval."""

    last: datetime
    entered: int = 0
    left: int = 0
    live: dict[int, int] = field(default_factory=dict)  # by generation, what the changes without a run came to
    run: Run | None = None  # the last one

    def size_after(self, size: int) -> int:
        """A run begins anew: with its size, and the changes of its generation since."""
        if self.run is None:
            return size + sum(self.live.values())
        return (self.run.member_count or 0) + self.live.get(self.run.generation or 0, 0)


@dataclass(frozen=True, slots=True)
class _History:
    """All that happened to a cohort behind `since` and up to `until`."""

    cohort_id: str
    snapshot: Snapshot
    since: datetime
    until: datetime
    runs: Sequence[Run]

    @property
    def _changes(self) -> dict[str, Any]:
        return {"cohort": self.cohort_id, "at": {"$gt": self.since, "$lte": self.until}}

    async def moments(self) -> list[_Part] | None:
        """Every moment of change for itself; None when they are too many to look at one by one."""
        beside_runs = self._changes  # those of a run are many, and of one moment
        beside_runs["at"]["$nin"] = [run.at for run in self.runs]
        count = await Change.get_motor_collection().count_documents(
            beside_runs, session=self.snapshot.session, limit=EXACT_UP_TO + 1
        )
        if count > EXACT_UP_TO:
            return None
        return _parts(await _counted(self._changes, "$at", self.snapshot), {run.at: [run] for run in self.runs})

    async def intervals(self, interval: timedelta) -> list[_Part]:
        """Only those in which anything happened."""
        first = self.since + MILLISECOND  # so that `until` is in the last one
        place = {"$floor": {"$divide": [{"$subtract": ["$at", first]}, round(interval / MILLISECOND)]}}
        placed: dict[Any, list[Run]] = {}
        for run in self.runs:
            placed.setdefault((run.at - first) // interval, []).append(run)
        return _parts(await _counted(self._changes, place, self.snapshot), placed)

    async def size_before(self, parts: Iterable[_Part]) -> int:
        """The size at `since`: what the first run found, or was there at `until`, less what came and went before."""
        end = 0 if self.runs else await _size_at(self.cohort_id, self.until, self.snapshot)
        return _before(parts, self.runs, end)


def _before(parts: Iterable[_Part], runs: Sequence[Run], end: int) -> int:
    """The size before all of this; `end` is that after it, which is asked only where there was no run."""
    if not runs:
        return end - sum(net for part in parts for net in part.live.values())
    end, switch = runs[0].count_before or 0, runs[0].generation or 0
    return end - sum(net for part in parts for number, net in part.live.items() if number < switch)


async def _beginning(cohort: Cohort, snapshot: Snapshot) -> datetime:
    """Before anything happened. `created_at` alone would not do: it is by the clock of the API's host."""
    firsts = [
        await collection.find_one({"cohort": cohort.id}, {"at": 1}, sort=[("at", 1)], session=snapshot.session)
        for collection in (Run.get_motor_collection(), Change.get_motor_collection())
    ]
    moments: list[datetime] = [cohort.created_at, *(first["at"] - MILLISECOND for first in firsts if first is not None)]
    return min(moments)


async def _runs(cohort_id: str, since: datetime, until: datetime, snapshot: Snapshot) -> list[Run]:
    query = {"cohort": cohort_id, "state": RunState.SUCCEEDED.value, "at": {"$gt": since, "$lte": until}}
    return await Run.find(query, session=snapshot.session).sort("at").to_list()


def counting(query: Stored, place: Any, **more: Any) -> list[dict[str, Any]]:
    """The pipeline that counts the changes without a run by place and generation; the index holds all that it asks."""
    group: dict[str, Any] = {
        "_id": {
            **more,
            "place": place,
            "generation": "$generation",
            "live": {"$eq": [{"$ifNull": ["$run", None]}, None]},
        },
        "entered": {"$sum": {"$cond": [{"$eq": ["$change", "entered"]}, 1, 0]}},
        "all": {"$sum": 1},
        "last": {"$max": "$at"},
    }
    return [{"$match": query}, {"$group": group}, {"$match": {"_id.live": True}}]


async def _counted(query: Stored, place: Any, snapshot: Snapshot, **more: Any) -> list[Stored]:
    found = Change.get_motor_collection().aggregate(
        counting(query, place, **more), session=snapshot.session, allowDiskUse=True, hint="cohort_at"
    )
    return await found.to_list(None)


def _parts(counted: Iterable[Stored], runs: Mapping[Any, Sequence[Run]]) -> list[_Part]:
    """Changes and runs by the same places, in their order."""
    parts = _placed_parts(counted, runs)
    return [parts[place] for place in sorted(parts)]


def _placed_parts(counted: Iterable[Stored], runs: Mapping[Any, Sequence[Run]]) -> dict[Any, _Part]:
    parts: dict[Any, _Part] = {}
    for group in counted:
        part = parts.setdefault(group["_id"]["place"], _Part(group["last"]))
        part.last = max(part.last, group["last"])
        part.entered += group["entered"]
        part.left += group["all"] - group["entered"]
        part.live[group["_id"]["generation"]] = _net(group)
    for place, placed in runs.items():
        part = parts.setdefault(place, _Part(placed[-1].at))
        part.last, part.run = max(part.last, placed[-1].at), placed[-1]
        for run in placed:
            is_first = run.previous is None
            part.entered += (run.member_count or 0) if is_first else run.added
            part.left += 0 if is_first else run.removed
    return parts


async def _size_at(cohort_id: str, at: datetime, snapshot: Snapshot) -> int:
    """The size of then: what the next run found, or is there now, less what came and went in between."""
    query = {"cohort": cohort_id, "state": RunState.SUCCEEDED.value, "at": {"$gt": at}}
    following = await Run.find(query, session=snapshot.session).sort("at").first_or_none()
    later: dict[str, Any] = {"cohort": cohort_id, "at": {"$gt": at}}
    if following is not None:
        size = following.count_before or 0
        later |= {"at": {"$gt": at, "$lte": following.at}, "generation": {"$lt": following.generation}}
    else:
        cohort = await Cohort.find_one({"_id": cohort_id}, session=snapshot.session)
        size = cohort.member_count if cohort else 0
    return size - sum(_net(group) for group in await _counted(later, None, snapshot))


def _net(group: Stored) -> int:
    """How many more entered than left."""
    entered, everybody = int(group["entered"]), int(group["all"])
    return 2 * entered - everybody
