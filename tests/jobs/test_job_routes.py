"""Jobs over HTTP: the owner's only, as problem documents when not, and as a stream that ends with the job."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from muster.api import events as api_events
from muster.errors import Invalid
from muster.jobs import service
from muster.jobs.documents import Job
from muster.jobs.service import claim


async def a_job(owner: str = "ada") -> Job:
    return await service.create_job("RUN", "evaluate", "PRJ-1", owner, {"secret": "not for the wire"})


def events_in(body: str) -> list[dict[str, Any]]:
    """The events of a stream, each with the names of its fields."""
    blocks = [block for block in body.replace("\r\n", "\n").split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\n") if line) for block in blocks]


async def test_a_job_is_shown_as_its_owner_needs_it(client: httpx.AsyncClient) -> None:
    job = await a_job()
    answer = await client.get(f"/v1/jobs/{job.id}")
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["id"] == job.id
    assert shown["state"] == "queued"
    assert shown["progress"] == {"done": 0, "total": None}
    assert shown["failures"] == []
    assert not {"arguments", "lease", "checkpoint", "owner"} & shown.keys()
    assert answer.headers["etag"] == '"1"'
    again = await client.get(f"/v1/jobs/{job.id}", headers={"If-None-Match": '"1"'})
    assert again.status_code == 304


async def test_a_job_in_quarantine_shows_as_failed(client: httpx.AsyncClient) -> None:
    job = await a_job()
    await Job.get_motor_collection().update_one({"_id": job.id}, {"$set": {"state": "quarantined"}})
    assert (await client.get(f"/v1/jobs/{job.id}")).json()["state"] == "failed"
    assert [item["id"] for item in (await client.get("/v1/jobs?state=failed")).json()["items"]] == [job.id]


async def test_lists_page_and_refuse_nonsense(client: httpx.AsyncClient) -> None:
    made = [(await a_job()).id for _ in range(3)]
    first = (await client.get("/v1/jobs?limit=2")).json()
    second = (await client.get(f"/v1/jobs?limit=2&cursor={first['next_cursor']}")).json()
    assert sorted(item["id"] for item in first["items"] + second["items"]) == sorted(made)
    assert second["next_cursor"] is None
    for nonsense in ("limit=0", "limit=x", "cursor=xyz", "state=asleep"):
        answer = await client.get(f"/v1/jobs?{nonsense}")
        assert answer.status_code == 422, nonsense
        assert answer.headers["content-type"] == "application/problem+json"


async def test_cancel_and_retry(client: httpx.AsyncClient) -> None:
    job = await a_job()
    cancelled = await client.post(f"/v1/jobs/{job.id}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    retried = await client.post(f"/v1/jobs/{job.id}/retry")
    assert (retried.status_code, retried.json()["state"]) == (202, "queued")
    assert retried.headers["location"] == f"/v1/jobs/{job.id}"
    refused = await client.post(f"/v1/jobs/{job.id}/retry")
    assert refused.status_code == 409
    assert "can be tried again" in refused.json()["detail"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/retry")])
async def test_another_owner_finds_nothing(
    client: httpx.AsyncClient, token_for: Callable[[str], str], method: str, path: str
) -> None:
    job = await a_job("ada")
    stranger = {"Authorization": f"Bearer {token_for('eve')}"}
    answer = await client.request(method, f"/v1/jobs/{job.id}{path}", headers=stranger)
    assert answer.status_code == 404
    missing = await client.request(method, f"/v1/jobs/RUN-999{path}", headers=stranger)
    assert answer.json() == {**missing.json(), "detail": missing.json()["detail"].replace("RUN-999", job.id)}
    assert (await client.get("/v1/jobs", headers=stranger)).json()["items"] == []


async def test_the_stream_follows_a_job_to_its_end(client: httpx.AsyncClient) -> None:
    job = await a_job()
    following = asyncio.create_task(client.get(f"/v1/jobs/{job.id}/events"))
    async with claim(job.id) as claimed:
        await claimed.progress(1, 2)
        claimed.result = {"matched": 2}
    stream = await following
    assert stream.headers["content-type"].startswith("text/event-stream")
    seen = events_in(stream.text)
    assert {event["event"] for event in seen} == {"job"}
    last = json.loads(seen[-1]["data"])
    assert (last["state"], last["result"]) == ("succeeded", {"matched": 2})
    revs = [int(event["id"]) for event in seen]
    assert revs == sorted(set(revs))


async def test_a_stream_ends_with_its_process_though_the_job_goes_on(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await a_job()
    async with claim(job.id):
        monkeypatch.setattr(api_events, "stopping", lambda: True)
        stream = await client.get(f"/v1/jobs/{job.id}/events")
    assert [json.loads(event["data"])["state"] for event in events_in(stream.text)] == ["running"]


async def test_a_client_that_comes_back_gets_what_it_missed_and_then_is_sent_away(client: httpx.AsyncClient) -> None:
    job = await a_job()

    async def work() -> None:
        async with claim(job.id):
            raise Invalid("The list is empty.")

    with pytest.raises(Invalid):
        await work()
    missed = events_in((await client.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": "1"})).text)
    assert len(missed) == 1
    assert json.loads(missed[0]["data"])["error"] == "The list is empty."
    over = await client.get(f"/v1/jobs/{job.id}/events", headers={"Last-Event-ID": missed[0]["id"]})
    assert (over.status_code, over.text) == (204, "")
