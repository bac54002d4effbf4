"""Attio tells of changes: deliveries over real HTTP, what they refresh, and that none is lost, doubled or believed."""

import asyncio
import hashlib
import hmac
import json
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo.errors import AutoReconnect

from muster.app import create_app
from muster.attio import importing as importing_module
from muster.attio import marks
from muster.attio.connection import client_of
from muster.attio.documents import AttioDelivery, AttioImport, AttioMark
from muster.attio.importing import run_job
from muster.attio.marks import look_after, look_after_all
from muster.errors import MusterError
from muster.jobs.documents import UNFINISHED, Job
from muster.resources import Resources
from muster.sandbox.attio_world import generated_world
from muster.sandbox.serving import serving
from tests.attio.conftest import HASTY
from tests.attio.importing_world import Importing, importing
from tests.conftest import _bind, running

SECRET = "a secret made by hand in Attio"


@dataclass(slots=True)
class Hearing:
    """A project with imports, behind an API that Attio's stand-in reaches."""

    world: Importing
    api: httpx.AsyncClient
    address: str

    @property
    def path(self) -> str:
        return f"/hooks/attio/{self.world.project_id}"

    def ids(self, slug: str, number: int) -> dict[str, str]:
        found: dict[str, str] = self.world.sandbox.world.objects[slug].row(number)["id"]
        return found

    async def sandbox(self, method: str, path: str, body: Any = None) -> Any:
        async with httpx.AsyncClient(base_url=self.world.address) as http:
            answer = await http.request(method, f"/sandbox{path}", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

    async def deliver(
        self, events: Sequence[Any], *, secret: str = SECRET, key: str | None = None, signature: str | None = None
    ) -> httpx.Response:
        body = json.dumps({"webhook_id": "w", "events": events}).encode()
        signed = signature if signature is not None else hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"Attio-Signature": signed, "Content-Type": "application/json", "Authorization": ""}
        return await self.api.post(self.path, content=body, headers=headers | ({"Idempotency-Key": key} if key else {}))

    async def refreshes(self) -> list[Job]:
        return await Job.find({"arguments.marked": True}).sort("created_at").to_list()

    async def refresh(self) -> Job:
        """Do the refresh that waits."""
        [job] = await Job.find({"arguments.marked": True, "state": {"$in": list(UNFINISHED)}}).to_list()
        with suppress(MusterError):  # it is on the job
            await run_job(job.id, self.world.settings)
        return await self.world.job(job.id)

    async def row(self, attio_id: str) -> AttioImport:
        found = await AttioImport.find_one({"attio_record_id": attio_id})
        assert found is not None
        return found


@asynccontextmanager
async def hearing(clean: Resources, folder: Path, token: str) -> AsyncIterator[Hearing]:
    async with importing(clean, folder, generated_world(5, 8)) as world:
        app, headers = create_app(world.settings), {"Authorization": f"Bearer {token}"}
        async with running(app), serving(app) as address, httpx.AsyncClient(base_url=address, headers=headers) as api:
            yield Hearing(world, api, address)
    await _bind(clean.database)


@pytest.fixture
async def scene(
    clean: Resources, tmp_path: Path, token_for: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hearing]:
    """Companies and people imported, a secret given by hand, refreshes that do not wait for more."""
    monkeypatch.setattr(marks, "STAY", 0.0)
    async with hearing(clean, tmp_path, token_for("ada")) as opened:
        for source in ("companies", "people"):
            assert (await opened.world.do(source=source)).state == "succeeded"
        answer = await opened.api.put("/v1/attio/webhook", json={"secret": SECRET})
        assert answer.status_code == 200, answer.text
        yield opened


def updated(ids: dict[str, str], kind: str = "record.updated") -> dict[str, Any]:
    return {"event_type": kind, "id": ids, "actor": {"type": "system", "id": None}}


