"""The history of cohorts over HTTP: who entered and left, the runs, the size, the members of a moment."""

from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from bson import ObjectId, Timestamp

from muster.cohorts import evaluation
from muster.cohorts.changes import entry
from muster.cohorts.documents import Change
from muster.cohorts.sizes import counting
from muster.resources import Resources
from tests.cohorts.conftest import watching
from tests.cohorts.test_routes import create, people
from tests.waiting import until


@pytest.fixture
async def api(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The application with a watcher beside it."""
    async with watching():
        yield client


async def items(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of a list, over its pages."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        query["cursor"] = answer.json()["next_cursor"]
        if query["cursor"] is None:
            return found


async def with_history(api: httpx.AsyncClient) -> str:
    """P0 to P4 filled it; P5 entered by a record, P0 left by one, and an edit let P1, P2 and P3 out."""
    await people(api, 5)
    cohort = str((await create(api))["id"])
    await api.put("/v1/leads/P5", json={"score": 99})
    await api.put("/v1/contacts/P5", json={"country": "US"})
    await until(lambda: Change.find({"cohort": cohort}).count())
    await api.patch("/v1/leads/P0", json={"score": 1})

    async def left() -> bool:
        return await Change.find({"cohort": cohort}).count() == 2

    await until(left)
    edited = await api.patch(f"/v1/cohorts/{cohort}", json={"rule": "lead.score > 63"})
    assert edited.json()["member_count"] == 2
    return cohort


async def test_changes_are_listed_in_either_order_and_filtered(api: httpx.AsyncClient) -> None:
    cohort = await with_history(api)
    path = f"/v1/cohorts/{cohort}/changes"
    newest = await items(api, path, limit=2)
    assert await items(api, path, limit=2, order="oldest") == newest[::-1]
    run = newest[0]["run"]
    told = [(one["pii_id"], one["change"], one["cause"], one["run"], one["rule_version"]) for one in newest[::-1]]
    assert told[:2] == [("P5", "entered", "record", None, 1), ("P0", "left", "record", None, 1)]
    assert sorted(told[2:]) == [(f"P{number}", "left", "rule", run, 2) for number in (1, 2, 3)]

    async def names(**query: Any) -> list[str]:
        return sorted(one["pii_id"] for one in await items(api, path, **query))

    assert await names(change="entered") == ["P5"]
    assert await names(cause="record") == ["P0", "P5"]
    assert await names(cause="manual") == []
    assert await names(pii_id="P1") == ["P1"]
    assert await names(pii_id="nobody") == []
    assert await names(run=run) == ["P1", "P2", "P3"]
    assert await names(run="RUN-999999") == []
    assert await names(**{"from": newest[-1]["at"], "to": newest[-2]["at"]}) == ["P0", "P5"]
    assert await names(**{"from": newest[0]["at"], "change": "left"}) == ["P1", "P2", "P3"]
    assert await names(**{"from": newest[0]["at"], "run": run, "pii_id": "P2"}) == ["P2"]


async def test_changes_page_to_the_end_of_a_long_history(client: httpx.AsyncClient) -> None:
    """Most of them of the same moment, as those of a run are."""
    cohort = (await create(client, kind="static", rule=None, members=[]))["id"]
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 2, 2, 3)]
    made = [
        entry(cohort, 1, ObjectId(), f"P{n}", entered=True, cause="record", at=moments[n % 5], as_of=Timestamp(1, 1))
        for n in range(1_500)
    ]
    await Change.get_motor_collection().insert_many(made)
    path = f"/v1/cohorts/{cohort}/changes"
    oldest = await items(client, path, order="oldest", limit=70)
    assert [one["at"] for one in oldest] == sorted(one["at"] for one in oldest)
    assert sorted(one["pii_id"] for one in oldest) == sorted(one["pii_id"] for one in made)
    assert await items(client, path, limit=1_000) == oldest[::-1]


async def test_an_erased_profile_is_in_no_list_and_still_counts(api: httpx.AsyncClient) -> None:
    cohort = await with_history(api)
    before = (await api.get(f"/v1/cohorts/{cohort}/size")).json()
    at = before["until"]
    assert {"P4", "P5"} == {one["pii_id"] for one in await items(api, f"/v1/cohorts/{cohort}/members", at=at)}
    assert (await api.delete("/v1/profiles/P5")).is_success

    async def gone() -> bool:
        return bool((await api.get(f"/v1/cohorts/{cohort}")).json()["member_count"] == 1)

    await until(gone)
    await api.put("/v1/leads/P5", json={"score": 99})  # somebody else under the same name
    await until(lambda: Change.find({"cohort": cohort, "pii_id": "P5"}).count())
    assert len(await items(api, f"/v1/cohorts/{cohort}/changes", pii_id="P5")) == 1
    assert "P5" not in {one["pii_id"] for one in await items(api, f"/v1/cohorts/{cohort}/changes", to=at)}
    assert {"P4"} == {one["pii_id"] for one in await items(api, f"/v1/cohorts/{cohort}/members", at=at)}
    after = (await api.get(f"/v1/cohorts/{cohort}/size")).json()
    assert after["items"][: len(before["items"])] == before["items"]
    assert [(one["entered"], one["left"]) for one in after["items"][-2:]] == [(0, 1), (1, 0)]


async def test_runs_are_listed_with_what_they_found(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = await with_history(api)

    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "_fill", fails)
        await api.patch(f"/v1/cohorts/{cohort}", json={"rule": "lead.score > 0"})
    failed, edit, first = await items(api, f"/v1/cohorts/{cohort}/runs", limit=1)
    assert (first["rule_version"], first["replaced"], first["added"], first["member_count"]) == (1, None, 5, 5)
    assert (edit["rule"], edit["rule_version"], edit["replaced"]) == ("lead.score > 63", 2, 1)
    assert (edit["added"], edit["removed"], edit["member_count"], edit["pending"]) == (0, 3, 2, False)
    assert (edit["state"], edit["error"], edit["cause"]) == ("succeeded", None, "rule")
    assert (failed["state"], failed["rule"], failed["member_count"]) == ("failed", "lead.score > 0", None)
    assert failed["error"]
    assert await items(api, f"/v1/cohorts/{cohort}/runs", state="failed") == [failed]


async def test_the_size_over_time(api: httpx.AsyncClient) -> None:
    cohort = await with_history(api)
    path = f"/v1/cohorts/{cohort}/size"
    found = (await api.get(path)).json()
    moves = [(point["size"], point["entered"], point["left"]) for point in found["items"]]
    assert moves == [(5, 5, 0), (6, 1, 0), (5, 0, 1), (2, 0, 3)]
    assert (found["size_before"], found["interval_seconds"], found["next_cursor"]) == (0, None, None)
    one = (await api.get(path, params={"points": 1})).json()
    assert [(point["size"], point["entered"], point["left"]) for point in one["items"]] == [(2, 6, 4)]
    assert one["interval_seconds"] > 0
    ends = [point["at"] for point in found["items"]]
    middle = (await api.get(path, params={"from": ends[0], "to": ends[2]})).json()
    assert (middle["size_before"], middle["items"]) == (5, found["items"][1:3])


async def test_the_members_of_a_moment(api: httpx.AsyncClient) -> None:
    cohort = await with_history(api)
    sizes = (await api.get(f"/v1/cohorts/{cohort}/size")).json()

    async def names(at: str) -> list[str]:
        found = await items(api, f"/v1/cohorts/{cohort}/members", at=at, limit=2)
        assert Counter(one["cause"] for one in found if one["pii_id"] == "P5") <= Counter(record=1)
        return sorted(one["pii_id"] for one in found)

    filled, entered, left, edited = (point["at"] for point in sizes["items"])
    assert await names(sizes["since"]) == []
    assert await names(filled) == ["P0", "P1", "P2", "P3", "P4"]
    assert await names(entered) == ["P0", "P1", "P2", "P3", "P4", "P5"]
    assert await names(left) == ["P1", "P2", "P3", "P4", "P5"]
    assert await names(edited) == await names("2999-01-01T00:00:00Z") == ["P4", "P5"]
    (p5,) = [one for one in await items(api, f"/v1/cohorts/{cohort}/members", at=left) if one["pii_id"] == "P5"]
    assert p5["entered_at"] == entered
    (p1,) = [one for one in await items(api, f"/v1/cohorts/{cohort}/members", at=left) if one["pii_id"] == "P1"]
    assert (p1["entered_at"], p1["cause"]) == (filled, "rule")


async def test_a_page_of_then_stays_of_then(api: httpx.AsyncClient) -> None:
    """Members who leave between two pages of the present moment are still on the second."""
    await people(api, 5)
    cohort = (await create(api))["id"]
    path = f"/v1/cohorts/{cohort}/members"
    first = (await api.get(path, params={"at": "2999-01-01T00:00:00Z", "limit": 2})).json()
    await api.patch(f"/v1/cohorts/{cohort}", json={"rule": "lead.score > 1000"})
    assert await items(api, path) == []
    following = {"at": "2999-01-01T00:00:00Z", "limit": 2, "cursor": first["next_cursor"]}
    rest = await items(api, path, **following)
    assert sorted(one["pii_id"] for one in first["items"] + rest) == ["P0", "P1", "P2", "P3", "P4"]


@pytest.mark.parametrize("cause", ["import", "manual", "rule", "time"])
async def test_a_rare_cause_is_found_without_passing_over_the_records(clean: Resources, cause: str) -> None:
    made = [
        entry("COH-1", 1, ObjectId(), "P", entered=True, cause="record", at=datetime.now(UTC), as_of=Timestamp(1, 1))
        for _ in range(500)
    ]
    await Change.get_motor_collection().insert_many(made)
    query = {"cohort": "COH-1", "cause": cause, "pii_id": {"$type": "string"}}
    command = {"find": "changes", "filter": query, "sort": {"at": -1, "_id": -1}, "limit": 101}
    explained = await clean.database.command({"explain": command, "verbosity": "executionStats"})
    assert explained["executionStats"]["totalKeysExamined"] == 0
    assert "SORT" not in str(explained["queryPlanner"]["winningPlan"])


@pytest.mark.parametrize("place", [None, "$at"])
async def test_sizes_are_counted_from_the_index_alone(clean: Resources, place: str | None) -> None:
    await Change.get_motor_collection().insert_one({"cohort": "COH-1", "generation": 1, "change": "left"})
    query = {"cohort": "COH-1", "at": {"$gt": datetime(2020, 1, 1, tzinfo=UTC)}}
    command = {"aggregate": "changes", "pipeline": counting(query, place), "cursor": {}, "hint": "cohort_at"}
    explained = await clean.database.command({"explain": command, "verbosity": "queryPlanner"})
    assert "IXSCAN" in str(explained)
    assert "FETCH" not in str(explained)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("changes", {"from": "2026-11-25T12:00:00"}),
        ("changes", {"to": "0001-01-01T00:00:00+23:00"}),
        ("changes", {"from": "yesterday"}),
        ("changes", {"cursor": "abc"}),
        ("changes", {"cause": "magic"}),
        ("runs", {"state": "lost"}),
        ("size", {"points": 0}),
        ("size", {"from": "2026-11-25T12:00:00Z", "to": "2025-11-25T12:00:00Z"}),
        ("members", {"at": "2026-11-25T12:00:00"}),
        ("members", {"at": "2026-11-25T12:00:00Z", "matching": "true"}),
        ("members", {"at": "2026-11-25T12:00:00Z", "cursor": "WyJhIl0"}),
    ],
)
async def test_what_cannot_be_answered_is_said(client: httpx.AsyncClient, path: str, query: dict[str, str]) -> None:
    cohort = (await create(client, kind="static", rule=None, members=[]))["id"]
    answer = await client.get(f"/v1/cohorts/{cohort}/{path}", params=query)
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]
