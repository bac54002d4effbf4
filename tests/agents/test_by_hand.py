"""Whoever else writes `lead.agent_id`: the entries come to say the same, whatever dies meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from muster.agents import by_hand
from muster.agents.documents import FollowState, Pipeline
from tests.agents.conftest import Desk, what_does_not_fit
from tests.waiting import until


@asynccontextmanager
async def following(desk: Desk, holder: str = "test") -> AsyncIterator[None]:
    """The follower in this process for as long as the block lasts."""
    task = asyncio.create_task(by_hand.follow(desk.http, holder))  # type: ignore[arg-type]  it asks no settings
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def all_fits(desk: Desk) -> bool:
    return await what_does_not_fit(desk.project_id) == []


async def test_entries_follow_every_way_of_writing(desk: Desk) -> None:
    first, second = await desk.hire(1, 1)
    leads = await desk.leads(7)
    await desk.assign(await desk.cohort(leads), [first])
    async with following(desk):
        http = desk.http
        await http.patch(f"/v1/leads/{leads[0]}", json={"agent_id": second})
        await http.patch(f"/v1/leads/{leads[1]}", json={"agent_id": None})
        await http.put(f"/v1/leads/{leads[2]}", json={"status": "open"})
        await http.delete(f"/v1/leads/{leads[3]}")
        moved = {"pii_id": leads[4], "lead": {"agent_id": second}}
        lines = "\n".join(map(json.dumps, (moved, {"pii_id": "new", "lead": {"agent_id": first}})))
        await http.post("/v1/profiles/import", content=lines, headers={"Content-Type": "application/x-ndjson"})
        await http.put("/v1/leads/put", json={"agent_id": second})
        await http.patch(f"/v1/leads/{leads[5]}", json={"score": 4})
        await until(lambda: all_fits(desk))

        async def all_open() -> bool:
            return len(await desk.entries("put")) == 1 and len(await desk.entries("new")) == 1

        await until(all_open)
    old, new = await desk.entries(leads[0])
    assert (old["state"], old["reason"], old["closed_by"]) == ("closed", "by hand", None)
    assert (new["agent_id"], new["state"], new["job_id"]) == (second, "open", None)
    assert [task["state"] for task in await desk.tasks(leads[0])] == ["cancelled"], "nobody plans a task by hand"
    assert [entry["reason"] for entry in await desk.entries(leads[1])] == ["by hand"]
    assert [entry["reason"] for entry in await desk.entries(leads[3])] == ["no lead"]
    assert [entry["state"] for entry in await desk.entries(leads[5])] == ["open"]
    assert [entry["agent_id"] for entry in await desk.entries("put")] == [second]


async def test_what_happens_while_nobody_follows_is_followed_later(desk: Desk) -> None:
    """From the saved position on; without one, from when the first agent came; after lost history, all of it."""
    first, second = await desk.hire(1, 1)
    lead, other, third = await desk.leads(3)
    await desk.assign(await desk.cohort([lead, other, third]), [first])
    await desk.http.patch(f"/v1/leads/{lead}", json={"agent_id": second})
    async with following(desk):
        await until(lambda: all_fits(desk))
    await desk.http.patch(f"/v1/leads/{other}", json={"agent_id": second})
    assert not await all_fits(desk)
    async with following(desk):
        await until(lambda: all_fits(desk))
    await desk.http.patch(f"/v1/leads/{third}", json={"agent_id": second})
    state = await FollowState.get(by_hand.STATE)
    assert state is not None
    assert state.token is not None
    long_ago = state.token["_data"][:2] + f"{1_577_836_800:08X}{1:08X}" + state.token["_data"][18:]
    await FollowState.get_motor_collection().update_one({}, {"$set": {"token": {"_data": long_ago}}})
    async with following(desk):
        await until(lambda: all_fits(desk))
    assert await Pipeline.find({"state": "open", "agent_id": second}).count() == 3


async def test_an_agent_that_is_not_known_has_no_entry(desk: Desk) -> None:
    (first,) = await desk.hire(1)
    (lead,) = await desk.leads(1)
    await desk.assign(await desk.cohort([lead]), [first])
    async with following(desk):
        await desk.http.patch(f"/v1/leads/{lead}", json={"agent_id": "elsewhere"})

        async def closed() -> bool:
            return [entry["state"] for entry in await desk.entries(lead)] == ["closed"]

        await until(closed)
