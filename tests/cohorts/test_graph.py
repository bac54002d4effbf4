"""Cohorts that name cohorts: they follow their parts, and nothing can make one a part of itself."""

import asyncio
import random

import pytest

from muster.cohorts import by_hand, graph, service
from muster.cohorts.documents import Cause, Cohort
from muster.cohorts.explanations import explanation
from muster.cohorts.jobs import run_job
from muster.cohorts.previews import preview
from muster.cohorts.schemas import CohortIn, CohortPatch, PreviewIn
from muster.cohorts.sources import Source
from muster.errors import Conflict, Invalid, MusterError
from muster.jobs.documents import UNFINISHED, Job
from muster.jobs.working import Busy, Cancelled, Done
from muster.projects.service import patch_project
from muster.records import rolls
from tests.cohorts.conftest import Workspace, watching
from tests.waiting import until


async def work() -> None:
    """Do what workers would: every evaluation that waits, each once it is free."""
    while waiting := await Job.find({"kind": graph.KIND, "state": {"$in": list(UNFINISHED)}}).to_list():
        for job in waiting:
            try:
                await run_job(job.id)
            except (Busy, Done, Cancelled):  # at work elsewhere, done, superseded by a later save
                await asyncio.sleep(0)


async def static(live: Workspace, *pii_ids: str, name: str = "By hand") -> Cohort:
    """A static cohort with these members."""
    return await service.create(live.project.owner, CohortIn(name=name, kind="static", members=list(pii_ids)))


async def test_a_record_change_moves_through_every_level(live: Workspace) -> None:
    await live.put(ann={"lead": {"score": 80.0}, "contact": {"country": "US"}}, bob={"lead": {"score": 10.0}})
    hot = await live.cohort("lead.score > 50")
    middle = await live.cohort(f"$in_cohort('{hot.id}') or contact.country == 'FR'")
    outer = await live.cohort(f"$in_cohort('{hot.id}') and $in_cohort('{middle.id}') and not (contact.country == 'SE')")
    assert await live.members(outer) == {"ann"}
    await live.put(bob={"lead": {"score": 99.0}}, ann={"lead": {"score": 1.0}, "contact": {"country": "FR"}})
    await until(lambda: _are(live, {hot.id: {"bob"}, middle.id: {"ann", "bob"}, outer.id: {"bob"}}))
    assert await live.differences() == []


async def test_an_edit_of_an_inner_rule_gives_every_dependent_a_new_generation(live: Workspace) -> None:
    await live.put(**{f"p{n}": {"lead": {"score": float(n)}} for n in range(20)})
    inner = await live.cohort("lead.score > 5")
    left = await live.cohort(f"$in_cohort('{inner.id}') and lead.score < 15")
    right = await live.cohort(f"$in_cohort('{inner.id}') and lead.score != 8")
    top = await live.cohort(f"$in_cohort('{left.id}') and $in_cohort('{right.id}')")
    before = {cohort.id: await _number(cohort) for cohort in (left, right, top)}
    await service.patch("ada", inner.id, CohortPatch(rule="lead.score > 10"), expected_revs=None)
    await work()
    await until(lambda: _are(live, {top.id: {"p11", "p12", "p13", "p14"}}))
    assert await live.differences() == []
    for cohort in (left, right, top):
        assert await _number(cohort) > before[cohort.id]
        found = await Cohort.get(cohort.id)
        assert found is not None
        assert (found.rev, found.state) == (cohort.rev, "ready"), "a dependent's own definition did not change"


async def test_static_members_are_followed_as_they_come_and_go(live: Workspace) -> None:
    await live.put(**{name: {"lead": {"score": 60.0}} for name in ("ann", "bob", "eve")})
    chosen = await static(live, "ann")
    outer = await live.cohort(f"$in_cohort('{chosen.id}') and lead.score > 50")
    others = await live.cohort(f"not $in_cohort('{chosen.id}') and lead.score > 50")
    assert (await live.members(outer), await live.members(others)) == ({"ann"}, {"bob", "eve"})
    await by_hand.add("ada", chosen.id, ["bob"])
    await until(lambda: _are(live, {outer.id: {"ann", "bob"}, others.id: {"eve"}}))
    await by_hand.remove("ada", chosen.id, ["ann"])
    await live.put(bob={"lead": {"score": 1.0}})
    await until(lambda: _are(live, {outer.id: set(), others.id: {"ann", "eve"}}))
    assert await live.differences() == []
    found = await preview("ada", PreviewIn(rule=f"$in_cohort('{chosen.id}')"))
    assert (found.count, found.exact, [each["pii_id"] for each in found.sample]) == (1, True, ["bob"])
    told = await explanation("ada", others.id, "bob")
    assert (told.member, told.matches) == (False, False)
    assert [child["result"] for child in told.conditions["children"]] == [False, False]


