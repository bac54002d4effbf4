"""The pages of jobs."""

import html
import re

import httpx

from muster.jobs.documents import Job
from muster.jobs.doorbell import ACTOR_OF_KIND
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


RESULTS: dict[str, dict[str, object]] = {
    "evaluate": {"cohort_id": "COH-1", "added": 1, "removed": 2, "member_count": 3},
    "index": {"created": ["lead.score"], "existed": [], "left_out": [{"field": "lead.stage", "detail": "Choose."}]},
    "members": {"cohort_id": "COH-1", "added": 1, "already": 2, "removed": 3, "failed_count": 4},
    "experiment": {"experiment_id": "EXP-1", "run_id": "run_1", "persona_count": 5, "result_count": 5},
    "assign_experiments": {"cohort_id": "COH-1", "assigned": 1, "failed_count": 2},
    "import": {"imported": 1, "updated": 2, "files": 3, "commit": "abc"},
    "assign": {"cohort_id": "COH-1", "strategy": "round_robin", "fairness": {"agents": []}},
    "undo_assign": {"undoes": "CAJ-1", "undone_count": 3, "failed_count": 0},
    "erase_files": {"files": 1, "kept_copies": 2, "commit": "abc"},
}


async def test_a_job_of_every_kind_is_told_in_words(ada: httpx.AsyncClient) -> None:
    """None shows the name that a program has for it, and a result with a page of its own is shown there."""
    assert set(RESULTS) == set(ACTOR_OF_KIND)
    pages = {}
    for kind, result in RESULTS.items():
        arguments = {"cohort_id": "COH-1", "experiment_id": "EXP-1", "run_id": "run_1"}
        job = await made(kind=kind, state="succeeded", result=result, arguments=arguments)
        pages[kind] = (await ada.get(f"/jobs/{job}")).text, job
        words = re.sub(r"<[^>]*>", " ", pages[kind][0].partition("<main")[2])
        assert not re.search(r"\b(?:[a-z]+_[a-z_]+|existed|left out|kept copies|undoes|index|import)\b", words), words
    for kind, address in (
        ("experiment", "/experiments/EXP-1/runs/run_1"),
        ("import", "/attio/imports/{job}"),
        ("assign", "/assignments/{job}"),
        ("undo_assign", "/assignments/{job}"),
    ):
        page, job = pages[kind]
        assert f'<a href="{address.format(job=job)}">' in page
    assert '<code dir="ltr">lead.stage</code>: <bdi>Choose.</bdi>' in pages["index"][0]


async def test_a_job_shows_its_failures_and_its_result(ada: httpx.AsyncClient) -> None:
    failures = [{"pii_id": HOSTILE, "detail": HOSTILE}, {"line": 7, "detail": "no"}, {"other": "<b>"}]
    result = {"added": 12345, "said": HOSTILE, "nested": {"<b>": [1]}, "none": None}
    job = await made(state="failed", error=HOSTILE, failures=failures, result=result)
    page = (await ada.get(f"/jobs/{job}")).text
    assert page.count(html.escape(HOSTILE).replace("&quot;", "&#34;")) == 4
    assert "3 failures" in page
    assert "12,345" in page
    assert "<b>" not in page
    assert 'href="/cohorts/COH-1"' in page