async def test_registered_at_attio_a_change_arrives_in_file_metadata_and_profile(scene: Hearing) -> None:
    answer = await scene.api.put("/v1/attio/webhook", json={"target_url": scene.address})
    assert answer.status_code == 200, answer.text
    state = answer.json()
    assert (state["state"], state["target_url"]) == ("registered", scene.address + scene.path)
    assert [each["id"]["webhook_id"] for each in scene.world.sandbox.webhooks] == [state["webhook_id"]]
    record_id = scene.ids("companies", 3)["record_id"]
    before = await scene.row(record_id)
    await scene.sandbox("PUT", f"/records/companies/{record_id}", {"values": {"description": [{"value": "Quite new"}]}})
    assert (await scene.row(record_id)).sync_status == "pending"
    job = await scene.refresh()
    assert job.state == "succeeded"
    assert job.result is not None
    assert (job.result["updated"], job.result["gone"]) == (1, 0)
    after = await scene.row(record_id)
    assert (after.sync_status, after.local_file_path) == ("synced", before.local_file_path)
    assert after.attributes["description"] == "Quite new"
    stored = await scene.world.stored()
    assert stored.files[record_id]["attributes"]["description"] == "Quite new"
    company = stored.profiles[f"attio:{record_id}"].company
    assert company is not None
    assert company["description"] == "Quite new"
    assert scene.world.git("status", "--porcelain") == ""
    assert scene.world.git("log", "-1", "--format=%s") == f"Refresh 1 record from Attio ({job.id})"
    assert await AttioMark.find_all().to_list() == []
    shown = (await scene.api.get("/v1/attio/webhook")).json()
    assert shown["last_delivery_at"] is not None


async def test_registering_again_replaces_and_unregistering_ends_it(scene: Hearing) -> None:
    for _ in range(2):
        state = (await scene.api.put("/v1/attio/webhook", json={"target_url": scene.address + scene.path})).json()
        assert [each["id"]["webhook_id"] for each in scene.world.sandbox.webhooks] == [state["webhook_id"]]
    [webhook] = scene.world.sandbox.webhooks
    assert (await scene.deliver([], secret=webhook["secret"])).status_code == 200
    assert (await scene.deliver([])).status_code == 200  # what the one before still repeats
    assert (await scene.api.delete("/v1/attio/webhook")).status_code == 204
    assert scene.world.sandbox.webhooks == []
    assert (await scene.deliver([], secret=webhook["secret"])).status_code == 401
    assert (await scene.api.get("/v1/attio/webhook")).json()["state"] == "off"


async def test_secrets_are_in_a_private_file_and_nowhere_else(scene: Hearing, clean: Resources) -> None:
    await scene.api.put("/v1/attio/webhook", json={"target_url": scene.address})
    secret = scene.world.sandbox.webhooks[0]["secret"]
    shown = (await scene.api.get("/v1/attio/webhook")).text
    file = scene.world.settings.data_path / "secrets" / f"{scene.world.project_id}.env"
    assert secret in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for name in await clean.database.list_collection_names():
        stored = str(await clean.database[name].find({}).to_list(None))
        assert secret not in stored
        assert SECRET not in stored
    assert secret not in shown
    assert SECRET not in shown


async def test_a_wrong_signature_is_refused_and_marks_nothing(scene: Hearing) -> None:
    events = [updated(scene.ids("companies", 0))]
    for answer in (
        await scene.deliver(events, secret="another"),
        await scene.deliver(events, signature=""),
        await scene.deliver(events, signature="x" * 64),
        await scene.api.post(scene.path, json={"events": events}),
        await scene.api.post("/hooks/attio/PRJ-999", json={"events": events}),
        await scene.api.post("/hooks/attio/..%2F..", json={"events": events}),
    ):
        assert answer.status_code == 401, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert await AttioMark.find_all().to_list() == []
    assert await scene.refreshes() == []