async def test_what_follows_a_cohort_follows_it_through_its_conversions(live: Workspace) -> None:
    await live.put(ann={"lead": {"score": 60.0}}, bob={"lead": {"score": 10.0}})
    inner = await live.cohort("lead.score > 50")
    outer = await live.cohort(f"$in_cohort('{inner.id}')")
    await service.patch("ada", inner.id, CohortPatch(kind="static"), expected_revs=None)
    await work()
    await live.put(ann={"lead": {"score": 1.0}}, bob={"lead": {"score": 99.0}})
    await by_hand.add("ada", inner.id, ["bob"])
    await until(lambda: _are(live, {inner.id: {"ann", "bob"}, outer.id: {"ann", "bob"}}))
    await service.patch("ada", inner.id, CohortPatch(kind="dynamic"), expected_revs=None)
    await work()
    await until(lambda: _are(live, {inner.id: {"bob"}, outer.id: {"bob"}}))


async def test_a_static_cohort_that_is_filled_late_moves_what_names_it(live: Workspace) -> None:
    """Its members come with a run, not with a change of records."""
    await live.put(ann={"lead": {"score": 60.0}}, bob={"lead": {"score": 10.0}})
    late = await static(live)
    await Cohort.get_motor_collection().update_one({"_id": late.id}, {"$set": {"state": "evaluating"}})
    outer = await live.cohort(f"$in_cohort('{late.id}')")
    source = Source(Cause.MANUAL, roll=await rolls.keep("PRJ-1", ["ann"]))
    arguments = {"cohort_id": late.id, "cause": "manual", "source": source.as_arguments()}
    job = await graph.create_job(graph.PREFIX, graph.KIND, "PRJ-1", "ada", arguments)
    await Cohort.get_motor_collection().update_one({"_id": late.id}, {"$set": {"run": job.id}})
    await work()
    await until(lambda: _are(live, {outer.id: {"ann"}}))


async def test_a_cycle_is_refused_and_says_its_way(workspace: Workspace) -> None:
    first = await workspace.cohort("lead.score > 50")
    second = await workspace.cohort(f"$in_cohort('{first.id}')")
    third = await workspace.cohort(f"not $in_cohort('{second.id}')")
    with pytest.raises(Invalid, match=f"{first.id} → {third.id} → {second.id} → {first.id}") as caught:
        await service.patch("ada", first.id, CohortPatch(rule=f"$in_cohort('{third.id}')"), expected_revs=None)
    assert caught.value.problems[0].pointer == "/rule"
    with pytest.raises(Invalid, match="part of itself"):
        await service.patch("ada", first.id, CohortPatch(rule=f"$in_cohort('{first.id}')"), expected_revs=None)
    found = await Cohort.get(first.id)
    assert found is not None
    assert (found.rev, found.state) == (first.rev, "ready")


async def test_a_static_cohort_breaks_a_cycle_until_it_would_follow_its_rule(workspace: Workspace) -> None:
    first = await workspace.cohort("lead.score > 50")
    second = await workspace.cohort(f"$in_cohort('{first.id}')")
    await service.patch("ada", first.id, CohortPatch(kind="static"), expected_revs=None)
    change = CohortPatch(rule=f"$in_cohort('{second.id}')")
    await service.patch("ada", first.id, change, expected_revs=None)
    with pytest.raises(Invalid, match="part of itself"):
        await service.patch("ada", first.id, CohortPatch(kind="dynamic"), expected_revs=None)


async def test_racing_saves_close_no_cycle(workspace: Workspace) -> None:
    """Each edge alone is fine, all of them are a ring: at least one save must lose, whatever the order."""
    for seed in range(4):
        choices = random.Random(seed)
        ring = [await workspace.cohort("lead.score > 50") for _ in range(4)]
        pairs = list(zip(ring, [*ring[1:], ring[0]], strict=True))
        choices.shuffle(pairs)
        results = await asyncio.gather(
            *(
                service.patch("ada", one.id, CohortPatch(rule=f"$in_cohort('{other.id}')"), expected_revs=None)
                for one, other in pairs
            ),
            return_exceptions=True,
        )
        refused = [result for result in results if isinstance(result, BaseException)]
        assert all(isinstance(result, Invalid) for result in refused), refused
        assert len(refused) >= 1
        await work()
        stored = {cohort.id: await Cohort.get(cohort.id) for cohort in ring}
        edges = {number: cohort.rule.cohorts for number, cohort in stored.items() if cohort and cohort.rule}
        assert sum(len(named) for named in edges.values()) == len(ring) - len(refused)


