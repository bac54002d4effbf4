"""As somebody new would use it: a sandbox, `muster up`, the command line; and where the key is to be found then."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from tests.embedded.running_muster import TLS, Up, environment, running
from tests.faults.recount import database_of
from tests.waiting import until

COMPANIES, PEOPLE = 120, 620
CANARY = "canary0123456789abcdef0123456789abcdef0123456789abcdef0123456789"


@dataclass(slots=True)
class Tried:
    """A Muster with an empty workspace, and a sandbox."""

    up: Up
    sandbox: str
    settings: Mapping[str, str]

    async def muster(self, *arguments: str, stdin: str = "", exit_code: int = 0) -> str:
        """What a command prints."""
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "muster", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={**environment(self.up.folder, int(self.up.address.rpartition(":")[2])), **self.settings},
            cwd="/",
            timeout=120,
        )
        assert ran.returncode == exit_code, ran.stderr
        return ran.stdout + (ran.stderr if exit_code else "")

    async def imported(self, *arguments: str) -> Any:
        """The job of an import."""
        return json.loads(await self.muster("import", "attio", *arguments, "--json"))


@asynccontextmanager
async def sandbox() -> AsyncIterator[str]:
    """`muster sandbox`, which knows the canary."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "muster", "sandbox", "--port", "0"),
        *("--companies", str(COMPANIES), "--people", str(PEOPLE)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode().strip()
        address = line.removeprefix("MUSTER_ATTIO_BASE_URL=").removesuffix("/v2")
        async with httpx.AsyncClient(base_url=address, verify=TLS) as http:
            await http.put(f"/sandbox/keys/{CANARY}", json={})
        yield address
    finally:
        process.terminate()
        await process.communicate()


@pytest.fixture
async def tried(tmp_path: Path) -> AsyncIterator[Tried]:
    async with sandbox() as address:
        settings = {"MUSTER_ATTIO_BASE_URL": f"{address}/v2"}
        async with running(tmp_path / "data", more=settings) as up:
            yield Tried(up, address, settings)


async def test_from_nothing_to_cohorts_that_follow_attio(tried: Tried) -> None:
    await tried.muster("import", "attio", "people", exit_code=1)  # says how to connect
    connected = json.loads(await tried.muster("attio", "connect", "--json", stdin=CANARY))
    assert connected["connected"]
    assert connected["missing_scopes"] == []
    assert "beta-testers" in await tried.muster("attio", "lists")

    async with tried.up.api() as api, httpx.AsyncClient(base_url=tried.sandbox, verify=TLS) as attio:
        root = tried.up.folder / "projects" / connected["project_id"]
        await search_and_import(tried, api, root)
        await follow_attio(tried, api, attio)
        await the_key_is_refused(tried, attio)
    await nothing_holds_the_key(tried.up, root)


async def search_and_import(tried: Tried, api: httpx.AsyncClient, root: Path) -> None:
    """Search, import all that is filtered, one commit, the cohort, its members, a rule over an attribute."""
    found = (await api.get("/v1/attio/objects/people/records", params={"q": "berg", "limit": 5})).json()["items"]
    assert [one["imported"] for one in found] == [False] * 5
    designers = '{"job_title": {"$eq": "Designer"}}'
    job = await tried.imported("people", "--filter", designers, "--save-as-cohort", "Beta testers")
    result = job["result"]
    assert result["imported"] == result["files"] == job["progress"]["done"] == job["progress"]["total"] > 70
    assert git(root, "log", "--format=%H") == result["commit"]
    assert len(git(root, "ls-files", "attio/person").splitlines()) == result["files"]
    members = (await api.get(f"/v1/cohorts/{result['cohort_id']}/members", params={"limit": 1000})).json()["items"]
    assert len(members) == result["imported"]
    assert {member["type"] for member in members} == {"person"}
    assert sum(member["name"] is not None and "@" in (member["email"] or "") for member in members) > 60
    assert {member["cause"] for member in members} == {"import"}
    listed = (await api.get("/v1/attio/imports", params={"type": "person", "limit": 1000})).json()
    assert len(listed["items"]) == result["imported"]
    assert {(one["sync_status"], one["attributes"]["job_title"]) for one in listed["items"]} == {("synced", "Designer")}

    companies = await tried.imported("companies", "--q", "works", "--save-as-cohort", "Works")
    cohort = companies["result"]["cohort_id"]
    members = (await api.get(f"/v1/cohorts/{cohort}/members")).json()["items"]
    assert len(members) == companies["result"]["imported"] > 5
    assert {member["type"] for member in members} == {"company"}
    assert sum(member["domain"] is not None for member in members) > 5

    # By the number of the import, and by a rule over what it brought.
    body = {"name": "Again", "kind": "static", "import_id": job["id"]}
    again = (await api.post("/v1/cohorts", json=body)).json()
    assert again["member_count"] == result["imported"]
    body = {"name": "Happy", "kind": "dynamic", "rule": "person.nps >= 9 and person.job_title == 'Designer'"}
    happy = (await api.post("/v1/cohorts", json=body)).json()
    expected = [one for one in listed["items"] if (one["attributes"]["nps"] or 0) >= 9]
    assert happy["member_count"] == len(expected) > 0


async def follow_attio(tried: Tried, api: httpx.AsyncClient, attio: httpx.AsyncClient) -> None:
    """A change in Attio moves somebody into a dynamic cohort as soon as it is fetched again; the watcher does it."""
    cohorts = (await api.get("/v1/cohorts", params={"kind": "dynamic"})).json()["items"]
    (happy,) = (cohort for cohort in cohorts if cohort["name"] == "Happy")
    listed = (await api.get("/v1/attio/imports", params={"type": "person", "limit": 1000})).json()["items"]
    one = next(one for one in listed if (one["attributes"]["nps"] or 0) < 9)
    value = {"values": {"nps": [{"value": 10, "attribute_type": "number"}]}}
    changed = await attio.put(f"/sandbox/records/people/{one['attio_record_id']}", json=value)
    assert changed.status_code == 200
    gone = next(each for each in listed if each["attio_record_id"] != one["attio_record_id"])
    await attio.delete(f"/sandbox/records/people/{gone['attio_record_id']}")
    refreshed = (await tried.imported("people", "--refresh"))["result"]
    assert (refreshed["updated"], refreshed["gone"], refreshed["failed"]) == (1, 1, 0)

    async def follows() -> bool:
        shown = (await api.get(f"/v1/profiles/{one['pii_id']}")).json()
        return happy["id"] in shown["cohorts"] and shown["person"]["nps"] == 10

    await until(follows)
    left = (await api.get(f"/v1/attio/imports/{gone['attio_record_id']}")).json()
    assert left["sync_status"] == "error"
    assert "no longer" in left["sync_error"]


async def the_key_is_refused(tried: Tried, attio: httpx.AsyncClient) -> None:
    """So that there are errors to look at."""
    await attio.put(f"/sandbox/keys/{CANARY}", json={"is_active": False})
    said = await tried.muster("import", "attio", "companies", exit_code=1)
    assert "IMP-" in said
    assert CANARY not in said
    await tried.muster("attio", "status", exit_code=1)
    await attio.put(f"/sandbox/keys/{CANARY}", json={"is_active": True})


async def nothing_holds_the_key(up: Up, root: Path) -> None:
    """But its one file, which is private. Looked through while everything runs."""
    needle = CANARY.encode()
    holding = []
    for file in up.folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            try:
                content = file.read_bytes()
            except OSError:  # gone, or a socket
                continue
            if needle in content:
                holding.append(file)
    secret = up.folder / "secrets" / f"{root.name}.env"
    assert holding == [secret]
    assert secret.stat().st_mode & 0o777 == 0o600
    assert CANARY not in git(root, "log", "--all", "--patch", "--format=raw")
    async with database_of(up.folder) as database:
        for name in await database.list_collection_names():
            async for document in database[name].find():
                assert CANARY not in str(document), name
    redis = Redis(port=up.redis_port or 0)
    try:
        for key in await redis.keys("*"):
            read = {b"string": redis.get, b"hash": redis.hgetall, b"list": partial(redis.lrange, start=0, end=-1)}
            kind = await redis.type(key)
            value = await read[kind](key) if kind in read else await redis.dump(key)
            assert needle not in key + str(value).encode()
    finally:
        await redis.aclose()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                assert needle not in (entry / "cmdline").read_bytes(), entry
            except OSError:  # it ended meanwhile
                continue


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()
