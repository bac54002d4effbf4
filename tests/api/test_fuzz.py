"""Whatever comes in, nothing of it is our failure: every operation, with bodies, queries and headers out of the way."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ODD = st.sampled_from(
    ["", "$where", "a.b", "\0", "__proto__", "PRJ-1", "P1", "COH-1", "null", "9" * 30, "\u202e", "-1"]
)
WORDS = (
    *("name", "description", "time_zone", "status", "score", "tags", "created_at", "rule", "kind", "members", "type"),
    *("project_id", "sample", "all", "any", "not", "field", "operator", "value", "expression", "pii_id", "lead", "id"),
    *("url", "events", "cohort_ids", "active", "api_key"),
    *("config", "personas", "dispatch", "arms", "cohort_id", "experiment_ids", "fields", "seed", "backend"),
    *("agent_ids", "strategy", "daily_capacity", "tasks", "due_in_hours", "email", "working_hours", "dry_run"),
)
NAMES = st.sampled_from(WORDS) | ODD
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=6).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=40)
QUERIES = st.dictionaries(
    st.sampled_from(
        [
            "limit",
            "cursor",
            "project_id",
            "kind",
            "q",
            "state",
            "order",
            "from",
            "to",
            "at",
            "points",
            "change",
            "cause",
            "format",
            "fields",
            "matching",
            "save_as_cohort",
            "filter",
            "personal",
            "first",
            "arm",
            "type",
            "list",
            "sync_status",
        ]
    ),
    TEXT | ODD | st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat),
    max_size=3,
)
HEADERS = st.dictionaries(
    st.sampled_from(["If-Match", "If-None-Match", "Idempotency-Key", "Content-Type", "Last-Event-ID", "Accept"]),
    st.sampled_from(['"1"', "*", "", "x", '"', "W/", "application/json", "application/x-ndjson", "text/csv"])
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10),
    max_size=3,
)
METHODS = ("get", "put", "patch", "post", "delete")


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(m, path) for path, item in document["paths"].items() for m in METHODS if m in item]
    return [operation for operation in found if not operation[1].endswith("/events")]  # it never ends


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_nothing_that_comes_in_is_our_failure(client: httpx.AsyncClient, data: st.DataObject) -> None:
    await client.put("/v1/leads/P1", json={"status": "new"})
    await client.post("/v1/cohorts", json={"name": "some", "kind": "static"}, headers={"Idempotency-Key": "once"})
    await client.post("/v1/experiments", json={"name": "some"}, headers={"Idempotency-Key": "experiment"})
    document = (await client.get("/schema/openapi.json")).json()
    method, path = data.draw(st.sampled_from(operations(document)))
    ids = (
        st.sampled_from(["P1", "COH-1", "PRJ-1", "WHK-1", "A0-1001", "CAJ-1", "EXP-1"])
        | TEXT.filter(bool)
        | ODD.filter(bool)
    )
    names = (
        *("project_id", "pii_id", "cohort_id", "job_id", "name", "agent_id", "webhook_id", "delivery_id"),
        *("object_slug", "list_slug", "attio_record_id", "experiment_id", "run_id", "task_id"),
    )
    values = {name: data.draw(ids) for name in names}
    url = httpx.URL("http://muster.test").copy_with(
        raw_path=b"/".join(
            quote(values[part[1:-1]], safe="").encode() if part.startswith("{") else part.encode()
            for part in path.split("/")
        )
    )
    headers = {"Content-Type": "application/json", **data.draw(HEADERS)}
    content = data.draw(BODIES) if method != "get" else None
    answer = await client.request(method.upper(), url, params=data.draw(QUERIES), headers=headers, content=content)
    assert answer.status_code < 500, f"{method} {path} {url} {content!r}: {answer.text}"
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
