"""Static cohorts from a list, an import, another cohort of now or of then, or a rule asked once."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import pytest

from muster.cohorts import by_hand, evaluation, generations, jobs, service, sources
from muster.cohorts.documents import Cohort, Membership
from muster.cohorts.progress import progress
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.cohorts.snapshot import open_snapshot
from muster.errors import Conflict, Invalid
from muster.jobs import service as jobs_service
from muster.jobs.documents import Job
from muster.jobs.service import Cancelled
from muster.records import rolls
from muster.records import service as records
from muster.records.documents import RollPiece
from tests.cohorts.conftest import Workspace
from tests.waiting import until

RULE = "lead.score > 50"


async def static(**body: Any) -> Cohort:
    return await service.create("ada", CohortIn.model_validate({"name": "S", "kind": "static"} | body))


async def people(workspace: Workspace, **scores: float) -> None:
    await workspace.put(**{name: {"lead": {"score": score}} for name, score in scores.items()})


async def causes(cohort: Cohort) -> set[str]:
    number = cohort.active.number if cohort.active else 0
    rows = Membership.get_motor_collection().find({"generation": f"{cohort.id}|{number}"})
    return {row["cause"] async for row in rows}


async def test_a_list_leaves_nothing_of_itself(workspace: Workspace) -> None:
    await people(workspace, ann=90.0, bob=10.0)
    cohort = await static(members=["ann", "bob", "ann"])
    assert (await workspace.members(cohort), cohort.member_count) == ({"ann", "bob"}, 2)
    assert await causes(cohort) == {"manual"}
    (job,) = await Job.find({"arguments.cohort_id": cohort.id}).to_list()
    assert "ann" not in json.dumps(job.arguments), "a job is looked at often, and names nobody"
    assert await RollPiece.count() == 0


async def test_another_cohort_s_members_as_they_are(live: Workspace) -> None:
    await people(live, ann=90.0, bob=10.0)
    dynamic = await live.cohort(RULE)
    copy = await static(from_cohort=dynamic.id)
    await people(live, ann=1.0, bob=99.0)
    await live.settles()
    assert (await live.members(copy), copy.member_count) == ({"ann"}, 1)
    assert copy.rule is not None
    assert copy.rule.text == RULE, "it keeps the rule that they came from"
    assert (await progress("ada", copy.id)).diverged == 1
    other_rule = await static(from_cohort=copy.id, rule="lead.score < 50")
    assert (await live.members(other_rule), (await progress("ada", other_rule.id)).diverged) == ({"ann"}, 0)


async def test_another_cohort_s_members_as_they_were(live: Workspace) -> None:
    await people(live, ann=90.0, bob=10.0, cid=90.0)
    dynamic = await live.cohort(RULE)
    async with open_snapshot() as snapshot:
        then = snapshot.now
    await people(live, ann=1.0, bob=99.0)
    await live.settles()
    await service.patch("ada", dynamic.id, CohortPatch(rule="lead.score > 95"), expected_revs=None)
    assert await live.members(dynamic) == {"bob"}
    assert await live.members(await static(from_cohort=dynamic.id, at=then.isoformat())) == {"ann", "cid"}
    assert await live.members(await static(from_cohort=dynamic.id, at="2001-01-01")) == set()
    assert await live.members(await static(from_cohort=dynamic.id, at="2999-01-01")) == {"bob"}


async def test_a_copy_never_keeps_somebody_erased(live: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    await people(live, ann=90.0, bob=90.0)
    dynamic = await live.cohort(RULE)
    insert = evaluation._insert

    async def insert_late(rows: list[dict[str, Any]]) -> None:
        await live.erase("ann")
        await insert(rows)

    monkeypatch.setattr(evaluation, "_insert", insert_late)
    copy = await static(from_cohort=dynamic.id)

    async def is_right() -> bool:
        found = await Cohort.get(copy.id)
        return found is not None and found.member_count == 1 and await live.members(copy) == {"bob"}

    await until(is_right)


async def test_an_import_s_profiles(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    await people(workspace, ann=90.0, bob=10.0, cid=1.0)

    async def batches() -> AsyncIterator[Sequence[str]]:
        yield ["ann", "bob"]
        yield ["bob", "gone since"]

    async def known(project_id: str, import_id: str) -> AsyncIterator[Sequence[str]] | None:
        return batches() if (project_id, import_id) == ("PRJ-1", "IMP-1") else None

    monkeypatch.setattr(sources, "IMPORTS", [known])
    monkeypatch.setattr(rolls, "PER_PIECE", 1)
    cohort = await static(import_id="IMP-1")
    assert (await workspace.members(cohort), cohort.member_count) == ({"ann", "bob"}, 2)
    assert await causes(cohort) == {"import"}
    assert cohort.evaluation is not None
    assert cohort.evaluation.matched == 2
    with pytest.raises(Invalid) as caught:
        await static(import_id="IMP-2")
    assert [problem.pointer for problem in caught.value.problems] == ["/import_id"]


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"members": [], "from_cohort": "COH-1"}, ["/members", "/from_cohort"]),
        ({"from_cohort": "COH-9"}, ["/from_cohort"]),
        ({"at": "2026-01-01"}, ["/at"]),
        ({"from_cohort": "COH-1", "at": "yesterday"}, ["/at"]),
        ({"kind": "dynamic", "rule": RULE, "from_cohort": "COH-1"}, ["/from_cohort"]),
        ({"kind": "dynamic", "rule": RULE, "import_id": "IMP-1"}, ["/import_id"]),
    ],
)
async def test_what_does_not_go_together_is_pointed_at(
    workspace: Workspace, body: dict[str, Any], pointers: list[str]
) -> None:
    await workspace.cohort(RULE)
    with pytest.raises(Invalid) as caught:
        await static(**body)
    assert [problem.pointer for problem in caught.value.problems] == pointers
    assert await Cohort.count() == 1


async def test_a_first_run_that_failed_can_be_tried_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace, ann=90.0)

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "_fill", fail)
        cohort = await static(members=["ann"])
    assert (cohort.state, cohort.run) == ("failed", None)
    with pytest.raises(Conflict, match="retry"):
        await by_hand.add("ada", cohort.id, ["ann"])
    (job,) = await Job.find({"arguments.cohort_id": cohort.id}).to_list()
    await jobs_service.retry("ada", job.id)
    await jobs.run_job(job.id)
    found = await Cohort.get(cohort.id)
    assert found is not None
    assert (found.state, found.error, await workspace.members(cohort)) == ("ready", None, {"ann"})
    await service.patch("ada", cohort.id, CohortPatch(rule=RULE, kind="dynamic"), expected_revs=None)
    with pytest.raises(generations.Superseded):
        await generations.begin(cohort.id, job.id)


async def test_a_roll_that_ran_out_is_missed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    await people(workspace, ann=90.0)
    keep = rolls.keep

    async def keep_shortly(project_id: str, pii_ids: Sequence[str]) -> rolls.Roll:
        roll = await keep(project_id, pii_ids)
        await rolls.drop(roll.id)
        return roll

    monkeypatch.setattr(rolls, "keep", keep_shortly)
    cohort = await static(members=["ann"])
    assert cohort.state == "failed"
    assert "send it again" in (cohort.error or "")


class Many:
    """A static cohort and a long list, in pieces of three."""

    def __init__(self, cohort: Cohort, names: list[str]) -> None:
        self.cohort, self.names = cohort, names

    async def job(self, change: Callable[..., Any], *more: str) -> Job:
        """A job that nobody works on yet."""
        job = await change("ada", self.cohort.id, [*self.names, *more])
        assert isinstance(job, Job)
        return job


@pytest.fixture
async def many(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Many:
    monkeypatch.setattr(by_hand, "MOST_AT_ONCE", 5)
    for module in (by_hand, rolls):
        monkeypatch.setattr(module, "PER_PIECE", 3)
    names = [f"P{number}" for number in range(10)]
    await people(workspace, **dict.fromkeys(names, 1.0))
    return Many(await static(), names)


async def found_of(cohort: Cohort) -> tuple[set[str], int]:
    found = await Cohort.get(cohort.id)
    assert found is not None
    number = found.active.number if found.active else 0
    return {row.id async for row in Membership.find({"generation": f"{cohort.id}|{number}"})}, found.member_count


async def test_a_long_list_is_a_job(workspace: Workspace, many: Many) -> None:
    await by_hand.add("ada", many.cohort.id, ["P3"])
    job = await many.job(by_hand.add, "nobody", "P1")
    assert (job.kind, job.state) == ("members", "queued")
    assert await workspace.members(many.cohort) == {"P3"}
    await by_hand.run_job(job.id)
    done = await Job.get(job.id)
    assert done is not None
    assert done.result == {"cohort_id": many.cohort.id, "added": 9, "already": 1, "failed_count": 1}
    assert done.failures == [{"pii_id": "nobody", "detail": "There is no such profile."}]
    assert (done.progress.done, done.progress.total) == (11, 11)
    rows, count = await found_of(many.cohort)
    assert (len(rows), count, await workspace.members(many.cohort)) == (10, 10, set(many.names))
    gone = await many.job(by_hand.remove)
    await by_hand.run_job(gone.id)
    assert await found_of(many.cohort) == (set(), 0)
    assert await RollPiece.count() == 0


async def test_an_attempt_goes_on_where_a_dead_one_ended(
    workspace: Workspace, many: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await many.job(by_hand.add)
    piece, read = rolls.piece, list[int]()

    async def die_at_the_third(roll: rolls.Roll, number: int, session: Any) -> list[str]:
        read.append(number)
        if len(read) == 3:
            raise OSError("Killed.")
        return await piece(roll, number, session)

    monkeypatch.setattr(rolls, "piece", die_at_the_third)
    with pytest.raises(OSError, match="Killed"):
        await by_hand.run_job(job.id)
    assert (await found_of(many.cohort))[1] == 6
    await by_hand.run_job(job.id)
    assert read == [0, 1, 2, 2, 3]
    assert await workspace.members(many.cohort) == set(many.names)
    assert (await found_of(many.cohort))[1] == 10
    done = await Job.get(job.id)
    assert done is not None
    assert done.result is not None
    assert (done.result["added"], done.result["already"]) == (10, 0), "everybody is counted once"


async def test_a_cancelled_job_keeps_what_is_done(
    workspace: Workspace, many: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await many.job(by_hand.add)
    piece = rolls.piece

    async def cancel_amid(roll: rolls.Roll, number: int, session: Any) -> list[str]:
        if number == 1:
            await jobs_service.cancel("ada", job.id)
        return await piece(roll, number, session)

    monkeypatch.setattr(rolls, "piece", cancel_amid)
    with pytest.raises(Cancelled):
        await by_hand.run_job(job.id)
    rows, count = await found_of(many.cohort)
    assert (len(rows), count) == (6, 6)
    assert await workspace.members(many.cohort) == set(many.names[:6])


async def test_a_job_ends_when_its_cohort_is_static_no_more(many: Many) -> None:
    job = await many.job(by_hand.add)
    await service.patch("ada", many.cohort.id, CohortPatch(kind="dynamic", rule=RULE), expected_revs=None)
    with pytest.raises(Conflict, match="dynamic"):
        await by_hand.run_job(job.id)
    failed = await Job.get(job.id)
    assert failed is not None
    assert failed.state == "failed"


async def test_an_erasure_takes_a_profile_off_the_roll(
    workspace: Workspace, many: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ERASURES", [rolls.forget, jobs_service.forget])
    job = await many.job(by_hand.add)
    assert (await records.erase("PRJ-1", "P4"))["rolls"] == 1
    piece = rolls.piece

    async def erase_amid(roll: rolls.Roll, number: int, session: Any) -> list[str]:
        """P7 goes after its piece was read, in another transaction: then ours has to begin again."""
        read = await piece(roll, number, session)
        if "P7" in read:
            await records.erase("PRJ-1", "P7")
        return read

    monkeypatch.setattr(rolls, "piece", erase_amid)
    await by_hand.run_job(job.id)
    done = await Job.get(job.id)
    assert done is not None
    assert (done.failures, done.result and done.result["added"]) == ([], 8)
    assert await workspace.members(many.cohort) == set(many.names) - {"P4", "P7"}


async def test_over_http(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "MOST_AT_ONCE", 2)
    lines = "\n".join(f'{{"pii_id": "P{number}", "lead": {{"score": {number}}}}}' for number in range(5))
    imported = await client.post(
        "/v1/profiles/import",
        params={"save_as_cohort": " From the fair "},
        content=lines + "\nnot JSON\n",
        headers={"content-type": "application/x-ndjson"},
    )
    report = imported.json()
    assert (imported.status_code, report["upserted"], report["failed_count"], report["job_id"]) == (200, 5, 1, None)
    cohort = (await client.get(f"/v1/cohorts/{report['cohort_id']}")).json()
    assert (cohort["name"], cohort["kind"], cohort["member_count"]) == ("From the fair", "static", 5)
    members = (await client.get(f"/v1/cohorts/{cohort['id']}/members")).json()["items"]
    assert {member["cause"] for member in members} == {"import"}
    nameless = await client.post("/v1/profiles/import", params={"save_as_cohort": "  "}, content=lines)
    assert nameless.status_code in {415, 422}

    copied = await client.post("/v1/cohorts", json={"name": "C", "kind": "static", "from_cohort": cohort["id"]})
    assert (copied.status_code, copied.json()["member_count"], copied.json()["rule"]) == (201, 5, None)
    address = f"/v1/cohorts/{copied.json()['id']}/members"
    few = await client.request("DELETE", address, json={"members": ["P0", "nobody"]})
    assert (few.status_code, few.json()) == (200, {"removed": 1, "not_members": ["nobody"]})
    for method, names in (("POST", ["P0", "P1", "P2"]), ("DELETE", ["P3", "P4", "P0"])):
        answer = await client.request(method, address, json={"members": names})
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job_id']}"
        await by_hand.run_job(answer.json()["job_id"])
    left = (await client.get(address)).json()["items"]
    assert {member["pii_id"] for member in left} == {"P1", "P2"}
