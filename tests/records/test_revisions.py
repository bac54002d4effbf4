"""A revision is one effective change: never more, never less, whatever way the change comes in."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.records import bulk, service
from muster.records.bulk import upsert_parts
from muster.records.documents import Profile
from muster.records.updates import FieldChanges, pipeline

Model = dict[str, dict[str, Any]]
Step = tuple[str, str, dict[str, Any]]

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from([None, "a", "$name", ""]),
        "tags": st.sampled_from([None, [], ["a"], ["a", "b"], ["b", "a"]]),
        "score": st.sampled_from([None, 0, 1, 2.5]),
    },
)
PART = st.sampled_from(["lead", "customer"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "patch", "delete", "line", "lines", "csv"]), PART, VALUES),
    min_size=1,
    max_size=12,
)


def fitting(part: str, values: dict[str, Any]) -> dict[str, Any]:
    """The same fields under names that the part has."""
    names = {"lead": {}, "customer": {"name": "plan", "score": "mrr"}}[part]
    return {names.get(name, name): value for name, value in values.items()}


def without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def put(model: Model, part: str, values: dict[str, Any]) -> None:
    model[part] = without_nulls(values)


def patch(model: Model, part: str, values: dict[str, Any]) -> None:
    if part in model:
        model[part] = without_nulls({**model[part], **values})


def delete(model: Model, part: str, _: dict[str, Any]) -> None:
    model.pop(part, None)


def csv(model: Model, part: str, values: dict[str, Any]) -> None:
    cells = {name: value for name, value in values.items() if value not in (None, "", [])}
    if cells:
        model[part] = {**model.get(part, {}), **cells}


MODEL: dict[str, Callable[[Model, str, dict[str, Any]], None]] = {
    "put": put,
    "line": put,
    "patch": patch,
    "delete": delete,
    "lines": delete,
    "csv": csv,
}


async def take(client: httpx.AsyncClient, step: Step) -> None:
    kind, part, values = step
    if kind in {"put", "patch"}:
        await client.request(kind.upper(), f"/v1/{part}s/P", json=values)
    elif kind == "delete":
        await client.delete(f"/v1/{part}s/P")
    elif kind == "csv":
        names = sorted(values)
        cells = [";".join(v) if isinstance(v := values[n], list) else "" if v is None else str(v) for n in names]
        content = ",".join(["pii_id", *(f"{part}.{name}" for name in names)]) + "\n" + ",".join(["P", *cells])
        await client.post("/v1/profiles/import", content=content, headers={"content-type": "text/csv"})
    else:
        line = {"pii_id": "P", part: values if kind == "line" else None}
        await client.post(
            "/v1/profiles/import", content=json.dumps(line), headers={"content-type": "application/x-ndjson"}
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_each_effective_change_raises_the_revision_by_one(client: httpx.AsyncClient, steps: list[Step]) -> None:
    """Against a model; and the change stream carries exactly the effective changes."""
    profiles = Profile.get_motor_collection()
    await profiles.delete_many({})
    model: Model = {}
    rev = 0
    async with profiles.watch() as stream:
        for kind, part, named in steps:
            values, before = fitting(part, named), dict(model)
            MODEL[kind](model, part, values)
            await take(client, (kind, part, values))
            rev += model != before
            stored = await profiles.find_one({}) or {"rev": 0}
            assert stored["rev"] == rev
            assert {part: stored[part] for part in ("lead", "customer") if part in stored} == model
        await profiles.insert_one({"pii_id": "end"})
        operations = []
        async for event in stream:
            if event.get("fullDocument", {}).get("pii_id") == "end":
                break
            operations.append(event["operationType"])
        assert operations == ["insert"] * bool(rev) + ["update"] * (rev - 1)


@pytest.mark.usefixtures("clean")
async def test_a_change_that_changes_nothing_leaves_every_byte() -> None:
    """Also when the fields of the part stand in another order than the new value's."""
    changes = {"lead": {"name": "a", "status": "b"}}
    await service.put("PRJ-1", "P", changes)
    await service.change_part("PRJ-1", "P", "lead", {"lead": FieldChanges({"agent_id": "c"})})
    before = await Profile.get_motor_collection().find_one({})
    await service.put("PRJ-1", "P", {"lead": {"agent_id": "c", "name": "a", "status": "b"}})
    await upsert_parts("PRJ-1", [("P", {"lead": {"status": "b", "name": "a", "agent_id": "c"}, "contact": None})])
    await upsert_parts("PRJ-1", [("P", {"lead": FieldChanges({"name": "a"}, ["stage"])})] * 2)
    assert await Profile.get_motor_collection().find_one({}) == before


@pytest.mark.usefixtures("clean")
async def test_a_stale_read_of_a_bulk_is_compared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes, creates or deletes the profile between the read of a bulk and its writes."""
    profiles = Profile.get_motor_collection()
    await upsert_parts("PRJ-1", [(name, {"lead": {"score": 1.0}}) for name in ("changed", "deleted", "untouched")])
    read = bulk._stored

    async def read_and_be_overtaken(*arguments: Any) -> Any:
        found = await read(*arguments)
        monkeypatch.setattr(bulk, "_stored", read)
        overtaking = {"contact": {"name": "b"}, "lead": {"score": 1.0, "stage": "x"}}
        await upsert_parts("PRJ-1", [(name, overtaking) for name in ("changed", "created")])
        await service.erase("PRJ-1", "deleted")
        return found

    monkeypatch.setattr(bulk, "_stored", read_and_be_overtaken)
    wanted = {"lead": {"score": 2.0}}
    lines = [(name, wanted) for name in ("changed", "created", "deleted", "untouched", "new")]
    counts = await upsert_parts("PRJ-1", lines)
    assert (counts.upserted, counts.unchanged) == (5, 0)
    found = {row["pii_id"]: (row["lead"], row.get("contact"), row["rev"]) async for row in profiles.find()}
    assert found == {
        "changed": ({"score": 2.0}, {"name": "b"}, 3),
        "created": ({"score": 2.0}, {"name": "b"}, 2),
        "deleted": ({"score": 2.0}, None, 1),
        "untouched": ({"score": 2.0}, None, 2),
        "new": ({"score": 2.0}, None, 1),
    }


@pytest.mark.usefixtures("clean")
async def test_values_are_never_read_as_expressions() -> None:
    """Without `$literal`, "$$ROOT" copied the document into itself."""
    hostile = {"name": "$$ROOT", "status": "$secret", "tags": ["$$NOW", "$lead"]}
    for changes in ({"lead": hostile}, {"lead": FieldChanges(hostile)}):
        await Profile.get_motor_collection().delete_many({})
        key = {"project_id": "PRJ-1", "pii_id": "P"}
        await Profile.get_motor_collection().update_one(key, pipeline(changes), upsert=True)
        assert (await service.profile("PRJ-1", "P")).lead == hostile


async def test_a_part_created_between_two_looks_is_changed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends no If-Match is never told that it does not hold."""
    change = service._change

    async def too_early(*arguments: Any, **options: Any) -> Profile | None:
        monkeypatch.setattr(service, "_change", change)
        found = await change(*arguments, **options)
        await client.put("/v1/leads/P1", json={"status": "new"})
        return found

    monkeypatch.setattr(service, "_change", too_early)
    answer = await client.patch("/v1/leads/P1", json={"score": 7})
    assert (answer.status_code, answer.json()["status"], answer.json()["score"]) == (200, "new", 7)
