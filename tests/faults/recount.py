"""Every membership that REST shows, recounted from the profiles as MongoDB has them."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from muster.embedded.addresses import with_running_servers
from muster.records import registry_file
from muster.settings import Settings, bundled
from tests.embedded.running_muster import Up
from tests.recount import Counted, Recount

Database = AsyncDatabase[dict[str, Any]]
Profiles = Mapping[str, Mapping[str, Any]]

FIELDS = registry_file.read(bundled("rules") / "fields.yaml")
SELECTION = 10_000  # milliseconds that a request may wait for a mongod that is starting again
TICKS = timedelta(seconds=30)  # in which time is let pass at least once; every 10 s, on an idle machine


@asynccontextmanager
async def database_of(folder: Path) -> AsyncIterator[Database]:
    """The database behind a running `muster up`."""
    uri = with_running_servers(Settings(data_dir=folder)).mongodb_uri
    assert uri is not None, "it runs"
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        uri.get_secret_value(), tz_aware=True, serverSelectionTimeoutMS=SELECTION
    )
    async with client:
        yield client[Settings().mongodb_database]


async def profiles_of(database: Database) -> dict[str, dict[str, Any]]:
    """All profiles by their `pii_id`."""
    return {profile["pii_id"]: profile async for profile in database["profiles"].find()}


async def differences(up: Up, recount: Recount[str], profiles: Profiles) -> list[str]:
    """Every cohort, as REST shows it, that is not ready, or not what the oracle says.

    A rule over `$now` is right about a profile when it was at some moment since time was last let pass.
    """
    counted: list[Counted[str]] = []
    async with up.api() as api:
        listed = await cohorts_of(api)
        if unready := [f"{cohort['id']} is {cohort['state']}" for cohort in listed if cohort["state"] != "ready"]:
            return unready
        for each in listed:
            cohort, members = await shown(api, each["id"])
            rule = cohort["rule"]["text"] if cohort["kind"] == "dynamic" else None
            counted.append(Counted(cohort["id"], rule, members, cohort["member_count"]))
    recount.take(profiles)
    now = datetime.now(UTC)
    return recount.differences(counted, now, since=now - TICKS)


async def cohorts_of(api: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All cohorts of the default project."""
    return await _all(api, "/v1/cohorts")


async def shown(api: httpx.AsyncClient, cohort_id: str) -> tuple[dict[str, Any], list[str]]:
    """A cohort and all its members, page by page; read again when the count moved meanwhile, as time may move it."""
    while True:
        cohort = await _get(api, f"/v1/cohorts/{cohort_id}")
        members = [member["pii_id"] for member in await _all(api, f"/v1/cohorts/{cohort_id}/members")]
        if (await _get(api, f"/v1/cohorts/{cohort_id}"))["member_count"] == cohort["member_count"]:
            return cohort, members


async def _all(api: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    parameters: dict[str, str | int] = {"limit": 1_000}
    while True:
        page = await _get(api, path, **parameters)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        parameters["cursor"] = page["next_cursor"]


async def _get(api: httpx.AsyncClient, path: str, **parameters: str | int) -> dict[str, Any]:
    answer = await api.get(path, params=parameters, timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def broken_histories(database: Database, cohorts: Iterable[str]) -> list[str]:
    """Where `changes` do not tell how the members of these cohorts came to be, beginning with nobody.

    Of each profile they must say entered, left, entered, … in the order of their snapshots, and end with what it is.
    """
    broken: list[str] = []
    async with database.client.start_session(snapshot=True) as session:
        for cohort in cohorts:
            inside: set[Any] = set()
            changes = database["changes"].find({"cohort": cohort}, session=session).sort([("as_of", 1), ("_id", 1)])
            async for change in changes:
                if (change["change"] == "entered") == (change["profile"] in inside):
                    broken.append(f"{cohort}: {change['profile']} {change['change']} twice, at {change['as_of']}")
                inside ^= {change["profile"]}
            stored = await database["cohorts"].find_one({"_id": cohort}, session=session)
            assert stored is not None
            in_place = {"generation": f"{cohort}|{stored['active']['number']}", "in": True}
            rows = {row["profile"] async for row in database["memberships"].find(in_place, session=session)}
            broken += [f"{cohort}: changes and members differ about {profile}" for profile in inside ^ rows]
    return broken
