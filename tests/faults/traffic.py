"""Writers of profiles and editors of cohorts, through the REST API, whatever dies meanwhile."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import httpx

from tests.faults import worlds
from tests.faults.worlds import Private

WRITERS = 4
PRIVATE_EACH = 6
SHARED = 250  # profiles that everybody writes
COMPANIES = 21_000  # above what the API evaluates in its own process where Python has to decide
PATIENCE = 150.0  # seconds; more than a request may take: one that hangs longer fails the test
BREATH = 0.05  # seconds between two requests of a writer: some hundred changes a second, which a busy machine follows
AGAIN_AFTER = 0.3  # seconds after a request that nobody answered
EDITOR_RESTS = 0.3  # seconds
LONG_RESTS = 1.5  # seconds; evaluations that the workers have time to end

GONE = (httpx.NetworkError, httpx.RemoteProtocolError)  # a time-out is not among them
NDJSON = {"Content-Type": "application/x-ndjson"}

# Followed from before the first profile on, and never evaluated again: only the watcher keeps them right.
STEADY: Mapping[str, str] = {
    "and": 'lead.score > 50 and contact.country == "US" and customer.lifetime_value > 400',
    "or": 'lead.score > 90 or contact.country == "US" or customer.lifetime_value > 800',
    "not": 'not (contact.country in ["US", "FR"]) and customer == null',
    "in": 'lead.status in ["open", "won"]',
    "null": "lead.stage == null and contact.email != null",
    "list": '"vip" in lead.tags',
    "lists": '"vip" in lead.tags and not ("new" in customer.tags)',
    "text": 'contact.email.starts_with("an") or contact.name.ends_with("b")',
    "arithmetic": "lead.score / 7 > customer.lifetime_value % 13",
    "pattern": 'contact.email =~~ "(an|na)+@"',
    "any": "$any([tag.length > 3 for tag in lead.tags])",
    "time": '$now - lead.last_activity_at > t"P30D"',
    "times": 'lead.last_activity_at < $now - t"P30D" and lead.last_activity_at > $now - t"PT721H"',
    "day": 'lead.last_activity_at > $today - t"P30D" or lead.score > 90',
    "function": '$fuzzy(contact.name, "Anna") > 60 and $email_domain(contact.email) == "x.org"',
    "mark": 'lead.source == "mark"',
}
# The same, over cohorts: the first two of these are steady ones, the third is static.
NESTED: Mapping[str, str] = {
    "nested": '$in_cohort("{1}") and not $in_cohort("{0}")',
    "deep": '$in_cohort("{1}") or $in_cohort("{2}") and lead.score > 20',
}
EDITED = (
    "lead.score < 20",
    "lead.score >= 20 and contact == null",
    "customer.lifetime_value * 1.1 > lead.score * 9.7",
    'contact.country != "DE" and not ("vip" in lead.tags)',
)
FOLLOWING = '$in_cohort("{0}") and lead.status != "lost"'  # evaluated anew by workers when what it names is edited
LONG = ("company.funding_raised_usd % 30 == 0", "company.funding_raised_usd / 7 > 2800")  # workers evaluate these


@dataclass
class Api:
    """Where the API is by now, and requests that may fail as a client's may."""

    address: str
    token: str
    acknowledged: int = 0
    unanswered: int = 0
    going: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: nobody begins anything
    busy: int = 0  # who is at something

    def __post_init__(self) -> None:
        self.going.set()

    async def send(self, client: httpx.AsyncClient, method: str, path: str, **request: Any) -> httpx.Response | None:
        """The answer; None where there was none, or 503. Anything else that is a failure of ours fails the test."""
        headers = {"Authorization": f"Bearer {self.token}"} | request.pop("headers", {})
        try:
            answer = await client.request(method, self.address + path, headers=headers, **request)
        except GONE:
            answer = None
        if answer is None or answer.status_code == 503:
            self.unanswered += 1
            await asyncio.sleep(AGAIN_AFTER)
            return None
        assert answer.status_code in {200, 201, 202, 204, 404, 409}, f"{method} {path}: {answer} {answer.text}"
        self.acknowledged += 1
        return answer


