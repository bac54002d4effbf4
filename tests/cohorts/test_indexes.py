"""Which indexes rules would gain by, building them as a job, and dropping what no rule speaks of."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from muster.cohorts import index_jobs, jobs, service
from muster.cohorts.index_advice import Advice, advise
from muster.cohorts.schemas import CohortIn
from muster.jobs.documents import Job
from muster.jobs.service import Cancelled, cancel, create_job
from muster.projects.documents import Project
from muster.records import indexes
from muster.records.indexes import ensure_field_index, field_indexes, ready_fields
from muster.resources import Resources
from tests.cohorts.conftest import Workspace, drop_field_indexes
from tests.waiting import until

NOW = datetime.now(UTC)
PEOPLE = 300


@pytest.fixture
async def people(workspace: Workspace) -> AsyncIterator[Workspace]:
    """Three hundred people; no index on a field before, nor afterwards."""
    await drop_field_indexes()
    await workspace.put(
        **{
            f"P{number}": {
                "lead": {"score": float(number), "status": f"s{number}", "last_activity_at": NOW - timedelta(number)},
                "contact": {"country": "US" if number % 2 else "IS", "city": f"c{number // 5}"},
                "customer": {"lifetime_value": float(number), "tags": [f"t{number // 10}", "all"]},
            }
            for number in range(PEOPLE)
        }
    )
    yield workspace
    await drop_field_indexes()


async def advice_by_field(workspace: Workspace) -> dict[str, Advice]:
    return {advice.field: advice for advice in await advise([workspace.project])}


async def test_what_is_suggested_and_why(people: Workspace) -> None:
    quiet = await people.cohort("lead.last_activity_at < $now - t'P30D'")
    rich = await people.cohort('customer.lifetime_value > 290 and contact.country == "US" and lead.score > 4')
    await people.cohort('contact.city == "c7" and customer.lifetime_value > 295')
    await people.cohort('"t3" in customer.tags or lead.status.starts_with("s29")')
    await people.cohort("lead.score > 100")
    await people.cohort("lead.name != null")
    advice = await advise([people.project])
    assert [(each.field, each.state, each.uses) for each in advice] == [
        ("customer.lifetime_value", "suggested", ["range"]),
        ("customer.tags", "suggested", ["member"]),
        ("lead.status", "suggested", ["prefix"]),
        ("lead.last_activity_at", "ready", ["window"]),  # built by the cohort's first evaluation
        ("lead.score", "not worth it", ["range"]),
        ("contact.city", "not worth it", ["equality"]),
        ("contact.country", "not worth it", ["equality"]),
    ]
    by_field = {each.field: each for each in advice}
    assert by_field["lead.last_activity_at"].cohorts == [quiet.id]
    assert "with now" in by_field["lead.last_activity_at"].reason
    await drop_field_indexes()
    first, *_ = await advise([people.project])
    assert (first.field, first.state) == ("lead.last_activity_at", "suggested"), "windows come first"
    assert by_field["customer.lifetime_value"].share == pytest.approx(4 / PEOPLE)
    assert "customer.lifetime_value > 295 (COH-" in by_field["customer.lifetime_value"].reason
    assert "with an index on lead.status beside it" in by_field["customer.tags"].reason
    assert "reading them all is quicker" in by_field["lead.score"].reason
    assert "another index does" in by_field["contact.city"].reason
    assert rich.id in by_field["contact.country"].cohorts
    assert f'contact.country == "US" ({rich.id}) leads to about 50%' in by_field["contact.country"].reason


async def test_a_rule_is_served_through_the_cohort_that_it_names(people: Workspace) -> None:
    inner = await people.cohort("customer.lifetime_value > 290")
    outer = await people.cohort(f'$in_cohort("{inner.id}") and lead.score > 100')
    found = (await advice_by_field(people))["customer.lifetime_value"]
    assert (found.state, found.cohorts) == ("suggested", [inner.id, outer.id])


async def test_building_is_a_job_and_building_again_finds_it_done(people: Workspace, client: httpx.AsyncClient) -> None:
    await people.cohort("customer.lifetime_value > 290")
    await people.cohort("lead.score > 100")
    made = await client.post("/v1/rules/indexes", json={})
    assert made.json() == {"created": ["customer.lifetime_value"], "existed": [], "left_out": [], "dropped": []}
    assert await ready_fields() == {"customer.lifetime_value"}
    (job,) = (await client.get("/v1/jobs", params={"kind": "index"})).json()["items"]
    assert (job["id"], job["state"]) == ("IDX-1", "succeeded")
    assert job["progress"]["done"] == job["progress"]["total"] == PEOPLE
    again = await client.post("/v1/rules/indexes", json={"fields": ["customer.lifetime_value", "lead.score"]})
    assert (again.json()["existed"], again.json()["created"]) == (["customer.lifetime_value"], ["lead.score"])
    listed = (await client.get("/v1/rules/indexes")).json()
    states = {item["field"]: item["state"] for item in listed["items"]}
    assert states == {"customer.lifetime_value": "ready", "lead.score": "ready"}
    assert all(item["size_bytes"] > 0 for item in listed["items"])
    refused = await client.post("/v1/rules/indexes", json={"fields": ["lead.score", "lead.name"]})
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/fields/1"]


async def test_only_what_nobody_s_rule_speaks_of_is_dropped(people: Workspace, client: httpx.AsyncClient) -> None:
    cohort = await people.cohort("customer.lifetime_value > 290")
    for field in ("customer.lifetime_value", "lead.score", "lead.status", "company.name"):
        await ensure_field_index(field)
    other = await service.create("bob", CohortIn(name="Bob's", kind="dynamic", rule="lead.status == 'new'"))
    only_looks = await people.cohort("company.name != 'x'")
    states = {item["field"]: item["state"] for item in (await client.get("/v1/rules/indexes")).json()["items"]}
    assert states["lead.score"] == "unused"
    body = {"create": False, "drop_unused": True}
    assert (await client.post("/v1/rules/indexes", json=body)).json()["dropped"] == ["lead.score"]
    assert await ready_fields() == {"customer.lifetime_value", "lead.status", "company.name"}
    for owner, each in (("ada", cohort), ("bob", other), ("ada", only_looks)):
        await service.delete(owner, each.id, expected_revs=None)
    dropped = (await client.post("/v1/rules/indexes", json=body)).json()["dropped"]
    assert dropped == ["company.name", "customer.lifetime_value", "lead.status"]
    assert await field_indexes() == {}


async def test_fields_of_other_projects_are_neither_shown_nor_dropped(
    people: Workspace, client: httpx.AsyncClient
) -> None:
    await people.register("lead.secret", "number")
    await ensure_field_index("lead.secret")
    await Project(id="PRJ-2", owner="ada", name="Another", created_at=NOW, updated_at=NOW).insert()
    body = {"project_id": "PRJ-2", "create": False, "drop_unused": True}
    assert (await client.get("/v1/rules/indexes", params={"project_id": "PRJ-2"})).json()["items"] == []
    assert (await client.post("/v1/rules/indexes", json=body)).json()["dropped"] == []
    everything = await client.post("/v1/rules/indexes", json={"all": True, "create": False, "drop_unused": True})
    assert everything.json()["dropped"] == ["lead.secret"]


async def test_there_are_never_too_many(people: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    await people.cohort("customer.lifetime_value > 290")
    await people.cohort('contact.city == "c7"')
    monkeypatch.setattr(indexes, "MOST", 1)
    job = await index_jobs.build(people.project, ["customer.lifetime_value", "contact.city"])
    assert job.result is not None
    assert job.result["created"] == ["customer.lifetime_value"]
    assert [each["field"] for each in job.result["left_out"]] == ["contact.city"]
    assert "drop the unused" in job.result["left_out"][0]["detail"]


async def test_a_long_build_answers_202_shows_progress_and_is_cancelled(
    people: Workspace, client: httpx.AsyncClient, clean: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people.cohort("customer.lifetime_value > 290")
    monkeypatch.setattr(jobs, "ANSWER_WITHIN", 0.2)
    monkeypatch.setattr(indexes, "REPORT_EVERY", 0.05)
    admin, fail_point = clean.mongodb.admin, "hangAfterStartingIndexBuild"
    await admin.command({"configureFailPoint": fail_point, "mode": "alwaysOn"})
    try:
        answer = await client.post("/v1/rules/indexes", json={})
        assert answer.status_code == 202
        job_id = answer.json()["job_id"]
        assert answer.headers["location"] == f"/v1/jobs/{job_id}"
        assert (await advice_by_field(people))["customer.lifetime_value"].state == "building"
        assert await ready_fields() == frozenset()
        shown = (await client.get(f"/v1/jobs/{job_id}")).json()
        assert (shown["state"], shown["progress"]["total"]) == ("running", PEOPLE)
        await cancel("ada", job_id)

        async def is_cancelled() -> bool:
            job = await Job.get(job_id)
            return job is not None and job.state == "cancelled"

        await until(is_cancelled)
        assert await field_indexes() == {}
    finally:
        await admin.command({"configureFailPoint": fail_point, "mode": "off"})


async def test_two_who_build_one_index_wait_for_the_same_build(people: Workspace) -> None:
    job = await create_job("IDX", "index", people.project.id, "ada", {"fields": ["lead.score"]})
    await asyncio.gather(ensure_field_index("lead.score"), ensure_field_index("lead.score"), index_jobs.run_job(job.id))
    assert await ready_fields() == {"lead.score"}
    assert not await ensure_field_index("lead.score")


@pytest.mark.usefixtures("people")
async def test_who_stops_waiting_leaves_the_build_to_go_on(clean: Resources) -> None:
    admin, fail_point = clean.mongodb.admin, "hangAfterStartingIndexBuild"
    await admin.command({"configureFailPoint": fail_point, "mode": "alwaysOn"})

    async def no_more(_: int) -> None:
        raise Cancelled("No more of it.")

    try:
        with pytest.raises(Cancelled):
            await ensure_field_index("lead.score", no_more)
    finally:
        await admin.command({"configureFailPoint": fail_point, "mode": "off"})
    await until(ready_fields)
