"""An API that allows the loopback, an endpoint there, and a project with cohorts and changes to tell of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from bson import ObjectId

from muster.app import create_app
from muster.cohorts import service as cohorts
from muster.cohorts.documents import Change, Cohort
from muster.cohorts.generations import server_time
from muster.cohorts.schemas import CohortIn
from muster.cohorts.snapshot import open_snapshot
from muster.jobs import leases
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.service import upsert_parts
from muster.resources import Resources
from muster.settings import Settings
from muster.webhooks import relay
from muster.webhooks.addresses import Policy
from muster.webhooks.posting import Poster
from muster.webhooks.sending import Sender
from muster.webhooks.signatures import open_vault
from tests.conftest import _bind, running
from tests.webhooks.receiver import Receiver, receiving

EVERYTHING = ["cohort.entered", "cohort.left", "job.finished"]


class Clock:
    """The sender's clock: the server's, and whatever a test adds."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    async def __call__(self) -> datetime:
        return await server_time() + self.ahead

    def advance(self, **by: float) -> None:
        self.ahead += timedelta(**by)


@dataclass
class World:
    """Ada's default project behind an API that allows the loopback."""

    http: httpx.AsyncClient
    settings: Settings
    project_id: str

    async def webhook(self, url: str, **more: Any) -> dict[str, Any]:
        answer = await self.http.post("/v1/webhooks", json={"url": url, "events": EVERYTHING[:2]} | more)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def cohort(self, name: str = "some") -> Cohort:
        return await cohorts.create("ada", CohortIn(name=name, kind="static"))

    async def profiles(self, count: int) -> list[ObjectId]:
        """So many profiles, P0000 and so on."""
        await upsert_parts(self.project_id, [(f"P{number:04}", {"lead": {}}) for number in range(count)])
        found = Profile.get_motor_collection().find({"project_id": self.project_id}, {"_id": 1}).sort("pii_id")
        return [profile["_id"] async for profile in found]

    async def tell(self, cohort: Cohort, told: Sequence[tuple[str, ObjectId]]) -> list[ObjectId]:
        """Changes as the watcher appends them: ("entered" or "left", profile) in this order, in one write."""
        now = await server_time()
        async with open_snapshot() as snapshot:
            as_of = snapshot.as_of
        entries = [
            {
                "_id": ObjectId(),
                "cohort": cohort.id,
                "generation": 1,
                "profile": profile,
                "change": change,
                "cause": "record",
                "at": now,
                "as_of": as_of,
            }
            for change, profile in told
        ]
        await Change.get_motor_collection().insert_many(entries)
        return [entry["_id"] for entry in entries]

    async def deliveries(self, webhook: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
        """The oldest first."""
        answer = await self.http.get(f"/v1/webhooks/{webhook['id']}/deliveries", params=query | {"limit": 1000})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items[::-1]

    async def shown(self, webhook: dict[str, Any]) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/webhooks/{webhook['id']}")
        shown: dict[str, Any] = answer.json()
        return shown


@pytest.fixture
async def world(clean: Resources, token_for: Callable[[str], str]) -> AsyncIterator[World]:
    """Everything that a test of webhooks talks to, but for the relay and the sender."""
    settings = clean.settings.model_copy(update={"webhooks_allow_private": True})
    app = create_app(settings)
    headers = {"Authorization": f"Bearer {token_for('ada')}"}
    transport = httpx.ASGITransport(app)
    async with running(app), httpx.AsyncClient(transport=transport, base_url="http://m.test", headers=headers) as http:
        yield World(http, settings, (await project_of("ada", None)).id)
    await _bind(clean.database)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An endpoint."""
    async with receiving() as opened:
        yield opened


@asynccontextmanager
async def relaying(settings: Settings, holder: str | None = None) -> AsyncIterator["asyncio.Task[None]"]:
    """The relay and the sender in this process for as long as the block lasts."""
    task = asyncio.create_task(relay.relay(settings, holder))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def only_relaying(holder: str = "test") -> AsyncIterator["asyncio.Task[None]"]:
    """A relay without a sender for as long as the block lasts: its deliveries wait."""
    lease = await leases.take(relay.LEASE, holder, relay.LEASE_TTL)
    assert lease is not None
    task = asyncio.create_task(relay.Relay(lease).follow())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await leases.release(lease)


@asynccontextmanager
async def sending(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Sender]:
    """A sender that looks when it is told to."""
    async with AsyncExitStack() as stack:
        poster = await stack.enter_async_context(Poster(Policy(settings.webhooks_allow_private)))
        yield Sender(open_vault(settings), poster, clock or Clock())


async def send_what_is_due(sender: Sender) -> None:
    """Everything that is due by the sender's clock."""
    await sender.look()
    await sender.settle()
