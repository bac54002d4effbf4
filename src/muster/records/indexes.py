"""Indexes on fields of profiles, built on request for what rules ask: `{project_id: 1, "lead.score": 1}`.

They stand beside the declared ones and are known by their name, `rule_lead.score`. One serves every project.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import ASCENDING
from pymongo.errors import OperationFailure

from muster.errors import Conflict
from muster.records.documents import Profile

PREFIX = "rule_"
MOST = 40  # of these; MongoDB takes 64 indexes of a collection, and each costs every write of its field
MONGODB_MOST = 64
REPORT_EVERY = 0.5  # seconds between two looks at how far a build is

_NOT_FOUND = 27
_NO_ROOM = 67
_UNAUTHORIZED = 13

Report = Callable[[int], Awaitable[None]]
"""Called now and then with how many profiles the build has read; what it raises ends the waiting, not the build."""


@dataclass(frozen=True, slots=True)
class FieldIndex:
    """An index on a field; `is_ready` is False while it is built."""

    field: str
    is_ready: bool

    @property
    def name(self) -> str:
        """As MongoDB knows it."""
        return index_name(self.field)


def index_name(field: str) -> str:
    """The name of the index on a field."""
    return PREFIX + field


async def field_indexes() -> dict[str, FieldIndex]:
    """The indexes on fields that there are or are being built, by field."""
    found, _ = await _indexes()
    return found


async def ready_fields() -> frozenset[str]:
    """The fields with an index that queries can use."""
    return frozenset(field for field, index in (await field_indexes()).items() if index.is_ready)


async def ensure_field_index(field: str, report: Report | None = None) -> bool:
    """Build the index on a registered field where there is none; whether it had to be built. Returns when it is ready.

    Safe to call from several processes at once: they wait for the same build. One that nobody waits for goes on by
    itself; `drop_field_index` ends it. Raises Conflict when there are as many indexes as there may be.
    """
    found, count = await _indexes()
    if (known := found.get(field)) is not None and known.is_ready:
        return False
    if known is None and (len(found) >= MOST or count >= MONGODB_MOST):
        raise Conflict(f"There are {len(found)} indexes on fields, the most there may be; drop the unused ones first.")
    building = asyncio.ensure_future(
        _profiles().create_index([("project_id", ASCENDING), (field, ASCENDING)], name=index_name(field))
    )
    building.add_done_callback(_heard)
    while not (await asyncio.wait({building}, timeout=REPORT_EVERY))[0]:
        if report is not None:
            await report(await _profiles_read(field))
    try:
        await building
    except OperationFailure as error:
        if error.code != _NO_ROOM:
            raise
        raise Conflict(
            f"MongoDB takes no more indexes of profiles: {error.details and error.details['errmsg']}."
        ) from error
    return True


def _heard(building: "asyncio.Future[str]") -> None:
    """Whoever stopped waiting does not want to know how the build ended."""
    if not building.cancelled():
        building.exception()


async def drop_field_index(field: str) -> bool:
    """Drop the index on a field, or end its build; False when there is none."""
    try:
        await _profiles().drop_index(index_name(field))
    except OperationFailure as error:
        if error.code != _NOT_FOUND:
            raise
        return False
    return True


async def index_sizes() -> dict[str, int]:
    """How many bytes each index on a field takes, by field."""
    found = _profiles().aggregate([{"$collStats": {"storageStats": {}}}, {"$project": {"storageStats.indexSizes": 1}}])
    sizes: dict[str, int] = {}
    for each in await found.to_list(None):
        sizes |= each["storageStats"]["indexSizes"]
    return {name.removeprefix(PREFIX): size for name, size in sizes.items() if name.startswith(PREFIX)}


async def _indexes() -> tuple[dict[str, FieldIndex], int]:
    """Those on fields, and how many there are of all kinds."""
    collection = _profiles()
    reply = await collection.database.command("listIndexes", collection.name, includeBuildUUIDs=True)
    listed: list[dict[str, Any]] = reply["cursor"]["firstBatch"]
    found: dict[str, FieldIndex] = {}
    for each in listed:
        name = each.get("spec", each)["name"]  # one that is being built stands inside of its `spec`
        if name.startswith(PREFIX):
            field = name.removeprefix(PREFIX)
            found[field] = FieldIndex(field, is_ready="buildUUID" not in each)
    return found, len(listed)


async def _profiles_read(field: str) -> int:
    """How far a build is, as far as MongoDB lets us see it."""
    building = {"command.createIndexes": Profile.Settings.name, "command.indexes.name": index_name(field)}
    running = _profiles().database.client.admin.aggregate([{"$currentOp": {}}, {"$match": building}])
    try:
        return max([each.get("progress", {}).get("done", 0) for each in await running.to_list(None)], default=0)
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        return 0


def _profiles() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Profile.get_motor_collection()
