"""An API whose Modal is the stand-in, people in cohorts, and a worker that a test drives."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from muster.app import create_app
from muster.experiments import runs
from muster.jobs.documents import Job
from muster.projects.service import project_of
from muster.records.service import upsert_parts
from muster.resources import Resources
from muster.sandbox import modal as sandbox
from muster.sandbox.modal import Modal
from muster.sandbox.serving import serving
from muster.settings import Settings
from tests.conftest import _bind, running

KEY, SECRET = "wk-canary-of-the-key", "ws-canary-of-the-secret"


@dataclass
class Lab:
    """Ada's default project, and what an experiment needs."""

    http: httpx.AsyncClient
    settings: Settings
    project_id: str
    modal: Modal

    async def people(self, count: int, **more: Any) -> list[str]:
        """So many profiles: P0000 and so on."""
        ids = [f"P{number:04}" for number in range(count)]
        parts = [
            (
                pii_id,
                {
                    "lead": {"score": float(number % 100), "source": "lab"},
                    "contact": {
                        "name": f"Person {number}",
                        "email": f"person{number}@people.example",
                        "phone": f"+1 555 {number:04}",
                        "country": "US",
                    },
                }
                | more,
            )
            for number, pii_id in enumerate(ids)
        ]
        for start in range(0, count, 1_000):
            await upsert_parts(self.project_id, parts[start : start + 1_000])
        return ids

    async def cohort(self, rule: str = "lead.score >= 0", name: str = "everybody") -> str:
        answer = await self.http.post("/v1/cohorts", json={"name": name, "kind": "dynamic", "rule": rule})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def experiment(self, **body: Any) -> str:
        answer = await self.http.post("/v1/experiments", json={"name": "Offer"} | body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def start(self, experiment_id: str) -> dict[str, str]:
        answer = await self.http.post(f"/v1/experiments/{experiment_id}/run")
        assert answer.status_code == 202, answer.text
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job_id']}"
        started: dict[str, str] = answer.json()
        return started

    async def work(self, job_id: str, settings: Settings | None = None) -> Job:
        """What workers do about a job until it ends, without its rests."""
        while True:
            with suppress(Exception):  # it is on record
                await runs.run_job(job_id, settings or self.settings)
            job = await Job.get(job_id)
            assert job is not None
            if job.due_at is None:
                return job
            await Job.get_motor_collection().update_one({"_id": job_id}, {"$set": {"due_at": None}})

    async def ran(self, experiment_id: str) -> dict[str, Any]:
        """A run from beginning to end."""
        started = await self.start(experiment_id)
        job = await self.work(started["job_id"])
        assert job.state == "succeeded", job.error
        return await self.run(experiment_id, started["run_id"])

    async def run(self, experiment_id: str, run_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/experiments/{experiment_id}/runs/{run_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def results(self, run: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
        path = f"/v1/experiments/{run['experiment_id']}/runs/{run['run_id']}/results"
        return await pages(self.http, path, **query)


async def pages(http: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """The items of all pages of a list."""
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await http.get(path, params={"limit": 500} | query | cursor)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


@asynccontextmanager
async def open_lab(
    resources: Resources, token: str, modal: Modal, more: dict[str, Any] | None = None
) -> AsyncIterator[Lab]:
    async with serving(sandbox.create_app(modal)) as address:
        settings = resources.settings.model_copy(
            update={
                "modal_url": f"{address}{sandbox.PATH}",
                "modal_key": SecretStr(KEY),
                "modal_secret": SecretStr(SECRET),
                "webhooks_allow_private": True,
                **(more or {}),
            }
        )
        app = create_app(settings)
        transport, headers = httpx.ASGITransport(app), {"Authorization": f"Bearer {token}"}
        async with (
            running(app),
            httpx.AsyncClient(transport=transport, base_url="http://m.test", headers=headers) as http,
        ):
            yield Lab(http, settings, (await project_of("ada", None)).id, modal)
    await _bind(resources.database)


@pytest.fixture
async def lab(clean: Resources, token_for: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    """Everything, with pauses that nobody notices."""
    monkeypatch.setattr(runs, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(runs, "LONGEST_PAUSE", 0.05)
    modal = Modal(keys=(KEY, SECRET), per_second=100_000)
    async with open_lab(clean, token_for("ada"), modal) as opened:
        yield opened


def names(personas: Sequence[dict[str, Any]]) -> list[str]:
    return [persona["name"] for persona in personas]
