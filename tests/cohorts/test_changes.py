"""What stands in `changes`: the first fill nothing, a later run its difference, an erased profile no name."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from muster.app import connect_features
from muster.cohorts import by_hand, changes, evaluation, generations, service, watcher
from muster.cohorts.documents import Change, Cohort, Membership, Run
from muster.cohorts.jobs import run_job
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.cohorts.snapshot import Snapshot
from muster.jobs.documents import Job
from muster.records import service as records
from muster.records.documents import Profile
from muster.settings import Settings
from tests.cohorts.conftest import Workspace, watching
from tests.waiting import until


class Killed(BaseException):
    """Stands in for the end of a process: nothing that handles errors sees it."""


async def people(workspace: Workspace, *scores: float) -> None:
    """P0, P1, … with these scores."""
    await workspace.put(**{f"P{number}": {"lead": {"score": score}} for number, score in enumerate(scores)})


async def edit(cohort: Cohort, rule: str) -> Cohort:
    return await service.patch("ada", cohort.id, CohortPatch(rule=rule), expected_revs=None)


async def entries_of(cohort: Cohort) -> list[tuple[str | None, str, str, str | None]]:
    """(pii_id, change, cause, run), sorted."""
    found = [(one.pii_id, one.change, one.cause.value, one.run) async for one in Change.find({"cohort": cohort.id})]
    return sorted(found, key=str)


async def run_of(cohort: Cohort) -> Run:
    """The newest run."""
    run = await Run.find({"cohort": cohort.id}).sort("-at").first_or_none()
    assert run is not None
    return run


async def test_the_first_fill_is_one_run(workspace: Workspace) -> None:
    await people(workspace, 10, 60, 90)
    cohort = await workspace.cohort("lead.score > 50")
    assert await entries_of(cohort) == []
    run = await run_of(cohort)
    assert (run.previous, run.pending, run.added, run.member_count) == (None, False, 2, 2)


async def test_a_rule_edit_writes_who_left_and_who_entered(workspace: Workspace) -> None:
    await people(workspace, 10, 60, 90)
    cohort = await workspace.cohort("lead.score > 50")
    await edit(cohort, "lead.score < 80")
    run = await run_of(cohort)
    assert await entries_of(cohort) == [("P0", "entered", "rule", run.id), ("P2", "left", "rule", run.id)]
    assert (run.added, run.removed, run.previous, run.generation, run.pending) == (1, 1, 1, 2, False)
    assert {one.at async for one in Change.find({"run": run.id})} == {run.at}


async def test_a_run_that_changes_nothing_writes_nothing(workspace: Workspace) -> None:
    await people(workspace, 10, 60, 90)
    cohort = await workspace.cohort("lead.score > 50")
    await service.evaluate_now("ada", cohort.id)
    assert await entries_of(cohort) == []


async def test_what_a_re_evaluation_finds_has_the_cause_rule(workspace: Workspace) -> None:
    """No watcher runs, so there is something to find."""
    await people(workspace, 10, 60)
    cohort = await workspace.cohort("lead.score > 50")
    await people(workspace, 70, 60)
    job = await service.evaluate_now("ada", cohort.id)
    assert await entries_of(cohort) == [("P0", "entered", "rule", job.id)]
    rows = {row["cause"] async for row in Membership.get_motor_collection().find({"generation": f"{cohort.id}|2"})}
    assert rows == {"rule"}


async def test_a_static_cohort_that_begins_to_follow_its_rule_writes_the_difference(workspace: Workspace) -> None:
    await people(workspace, 10, 60, 90)
    cohort = await service.create("ada", CohortIn(name="S", kind="static", rule="lead.score > 50", members=None))
    await by_hand.add("ada", cohort.id, ["P0"])
    await by_hand.remove("ada", cohort.id, ["P2"])
    await service.patch("ada", cohort.id, CohortPatch(kind="dynamic"), expected_revs=None)
    run = await run_of(cohort)
    assert await entries_of(cohort) == [
        ("P0", "entered", "manual", None),
        ("P0", "left", "rule", run.id),
        ("P2", "entered", "rule", run.id),
        ("P2", "left", "manual", None),
    ]


@pytest.mark.parametrize("entries_before_the_end", [0, 4])
async def test_a_difference_that_its_process_left_is_written_by_the_next_attempt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, entries_before_the_end: int
) -> None:
    """Killed after the switch, before the first entry or amid them; and members come and go before somebody goes on."""
    await people(workspace, *range(20))
    cohort = await workspace.cohort("lead.score >= 10")
    with monkeypatch.context() as patched:
        die_after(patched, entries_before_the_end)
        job = await edited_until_it_dies(cohort, "lead.score < 12")
        run = await run_of(cohort)
        assert run.pending
        assert await Change.find({"cohort": cohort.id}).count() == entries_before_the_end
        async with watching():
            await workspace.put(P0={"lead": {"score": 99.0}}, P19={"lead": {"score": 0.0}}, P11={"lead": None})
            await workspace.settles()
        assert await generations.purge() == 0, "both generations are still wanted"
    await Job.get_motor_collection().update_one({"_id": job}, {"$set": {"lease.expires_at": None}})
    await run_job(job)
    entered = [(f"P{number}", "entered", "rule", job) for number in range(10)]
    left = [(f"P{number}", "left", "rule", job) for number in range(12, 20)]
    live = [("P0", "left", "record", None), ("P11", "left", "record", None), ("P19", "entered", "record", None)]
    assert await entries_of(cohort) == sorted([*entered, *left, *live], key=str)
    run = await run_of(cohort)
    assert (run.pending, run.added, run.removed, run.written) == (False, 10, 8, None)
    finished = await Job.get(job)
    assert finished is not None
    assert finished.state == "succeeded"
    assert finished.result == {"cohort_id": cohort.id, "added": 10, "removed": 8, "member_count": 12}
    assert await generations.purge() == 10, "the old generation"


async def test_a_difference_that_nobody_works_on_is_written_by_a_chore(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace, 1, 2, 3, 4)
    cohort = await workspace.cohort("lead.score > 2")
    with monkeypatch.context() as patched:
        die_after(patched, 0)
        job = await edited_until_it_dies(cohort, "lead.score < 4")
        assert await changes.write_left_behind() == 0, "its job will be tried again"
    await Job.get_motor_collection().update_one({"_id": job}, {"$set": {"state": "cancelled"}})
    await edit(cohort, "lead.score < 2")  # and two are exchanged since
    assert await changes.write_left_behind() == 1
    found = await entries_of(cohort)
    assert Counter(entry[3] == job for entry in found) == {True: 3, False: 2}
    assert [entry[:2] for entry in found if entry[3] == job] == [("P0", "entered"), ("P1", "entered"), ("P3", "left")]


async def test_several_who_write_one_difference_write_it_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace, *range(60))
    cohort = await workspace.cohort("lead.score >= 30")
    with monkeypatch.context() as patched:
        die_after(patched, 0)
        await edited_until_it_dies(cohort, "lead.score < 30")
    monkeypatch.setattr(changes, "ENTRIES_PER_TRANSACTION", 3)
    monkeypatch.setattr(changes, "ROWS_AT_ONCE", 7)
    run = await run_of(cohort)
    written = await asyncio.gather(*(changes.write_difference(run.model_copy(deep=True)) for _ in range(4)))
    assert {(one.added, one.removed, one.pending) for one in written} == {(30, 30, False)}
    found = await entries_of(cohort)
    assert len(found) == len(set(found)) == 60


@pytest.mark.parametrize("lookahead", [1, 2, 5, 100])
async def test_the_parts_of_a_difference_fit_together(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, lookahead: int
) -> None:
    monkeypatch.setattr(changes, "ENTRIES_PER_TRANSACTION", max(1, lookahead // 2))
    monkeypatch.setattr(changes, "ROWS_AT_ONCE", lookahead)
    await people(workspace, *range(12))
    cohort = await workspace.cohort("lead.score != 3")
    await edit(cohort, "lead.score > 7")
    await edit(cohort, "lead.score < 2 or lead.score in [5, 9]")
    await edit(cohort, "lead.score > 100")
    moved = Counter((entry[0], entry[1]) for entry in await entries_of(cohort))
    for number in range(12):
        first, second, third = number != 3, number > 7, number < 2 or number in {5, 9}
        sides = [first, second, third, False]
        pairs = list(itertools.pairwise(sides))
        assert moved[f"P{number}", "entered"] == pairs.count((False, True)), number
        assert moved[f"P{number}", "left"] == pairs.count((True, False)), number


async def test_an_erased_profile_has_no_name_in_any_entry(live: Workspace, settings: Settings) -> None:
    connect_features(settings)  # tells records what an erasure takes along
    await live.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}})
    cohort = await live.cohort("lead.score > 50")
    await live.put(ann={"lead": {"score": 10.0}}, bob={"lead": {"score": 90.0}})
    await live.settles()
    await live.put(ann={"lead": {"score": 70.0}})
    await live.settles()
    await records.erase(live.project.id, "ann")
    assert {one[0] for one in await entries_of(cohort)} == {None, "bob"}, "at once"
    await live.settles()
    nameless = [one[1:3] for one in await entries_of(cohort) if one[0] is None]
    assert sorted(nameless) == [("entered", "record"), ("left", "record"), ("left", "record")]


async def test_a_name_written_beside_an_erasure_does_not_stay(live: Workspace) -> None:
    """An entry that the erasure's transaction could not see."""
    await live.put(ann={"lead": {"score": 10.0}})
    cohort = await live.cohort("lead.score > 50")
    await live.put(ann={"lead": {"score": 90.0}})
    await live.settles()
    await live.erase("ann")  # as if nothing had been forgotten
    await until(lambda: nameless(cohort, 2))


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_name_written_by_a_run_beside_an_erasure_does_not_stay(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, is_killed: bool
) -> None:
    """The profile goes after its name was read; no watcher sees it go afterwards."""
    await people(workspace, 10, 90)
    cohort = await workspace.cohort("lead.score > 50")
    made = changes._entries

    async def erased_since(*arguments: Any) -> list[dict[str, Any]]:
        entries = await made(*arguments)
        await workspace.erase("P0")
        return entries

    monkeypatch.setattr(changes, "_entries", erased_since)
    if is_killed:
        with monkeypatch.context() as patched:
            die_after(patched, 2)
            await edited_until_it_dies(cohort, "lead.score < 50")
        assert "P0" in {one[0] for one in await entries_of(cohort)}
        await changes.write_difference(await run_of(cohort))
    else:
        monkeypatch.setattr(changes, "ENTRIES_PER_TRANSACTION", 1)
        await edit(cohort, "lead.score < 50")
    assert {one[0] for one in await entries_of(cohort)} == {None, "P1"}


