"""Full evaluations: what they find, what readers see meanwhile, and what a dead or superseded one leaves."""

import pytest

from muster.cohorts import evaluation, generations, service
from muster.cohorts.documents import Cohort, Membership, Run
from muster.cohorts.jobs import settle_ended_runs
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.errors import Conflict, Invalid
from muster.jobs.documents import Job
from muster.jobs.service import create_job
from muster.records.documents import Profile
from muster.records.indexes import ready_fields
from tests.cohorts.conftest import Workspace

US_AND_HOT = 'lead.score > 50 and contact.country == "US" and customer.lifetime_value > 5000'


async def people(workspace: Workspace) -> None:
    await workspace.put(
        hot={"lead": {"score": 90.0}, "contact": {"country": "US"}, "customer": {"lifetime_value": 9000.0}},
        cold={"lead": {"score": 10.0}, "contact": {"country": "US"}, "customer": {"lifetime_value": 9000.0}},
        french={"lead": {"score": 90.0}, "contact": {"country": "FR"}},
        no_lead={"contact": {"country": "US"}, "customer": {"lifetime_value": 9000.0}},
    )


async def test_a_new_cohort_holds_who_matches_when_the_answer_comes(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort(US_AND_HOT)
    assert (cohort.state, cohort.member_count, cohort.run) == ("ready", 1, None)
    assert await workspace.members(cohort) == {"hot"}
    assert cohort.evaluation is not None
    assert cohort.evaluation.matched == 1


async def test_scope_keeps_out_profiles_without_a_lead(workspace: Workspace) -> None:
    await people(workspace)
    assert await workspace.members(await workspace.cohort('contact.country == "US"')) == {"hot", "cold"}
    assert await workspace.members(await workspace.cohort('contact.country != "US"')) == {"french"}


async def test_a_rule_edit_switches_the_members_and_keeps_since_when(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")
    since = {row["profile"]: row["entered_at"] async for row in _rows(cohort)}
    edited = await service.patch("ada", cohort.id, CohortPatch(rule="lead.score > 5"), expected_revs=None)
    assert await workspace.members(edited) == {"hot", "cold", "french"}
    assert edited.member_count == 3
    assert edited.rev == cohort.rev + 1
    kept = {row["profile"]: row["entered_at"] async for row in _rows(edited) if row["profile"] in since}
    assert kept == since
    run = await Run.find_one({"cohort": cohort.id, "generation": 2})
    assert run is not None
    assert (run.added, run.removed) == (1, 0)


async def test_readers_see_the_old_members_until_the_new_ones_are_all_there(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")
    seen: list[tuple[set[str], int]] = []

    async def look(done: int, total: int | None) -> None:  # noqa: ARG001  the shape of a progress report
        found = await Cohort.get(cohort.id)
        assert found is not None
        seen.append((await workspace.members(cohort), found.member_count))

    job = await create_job("RUN", "evaluate", "PRJ-1", "ada", {"cohort_id": cohort.id, "cause": "rule"})
    rule = (await service.rule_for(workspace.project, "lead.score < 50")).model_dump()  # type: ignore[union-attr]
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$set": {"rule": rule, "run": job.id}})
    await evaluation.evaluate(cohort.id, job.id, cause="rule", progress=look)
    assert seen == [({"hot", "french"}, 2)]
    assert await workspace.members(cohort) == {"cold"}


async def test_a_run_that_is_no_longer_wanted_changes_nothing(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")

    async def no_progress(done: int, total: int | None) -> None: ...

    with pytest.raises(generations.Superseded):
        await evaluation.evaluate(cohort.id, "RUN-999", cause="rule", progress=no_progress)
    assert await workspace.members(cohort) == {"hot", "french"}


async def test_a_run_overtaken_while_it_fills_leaves_nothing_visible(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$set": {"run": "RUN-old"}})

    async def overtaken(done: int, total: int | None) -> None:  # noqa: ARG001  as above
        await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$set": {"run": "RUN-new"}})

    with pytest.raises(generations.Superseded):
        await evaluation.evaluate(cohort.id, "RUN-old", cause="rule", progress=overtaken)
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert found.active is not None
    assert found.active.number == 1


async def test_a_failed_run_keeps_the_members_and_shows_its_error(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$set": {"run": "RUN-7"}})
    await generations.begin(cohort.id, "RUN-7")
    await generations.give_up(cohort.id, "RUN-7", "Out of luck.")
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert (found.state, found.error, found.filling) == ("failed", "Out of luck.", None)
    assert await workspace.members(cohort) == {"hot", "french"}


async def test_purge_deletes_only_rows_that_no_cohort_names(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")
    await service.patch("ada", cohort.id, CohortPatch(rule="lead.score > 5"), expected_revs=None)
    gone = await workspace.cohort("lead.score > 0")
    await service.delete("ada", gone.id, expected_revs=None)
    assert await generations.purge() == 2 + 3
    assert await Membership.count() == 3
    assert await workspace.members(cohort) == {"hot", "cold", "french"}


async def test_evaluate_repairs_and_says_what_it_changed(workspace: Workspace) -> None:
    await people(workspace)
    cohort = await workspace.cohort("lead.score > 50")
    await workspace.put(french={"lead": {"score": 1.0}}, fresh={"lead": {"score": 99.0}})  # and no watcher runs
    job = await service.evaluate_now("ada", cohort.id)
    assert job.result == {"cohort_id": cohort.id, "added": 1, "removed": 1, "member_count": 2}
    assert await workspace.members(cohort) == {"hot", "fresh"}


async def test_a_static_cohort_takes_a_list_or_a_rule_once(workspace: Workspace) -> None:
    await people(workspace)
    by_hand = await service.create("ada", CohortIn(name="Two", kind="static", members=["hot", "french", "hot"]))
    assert await workspace.members(by_hand) == {"hot", "french"}
    assert by_hand.member_count == 2
    by_rule = await service.create("ada", CohortIn(name="Hot", kind="static", rule="lead.score > 50"))
    assert await workspace.members(by_rule) == {"hot", "french"}
    with pytest.raises(Conflict, match="static"):
        await service.evaluate_now("ada", by_rule.id)


async def test_unknown_members_are_named_with_their_place(workspace: Workspace) -> None:
    await people(workspace)
    with pytest.raises(Invalid) as caught:
        await service.create("ada", CohortIn(name="Two", kind="static", members=["hot", "nobody"]))
    assert [problem.pointer for problem in caught.value.problems] == ["/members/1"]
    assert await Cohort.count() == 0


async def test_a_job_without_its_process_is_settled_for_its_cohort(workspace: Workspace) -> None:
    cohort = await workspace.cohort("lead.score > 50")
    job = await create_job("RUN", "evaluate", "PRJ-1", "ada", {"cohort_id": cohort.id, "cause": "rule"})
    await Cohort.get_motor_collection().update_one({"_id": cohort.id}, {"$set": {"run": job.id, "state": "evaluating"}})
    assert await settle_ended_runs() == 0
    await Job.get_motor_collection().update_one({"_id": job.id}, {"$set": {"state": "quarantined", "error": "Dead."}})
    assert await settle_ended_runs() == 1
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert (found.state, found.error, found.run) == ("failed", "Dead.", None)


def _rows(cohort: Cohort):  # type: ignore[no-untyped-def]  # a Motor cursor
    number = cohort.active.number if cohort.active else 0
    return Membership.get_motor_collection().find({"generation": f"{cohort.id}|{number}"})


async def test_a_snapshot_that_is_gone_makes_a_run_begin_again(workspace: Workspace) -> None:
    """MongoDB keeps one for five minutes, and less when it has no room."""
    await workspace.put(ann={"lead": {"score": 80.0}}, bob={"lead": {"score": 8.0}})
    profiles = Profile.get_motor_collection()
    failure = {
        "failCommands": ["find"],
        "namespace": f"{profiles.database.name}.{profiles.name}",
        "errorCode": 239,
        "appName": "muster",
    }
    admin = profiles.database.client.admin
    await admin.command({"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": failure})
    try:
        cohort = await workspace.cohort("lead.score > 50")
    finally:
        await admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    assert await workspace.members(cohort) == {"ann"}
    assert cohort.last_generation == 2, "one was begun and left"


async def test_windows_of_time_get_an_index(workspace: Workspace) -> None:
    """Every tick asks for a range of them."""
    await workspace.cohort('$now - lead.created_at < t"P30D" and contact.birth_date > d"1990-01-01"')
    assert {"lead.created_at"} <= await ready_fields()
    assert "contact.birth_date" not in await ready_fields()
