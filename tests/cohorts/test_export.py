"""Members as a file: all of one moment, whole or visibly not, and nothing left open behind it."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from muster.cohorts import export, service
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.errors import Conflict
from muster.records.documents import Profile
from muster.resources import Resources
from tests.cohorts.conftest import Workspace, serving, watching
from tests.waiting import until

NDJSON = {"content-type": "application/x-ndjson"}
PEOPLE: list[dict[str, Any]] = [
    {"pii_id": "=P1", "lead": {"name": 'say "hi"\r\n;', "tags": ["a;b", ""], "score": -2}, "contact": {"name": ""}},
    {"pii_id": "P2", "lead": {}, "customer": {"tags": [], "churned": False}, "company": {"founded_on": "1999-01-31"}},
    {"pii_id": "P3", "lead": {"name": "'=x", "created_at": "2026-01-31T12:00:00.005Z"}},
]


async def everybody(client: httpx.AsyncClient) -> str:
    """PEOPLE, and a cohort of them."""
    await client.post("/v1/profiles/import", content="\n".join(map(json.dumps, PEOPLE)), headers=NDJSON)
    made = await client.post("/v1/cohorts", json={"name": "All", "kind": "dynamic", "rule": "lead != null"})
    assert made.json()["member_count"] == 3
    return str(made.json()["id"])


async def profiles(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All of PEOPLE as they are, without what differs from one profile to the next of the same id."""
    found = [(await client.get(f"/v1/profiles/{person['pii_id']}")).json() for person in PEOPLE]
    return [{name: profile[name] for name in ("pii_id", "lead", "contact", "customer", "company")} for profile in found]


