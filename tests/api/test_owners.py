"""Other people's data: every route of the API, called by ada with bob's ids, answers as if there was nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from muster.attio.documents import AttioImport, import_key
from muster.jobs.service import create_job
from muster.resources import Resources

BOBS = ("project_id", "pii_id", "cohort_id", "job_id", "webhook_id", "delivery_id", "attio_record_id")
METHODS = ("get", "put", "patch", "post", "delete")

# A body that each route would take, were the thing ada's own: so that nothing else is the reason to refuse.
BODIES: dict[str, Any] = {
    "patch /v1/projects/{project_id}": {"name": "mine"},
    "post /v1/fields": {"name": "lead.nps", "type": "number"},
    "post /v1/cohorts": {"name": "mine", "kind": "static", "members": []},
    "patch /v1/cohorts/{cohort_id}": {"name": "mine"},
    "post /v1/cohorts/{cohort_id}/members": {"members": ["P-bob"]},
    "delete /v1/cohorts/{cohort_id}/members": {"members": ["P-bob"]},
    "post /v1/webhooks": {"url": "https://1.1.1.1/", "events": ["cohort.entered"]},
    "patch /v1/webhooks/{webhook_id}": {"active": False},
    "post /v1/attio/imports": {"source": "companies"},
    "put /v1/attio/connection": {"api_key": "k" * 64},
    "put /v1/attio/webhook": {"secret": "a secret of hers"},
    "post /v1/experiments": {"name": "mine"},
    "patch /v1/experiments/{experiment_id}": {"name": "mine"},
    "post /v1/cohorts/{cohort_id}/experiments": {"experiment_ids": ["EXP-1"]},
    "post /v1/agents": {"name": "mine", "daily_capacity": 1},
    "put /v1/agents/{agent_id}": {"name": "mine", "daily_capacity": 1},
    "patch /v1/agents/{agent_id}": {"name": "mine"},
    "put /v1/task-template": {"tasks": []},
    "patch /v1/tasks/{task_id}": {"state": "done"},
    "post /v1/cohorts/{cohort_id}/assign": {"agent_ids": ["A0-1001"]},
    "post /v1/rules/preview": {"rule": "lead.score > 1"},
    "post /v1/rules/check": {"rule": "lead.score > 1"},
}


@pytest.fixture
async def bobs(client: httpx.AsyncClient, token_for: Callable[[str], str]) -> dict[str, str]:
    """Bob's things, by the name that they have in an address."""
    bob = {"Authorization": f"Bearer {token_for('bob')}"}
    project = (await client.post("/v1/projects", json={"name": "bobs"}, headers=bob)).json()["id"]
    params = {"project_id": project}
    for plural in ("leads", "contacts", "customers"):
        assert (await client.put(f"/v1/{plural}/P-bob", json={}, params=params, headers=bob)).status_code == 201
    cohort = {"name": "bobs", "kind": "static", "members": ["P-bob"], **params}
    cohort_id = (await client.post("/v1/cohorts", json=cohort, headers=bob)).json()["id"]
    job = await create_job("RUN", "evaluate", project, "bob", {"cohort_id": cohort_id})
    body = {"url": "https://1.1.1.1/", "events": ["cohort.entered"], **params}
    webhook = (await client.post("/v1/webhooks", json=body, headers=bob)).json()["id"]
    delivery = (await client.post(f"/v1/webhooks/{webhook}/test", headers=bob)).json()["id"]
    local = {"dispatch": {"backend": "local", "callable": "toy"}}
    made = {"name": "bobs", "cohort_id": cohort_id, "config": local, **params}
    experiment = (await client.post("/v1/experiments", json=made, headers=bob)).json()["id"]
    run = (await client.post(f"/v1/experiments/{experiment}/run", headers=bob)).json()["run_id"]
    values = {"project_id": project, "attio_record_id": "R-bob", "attio_object_type": "person", "subject_id": "R-bob"}
    key = import_key(project, "person", "R-bob")
    await AttioImport(id=key, pii_id="P-bob", imported_at=datetime.now(UTC), **values).insert()
    agent = {"name": "bobs", "daily_capacity": 1, **params}
    agent_id = (await client.post("/v1/agents", json=agent, headers=bob)).json()["id"]
    await client.post(f"/v1/cohorts/{cohort_id}/assign", json={"agent_ids": [agent_id]}, headers=bob)
    tasks = await client.get("/v1/leads/P-bob/tasks", params=params, headers=bob)
    return {
        "agent_id": agent_id,
        "task_id": tasks.json()["items"][0]["id"],
        "experiment_id": experiment,
        "run_id": run,
        "project_id": project,
        "pii_id": "P-bob",
        "cohort_id": cohort_id,
        "job_id": job.id,
        "webhook_id": webhook,
        "delivery_id": delivery,
        "attio_record_id": "R-bob",
        "object_slug": "companies",  # of Attio: nobody's
        "list_slug": "beta-testers",
    }


