"""Previews: exact or honestly capped, and nothing of them runs on in MongoDB once nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from pymongo.errors import ExecutionTimeout

from muster.cohorts import jobs, previews, service
from muster.cohorts.schemas import PreviewIn
from muster.resources import Resources
from tests.cohorts.conftest import Workspace, serving
from tests.waiting import until

PATIENCE = 120  # seconds
BY_MONGODB, BY_PYTHON = "lead.score > 9", "lead.score * 2 > 19"


async def people(workspace: Workspace, count: int = 40) -> None:
    await workspace.put(**{f"P{number}": {"lead": {"score": float(number)}} for number in range(count)})


@asynccontextmanager
async def hanging(resources: Resources) -> AsyncIterator[None]:
    """Finds of profiles stop inside of MongoDB until they are ended, or the block is."""
    fail_point = "waitInFindBeforeMakingBatch"
    admin = resources.mongodb.admin
    data = {"nss": f"{resources.database.name}.profiles", "shouldCheckForInterrupt": True}
    await admin.command({"configureFailPoint": fail_point, "mode": "alwaysOn", "data": data})
    try:
        yield
    finally:
        await admin.command({"configureFailPoint": fail_point, "mode": "off"})


async def running(resources: Resources) -> set[str]:
    """The previews of which something runs, or stands open, in MongoDB."""
    places = ("command.comment.preview", "cursor.originatingCommand.comment.preview")
    stages = [
        {"$currentOp": {"idleCursors": True, "allUsers": True}},
        {"$match": {"$or": [{place: {"$exists": True}} for place in places]}},
    ]
    found = await resources.mongodb.admin.aggregate(stages).to_list(None)
    commands = [each.get("command", {}) for each in found] + [
        each.get("cursor", {}).get("originatingCommand", {}) for each in found
    ]
    return {command["comment"]["preview"] for command in commands if "comment" in command}


async def until_running(resources: Resources, count: int, *, beside: set[str] | None = None) -> set[str]:
    async def look() -> set[str] | None:
        found = await running(resources) - (beside or set())
        return found if len(found) == count else None

    found = await until(look)
    assert found is not None
    return found


async def until_quiet(resources: Resources) -> None:
    async def look() -> bool:
        return not await running(resources)

    await until(look)


@pytest.mark.parametrize("rule", [BY_MONGODB, BY_PYTHON])
async def test_a_client_that_goes_away_ends_its_query(
    rule: str, workspace: Workspace, clean: Resources, token_for: Callable[[str], str]
) -> None:
    await people(workspace)
    headers = {"Authorization": f"Bearer {token_for('ada')}"}
    async with serving(clean) as address, hanging(clean):
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE) as client:
            asking = asyncio.create_task(client.post(f"{address}/v1/rules/preview", json={"rule": rule}))
            await until_running(clean, 1)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        await until_quiet(clean)  # although MongoDB would still hang


@pytest.mark.parametrize("same_process", [True, False])
async def test_a_later_preview_with_the_same_key_supersedes(
    same_process: bool,
    workspace: Workspace,
    clean: Resources,
    token_for: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await people(workspace)
    async with serving(clean) as address, httpx.AsyncClient(timeout=PATIENCE) as client:

        def ask(owner: str, **body: Any) -> "asyncio.Task[httpx.Response]":
            headers = {"Authorization": f"Bearer {token_for(owner)}"}
            request = client.post(f"{address}/v1/rules/preview", json=body, headers=headers)
            return asyncio.create_task(request)

        async with hanging(clean):
            first = ask("ada", rule=BY_MONGODB, key="editor")
            one = await until_running(clean, 1)
            others = [ask("bob", rule=BY_MONGODB, key="editor"), ask("ada", rule=BY_MONGODB, key="another editor")]
            two = await until_running(clean, 2, beside=one)
            if not same_process:  # as if the first had reached another API process
                monkeypatch.setattr(previews, "_latest", {})
            second = ask("ada", rule=BY_PYTHON, key="editor")
            refused = await first
            three = await until_running(clean, 1, beside=two)
            assert await running(clean) == two | three
        assert refused.status_code == 409
        assert refused.headers["content-type"] == "application/problem+json"
        assert "took its place" in refused.json()["detail"]
        assert (await second).json()["count"] == 30
        assert [(await other).status_code for other in others] == [200, 200]
        assert previews._latest == {}


@pytest.mark.parametrize("rule", [BY_MONGODB, BY_PYTHON])
@pytest.mark.parametrize("few", [7, 500])
async def test_counts_are_exact_with_many_and_with_few(
    rule: str, few: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace)
    monkeypatch.setattr(previews, "FEW", few)
    monkeypatch.setattr(previews, "BATCH", 11)
    found = await previews.preview("ada", PreviewIn(rule=rule, sample=3))
    assert (found.count, found.exact) == (30, True)
    assert len({profile["pii_id"] for profile in found.sample}) == 3
    assert all(profile["lead"]["score"] > 9 for profile in found.sample)


async def test_what_takes_too_long_is_a_floor_and_says_so(
    workspace: Workspace, clean: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace)
    monkeypatch.setattr(previews, "FEW", 7)
    monkeypatch.setattr(previews, "BATCH", 11)
    monkeypatch.setattr(previews, "LOOK_FOR", -1.0)
    by_python = await previews.preview("ada", PreviewIn(rule=BY_PYTHON))
    assert 0 < by_python.count <= 11, "as many as match among the first eleven"
    assert not by_python.exact

    async def too_long(_: object) -> int:
        raise ExecutionTimeout("operation exceeded time limit")

    monkeypatch.setattr(previews._Find, "count", too_long)
    by_mongodb = await previews.preview("ada", PreviewIn(rule=BY_MONGODB))
    assert (by_mongodb.count, by_mongodb.exact) == (11, False)
    monkeypatch.setattr(previews, "WITHIN_MS", 200)
    async with hanging(clean):
        nothing = await previews.preview("ada", PreviewIn(rule=BY_MONGODB))
    assert (nothing.count, nothing.exact, nothing.sample) == (0, False, [])


@pytest.mark.parametrize("rule", [BY_MONGODB, BY_PYTHON])
async def test_an_index_that_is_dropped_at_that_moment_is_done_without(
    rule: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    await people(workspace)

    async def gone_by_now(*_: Any, **__: Any) -> str:
        return "rule_lead.score_that_was"

    monkeypatch.setattr(previews, "hint_for", gone_by_now)
    found = await previews.preview("ada", PreviewIn(rule=rule))
    assert (found.count, found.exact) == (30, True)
    monkeypatch.setattr(service, "hint_for", gone_by_now)
    monkeypatch.setattr(jobs, "ANSWER_WITHIN", 0.2 if rule == BY_PYTHON else jobs.ANSWER_WITHIN)
    cohort = await workspace.cohort(rule)  # Python's part of it goes to a worker then, and none runs
    assert cohort.state == ("ready" if rule == BY_MONGODB else "evaluating")
