"""The pages of jobs."""

import html
import re

import httpx

from muster.jobs.documents import Job
from muster.jobs.service import create_job
from muster.projects.service import project_of
from tests.console.conftest import form_token
from tests.console.test_cohort_pages import notice, send
from tests.console.worlds import HOSTILE


async def made(**values: object) -> str:
    """A job of ada's that nobody works on."""
    project = await project_of("ada", None)
    job = await create_job("RUN", "evaluate", project.id, "ada", {"cohort_id": "COH-1"})
    if values:
        await Job.get_motor_collection().update_one({"_id": job.id}, {"$set": values})
    return job.id


async def test_jobs_are_listed_by_how_they_are(ada: httpx.AsyncClient) -> None:
    assert "There are no such jobs" in (await ada.get("/jobs")).text
    waits = await made()
    runs = await made(state="running", progress={"done": 1_500, "total": 3_000})
    failed = await made(state="failed", error=HOSTILE)
    stopped = await made(state="quarantined", error="only killed its workers")
    done = await made(state="succeeded", result={"added": 12_345})
    for only, expected in (
        ("", [done, stopped, failed, runs, waits]),
        ("unfinished", [runs, waits]),
        ("finished", [done, stopped, failed]),
        ("failed", [stopped, failed]),
    ):
        page = (await ada.get("/jobs", params={"only": only})).text
        assert re.findall(r'<a href="/jobs/(RUN-\d+)"', page) == expected
        assert "<img src=x" not in page
    assert '<progress aria-label="' + runs + '" value="1500" max="3000">' in (await ada.get("/jobs")).text
    assert "1,500 of 3,000" in (await ada.get("/jobs")).text
    assert (await ada.get("/jobs?only=odd")).status_code == 422


async def test_a_job_is_cancelled_and_tried_again(ada: httpx.AsyncClient) -> None:
    job = await made()
    here = f"/jobs/{job}"
    token = form_token((await ada.get("/jobs")).text)
    answer = await ada.post(f"{here}/cancel", data={"form_token": token, "back": "/jobs?only=unfinished"})
    assert answer.headers["location"] == "/jobs?only=unfinished"
    assert await notice(ada, answer) == f"{job} is cancelled."
    assert await notice(ada, await send(ada, here, f"{here}/retry")) == f"{job} goes on from where it was."
    stored = await Job.get(job)
    assert stored is not None
    assert stored.state == "queued"
    assert "can be tried again" in await notice(ada, await send(ada, here, f"{here}/retry"))


async def test_a_job_shows_its_failures_and_its_result(ada: httpx.AsyncClient) -> None:
    failures = [{"pii_id": HOSTILE, "detail": HOSTILE}, {"line": 7, "detail": "no"}, {"other": "<b>"}]
    result = {"added": 12345, "cohort_id": HOSTILE, "nested": {"<b>": [1]}, "none": None}
    job = await made(state="failed", error=HOSTILE, failures=failures, result=result)
    page = (await ada.get(f"/jobs/{job}")).text
    assert page.count(html.escape(HOSTILE).replace("&quot;", "&#34;")) == 4
    assert "3 failures" in page
    assert "12,345" in page
    assert "<b>" not in page
    assert 'href="/cohorts/COH-1"' in page
