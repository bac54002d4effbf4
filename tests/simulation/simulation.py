"""A simulated workspace: writers, editors, a clock that runs, one watcher; and now and then all is quiet and recounted.

Everything is drawn from one seed. How the writers' acts interleave is the machine's doing, as in life: the same seed
draws the same acts, and mostly finds the same again.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any
from unittest import mock

import httpx
from bson import ObjectId

from muster.cohorts import evaluation, watcher
from muster.cohorts.documents import Change, Cohort, Membership, WatchState
from muster.cohorts.graph import KIND
from muster.cohorts.jobs import run_job, settle_ended_runs
from muster.jobs.documents import Job
from muster.jobs.working import Busy, Cancelled, Done
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.service import registry
from tests.recount import Recount
from tests.rules.engines import NOW
from tests.simulation.books import Book, Known
from tests.simulation.checks import Checks, Database
from tests.simulation.clock import Clock, moved
from tests.simulation.drawing import KINDS, Chance, registry_with
from tests.simulation.editor import Editor
from tests.simulation.troubles import Watchers, readers_apart
from tests.simulation.writers import Writer
from tests.waiting import until

OWNER = "ada"
PATIENCE = 120  # seconds in which the watcher must write something
TICKS = ("TICK_SECONDS", 0.5)  # of real time; how much passes from one to the next is the clock's business
WORKERS_LOOK_EVERY = 0.05  # seconds
MARKS = 16  # profiles; wherever the stream is split there is one on each side
MARK_RULE = 'lead.source == "mark"'
DROPPED = 0.05  # of the quiet points are followed by the loss of all profiles
LATE, LATEST = 0.3, 0.1  # so many inserts of a run wait, for so many seconds at most
CHANGES_PER_EDIT = 300
LEAPS = [timedelta(seconds=1), timedelta(minutes=3), timedelta(hours=2), timedelta(hours=13)]
SEASONS = [timedelta(days=1), timedelta(days=5)]


@dataclass(frozen=True)
class Size:
    """How much there is of everything."""

    profiles: int = 3_000
    cohorts: int = 240
    segment: int = 16_000  # changes between two quiet points, on average


@dataclass
class Simulation:
    """Runs until so many changes were made."""

    api: httpx.AsyncClient
    clock: Clock
    random: Random
    size: Size
    project: str  # of the marks
    marks: Known
    writers: list[Writer]
    editors: list[Editor]
    checks: Checks
    watchers: Watchers
    quiet_points: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Changes so far."""
        return sum(writer.written for writer in self.writers)

    @property
    def known(self) -> dict[str, Known]:
        """All cohorts."""
        edited = {cohort.id: cohort for editor in self.editors for cohort in editor.cohorts.values()}
        return {self.marks.id: self.marks, **edited}

    async def run(self, changes: int, report: Callable[["Simulation"], None]) -> None:
        """Write and recount, until so many changes are made or something differs."""
        while self.written < changes and not self.differences:
            segment = round(self.size.segment * self.random.choice((0.05, 0.3, 1, 1, 1.5, 2)))
            await self._segment(min(segment, changes - self.written + 1))
            await self._be_quiet()
            self.quiet_points += 1
            self.differences += await self.checks.wrong(self.known, self.writers, self.clock.now)
            report(self)
            if not self.differences:
                await self._edit_at_rest()
                if self.random.random() < DROPPED:
                    await self._drop_everybody()

    async def _segment(self, changes: int) -> None:
        enough = self.written + changes

        async def write(writer: Writer) -> None:
            while self.written < enough:
                await writer.write(max(1, enough - self.written))

        async def edit(editor: Editor, share: int) -> None:
            start, acts = self.written, 0
            while self.written < enough:
                if self.written - start >= acts * CHANGES_PER_EDIT * share:
                    await editor.act()
                    acts += 1
                await asyncio.sleep(0)
                await self._pause()

        async def pass_time() -> None:
            step, due = max(1, changes // 6), self.written
            trouble = self.written + self.random.randrange(changes)
            while self.written < enough:
                if self.written >= due and self.clock.leap(self.random.choice(LEAPS)):
                    due += step
                if self.written >= trouble:
                    await self.watchers.befall()
                    trouble = enough
                await self._pause()

        async with asyncio.TaskGroup() as tasks:
            for writer in self.writers:
                tasks.create_task(write(writer))
            for editor in self.editors:
                tasks.create_task(edit(editor, len(self.editors)))
            tasks.create_task(pass_time())

    @staticmethod
    async def _pause() -> None:
        await asyncio.sleep(0.01)

    async def _be_quiet(self) -> None:
        """Wait until no run is under way, everything written is applied, and time was let pass up to now."""

        async def nothing_runs() -> bool:
            return await Cohort.find({"run": {"$ne": None}}).count() == 0

        await self._until(nothing_runs)
        await self._see_marks()
        self.clock.leap(self.random.choice([*LEAPS, *SEASONS]))
        self.clock.stands_still = True

        async def time_passed() -> bool:
            states = await self.watchers.states()
            return len(states) == self.watchers.slices and all(state.ticked_at == self.clock.now for state in states)

        await self._until(time_passed)

    async def _see_marks(self) -> None:
        """Marks written now are seen only after everything before them was applied."""
        marks = []
        for number in range(MARKS):
            mark = {"pii_id": f"mark-{self.quiet_points}-{number}", "lead": {"source": "mark"}}
            old = {"pii_id": f"mark-{self.quiet_points - 1}-{number}", "lead": None}
            marks += [json.dumps(mark), json.dumps(old)]
        answer = await self.api.post(
            "/v1/profiles/import",
            params={"project_id": self.project},
            content="\n".join(marks),
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert answer.json()["failed_count"] == 0, answer.text
        names = [f"mark-{self.quiet_points}-{number}" for number in range(MARKS)]
        found = Profile.find({"project_id": self.project, "pii_id": {"$in": names}})
        rows = [f"{self.marks.id}|1|{profile.id}" for profile in await found.to_list()]

        async def seen() -> bool:
            return await Membership.find({"_id": {"$in": rows}}).count() == len(rows) == MARKS

        await self._until(seen)

    async def _until(self, look: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition for as long as the watcher gets on, however slow the machine is."""
        done, changes = Change.get_motor_collection(), -1
        while (found := await done.estimated_document_count()) > changes:
            changes = found

            async def holds() -> bool:
                self.watchers.see()
                return await look()

            with suppress(AssertionError):
                await until(holds, seconds=PATIENCE)
                return
        state = await WatchState.find_one()
        raise AssertionError(f"The watcher gets no further: {state}")

    async def _edit_at_rest(self) -> None:
        """What is exact only while nobody writes: static cohorts of a rule's members."""
        self.clock.stands_still = False
        for editor in self.editors:
            editor.chance.now = self.clock.now
            rule = editor.draw_rule("plain")  # what the clock does not change meanwhile
            if len(editor.cohorts) < editor.most:
                members = self.checks.recounts[editor.project].members(rule, self.clock.now)
                await editor.create_from_rule(rule, members)
            elif dynamic := [cohort for cohort in editor.cohorts.values() if cohort.kind == "dynamic"]:
                cohort = editor.chance.choice(dynamic)
                await editor.freeze(cohort, self.checks.before[cohort.id].members)

    async def _drop_everybody(self) -> None:
        """The collection of profiles goes, and is made anew."""
        profiles = Profile.get_motor_collection()
        indexes = await profiles.index_information()
        await profiles.drop()
        for name, index in indexes.items():
            if name != "_id_":
                options = {option: index[option] for option in ("unique",) if option in index}
                await profiles.create_index(index["key"], name=name, **options)
        for writer in self.writers:
            for book in writer.own.values():
                book.erase()
        for cohort in self.known.values():
            if cohort.given is not None:
                cohort.given = set()
        self.watchers.troubles["profiles dropped"] = self.watchers.troubles.get("profiles dropped", 0) + 1


@asynccontextmanager
async def arranged(api: httpx.AsyncClient, database: Database, *, seed: int, size: Size) -> AsyncIterator[Simulation]:
    """Two projects in different time zones with profiles and cohorts, their writers and editors, and a watcher."""
    random = Random(seed)
    clock = Clock(NOW - timedelta(days=20), Random(random.random()))
    small = Size(size.profiles // 6, size.cohorts // 8, size.segment)
    projects = {
        await _project(api, "Large", "America/New_York"): size,
        await _project(api, "Small", "Asia/Tokyo"): small,
    }
    registries = {project: await registry(project) for project in projects}

    def chance() -> Chance:
        return Chance(Random(random.random()), clock.now)

    writers: list[Writer] = []
    editors: list[Editor] = []
    for project, each in projects.items():
        count = 3 if each is size else 1
        names = [f"p{number}" for number in range(each.profiles)]
        owned = [names[first :: count + 1] for first in range(count)]
        shared = names[count :: count + 1][: each.profiles // 10]
        writers += [Writer(api, chance(), clock, project, {name: Book() for name in own}, shared) for own in owned]
        editors += [
            Editor(
                *(api, chance(), clock, project, registries[project], names, each.cohorts // (1 + (each is size))),
                nameable=partial(_cohorts_of, editors, project),
            )
            for _ in range(1 + (each is size))
        ]
    recounts = {
        project: Recount[ObjectId](registries[project], (await project_of(OWNER, project)).time_zone)
        for project in projects
    }
    checks = Checks(database, api, chance(), recounts)
    pace = runs_take_their_time(Random(random.random()))
    with moved(clock), pace, readers_apart(), mock.patch.object(watcher, *TICKS):
        first = next(iter(projects))
        marks = Known(await _cohort(api, first, MARK_RULE), first, "dynamic", MARK_RULE)
        watchers = Watchers(Random(random.random()))
        simulation = Simulation(api, clock, random, size, first, marks, writers, editors, checks, watchers)
        watchers.start()
        working = asyncio.create_task(work())
        await until(WatchState.find_one)  # it knows its position: from here on it may be replaced
        for editor in editors:
            for number in range(round(editor.most * 0.9)):
                await editor.create(editor.draw_rule(list(KINDS)[number] if number < len(KINDS) else None))
        try:
            yield simulation
        finally:
            await watchers.stop()
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


def _cohorts_of(editors: list[Editor], project: str) -> list[str]:
    return [cohort for editor in editors if editor.project == project for cohort in editor.cohorts]


async def work() -> None:
    """What the workers do: every evaluation that waits, one after the other; and now and then their chores."""
    while True:
        for job in await Job.find({"kind": KIND, "state": "queued"}).sort("_id").to_list():
            with suppress(Busy, Done, Cancelled):  # at work elsewhere, done, or superseded by a later save
                await run_job(job.id)
        await settle_ended_runs()
        await asyncio.sleep(WORKERS_LOOK_EVERY)


async def _project(api: httpx.AsyncClient, name: str, time_zone: str) -> str:
    made = await api.post("/v1/projects", json={"name": name, "time_zone": time_zone})
    assert made.status_code == 201, made.text
    project = str(made.json()["id"])
    for field_name, kind in registry_with(await registry(project)).items():
        added = await api.post(
            "/v1/fields", params={"project_id": project}, json={"name": field_name, "type": str(kind)}
        )
        assert added.status_code == 201, added.text
    return project


async def _cohort(api: httpx.AsyncClient, project: str, rule: str) -> str:
    made = await api.post("/v1/cohorts", json={"name": rule, "kind": "dynamic", "rule": rule, "project_id": project})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


@contextmanager
def runs_take_their_time(random: Random) -> Iterator[None]:
    """Some runs stand between their snapshot and their rows for a moment: that is where races are lost."""
    insert = evaluation._insert

    async def insert_late(rows: list[dict[str, Any]]) -> None:
        if random.random() < LATE:
            await asyncio.sleep(random.uniform(0, LATEST))
        await insert(rows)

    with mock.patch.object(evaluation, "_insert", insert_late):
        yield
