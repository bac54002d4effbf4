"""kill -9 of everything, each while profiles are written: nothing acknowledged is lost, every membership is right."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
from pymongo import AsyncMongoClient

from muster.embedded import ports
from muster.embedded.addresses import with_running_servers
from muster.records import registry_file
from muster.rules import oracle, read_rule
from muster.settings import Settings, bundled
from tests.embedded.running_muster import SERVICES, Up, running
from tests.waiting import until

RULES = [
    'lead.score > 50 and contact.country == "US" and customer.lifetime_value > 500',
    'lead.score > 90 or contact.country == "US"',
    'not (contact.country in ["US", "FR"]) and customer == null',
    'lead.status == "open"',
    'lead.name =~~ "ann?e"',
]
EDITED = "lead.score < 20"
PEOPLE = 300


@dataclass
class Writer:
    """Writes profiles, each request again until it is answered, and so knows what must be stored."""

    address: str
    token: str
    random: Random = field(default_factory=lambda: Random(7))
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: int = 0
    stopping: bool = False

    async def write_until_stopped(self) -> None:
        while not self.stopping:
            await self.write()
            self.written += 1

    async def write(self) -> None:
        """One change, acknowledged: part of a profile replaced or removed, a profile erased, or some imported."""
        pii_id = self.somebody()
        part, value = self.part()
        dice = self.random.random()
        if dice < 0.6:
            await self.send("PUT", f"/v1/{part}s/{pii_id}", json=value)
            self.stored.setdefault(pii_id, {})[part] = value
        elif dice < 0.7:
            await self.send("DELETE", f"/v1/{part}s/{pii_id}")
            self.stored.get(pii_id, {}).pop(part, None)
        elif dice < 0.8:
            await self.send("DELETE", f"/v1/profiles/{pii_id}")
            self.stored.pop(pii_id, None)
        else:
            people = {self.somebody(): dict([self.part()]) for _ in range(20)}
            lines = "".join(json.dumps({"pii_id": each} | parts) + "\n" for each, parts in people.items())
            await self.send(
                "POST", "/v1/profiles/import", content=lines, headers={"Content-Type": "application/x-ndjson"}
            )
            for each, parts in people.items():
                self.stored.setdefault(each, {}).update(parts)

    def somebody(self) -> str:
        return f"P{self.random.randrange(PEOPLE)}"

    def part(self) -> tuple[str, dict[str, Any]]:
        draw = self.random
        names = ("Anne", "Hannelore", "Bob", "Susane")
        return draw.choice(
            (
                ("lead", {"score": draw.randint(0, 100), "status": draw.choice(("open", "won"))}),
                ("lead", {"score": draw.randint(0, 100), "name": draw.choice(names)}),
                ("contact", {"country": draw.choice(("US", "FR", "DE"))}),
                ("customer", {"lifetime_value": draw.randint(0, 1_000)}),
            )
        )

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:
        """A request, until it is answered with something that is no failure of ours. Doing it twice does no harm."""
        headers = {"Authorization": f"Bearer {self.token}"} | request.pop("headers", {})
        while True:
            with suppress(httpx.TransportError):
                async with httpx.AsyncClient(base_url=self.address, timeout=10) as client:
                    answer = await client.request(method, path, headers=headers, **request)
                if answer.status_code < 500:
                    assert answer.is_success or answer.status_code == 404, answer.text
                    return answer
            await asyncio.sleep(0.05)


@asynccontextmanager
async def writing(writer: Writer) -> AsyncIterator[None]:
    """Write while the block lasts; what is under way at its end is still acknowledged."""
    writer.stopping = False
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(writer.write_until_stopped())
        yield
        writer.stopping = True


async def progress(writer: Writer, changes: int = 30) -> None:
    """Wait until so many more changes are acknowledged."""
    enough = writer.written + changes

    async def written() -> bool:
        return writer.written >= enough

    await until(written, seconds=60)


def parts_of(profile: dict[str, Any]) -> dict[str, Any]:
    return {part: profile[part] for part in ("lead", "contact", "customer") if part in profile}


async def is_right(up: Up, writer: Writer, rules: list[str]) -> bool:
    """Whether what is stored is what was acknowledged, and every membership and count is the oracle's recount."""
    fields = registry_file.read(bundled("rules") / "fields.yaml")
    uri = with_running_servers(Settings(data_dir=up.folder)).mongodb_uri
    assert uri is not None
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(uri.get_secret_value(), tz_aware=True)
    async with client, up.api() as api:
        found = {profile["pii_id"]: profile async for profile in client["muster"]["profiles"].find()}
        assert {pii_id: parts_of(profile) for pii_id, profile in found.items()} == writer.stored
        for number, rule in enumerate(rules, 1):
            belongs = oracle(read_rule(rule, fields))
            expected = {each for each, profile in found.items() if belongs(profile, datetime.now(UTC))}
            members = (await api.get(f"/v1/cohorts/COH-{number}/members", params={"limit": 1_000})).json()["items"]
            cohort = (await api.get(f"/v1/cohorts/COH-{number}")).json()
            if {member["pii_id"] for member in members} != expected or cohort["member_count"] != len(expected):
                return False
            assert expected, "a rule that matches nobody proves nothing"
    return True


async def test_after_any_kill_every_membership_is_right(tmp_path: Path) -> None:
    """mongod, Redis, API, workers, watcher, and at last the supervisor, which comes back on another port."""
    folder = tmp_path / "data"
    rules = list(RULES)
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(running(folder))
        writer = Writer(up.address, (folder / "token").read_text().strip())
        for rule in rules:
            made = await writer.send("POST", "/v1/cohorts", json={"name": rule[:20], "kind": "dynamic", "rule": rule})
            assert made.json()["id"] == f"COH-{rules.index(rule) + 1}"
        for name in SERVICES:
            async with writing(writer):
                await progress(writer)
                os.kill(min(up.processes()[name]), signal.SIGKILL)
                await up.line(f"muster: {name} ended")
                await progress(writer)
            await until(lambda: is_right(up, writer, rules), seconds=60)
        async with writing(writer):
            await progress(writer)
            await writer.send("PATCH", "/v1/cohorts/COH-1", json={"rule": EDITED})
            rules[0] = EDITED
            up.process.kill()
            await up.process.wait()
            await up.gone()
            again = await stack.enter_async_context(running(folder, ports.free_port()))
            writer.address = again.address
            await progress(writer)
        await until(lambda: is_right(again, writer, rules), seconds=60)