@dataclass(frozen=True)
class Operation:
    """One operation of the API, and where it says whose thing it means."""

    method: str
    path: str
    project_in_query: bool
    project_in_body: bool

    @property
    def names_something(self) -> bool:
        return "{" in self.path or self.project_in_query or self.project_in_body


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and path.startswith("/v1/"):
                parameters = {parameter["name"] for parameter in item[method].get("parameters", [])}
                content = item[method].get("requestBody", {}).get("content", {}).get("application/json", {})
                schema = schemas.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2], {})
                in_body = "project_id" in schema.get("properties", {})
                yield Operation(method, path, "project_id" in parameters, in_body)


async def everything(resources: Resources) -> dict[str, Any]:
    names = [
        *("projects", "profiles", "fields", "cohorts", "memberships", "jobs", "webhooks", "webhook_deliveries"),
        *("experiments", "experiment_runs", "personas", "attio_imports"),
        *("agents", "pipelines", "tasks", "task_templates"),
    ]
    return {name: await resources.database[name].find().sort("_id", 1).to_list(None) for name in names}


async def test_bob_s_things_are_not_there_for_ada(
    client: httpx.AsyncClient, bobs: dict[str, str], resources: Resources
) -> None:
    await client.get("/v1/leads")  # ada has a default project, as everybody
    document = (await client.get("/schema/openapi.json")).json()
    before = await everything(resources)
    wrong, checked = [], 0
    for operation in operations(document):
        method, path = operation.method, operation.path
        params = {"project_id": bobs["project_id"]} if operation.project_in_query else {}
        body = BODIES.get(f"{method} {path}", {} if method in {"put", "patch", "post"} else None)
        options: dict[str, Any] = {} if body is None else {"json": body}
        if operation.project_in_body:
            options["json"] = {**body, "project_id": bobs["project_id"]}
        if path == "/v1/profiles/import":
            options = {
                "content": b'{"pii_id": "P-bob", "lead": null}',
                "headers": {"content-type": "application/x-ndjson"},
            }
        answer = await client.request(method.upper(), path.format_map(bobs), params=params, **options)
        if operation.names_something and answer.status_code != 404:
            wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        if not operation.names_something and any(bobs[name] in answer.text for name in BOBS):
            wrong.append(f"{method} {path} shows something of bob's")
        checked += 1
    assert wrong == []
    assert checked > 35
    assert await everything(resources) == before


async def test_ids_without_a_project_mean_the_caller_s_own(client: httpx.AsyncClient, bobs: dict[str, str]) -> None:
    for path in ("/v1/leads/P-bob", "/v1/profiles/P-bob"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/v1/leads")).json()["items"] == []
    assert (await client.put("/v1/leads/P-bob", json={})).status_code == 201
    assert (await client.get("/v1/profiles/P-bob")).json()["contact"] is None
    assert bobs["project_id"] not in (await client.get("/v1/projects")).text


async def test_without_a_token_every_route_that_needs_one_says_so(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    del client.headers["Authorization"]
    checked = 0
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and item[method].get("security") != [{}]:
                answer = await client.request(method.upper(), path)
                assert answer.status_code == 401, f"{method} {path}"
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert answer.headers["content-type"] == "application/problem+json"
                checked += 1
    assert checked > 35
