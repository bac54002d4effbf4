"""Imports over HTTP: what is begun, what is refused at once, what is listed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from beanie import init_beanie

from muster.app import create_app
from muster.attio.importing import run_job
from muster.jobs.documents import Job
from muster.resources import DOCUMENTS, Resources
from tests.attio.importing_world import Importing, importing
from tests.conftest import running


@pytest.fixture
async def world(
    clean: Resources, tmp_path: Path, token_for: Callable[[str], str]
) -> AsyncIterator[tuple[Importing, httpx.AsyncClient]]:
    """The application, connected with a sandbox; nobody works on its jobs but the test."""
    async with importing(clean, tmp_path) as opened:
        app = create_app(opened.settings)
        async with (
            running(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://muster.test",
                headers={"Authorization": f"Bearer {token_for('ada')}"},
            ) as client,
        ):
            yield opened, client
    await init_beanie(database=clean.database, document_models=list(DOCUMENTS), skip_indexes=True)


async def done(world: Importing, client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    """An import, as its job tells when it has ended."""
    begun = await client.post("/v1/attio/imports", json=body)
    assert begun.status_code == 202, begun.text
    assert begun.headers["location"] == f"/v1/jobs/{begun.json()['job_id']}"
    await run_job(begun.json()["job_id"], world.settings)
    shown: dict[str, Any] = (await client.get(begun.headers["location"])).json()
    return shown


async def test_begun_done_listed_shown(world: tuple[Importing, httpx.AsyncClient]) -> None:
    importing_, client = world
    job = await done(importing_, client, source="companies", save_as_cohort={"name": "All"})
    assert (job["id"].partition("-")[0], job["kind"], job["state"]) == ("IMP", "import", "succeeded")
    assert job["result"].keys() >= {"imported", "updated", "unchanged", "failed", "files", "commit", "cohort_id"}
    await done(importing_, client, source="list", list="beta-testers")

    listed = (await client.get("/v1/attio/imports", params={"limit": 20})).json()
    assert len(listed["items"]) == 20
    rest = (await client.get("/v1/attio/imports", params={"limit": 100, "cursor": listed["next_cursor"]})).json()
    ids = [one["attio_record_id"] for one in listed["items"] + rest["items"]]
    assert (len(ids), len(set(ids)), rest["next_cursor"]) == (45, 45, None)
    entries = (await client.get("/v1/attio/imports", params={"type": "list_entry", "list": "beta-testers"})).json()
    assert len(entries["items"]) == 15
    works = (await client.get("/v1/attio/imports", params={"q": "works", "type": "company"})).json()["items"]
    assert works
    assert all("works" in f"{one['name']} {one['attributes']['domains']}".lower() for one in works)
    assert (await client.get("/v1/attio/imports", params={"sync_status": "error"})).json()["items"] == []
    of_job = (await client.get("/v1/attio/imports", params={"job_id": job["id"]})).json()["items"]
    assert len(of_job) == 30

    one = (await client.get(f"/v1/attio/imports/{works[0]['attio_record_id']}")).json()
    assert one == works[0]
    assert one.keys() >= {
        *("attio_record_id", "attio_object_type", "name", "attio_web_url", "local_file_path", "attributes"),
        *("list_slug", "imported_at", "sync_status", "experiment_ids", "pii_id"),
    }
    profile = (await client.get(f"/v1/profiles/{one['pii_id']}")).json()
    assert profile["company"]["domains"] == one["attributes"]["domains"]
    assert profile["cohorts"] == [job["result"]["cohort_id"]]
    assert (await client.get("/v1/attio/imports/nobody")).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/source"]),
        ({"source": "deals"}, ["/source"]),
        ({"source": "list"}, ["/list"]),
        ({"source": "people", "list": "beta-testers"}, ["/list"]),
        ({"source": "people", "q": "ada", "record_ids": ["1"]}, ["/record_ids", "/q"]),
        ({"source": "people", "q": "ada", "filter": {"name": "x"}}, ["/q", "/filter"]),
        ({"source": "people", "record_ids": []}, ["/record_ids"]),
        ({"source": "people", "record_ids": ["../x"]}, ["/record_ids/0"]),
        ({"source": "people", "q": "  "}, ["/q"]),
        ({"source": "people", "filter": {}}, ["/filter"]),
        ({"source": "people", "filter": "name"}, ["/filter"]),
        ({"source": "people", "save_as_cohort": {"name": " "}}, ["/save_as_cohort/name"]),
        ({"refresh": True, "q": "ada"}, ["/q"]),
        ({"source": "people", "limit": 5}, ["/limit"]),
    ],
)
async def test_what_is_wrong_is_said_at_once(
    world: tuple[Importing, httpx.AsyncClient], body: dict[str, Any], pointers: list[str]
) -> None:
    _, client = world
    refused = await client.post("/v1/attio/imports", json=body)
    assert refused.status_code == 422, refused.text
    assert [error["pointer"] for error in refused.json()["errors"]] == pointers
    assert await Job.find({}).count() == 0


async def test_without_a_connection_it_says_how_to_connect(world: tuple[Importing, httpx.AsyncClient]) -> None:
    _, client = world
    project = (await client.post("/v1/projects", json={"name": "Another"})).json()["id"]
    refused = await client.post("/v1/attio/imports", json={"source": "people", "project_id": project})
    assert refused.status_code == 409
    assert "PUT /v1/attio/connection" in refused.json()["detail"]


async def test_a_cohort_of_an_import_that_is_under_way_waits_and_of_an_unknown_one_is_wrong(
    world: tuple[Importing, httpx.AsyncClient],
) -> None:
    importing_, client = world
    job = await importing_.begin(source="companies")
    body = {"name": "Soon", "kind": "static", "import_id": job.id}
    assert (await client.post("/v1/cohorts", json=body)).status_code == 409
    await run_job(job.id, importing_.settings)
    made = await client.post("/v1/cohorts", json=body)
    assert (made.status_code, made.json()["member_count"]) == (201, 30)
    unknown = await client.post("/v1/cohorts", json={**body, "import_id": "IMP-999"})
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/import_id")


async def test_two_imports_of_a_project_go_one_after_the_other(world: tuple[Importing, httpx.AsyncClient]) -> None:
    importing_, _ = world
    jobs = [await importing_.begin(source=source) for source in ("companies", "people")]
    await asyncio.gather(*(run_job(job.id, importing_.settings) for job in jobs))
    ended = [await importing_.job(job.id) for job in jobs]
    assert [job.state for job in ended] == ["succeeded", "succeeded"]
    assert importing_.commits() == [job.result["commit"] for job in sorted(ended, key=_finished)[::-1] if job.result]
    stored = await importing_.stored()
    assert len(stored.files) == len(stored.rows) == 90


def _finished(job: Job) -> Any:
    return job.finished_at


async def test_a_deleted_project_leaves_nothing_of_its_imports(world: tuple[Importing, httpx.AsyncClient]) -> None:
    importing_, client = world
    project = (await client.post("/v1/projects", json={"name": "Short-lived"})).json()["id"]
    await client.put("/v1/attio/connection", json={"api_key": _key(importing_), "project_id": project})
    ids = [importing_.sandbox.world.objects["companies"].row(20)["id"]["record_id"]]
    job = await done(importing_, client, source="companies", record_ids=ids, project_id=project)
    assert job["result"]["imported"] == 1
    params = {"project_id": project}
    assert (await client.delete(f"/v1/projects/{project}")).status_code == 409
    assert (await client.delete(f"/v1/profiles/attio:{ids[0]}", params=params)).status_code == 200
    assert (await client.get("/v1/attio/imports", params=params)).json()["items"] == []
    assert (await client.delete(f"/v1/projects/{project}")).status_code == 204


def _key(world: Importing) -> str:
    (key,) = world.sandbox.keys
    return key
