"""The whole way as a new user goes it, with real processes and the sandbox in place of Attio and Modal."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from muster.embedded import ports
from tests.embedded.running_muster import PATIENCE, start
from tests.waiting import until

PEOPLE = 40


@asynccontextmanager
async def sandbox() -> AsyncIterator[dict[str, str]]:
    """`muster sandbox`; the settings that it prints."""
    command = (sys.executable, "-m", "muster", "sandbox", "--port", "0", "--people", str(PEOPLE), "--companies", "5")
    slow = ("--personas-per-second", "15")
    process = await asyncio.create_subprocess_exec(
        *command, *slow, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd="/"
    )
    assert process.stdout
    settings: dict[str, str] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            while len(settings) < 5:
                name, _, value = (await process.stdout.readline()).decode().strip().partition("=")
                settings[name] = value
        yield settings
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A fresh Muster that knows nothing but the sandbox."""
    async with sandbox() as settings:
        up = await start(tmp_path / ".muster", ports.free_port(), settings)
        try:
            await up.line("Muster is ready at")
            async with up.api() as client:
                yield client
        finally:
            up.process.terminate()
            await up.process.communicate()


async def test_from_people_in_attio_to_their_results_and_back(api: httpx.AsyncClient) -> None:
    asked = {"source": "people", "save_as_cohort": {"name": "Everybody"}}
    imported = await finished(api, (await post(api, "/v1/attio/imports", asked))["job_id"])
    cohort = imported["result"]["cohort_id"]

    experiment = (await post(api, "/v1/experiments", {"name": "Offer", "config": {"question": "Would you?"}}))["id"]
    chosen = await api.patch(f"/v1/experiments/{experiment}", json={"cohort_id": cohort})
    assert chosen.json()["cohort_id"] == cohort
    config = (await api.get(f"/v1/experiments/{experiment}/config", params={"first": 5})).json()
    assert (config["personas"]["count"], len(config["personas"]["members"])) == (PEOPLE, 5)
    assert any(persona["name"] and persona["attributes"] for persona in config["personas"]["members"])

    started = await post(api, f"/v1/experiments/{experiment}/run", None)
    seen = [job["progress"]["done"] async for job in followed(api, started["job_id"])]
    assert seen == sorted(seen)
    assert seen[-1] == PEOPLE
    assert len(set(seen)) > 2, "progress was to be seen on the way"
    path = f"/v1/experiments/{experiment}/runs/{started['run_id']}"
    results = (await api.get(f"{path}/results")).json()["items"]
    assert len(results) == PEOPLE
    assert [result["name"] for result in results[:5]] == [each["name"] for each in config["personas"]["members"]]
    assert (await api.get(f"{path}/summary")).json()["measures"]["interest"]["count"] == PEOPLE

    one = next(result for result in results[7:] if result["name"])
    profile = (await api.get(f"/v1/profiles/{one['pii_id']}")).json()
    assert profile["person"]["name"] == one["name"]
    assert profile["experiment_ids"] == [experiment]
    imports = (await api.get("/v1/attio/imports", params={"limit": 1000})).json()["items"]
    (record,) = [each for each in imports if each["pii_id"] == one["pii_id"]]
    assert record["experiment_ids"] == [experiment]
    assert record["attio_web_url"].startswith("https://")


async def post(api: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    answer = await api.post(path, json=body) if body is not None else await api.post(path)
    assert answer.is_success, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def finished(api: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        job: dict[str, Any] = (await api.get(f"/v1/jobs/{job_id}")).json()
        assert job["state"] != "failed", job["error"]
        return job if job["state"] == "succeeded" else None

    found = await until(look)
    assert found is not None
    return found


async def followed(api: httpx.AsyncClient, job_id: str) -> AsyncIterator[dict[str, Any]]:
    """Every state of a job, by its events, until its end."""
    async with api.stream("GET", f"/v1/jobs/{job_id}/events", timeout=PATIENCE) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))