async def test_a_csv_has_the_fields_asked_for(client: httpx.AsyncClient) -> None:
    cohort = await everybody(client)
    answer = await client.get(f"/v1/cohorts/{cohort}/export", params={"fields": "lead.score,cause,lead.tags"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{cohort}.csv"'
    assert list(csv.reader(io.StringIO(answer.text, newline=""))) == [
        ["pii_id", "lead.score", "cause", "lead.tags"],
        ["'=P1", "-2", "rule", '"a;b";""'],
        ["P2", "", "rule", ""],
        ["P3", "", "rule", ""],
    ]


@pytest.mark.parametrize("file_format", ["csv", "ndjson"])
async def test_importing_one_s_own_export_restores_the_same_values(client: httpx.AsyncClient, file_format: str) -> None:
    cohort = await everybody(client)
    await client.post("/v1/fields", json={"name": "lead.sizes", "type": "list of number"})
    await client.patch("/v1/leads/P3", json={"sizes": [-1, 2.5]})
    before = await profiles(client)
    file = await client.get(f"/v1/cohorts/{cohort}/export", params={"format": file_format})
    media_type = file.headers["content-type"]
    again = await client.post("/v1/profiles/import", content=file.content, headers={"content-type": media_type})
    assert again.json() == {"upserted": 3, "unchanged": 3, "failed_count": 0, "failed": []}
    for person in PEOPLE:
        await client.delete(f"/v1/profiles/{person['pii_id']}")
    again = await client.post("/v1/profiles/import", content=file.content, headers={"content-type": media_type})
    assert (again.json()["upserted"], again.json()["failed"]) == (3, [])
    after = await profiles(client)
    if file_format == "csv":  # it restores fields; a part without any is none of them
        before = [{name: value or None for name, value in profile.items()} for profile in before]
    assert after == before


async def test_what_cannot_be_exported_is_said_before_it_begins(client: httpx.AsyncClient) -> None:
    cohort = await everybody(client)
    wrong = await client.get(f"/v1/cohorts/{cohort}/export", params={"fields": "lead.score,lead.nmae"})
    assert wrong.status_code == 422
    (error,) = wrong.json()["errors"]
    assert (error["pointer"], error["suggestion"]) == ("/fields/1", "lead.name")
    assert (await client.get(f"/v1/cohorts/{cohort}/export", params={"format": "xls"})).status_code == 422
    assert (await client.get("/v1/cohorts/COH-999/export")).status_code == 404


async def test_an_empty_cohort_is_a_header(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/cohorts", json={"name": "None", "kind": "static"})
    answer = await client.get(f"/v1/cohorts/{made.json()['id']}/export", params={"fields": "lead.name"})
    assert answer.text == "pii_id,lead.name\r\n"


async def test_an_export_shows_one_moment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PROFILES_AT_ONCE", 2)
    names = [f"P{number}" for number in range(9)]
    await workspace.put(**{name: {"lead": {"score": 90.0}} for name in names})
    cohort = await workspace.cohort("lead.score > 50")
    file = await export.export("ada", cohort.id, file_format="csv", fields="lead.score")
    content = await anext(file.chunks)
    async with watching():
        await workspace.put(**{name: {"lead": {"score": 1.0}} for name in names}, late={"lead": {"score": 99.0}})
        await workspace.erase(names[-1])
        await workspace.settles()
    await service.patch("ada", cohort.id, CohortPatch(rule="lead.score > 98"), expected_revs=None)
    async for chunk in file.chunks:
        content += chunk
    assert content.decode().split() == ["pii_id,lead.score", *(f"{name},90" for name in names)]


@pytest.mark.usefixtures("workspace")
async def test_a_cohort_that_nobody_has_seen_yet_is_refused() -> None:
    cohort = await service.create("ada", CohortIn(name="New", kind="static"))
    await cohort.set({"active": None})
    answer = export.export("ada", cohort.id, file_format="csv", fields=None)
    with pytest.raises(Conflict, match="nothing to export yet"):
        await answer


async def open_cursors() -> int:
    """How many cursors stand open on memberships, in this server."""
    admin = Profile.get_motor_collection().database.client.admin
    stages = [{"$currentOp": {"idleCursors": True, "allUsers": True}}, {"$match": {"ns": {"$regex": "memberships$"}}}]
    return len(await admin.aggregate(stages).to_list(None))


async def test_a_client_that_goes_away_leaves_no_cursor(
    workspace: Workspace, clean: Resources, token_for: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PROFILES_AT_ONCE", 5)
    text = "x" * 50_000  # so that the sockets' buffers fill, and the server waits for the client
    await workspace.put(**{f"P{number}": {"lead": {"name": text, "score": 90.0}} for number in range(600)})
    cohort = await workspace.cohort("lead.score > 50")
    headers = {"Authorization": f"Bearer {token_for('ada')}"}
    async with serving(clean) as address, httpx.AsyncClient(headers=headers) as client:
        async with client.stream("GET", f"{address}/v1/cohorts/{cohort.id}/export") as answer:
            assert answer.status_code == 200
            await anext(answer.aiter_raw())
            assert await until(open_cursors) == 1
        await until(_none_open)


async def _none_open() -> bool:
    return await open_cursors() == 0


async def read_into(received: io.BytesIO, answer: httpx.Response) -> None:
    """All that comes."""
    async for chunk in answer.aiter_raw():
        received.write(chunk)


async def test_a_file_that_breaks_off_does_not_look_whole(
    workspace: Workspace, clean: Resources, token_for: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PROFILES_AT_ONCE", 2)
    await workspace.put(**{f"P{number}": {"lead": {"score": 90.0}} for number in range(9)})
    cohort = await workspace.cohort("lead.score > 50")
    complete = export._profiles

    async def break_off(*arguments: Any) -> AsyncIterator[Any]:
        batches = complete(*arguments)
        yield await anext(batches)
        yield await anext(batches)
        await batches.aclose()
        raise ConnectionError("MongoDB went away.")

    monkeypatch.setattr(export, "_profiles", break_off)
    headers = {"Authorization": f"Bearer {token_for('ada')}"}
    received = io.BytesIO()
    async with serving(clean) as address, httpx.AsyncClient(headers=headers) as client:
        path = f"{address}/v1/cohorts/{cohort.id}/export?fields=lead.score"
        async with client.stream("GET", path) as answer:
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await read_into(received, answer)
        await until(_none_open)
    assert received.getvalue().decode().split() == ["pii_id,lead.score", *(f"P{number},90" for number in range(4))]