@dataclass
class Writer:
    """Writes profiles, some of its own and some that others write too."""

    api: Api
    random: Random
    private: list[Private]
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def write(self, client: httpx.AsyncClient) -> None:
        """One request."""
        dice = self.random.random()
        if dice < 0.4:
            await self._write_own(client, self.random.choice(self.private))
        elif dice < 0.8:
            await self._write_shared(client, f"shared-{self.random.randrange(SHARED)}")
        else:
            await self._import(client)

    async def _write_own(self, client: httpx.AsyncClient, own: Private) -> None:
        part, fields = self._fields()
        path = f"/v1/{part}s/{own.pii_id}"
        method, expected = self.random.choices(
            (("PUT", worlds.put(part, fields)), ("PATCH", worlds.patch(part, fields)), ("DELETE", worlds.remove(part))),
            (6, 3, 1),
        )[0]
        if self.random.random() < 0.06:
            method, path, expected = "DELETE", f"/v1/profiles/{own.pii_id}", worlds.erase
        what = f"{method} {path} {fields}"
        answer = await self.api.send(client, method, path, json=None if method == "DELETE" else fields)
        if answer is None:
            own.unanswered(what, expected)
        else:
            rev = answer.json().get("rev") if answer.status_code in {200, 201} else None
            own.answered(what, expected, answer.status_code, rev)

    async def _write_shared(self, client: httpx.AsyncClient, pii_id: str) -> None:
        part, fields = self._part()
        dice = self.random.random()
        if dice < 0.5:
            await self.api.send(client, "PUT", f"/v1/{part}s/{pii_id}", json=fields)
        elif dice < 0.75:
            await self.api.send(client, "PATCH", f"/v1/{part}s/{pii_id}", json=dict(list(fields.items())[:1]))
        elif dice < 0.88:
            await self.api.send(client, "DELETE", f"/v1/{part}s/{pii_id}")
        else:
            await self.api.send(client, "DELETE", f"/v1/profiles/{pii_id}")

    async def _import(self, client: httpx.AsyncClient) -> None:
        """Some lines of everybody's, and one of each own profile."""
        lines: list[dict[str, Any]] = []
        for _ in range(12):
            part, fields = self._part()
            lines.append({"pii_id": f"shared-{self.random.randrange(SHARED)}", part: fields})
        lines += [company(self.random.randrange(COMPANIES), self.random) for _ in range(5)]
        own = [(each, *self._fields()) for each in self.private]
        lines += [{"pii_id": each.pii_id, part: fields} for each, part, fields in own]
        self.random.shuffle(lines)
        answer = await self.api.send(
            client, "POST", "/v1/profiles/import", content="\n".join(map(json.dumps, lines)), headers=NDJSON
        )
        assert answer is None or answer.json()["failed_count"] == 0, answer.text
        for each, part, fields in own:
            expected = worlds.put(part, fields, imported=True)
            if answer is None:
                each.unanswered(f"import {part} {fields}", expected)
            else:
                each.answered(f"import {part} {fields}", expected, answer.status_code, None)

    def _fields(self) -> tuple[str, dict[str, str | int]]:
        """A part with values that no request before it had, and that rules care for."""
        part = self.random.choice(("lead", "contact", "customer"))
        field_name, number_name = {
            "lead": ("status", "score"),
            "contact": ("country", "city"),
            "customer": ("plan", "lifetime_value"),
        }[part]
        number = next(self.numbers)
        word = self.random.choice(("open", "won", "US", "FR"))
        return part, {field_name: word, number_name: f"city {number}" if part == "contact" else number}

    def _part(self) -> tuple[str, dict[str, Any]]:
        """A part of a profile that others write too; the first of its fields is a fair patch."""
        draw = self.random
        part = draw.choice(("lead", "contact", "customer"))
        if part == "lead":
            # 30 days ago, give or take: some cross the line of the rule over `$now` while the test runs.
            active = datetime.now(UTC) - timedelta(days=30) + timedelta(seconds=draw.uniform(-30, 60))
            values: dict[str, Any] = {
                "score": draw.randint(0, 100),
                "status": draw.choice(("open", "won", "lost")),
                "tags": draw.sample(("vip", "new", "silent", "eu"), draw.randint(0, 3)),
                "stage": draw.choice((None, "late")),
                "last_activity_at": active.isoformat(),
            }
        elif part == "contact":
            values = {
                "country": draw.choice(("US", "FR", "DE")),
                "email": draw.choice((None, "ann@x.org", "nana@x.org", "bob@x.org")),
                "name": draw.choice(("Ann", "Bob", "Anne\n")),
            }
        else:
            values = {"lifetime_value": draw.randint(0, 1_000), "tags": draw.sample(("new", "vip"), draw.randint(0, 2))}
        names = draw.sample(sorted(values), draw.randint(1, len(values)))
        return part, {name: values[name] for name in names}


