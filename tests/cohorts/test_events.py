"""The events of a cohort: nothing is left out and nothing comes twice, however often and however slowly it is read."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Self

import httpx
import pytest
from bson import ObjectId, Timestamp
from litestar.response import ServerSentEventMessage

from muster.api import events as api_events
from muster.api.events import Looks, server_sent
from muster.api.serving import _Process
from muster.cohorts import changes, events, service, tail
from muster.cohorts.documents import Change, Cohort
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.resources import Resources
from tests.cohorts.conftest import Workspace, serving
from tests.waiting import until

NUMBERS = itertools.count()
NOWHERE = "82" + "0" * 40  # a position from long ago


async def static(workspace: Workspace) -> Cohort:
    return await service.create(workspace.project.owner, CohortIn(name="Static", kind="static"))


async def write(cohort: Cohort, count: int) -> list[str]:
    """Entries about nobody in particular, in one go; their names."""
    names = [f"N{next(NUMBERS)}" for _ in range(count)]
    now, as_of = datetime.now(UTC), Timestamp(1, 1)
    made = [
        changes.entry(cohort.id, 1, ObjectId(), name, entered=True, cause="record", at=now, as_of=as_of)
        for name in names
    ]
    await Change.get_motor_collection().insert_many(made)
    return names


class Client:
    """One who follows a cohort, and comes back to where it was."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.last_id: str | None = None
        self.names: list[str] = []
        self.kinds: list[str] = []

    async def read(self, enough: Callable[[], bool]) -> None:
        """Connect, and read until it is enough or the stream ends."""
        async with aclosing(events.follow(self.cohort.id, self.last_id)) as looks, asyncio.timeout(60):
            async for message in looks:
                if message is not None:
                    self.take(message)
                if enough():
                    return

    def take(self, message: ServerSentEventMessage) -> None:
        assert isinstance(message.id, str)
        assert self.last_id is None or message.id > self.last_id
        self.last_id = message.id
        self.kinds.append(str(message.event))
        if message.event == "change":
            self.names.append(json.loads(str(message.data))["pii_id"])

    def has(self, count: int) -> Callable[[], bool]:
        return lambda: len(self.names) >= count


async def test_what_happens_is_told_in_order(workspace: Workspace) -> None:
    await workspace.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}})
    cohort = await workspace.cohort("lead.score > 50")
    client = Client(cohort)
    await client.read(lambda: client.kinds == ["following"])
    await service.patch("ada", cohort.id, CohortPatch(rule="lead.score < 50"), expected_revs=None)
    await client.read(client.has(2))
    reading = asyncio.create_task(client.read(lambda: False))

    async def follows() -> bool:
        return any(follower.position for follower in tail.TAIL._all())

    await until(follows)
    await service.delete("ada", cohort.id, expected_revs=None)
    await reading
    assert client.kinds == ["following", "run", "change", "change", "deleted"]
    assert sorted(client.names) == ["ann", "bob"]