async def test_what_is_too_large_or_no_json_is_refused(scene: Hearing) -> None:
    assert (await scene.deliver(["x" * 1_100_000])).status_code == 413
    body = b"no JSON"
    headers = {"X-Attio-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
    answer = await scene.api.post(scene.path, content=body, headers=headers | {"Content-Type": "application/json"})
    assert answer.status_code == 400


async def test_what_is_not_imported_or_not_known_is_passed_over(scene: Hearing) -> None:
    foreign = {**scene.ids("people", 0), "workspace_id": str(uuid4())}
    new = {**scene.ids("people", 0), "record_id": str(uuid4())}
    events = [updated(foreign), updated(new), updated(new, "record.created"), {"event_type": "x"}, 7]
    answer = await scene.deliver(events)
    assert answer.json() == {"events": 2, "marked": 0, "repeated": False}
    assert await scene.refreshes() == []


async def test_a_repeated_delivery_is_taken_once(scene: Hearing) -> None:
    events = [updated(scene.ids("companies", 0))]
    answers = [await scene.deliver(events, key="the key") for _ in range(3)]
    assert [answer.json()["repeated"] for answer in answers] == [False, True, True]
    [mark] = await AttioMark.find_all().to_list()
    assert mark.version == 1
    [kept] = await AttioDelivery.find_all().to_list()
    assert 3 < (kept.expires_at - (await scene.refreshes())[0].created_at).total_seconds() / 86_400 < 5
    assert (await scene.deliver(events, key="another key")).json()["repeated"] is False


async def test_a_burst_over_one_record_is_one_mark_and_one_refresh(scene: Hearing) -> None:
    events = [updated(scene.ids("companies", number % 3)) for number in range(30)]
    answers = await asyncio.gather(*(scene.deliver([event], key=str(number)) for number, event in enumerate(events)))
    assert {answer.status_code for answer in answers} == {200}
    found = await AttioMark.find_all().to_list()
    assert sorted(mark.version for mark in found) == [10, 10, 10]
    assert len(await scene.refreshes()) == 1
    before = len(scene.world.sandbox.seen)
    job = await scene.refresh()
    assert job.result is not None
    assert job.result["unchanged"] == 3
    asked = [path for path in scene.world.sandbox.seen[before:] if "/records/" in path]
    assert len(asked) <= 3
    assert await AttioMark.find_all().to_list() == []


async def test_an_event_during_the_refresh_is_not_lost(scene: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = scene.ids("companies", 0)
    await scene.deliver([updated(ids)])
    store = importing_module.store

    async def change_and_store(*arguments: Any) -> None:
        """After the fetch and before the storing Attio changes the record again, and says so."""
        monkeypatch.setattr(importing_module, "store", store)
        values = {"description": [{"value": "Too late for the first"}]}
        await scene.sandbox("PUT", f"/records/companies/{ids['record_id']}", {"values": values})
        await scene.deliver([updated(ids)])
        await store(*arguments)

    monkeypatch.setattr(importing_module, "store", change_and_store)
    await scene.refresh()
    assert (await scene.row(ids["record_id"])).attributes["description"] != "Too late for the first"
    assert len(await scene.refreshes()) == 2
    await scene.refresh()
    assert (await scene.row(ids["record_id"])).attributes["description"] == "Too late for the first"


async def test_a_refresh_that_dies_at_its_end_is_done_again_and_commits_once(
    scene: Hearing, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = scene.ids("companies", 0)
    values = {"description": [{"value": "Quite new"}]}
    await scene.sandbox("PUT", f"/records/companies/{ids['record_id']}", {"values": values})
    await scene.deliver([updated(ids)])

    async def die(_: Any) -> None:
        monkeypatch.undo()
        raise AutoReconnect("MongoDB went away")

    monkeypatch.setattr(marks.Marked, "take_away", die)
    monkeypatch.setattr(marks, "STAY", 0.0)
    with pytest.raises(AutoReconnect):
        await scene.refresh()
    [job] = await scene.refreshes()
    assert job.state == "queued"
    again = await scene.refresh()
    assert again.state == "succeeded"
    assert len(scene.world.commits()) == 3  # two imports and this one
    assert (await scene.refresh()).result is not None  # the marks that were left, looked at once more
    assert await AttioMark.find_all().to_list() == []
    assert len(scene.world.commits()) == 3


async def test_a_deleted_record_is_marked_and_keeps_its_file(scene: Hearing) -> None:
    ids = scene.ids("people", 5)
    await scene.deliver([updated(ids, "record.deleted")])  # a delivery alone deletes nothing
    await scene.refresh()
    assert (await scene.row(ids["record_id"])).sync_status == "synced"
    await scene.sandbox("DELETE", f"/records/people/{ids['record_id']}")
    await scene.deliver([updated(ids, "record.deleted")])
    job = await scene.refresh()
    assert job.result is not None
    assert job.result["gone"] == 1
    row = await scene.row(ids["record_id"])
    assert (row.sync_status, row.local_file_path is not None) == ("error", True)
    assert (scene.world.root / str(row.local_file_path)).exists()


@pytest.mark.parametrize("form", ["the primary survives", "a third id"])
async def test_merged_records_become_one(scene: Hearing, form: str) -> None:
    kept, duplicate = scene.ids("companies", 1)["record_id"], scene.ids("companies", 2)["record_id"]
    new = str(uuid4()) if form == "a third id" else kept
    await scene.api.put("/v1/attio/webhook", json={"target_url": scene.address})
    body = {"duplicate": duplicate} | ({"into": new} if new != kept else {})
    await scene.sandbox("POST", f"/records/companies/{kept}/merge", body)
    await scene.refresh()
    assert (await scene.row(new)).sync_status == "synced"
    for gone in {kept, duplicate} - {new}:
        assert (await scene.row(gone)).sync_status == "error"
    stored = await scene.world.stored()
    assert stored.profiles[f"attio:{new}"].company is not None
    assert new in stored.files
    assert await AttioMark.find_all().to_list() == []


async def test_a_merge_that_takes_its_time_is_looked_at_again(scene: Hearing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing_module, "client_of", partial(client_of, patience=HASTY))
    ids = scene.ids("companies", 1)
    await scene.world.fault("merge_in_progress", times=100, match=ids["record_id"])
    await scene.deliver([updated(ids)])
    await scene.refresh()
    [mark] = await AttioMark.find_all().to_list()
    assert (mark.tries, (await scene.row(ids["record_id"])).sync_status) == (1, "pending")
    assert await look_after(scene.world.project_id) is None  # not yet
    await scene.sandbox("DELETE", "/faults")
    await AttioMark.find_all().update_many({"$set": {"due_at": mark.due_at.replace(year=2020)}})
    assert await look_after_all() == 1
    await scene.refresh()
    assert await AttioMark.find_all().to_list() == []
    assert (await scene.row(ids["record_id"])).sync_status == "synced"


async def test_entries_follow_their_record_and_their_own_events(scene: Hearing) -> None:
    entries = scene.world.sandbox.world.entries
    slug = next(slug for slug, rows in entries.items() if len(rows))
    assert (await scene.world.do(source="list", list=slug)).state == "succeeded"
    entry = entries[slug].row(0)
    await scene.deliver([updated(entry["id"], "list-entry.updated")])
    assert [mark.object_type for mark in await AttioMark.find_all().to_list()] == ["list_entry"]
    await scene.refresh()
    record = {"workspace_id": entry["id"]["workspace_id"], "object_id": "o", "record_id": entry["parent_record_id"]}
    assert (await scene.deliver([updated(record)])).json()["marked"] >= 2
    await scene.refresh()
    await scene.sandbox("DELETE", f"/entries/{slug}/{entry['id']['entry_id']}")
    await scene.deliver([updated(entry["id"], "list-entry.deleted")])
    await scene.refresh()
    assert (await scene.row(entry["id"]["entry_id"])).sync_status == "error"


async def test_a_refresh_that_fails_is_not_begun_again_at_once_and_its_marks_stay(scene: Hearing) -> None:
    await scene.deliver([updated(scene.ids("companies", 0))])
    for key in scene.world.sandbox.keys.values():
        key.is_active = False
    assert (await scene.refresh()).state == "failed"
    await scene.deliver([updated(scene.ids("companies", 1))])
    assert await look_after_all() == 0
    assert len(await AttioMark.find_all().to_list()) == 2
    for key in scene.world.sandbox.keys.values():
        key.is_active = True
    [failed] = await scene.refreshes()
    assert failed.finished_at is not None
    earlier = failed.finished_at - marks.AFTER_FAILURE
    await Job.get_motor_collection().update_one({"_id": failed.id}, {"$set": {"finished_at": earlier}})
    assert await look_after_all() == 1
    assert (await scene.refresh()).state == "succeeded"
    assert await AttioMark.find_all().to_list() == []


async def test_many_who_look_after_the_same_marks_begin_one_refresh(scene: Hearing) -> None:
    await marks.mark(scene.world.project_id, [])
    await AttioMark.get_motor_collection().insert_one(
        {"_id": "m", "project_id": scene.world.project_id, "version": 1, "tries": 0, "due_at": (await _now())}
        | {"object_type": "company", "attio_id": scene.ids("companies", 0)["record_id"], "list_slug": None}
    )
    begun = await asyncio.gather(*(look_after(scene.world.project_id) for _ in range(8)))
    assert len([job for job in begun if job is not None]) == 1
    assert len(await scene.refreshes()) == 1


async def _now() -> Any:
    hello = await AttioMark.get_motor_collection().database.command("hello")
    return hello["localTime"]


async def test_what_makes_no_webhook_is_refused(scene: Hearing) -> None:
    both = {"secret": SECRET, "target_url": "https://x.example"}
    for body in ({}, both, {"secret": "short"}, {"target_url": "ftp://x"}):
        answer = await scene.api.put("/v1/attio/webhook", json=body)
        assert answer.status_code == 422
        assert SECRET not in answer.text
