"""Time passes: whom it may have moved in or out of cohorts since the last tick, found without looking at everybody.

Between two ticks a comparison with now ± d flips only for values that now ± d has passed: one range of its field, and
those of all cohorts of a project in one query. A rule that looks at the clock in another way is compared as a whole
whenever its unit turns. Who is found is only a candidate: the watcher decides anew, so one too many does no harm.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from muster.cohorts.live_rules import LiveRule, LiveRules
from muster.cohorts.reading import hint_for_ranges
from muster.cohorts.reconciliation import differing
from muster.cohorts.snapshot import Snapshot, open_snapshot
from muster.records.documents import Profile
from muster.rules import intervals, turned_between
from muster.tasks import stop

CANDIDATES_AT_ONCE = 2_000
BATCHES_AHEAD = 2

# A run's switch is a transaction, which MongoDB ends after a minute: so much later than its `placed_at` at the most
# does anybody see it.
SEEN_AFTER = timedelta(seconds=90)

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Profiles of a project that time may have moved, and the generations that it may have moved them in or out of."""

    profiles: Sequence[ObjectId]
    generations: frozenset[str]


@dataclass(slots=True)
class Clock:
    """Until when each live rule has seen time pass. `ticked_at` is `$now` of the last tick that is done and saved."""

    ticked_at: datetime | None = None
    _seen: dict[str, datetime] = field(default_factory=dict)

    def last_seen(self, live: LiveRule) -> datetime | None:
        """`$now` of the last look at a rule, by a tick or by its run; None where nobody knows: then all may differ."""
        if (seen := self._seen.get(live.generation)) is not None:
            return seen
        if live.evaluated_at is None or live.placed_at is None:
            return None
        if self.ticked_at is not None and live.placed_at + SEEN_AFTER < self.ticked_at:
            return max(live.evaluated_at, self.ticked_at)
        return live.evaluated_at

    def passed(self, rules: Sequence[LiveRule], now: datetime) -> None:
        """Say that these rules have seen all time until `now`, and that the others are no more."""
        self._seen = {live.generation: now for live in rules}
        self.ticked_at = now


class Tick:
    """One look at whom time may have moved, in the background. `now` is until when it looks, `live` at which rules."""

    def __init__(self, clock: Clock, live: LiveRules, now: datetime) -> None:
        self.live, self.now = live, now
        self._batches: asyncio.Queue[Candidates] = asyncio.Queue(BATCHES_AHEAD)
        self._task = asyncio.create_task(self._look(clock))

    async def _look(self, clock: Clock) -> None:
        async for found in candidates(clock, self.live, self.now):
            await self._batches.put(found)

    def found(self) -> Iterator[Candidates]:
        """What has been found so far, each batch once."""
        while not self._batches.empty():
            yield self._batches.get_nowait()

    def is_done(self) -> bool:
        """Whether all was looked at and handed out. Raises what ended the look."""
        if not self._task.done():
            return False
        self._task.result()
        return self._batches.empty()

    async def stop(self) -> None:
        """Give up."""
        with suppress(PyMongoError):
            await stop(self._task)


async def candidates(clock: Clock, live: LiveRules, now: datetime) -> AsyncIterator[Candidates]:
    """Whom the time since the last tick may have moved, in batches."""
    by_project: dict[str, list[LiveRule]] = defaultdict(list)
    as_wholes: list[LiveRule] = []
    for rule in live.time_dependent:
        (as_wholes if _turned(rule, clock.last_seen(rule), now) else by_project[rule.project_id]).append(rule)
    for project_id, rules in by_project.items():
        if ranges := _ranges(rules, clock, now):
            generations = frozenset(rule.generation for rule in rules)
            async with open_snapshot() as snapshot:
                async for profiles in _within(project_id, ranges, snapshot):
                    yield Candidates(profiles, generations)
    for rule in as_wholes:
        async with open_snapshot() as snapshot:
            profiles = await differing(rule, snapshot, now)
        for start in range(0, len(profiles), CANDIDATES_AT_ONCE):
            yield Candidates(profiles[start : start + CANDIDATES_AT_ONCE], frozenset([rule.generation]))


def _turned(live: LiveRule, since: datetime | None, now: datetime) -> bool:
    """Whether a rule is to be compared as a whole."""
    if live.rule is None:
        return False
    return since is None or turned_between(live.rule.turns, since, now, live.rule.time_zone)


def _ranges(rules: Sequence[LiveRule], clock: Clock, now: datetime) -> dict[str, list[Interval]]:
    """By field, the closed intervals of values that time passed, those that meet made one."""
    found: dict[str, list[Interval]] = defaultdict(list)
    for live in rules:
        since = clock.last_seen(live)
        if live.rule is None or since is None or since == now:
            continue
        for name, low, high in intervals(live.rule.windows, since, now, live.rule.time_zone):
            found[name].append((low, high))
    return {name: _merged(ranges) for name, ranges in found.items()}


def _merged(ranges: list[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for low, high in sorted(set(ranges)):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


async def _within(
    project_id: str, ranges: Mapping[str, list[Interval]], snapshot: Snapshot
) -> AsyncIterator[list[ObjectId]]:
    one_of: list[dict[str, Any]] = [
        {name: {"$gte": low, "$lte": high}} for name, found in ranges.items() for low, high in found
    ]
    found = Profile.get_motor_collection().find(
        {"$or": [{"project_id": project_id, **each} for each in one_of]},
        {"_id": 1},
        session=snapshot.session,
        batch_size=CANDIDATES_AT_ONCE,
    )
    if (hint := await hint_for_ranges(project_id, ranges.keys())) is not None:
        found = found.hint(hint)
    while profiles := await found.to_list(CANDIDATES_AT_ONCE):
        yield [profile["_id"] for profile in profiles]