@dataclass
class Editor:
    """Edits, evaluates, creates and deletes cohorts, and puts profiles into and out of a static one."""

    api: Api
    random: Random
    edited: str
    long: str
    static: str
    by_hand: dict[str, bool | None]  # profiles that nobody erases: whether each is a member; None: nobody answered
    made: list[str] = field(default_factory=list)

    async def edit(self, client: httpx.AsyncClient) -> None:
        """One request."""
        match self.random.randrange(6):
            case 0:
                await self._send(client, "PATCH", self.edited, json={"rule": self.random.choice(EDITED)})
            case 1:
                await self._send(client, "POST", f"{self.edited}/evaluate")
            case 2 if len(self.made) > 3:
                await self._send(client, "DELETE", self.made.pop(0))
            case 2 | 3:
                rule = self.random.choice(EDITED)
                answer = await self._send(client, "POST", json={"name": rule[:50], "kind": "dynamic", "rule": rule})
                if answer is not None:
                    self.made.append(answer.json()["id"])
            case _:
                await self._edit_by_hand(client, self.random.choice(("POST", "DELETE")))

    async def _edit_by_hand(self, client: httpx.AsyncClient, method: str) -> None:
        some = self.random.sample(sorted(self.by_hand), 3)
        answer = await self._send(client, method, f"{self.static}/members", json={"members": some})
        if answer is None or answer.status_code == 200:  # a conflict changes nothing
            self.by_hand.update(dict.fromkeys(some, None if answer is None else method == "POST"))

    async def evaluate_long(self, client: httpx.AsyncClient) -> None:
        """Work for the workers: over so many profiles the API does not decide in Python itself."""
        if self.random.random() < 0.5:
            await self._send(client, "PATCH", self.long, json={"rule": self.random.choice(LONG)})
        else:
            await self._send(client, "POST", f"{self.long}/evaluate")

    async def _send(self, client: httpx.AsyncClient, method: str, path: str = "", **body: Any) -> httpx.Response | None:
        return await self.api.send(client, method, f"/v1/cohorts/{path}".rstrip("/"), **body)


def company(number: int, random: Random) -> dict[str, Any]:
    """A line of an import."""
    return {"pii_id": f"company-{number}", "company": {"funding_raised_usd": random.randrange(20_000)}}


@asynccontextmanager
async def traffic(writers: list[Writer], editor: Editor) -> AsyncIterator[None]:
    """Everybody writes for as long as the block lasts; at its end what is under way is still answered."""
    api, stopping = editor.api, asyncio.Event()

    async def repeat(act: Callable[[httpx.AsyncClient], Awaitable[None]], rest: float) -> None:
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            while not stopping.is_set():
                await api.going.wait()
                api.busy += 1
                await act(client)
                api.busy -= 1
                await asyncio.sleep(rest)  # leaves the services their share of the processors

    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(repeat(writer.write, BREATH))
        tasks.create_task(repeat(editor.edit, EDITOR_RESTS))
        tasks.create_task(repeat(editor.evaluate_long, LONG_RESTS))
        try:
            yield
        finally:
            stopping.set()
