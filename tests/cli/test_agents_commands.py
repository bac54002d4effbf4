"""`muster agents`, `muster assign` and the way back, as a person calls them."""

import asyncio
import json
from collections.abc import Awaitable, Callable

from click.testing import Result

from muster.agents import assigning
from muster.cohorts.schemas import CohortIn
from muster.cohorts.service import create
from muster.jobs.documents import Job
from muster.projects.service import project_of
from muster.records.service import upsert_parts
from tests.waiting import until

Muster = Callable[..., Awaitable[Result]]


async def cohort_of(leads: int) -> str:
    project = await project_of("ada", None)
    ids = [f"L{number:04}" for number in range(leads)]
    await upsert_parts(project.id, [(pii_id, {"lead": {}}) for pii_id in ids])
    await upsert_parts(project.id, [("nobody", {"contact": {}})])
    return (await create("ada", CohortIn(name="some", kind="static", members=[*ids, "nobody"]))).id


async def test_agents_and_assignments(muster: Muster) -> None:
    first = json.loads((await muster("agents", "create", "Ada Novak", "--capacity", "30", "--json")).stdout)
    assert (first["id"], first["daily_capacity"]) == ("A0-1001", 30)
    named = await muster("agents", "create", "Ben Osei", "--capacity", "10", "--id", "ben", "--email", "ben@x.org")
    assert "ben@x.org" in named.stdout
    assert (await muster("agents", "create", "Ben", "--capacity", "1", "--id", "ben")).exit_code == 1
    table = (await muster("agents", "list")).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["Agent", "A0-1001", "ben"]
    changed = json.loads((await muster("agents", "set", "ben", "--capacity", "20", "--inactive", "--json")).stdout)
    assert (changed["daily_capacity"], changed["active"]) == (20, False)
    assert (await muster("agents", "set", "ben")).exit_code == 2
    cohort = await cohort_of(5)
    refused = await muster("assign", cohort, "--agents", "A0-1001,ben")
    assert (refused.exit_code, refused.stderr.splitlines()[0]) == (1, "Error: ben is not active.")
    await muster("agents", "set", "ben", "--active")
    weighted = ("assign", cohort, "--agents", "A0-1001, ben", "--strategy", "capacity_weighted")
    would = json.loads((await muster(*weighted, "--dry-run", "--json")).stdout)
    assert would["per_agent"] == {"A0-1001": 3, "ben": 2}
    done = await muster(*weighted)
    assert done.exit_code == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[1:3]] == [["A0-1001", "3"], ["ben", "2"]]
    assert done.stderr == "nobody: This profile has no lead.\n"
    assert len((await muster("agents", "tasks", "ben")).stdout.splitlines()) == 3
    again = json.loads((await muster(*weighted, "--keep", "--continue", "--respect-capacity", "--json")).stdout)
    assert (again["left_alone"], again["assigned_count"]) == (5, 0)
    first_job = await Job.find_one({"kind": "assign"}, sort=[("created_at", 1)])
    assert first_job is not None
    undone = await muster("jobs", "undo", first_job.id)
    assert undone.stdout.split()[2:] == ["undone", "5", "left", "0"]
    assert (await muster("agents", "delete", "ben")).exit_code == 0
    assert json.loads((await muster("agents", "show", "A0-1001", "--json")).stdout)["capacity_used_today"] == 0


async def test_an_assignment_in_the_background_is_waited_for(muster: Muster) -> None:
    await muster("agents", "create", "Ada", "--capacity", "1")
    cohort = await cohort_of(150)

    async def work() -> None:
        async def there() -> Job | None:
            return await Job.find_one({"kind": "assign"})

        job = await until(there)
        assert job is not None
        await assigning.run_job(job.id)

    done, _ = await asyncio.gather(muster("assign", cohort, "--agents", "A0-1001", "--json"), work())
    answer = json.loads(done.stdout)
    assert (answer["assigned_count"], answer["per_agent"]) == (150, {"A0-1001": 150})
    assert answer["failures"] == [{"pii_id": "nobody", "detail": "This profile has no lead."}]
    project = await project_of("ada", None)
    await upsert_parts(project.id, [("nobody", {"lead": {}})])

    async def again() -> None:
        async def queued() -> bool:
            found = await Job.get(answer["job_id"])
            return found is not None and found.state == "queued"

        await until(queued)
        await assigning.run_job(answer["job_id"])

    retried, _ = await asyncio.gather(muster("jobs", "retry", answer["job_id"], "--json"), again())
    assert json.loads(retried.stdout)["result"]["assigned_count"] == 151
