"""A running Muster with cohorts of all kinds and those who write to it, and the checks that everything is right."""

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import httpx
from bson import ObjectId

from tests.embedded.running_muster import Up
from tests.faults import worlds
from tests.faults.kills import PATIENCE
from tests.faults.recount import Profiles, broken_histories, database_of, profiles_of, shown
from tests.faults.traffic import (
    COMPANIES,
    FOLLOWING,
    LONG,
    NDJSON,
    NESTED,
    PRIVATE_EACH,
    STEADY,
    WRITERS,
    Api,
    Editor,
    Writer,
    company,
)
from tests.faults.witness import WATCHERS_LEASE, Witness
from tests.faults.worlds import Private
from tests.waiting import until

BY_HAND = 12  # profiles that go in and out of the static cohort, and as many that are in it from the start
WRITES = 60  # acknowledged before and after each fault


@dataclass
class Scene:
    """A running Muster with its cohorts, and those who write to it."""

    up: Up
    random: Random
    api: Api
    writers: list[Writer]
    editor: Editor
    steady: Mapping[str, str]  # cohort → rule
    given: Mapping[str, ObjectId]  # whom the static cohort was given, and as which profile
    histories_lost: int = 0  # each is answered by evaluating everything
    was_dropped: bool = False  # the collection of profiles, once
    witness: Witness = field(default_factory=Witness)
    marks: "itertools.count[int]" = field(default_factory=itertools.count)

    async def mark(self) -> None:
        """Wait until a profile written now is a member: then everything written before it is applied, too."""
        mark = f"mark-{next(self.marks)}"
        cohort = next(cohort for cohort, rule in self.steady.items() if "mark" in rule)

        async def written() -> bool:
            return await api.send(client, "PUT", f"/v1/leads/{mark}", json={"source": "mark"}) is not None

        async def seen() -> bool:
            answer = await api.send(client, "GET", f"/v1/cohorts/{cohort}/members", params={"limit": 1_000})
            return answer is not None and mark in {member["pii_id"] for member in answer.json()["items"]}

        # Not among those whose requests are counted as progress.
        api = Api(self.api.address, self.api.token)
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            await until(written, seconds=PATIENCE)
            await until(seen, seconds=PATIENCE)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Nobody writes, and nothing is under way, for as long as the block lasts."""
        self.api.going.clear()

        async def at_rest() -> bool:
            return self.api.busy == 0

        try:
            await until(at_rest, seconds=PATIENCE)
            yield
        finally:
            self.api.going.set()

    async def begin_with_nobody(self) -> None:
        """All profiles are gone: write the first ones again. Whoever was a member of anything is nobody now."""
        for own in itertools.chain.from_iterable(writer.private for writer in self.writers):
            own.worlds = {None}
        self.given = {}
        self.editor.by_hand.update(dict.fromkeys(self.editor.by_hand, False))
        async with self.up.api() as client:
            await import_the_first(client, [*self.editor.by_hand], self.random)

    async def progress(self) -> None:
        """Wait until so many more requests are acknowledged."""
        enough = self.api.acknowledged + WRITES

        async def acknowledged() -> bool:
            return self.api.acknowledged >= enough

        await until(acknowledged, seconds=PATIENCE)


async def arrange(up: Up, random: Random) -> Scene:
    """Cohorts first, so that the watcher alone fills the steady ones; then the profiles that nobody erases."""
    token = (up.folder / "token").read_text().strip()
    api = Api(up.address, token)
    async with up.api() as client:

        async def make(**body: Any) -> str:
            answer = await client.post("/v1/cohorts", json=body, timeout=60)
            assert answer.status_code == 201, answer.text
            return str(answer.json()["id"])

        steady = {await make(name=name, kind="dynamic", rule=rule): rule for name, rule in STEADY.items()}
        by_hand: dict[str, bool | None] = {f"hand-{number}": False for number in range(BY_HAND)}
        given = [f"shared-{number}" for number in range(BY_HAND)]
        static = await make(name="static", kind="static")
        named = (*list(steady)[:2], static)
        steady |= {
            await make(name=name, kind="dynamic", rule=rule.format(*named)): rule for name, rule in NESTED.items()
        }
        edited = await make(name="edited", kind="dynamic", rule="lead.score < 20")
        await make(name="following", kind="dynamic", rule=FOLLOWING.format(edited))
        long = await make(name="long", kind="dynamic", rule=LONG[0])
        await import_the_first(client, [*by_hand, *given], random)
        added = await client.post(f"/v1/cohorts/{static}/members", json={"members": given})
        assert added.json()["added"] == len(given), added.text
    async with database_of(up.folder) as database:
        profiles = await profiles_of(database)
    writers = [
        Writer(api, Random(random.random()), [Private(f"own-{writer}-{number}") for number in range(PRIVATE_EACH)])
        for writer in range(WRITERS)
    ]
    editor = Editor(api, Random(random.random()), edited, long, static, by_hand)
    scene = Scene(up, random, api, writers, editor, steady, {pii_id: profiles[pii_id]["_id"] for pii_id in given})
    await scene.mark()
    return scene


async def import_the_first(client: httpx.AsyncClient, people: list[str], random: Random) -> None:
    """Some people, and so many companies that the API leaves to workers what Python decides of them."""
    lines: list[dict[str, Any]] = [{"pii_id": pii_id, "lead": {"score": 1}} for pii_id in people]
    lines += [company(number, random) for number in range(COMPANIES)]
    body = "\n".join(map(json.dumps, lines))
    imported = await client.post("/v1/profiles/import", content=body, headers=NDJSON, timeout=PATIENCE)
    assert imported.json()["failed_count"] == 0, imported.text


async def nothing_is_lost(scene: Scene) -> None:
    """Nobody writes any more. What is stored fits every answer, histories lead to it, and no watcher misbehaved."""
    async with database_of(scene.up.folder) as database:
        profiles = await profiles_of(database)
        for own in itertools.chain.from_iterable(writer.private for writer in scene.writers):
            found = worlds.stored(profiles.get(own.pii_id))
            assert found in own.worlds, f"{own}: stored is {found}, possible were {own.worlds}"
            own.worlds = {found}
        wrong = await broken_histories(database, [*scene.steady, scene.editor.static])
        watched = await database["watch_states"].find_one({"_id": WATCHERS_LEASE})
        assert watched is not None
        if watched["full_evaluations"] != 1 + scene.histories_lost:
            wrong.append(f"{scene.histories_lost} lost their history, and the first start: {watched}")
    wrong += scene.witness.complaints
    assert wrong == [], "\n".join(wrong)[:10_000]
    assert await static_members(scene) == expected_static_members(scene, profiles)


async def no_rule_is_idle(scene: Scene) -> None:
    """A rule that matches nobody proves nothing."""
    async with scene.up.api() as api:
        for cohort, rule in scene.steady.items():
            assert (await shown(api, cohort))[0]["member_count"] > 0, rule


async def static_members(scene: Scene) -> set[str]:
    """The members of the static cohort about whom there is an answer."""
    async with scene.up.api() as api:
        cohort, members = await shown(api, scene.editor.static)
    assert cohort["member_count"] == len(members) == len(set(members))
    return {pii_id for pii_id in members if scene.editor.by_hand.get(pii_id, True) is not None}


def expected_static_members(scene: Scene, profiles: Profiles) -> set[str]:
    """Those given who were not erased since (created again, they are others), and those put in by hand."""
    kept = {pii_id for pii_id, profile in scene.given.items() if profiles.get(pii_id, {}).get("_id") == profile}
    return kept | {pii_id for pii_id, is_member in scene.editor.by_hand.items() if is_member}