@pytest.mark.parametrize("at_once", [2, 50])
async def test_nothing_is_left_out_and_nothing_comes_twice(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Clients of several cohorts come, go and come back, some too slowly for their queue, while entries are written."""
    chance = random.Random(at_once)
    monkeypatch.setattr(tail, "QUEUE", 3)
    monkeypatch.setattr(tail, "NEWS_AT_ONCE", at_once)
    cohorts = [await static(workspace) for _ in range(3)]
    written: dict[str, list[str]] = {cohort.id: [] for cohort in cohorts}
    clients = [Client(cohort) for cohort in cohorts for _ in range(3)]
    for client in clients:
        await client.read(lambda client=client: bool(client.kinds))  # type: ignore[misc]  # every one has its place

    async def follow(client: Client) -> None:
        while len(client.names) < 40:
            pause = chance.random() < 0.3
            until_then = min(40, len(client.names) + chance.randrange(1, 30))

            async with aclosing(events.follow(client.cohort.id, client.last_id)) as looks, asyncio.timeout(90):
                async for message in looks:
                    if message is not None:
                        client.take(message)
                    if len(client.names) >= until_then:
                        break
                    if pause:  # others are read, and its queue overflows
                        for _ in range(20):
                            await asyncio.sleep(0)

    async def fill(cohort: Cohort) -> None:
        while len(written[cohort.id]) < 40:
            some = min(40 - len(written[cohort.id]), chance.randrange(1, 12))
            written[cohort.id] += await write(cohort, some)

    await asyncio.gather(*map(follow, clients), *map(fill, cohorts))
    for client in clients:
        assert client.names == written[client.cohort.id]
        assert "reset" not in client.kinds


async def test_one_stream_serves_all_and_ends_with_the_last(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[list[str]] = []

    class Counted(tail.Notices):
        def __init__(self, token: Any, cohorts: Any, **more: Any) -> None:
            opened.append(list(cohorts))
            super().__init__(token, cohorts, **more)

    monkeypatch.setattr(tail, "Notices", Counted)
    cohort = await static(workspace)
    clients = [Client(cohort) for _ in range(20)]
    reading = [asyncio.create_task(client.read(client.has(2))) for client in clients]

    async def all_follow() -> bool:
        return all(client.kinds for client in clients)

    await until(all_follow)
    names = await write(cohort, 2)
    await asyncio.gather(*reading)
    assert {tuple(client.names) for client in clients} == {tuple(names)}
    assert opened == [[cohort.id]]
    assert tail.TAIL._reading is None
    assert tail.TAIL._followers == {}


async def test_what_comes_while_the_stream_is_opened_for_another_cohort_is_not_lost(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await static(workspace), await static(workspace)
    names: list[str] = []

    class Late(tail.Notices):
        async def __aenter__(self) -> Self:
            names.extend(await write(one, 1))
            return await super().__aenter__()

    client, second = Client(one), Client(other)
    reading = asyncio.create_task(client.read(client.has(1)))

    async def follows() -> bool:
        return bool(client.kinds)

    await until(follows)
    monkeypatch.setattr(tail, "Notices", Late)
    await second.read(lambda: bool(second.kinds))
    await reading
    assert client.names == names


async def test_who_was_erased_meanwhile_is_not_named(workspace: Workspace) -> None:
    cohort = await static(workspace)
    client = Client(cohort)
    await client.read(lambda: client.kinds == ["following"])
    names = await write(cohort, 3)
    erased = await Change.find_one({"pii_id": names[1]})
    assert erased is not None
    await changes.forget([erased.profile])
    await client.read(client.has(2))
    assert client.names == [names[0], names[2]]


@pytest.mark.parametrize("last_id", ["", "xyz", "82", NOWHERE, "82" + "F" * 60])
async def test_a_client_whose_place_is_not_known_is_told_to_read_anew(workspace: Workspace, last_id: str) -> None:
    cohort = await static(workspace)
    client = Client(cohort)
    async with aclosing(events.follow(cohort.id, last_id)) as looks, asyncio.timeout(60):
        async for message in looks:
            if message is not None:
                client.take(message)
                if message.event == "reset":
                    expected = await write(cohort, 2)
                elif client.names == expected:
                    break
    assert client.kinds == ["reset", "change", "change"]


async def test_what_comes_while_the_shared_stream_breaks_off_is_read_all_the_same(
    workspace: Workspace, resources: Resources
) -> None:
    cohort = await static(workspace)
    client = Client(cohort)
    fail = {
        "configureFailPoint": "failCommand",
        "mode": {"times": 3},
        "data": {"failCommands": ["getMore"], "errorCode": 286, "appName": "muster"},
    }
    reading = asyncio.create_task(client.read(client.has(4)))

    async def follows() -> bool:
        return client.kinds == ["following"]

    async def has_two() -> bool:
        return len(client.names) == 2

    async def is_out_of_the_stream() -> bool:
        return any(follower.has_lost for follower in tail.TAIL._all())

    await until(follows)
    await resources.mongodb.admin.command(fail)
    try:
        await until(is_out_of_the_stream)
        names = await write(cohort, 2)
        await until(has_two)
    finally:
        await resources.mongodb.admin.command({"configureFailPoint": "failCommand", "mode": "off"})
    names += await write(cohort, 2)
    await reading
    assert client.names == names
    assert set(client.kinds) == {"following", "change"}


async def test_a_quiet_stream_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_events, "SIGN_OF_LIFE_EVERY", api_events.SIGN_OF_LIFE_EVERY * 0)

    async def quiet() -> Looks:
        yield api_events.event("job", 1, "{}")
        yield None

    body = b"".join([part async for part in server_sent(quiet()).iterator])
    assert body.decode().replace("\r\n", "\n").split("\n\n") == [
        "id: 1\nevent: job\ndata: {}\nretry: 1000",
        ": still there",
        "",
    ]


async def test_a_stream_over_the_network_ends_when_the_process_is_to_stop(
    workspace: Workspace,
    resources: Resources,
    token_for: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By itself, with its connection closed as it should be: it does not hold up the end, and is not cut off."""
    cohort = await static(workspace)
    headers = {"Authorization": f"Bearer {token_for('ada')}"}
    path = f"/v1/cohorts/{cohort.id}/events"
    async with (
        serving(resources) as address,
        httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as client,
        client.stream("GET", path) as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.aiter_lines()
        assert [line async for line in _until(lines, "event: following")]
        (name,) = await write(cohort, 1)
        assert name in "".join([line async for line in _until(lines, 'data: {"id"')])
        monkeypatch.setattr(_Process, "stopping", True)
        assert [line async for line in lines if line.startswith("event")] == []  # ends, and raises nothing
    assert tail.TAIL._reading is None


async def _until(lines: AsyncIterator[str], beginning: str) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        if line.startswith(beginning):
            return