async def test_a_cohort_that_is_named_is_not_deleted_also_when_the_two_race(workspace: Workspace) -> None:
    inner = await workspace.cohort("lead.score > 50")
    outer = await workspace.cohort(f"$in_cohort('{inner.id}')", name="Outer")
    with pytest.raises(Conflict, match=rf"{outer.id} \(Outer\) names {inner.id}"):
        await service.delete("ada", inner.id, expected_revs=None)
    await service.delete("ada", outer.id, expected_revs=None)
    await service.delete("ada", inner.id, expected_revs=None)
    for _ in range(4):
        inner = await workspace.cohort("lead.score > 50")
        made, gone = await asyncio.gather(
            workspace.cohort(f"$in_cohort('{inner.id}')"),
            service.delete("ada", inner.id, expected_revs=None),
            return_exceptions=True,
        )
        assert isinstance(made, MusterError) != isinstance(gone, Conflict), (made, gone)


async def test_only_cohorts_of_the_same_project_can_be_named(workspace: Workspace) -> None:
    with pytest.raises(Invalid) as caught:
        await workspace.cohort("lead.score > 5 and $in_cohort('COH-404')")
    problem = caught.value.problems[0]
    assert problem.span is not None
    assert (problem.span["start"], problem.span["end"]) == (19, 40)
    elsewhere = await workspace.cohort("lead.score > 50")
    await Cohort.get_motor_collection().update_one({"_id": elsewhere.id}, {"$set": {"project_id": "PRJ-2"}})
    with pytest.raises(Invalid, match="There is no cohort"):
        await workspace.cohort(f"$in_cohort('{elsewhere.id}')")


async def test_a_project_that_moves_counts_its_days_anew(live: Workspace) -> None:
    """`$today` is the project's: rules and what follows them get new generations."""
    inner = await live.cohort("lead.created_at >= $today")
    outer = await live.cohort(f"not $in_cohort('{inner.id}')")
    still = await live.cohort("lead.score > 5")
    numbers = {cohort.id: await _number(cohort) for cohort in (inner, outer, still)}
    await patch_project("ada", live.project.id, {"time_zone": "Pacific/Kiritimati"})
    await service.follow_time_zone(await service.project_of("ada", live.project.id))
    await work()
    found = await Cohort.get(inner.id)
    assert found is not None
    assert found.active is not None
    assert found.active.rule is not None
    assert found.active.rule.time_zone == "Pacific/Kiritimati"
    assert await _number(inner) > numbers[inner.id]
    assert await _number(outer) > numbers[outer.id]
    assert await _number(still) == numbers[still.id]


async def test_edits_of_a_diamond_beside_changes_of_records(workspace: Workspace) -> None:
    """Inner rules, static members and records change all at once; what is left is what a recount says."""
    choices = random.Random(11)
    await workspace.put(**{f"p{n}": {"lead": {"score": float(n)}} for n in range(60)})
    base = await workspace.cohort("lead.score > 20")
    chosen = await static(workspace, *(f"p{n}" for n in range(0, 60, 3)))
    left = await workspace.cohort(f"$in_cohort('{base.id}') and lead.score < 50")
    right = await workspace.cohort(f"$in_cohort('{base.id}') or $in_cohort('{chosen.id}')")
    await workspace.cohort(f"$in_cohort('{left.id}') and not $in_cohort('{right.id}')")
    await workspace.cohort(f"$in_cohort('{right.id}') and lead.score * 2 > 30")

    async def records() -> None:
        for _ in range(30):
            await workspace.put(
                **{f"p{choices.randrange(60)}": {"lead": {"score": float(choices.randrange(60))}} for _ in range(5)}
            )

    async def edits() -> None:
        for step in range(6):
            change = CohortPatch(rule=f"lead.score > {choices.randrange(60)}")
            await service.patch("ada", choices.choice([base.id, base.id, left.id]), change, expected_revs=None)
            someone = [f"p{choices.randrange(60)}" for _ in range(5)]
            await (by_hand.add if step % 2 else by_hand.remove)("ada", chosen.id, someone)
            await work()

    async with watching():
        await asyncio.gather(records(), edits())
        await work()
        await workspace.settles()


async def _number(cohort: Cohort) -> int:
    found = await Cohort.get(cohort.id)
    assert found is not None
    return found.active.number if found.active else 0


async def _are(live: Workspace, expected: dict[str, set[str]]) -> bool:
    return all([await live.members(cohort) == wanted for cohort, wanted in expected.items()])