async def test_the_history_of_a_deleted_cohort_goes(workspace: Workspace) -> None:
    await people(workspace, 10, 60)
    kept, gone = await workspace.cohort("lead.score > 50"), await workspace.cohort("lead.score > 50")
    for cohort in (kept, gone):
        await edit(cohort, "lead.score < 50")
    await service.delete("ada", gone.id, expected_revs=None)
    await generations.purge()
    assert {one.cohort async for one in Change.find()} == {one.cohort async for one in Run.find()} == {kept.id}


async def test_runs_that_came_to_nothing_are_on_record_with_their_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace, 10, 60)
    cohort = await workspace.cohort("lead.score > 50")

    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "_fill", fails)
        await edit(cohort, "lead.score < 50")
    run = await run_of(cohort)
    assert (run.state, run.cause, run.rule_text, run.generation) == ("failed", "rule", "lead.score < 50", 2)
    assert run.error
    assert await workspace.members(cohort) == {"P1"}


async def test_a_run_takes_its_time_after_the_live_changes_that_came_before_it(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that it was overtaken by while it filled its generation."""
    await live.put(ann={"lead": {"score": 10.0}})
    cohort = await live.cohort("lead.score > 50")
    await live.put(bob={"lead": {"score": 90.0}})
    await live.settles()  # the watcher follows; beginning it drops what is being filled
    insert = evaluation._insert

    async def late(rows: Any) -> None:
        await live.put(ann={"lead": {"score": 60.0}})
        await until(lambda: live_changes(cohort, "ann"))
        await insert(rows)

    monkeypatch.setattr(evaluation, "_insert", late)
    await edit(cohort, "lead.score < 20")
    run = await run_of(cohort)
    entered, left = await Change.find({"cohort": cohort.id, "pii_id": "ann"}).sort("at").to_list()
    assert [(entered.change, entered.run), (left.change, left.run)] == [("entered", None), ("left", run.id)]
    assert entered.at < left.at


async def test_what_the_watcher_sees_gone_was_put_in_before_it_went(
    live: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it after the watcher heard of the profile, and renewed its lease, and before it looks."""
    static = await service.create("ada", CohortIn(name="Static", kind="static"))
    await live.cohort("lead.score > 50")
    look = watcher.open_snapshot
    happened = False

    @asynccontextmanager
    async def late() -> AsyncIterator[Snapshot]:
        nonlocal happened
        if not happened and await Profile.find_one({"pii_id": "ann"}):
            happened = True
            await by_hand.add("ada", static.id, ["ann"])
            await live.erase("ann")
        async with look() as snapshot:
            yield snapshot

    monkeypatch.setattr(watcher, "open_snapshot", late)
    await live.put(ann={"lead": {"score": 60.0}})
    await until(lambda: nameless(static, 2))
    found = await Change.find({"cohort": static.id}).sort("at").to_list()
    assert [one.change for one in found] == ["entered", "left"]
    assert found[0].at < found[1].at


def die_after(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    """End the process that writes a difference once it has written so many entries, in transactions of two."""
    write: Callable[..., Any] = changes._write
    written = 0

    async def write_or_die(run: Run, some: Any, upto: str) -> bool:
        nonlocal written
        if written >= entries:
            raise Killed
        written += len(some)
        stands: bool = await write(run, some, upto)
        if written >= entries:
            raise Killed  # before anything else is done
        return stands

    monkeypatch.setattr(changes, "_write", write_or_die)
    monkeypatch.setattr(changes, "ENTRIES_PER_TRANSACTION", 2)


async def edited_until_it_dies(cohort: Cohort, rule: str) -> str:
    """The job of an edit whose process ends after the switch, put back as a dead process leaves it."""
    stored = await service.rule_for(await service.project_of("ada", cohort.project_id), rule)
    assert stored is not None
    job = await service.create_job(
        "RUN", "evaluate", cohort.project_id, "ada", {"cohort_id": cohort.id, "cause": "rule"}
    )
    await Cohort.get_motor_collection().update_one(
        {"_id": cohort.id}, {"$set": {"rule": stored.model_dump(), "run": job.id, "state": "evaluating"}}
    )
    with pytest.raises(Killed):
        await evaluation.evaluate(cohort.id, job.id, cause="rule", progress=no_progress)
    return job.id


async def no_progress(done: int, total: int | None) -> None: ...


async def live_changes(cohort: Cohort, pii_id: str) -> int:
    return await Change.find({"cohort": cohort.id, "pii_id": pii_id, "run": None}).count()


async def nameless(cohort: Cohort, count: int) -> bool:
    return [one[0] for one in await entries_of(cohort)] == [None] * count
