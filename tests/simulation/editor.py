"""Who makes, edits, converts, evaluates and deletes cohorts, and puts profiles into static ones, through REST."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from bson import ObjectId

from muster.cohorts import generations
from muster.records.documents import Profile
from muster.rules import Registry, RuleError, read_rule
from tests.recount import cohorts_named
from tests.simulation.books import Known
from tests.simulation.clock import Clock
from tests.simulation.drawing import KINDS, NESTED, Chance, kind_of_rule, nested_rule
from tests.waiting import until

FEWEST_NAMEABLE = 5
FEWEST_BY_HAND, MOST_BY_HAND = 1, 60


@dataclass
class Editor:
    """Has cohorts of its own, of which it knows what they must be."""

    api: httpx.AsyncClient
    chance: Chance
    clock: Clock
    project: str
    registry: Registry
    names: Sequence[str]  # pii_ids that there may be
    most: int  # cohorts
    nameable: Callable[[], Sequence[str]]  # the project's cohorts, those of other editors included
    cohorts: dict[str, Known] = field(default_factory=dict)
    acts: int = 0
    refused: int = 0

    async def act(self) -> None:
        """One edit, while others write."""
        self.chance.now = self.clock.now
        self.acts += 1
        acts: Mapping[Callable[[], Awaitable[None]], float] = {
            self._edit_rule: 6,
            self._evaluate: 3,
            self._create_dynamic: 3,
            self._create_static: 1,
            self._delete: 3,
            self._by_hand: 8,
            self._convert: 2,
            self._rename: 1,
            self._purge: 0.5,
        }
        await self.chance.random.choices(list(acts), list(acts.values()))[0]()

    def draw_rule(self, kind: str | None = None) -> str:
        """A rule that the project takes, unless it makes a cohort a part of itself."""
        while True:
            cohorts = self.nameable()
            if kind is None and len(cohorts) > FEWEST_NAMEABLE and self.chance.odds(NESTED):
                text = nested_rule(self.chance, cohorts)
            else:
                text = KINDS[kind or kind_of_rule(self.chance)](self.chance)
            try:
                read_rule(text, self.registry, cohorts=dict.fromkeys(cohorts_named(text)))
            except RuleError:
                continue
            return text

    async def create(self, rule: str) -> None:
        """A dynamic cohort."""
        await self._made(kind="dynamic", rule=rule)

    async def create_from_rule(self, rule: str, members: set[ObjectId]) -> None:
        """A static cohort of those who match while nobody writes."""
        if (made := await self._made(kind="static", rule=rule)) is not None:
            made.given = members

    async def freeze(self, cohort: Known, members: set[ObjectId]) -> None:
        """Make a dynamic cohort static while nobody writes."""
        await self._send("PATCH", f"/{cohort.id}", 200, json={"kind": "static"})
        cohort.kind, cohort.given = "static", set(members)

    async def _made(self, **body: Any) -> Known | None:
        name = (body.get("rule") or "By hand")[:100].replace("\n", " ")
        answer = await self._send("POST", "", 201, json={"name": name, "project_id": self.project, **body})
        if answer is None:
            return None
        made = Known(answer["id"], self.project, body["kind"], body.get("rule"))
        self.cohorts[made.id] = made
        return made

    def _some(self, *kinds: str) -> Known | None:
        found = [cohort for cohort in self.cohorts.values() if cohort.kind in kinds]
        return self.chance.choice(found) if found else None

    async def _edit_rule(self) -> None:
        if cohort := self._some("dynamic"):
            rule = self.draw_rule()
            if await self._send("PATCH", f"/{cohort.id}", 200, json={"rule": rule}):
                cohort.rule = rule

    async def _evaluate(self) -> None:
        if cohort := self._some("dynamic"):
            await self._send("POST", f"/{cohort.id}/evaluate", 200)

    async def _create_dynamic(self) -> None:
        if len(self.cohorts) < self.most:
            await self.create(self.draw_rule())

    async def _create_static(self) -> None:
        """Of a list, or of a rule while others write; nobody but the product knows then who matched at that moment."""
        if len(self.cohorts) >= self.most:
            return
        if self.chance.odds(0.3):
            await self._made(kind="static", rule=self.draw_rule())
            return
        there = sorted(await self._ids(self.chance.random.sample(self.names, MOST_BY_HAND)))
        some = there[: self.chance.integer(0, len(there))]
        before = await self._ids(some)
        body = {"name": "By hand", "kind": "static", "project_id": self.project, "members": some}
        answer = await self.api.post("/v1/cohorts", json=body)
        if answer.status_code == 422:  # somebody was erased a moment ago
            return
        assert answer.status_code == 201, answer.text
        made = Known(answer.json()["id"], self.project, "static", given=set())
        self.cohorts[made.id] = made
        await self._given(made, some, before, adding=True)

    async def _delete(self) -> None:
        if len(self.cohorts) > self.most * 0.9 and (cohort := self._some("dynamic", "static")):
            answer = await self.api.delete(f"/v1/cohorts/{cohort.id}")
            if answer.status_code == 409 and " names " in answer.text:  # the rule of another one does
                self.refused += 1
                return
            assert answer.status_code == 204, answer.text
            del self.cohorts[cohort.id]

    async def _by_hand(self) -> None:
        cohort = self._some("static")
        if cohort is None:
            return
        some = self.chance.random.sample(self.names, self.chance.integer(FEWEST_BY_HAND, MOST_BY_HAND))
        adding = self.chance.odds(0.6)
        before = await self._ids(some)
        method = "POST" if adding else "DELETE"
        await self._send(method, f"/{cohort.id}/members", 200, json={"members": some})
        await self._given(cohort, some, before, adding=adding)

    async def _given(self, cohort: Known, some: Sequence[str], before: Mapping[str, ObjectId], *, adding: bool) -> None:
        """Keep the book: sure about those who were the same before and after, in doubt about the others."""
        after = await self._ids(some)
        sure = {profile for pii_id, profile in before.items() if after.get(pii_id) == profile}
        cohort.doubtful |= ({*before.values(), *after.values()}) - sure
        if cohort.given is not None:
            cohort.given = cohort.given | sure if adding else cohort.given - sure
        cohort.doubtful -= sure

    async def _ids(self, pii_ids: Sequence[str]) -> dict[str, ObjectId]:
        query = {"project_id": self.project, "pii_id": {"$in": list(pii_ids)}}
        found = Profile.get_motor_collection().find(query, {"pii_id": 1})
        return {profile["pii_id"]: profile["_id"] async for profile in found}

    async def _convert(self) -> None:
        if (cohort := self._some("static", "dynamic")) is None:
            return
        if cohort.kind == "static":
            rule = self.draw_rule()
            if await self._send("PATCH", f"/{cohort.id}", 200, json={"kind": "dynamic", "rule": rule}):
                cohort.kind, cohort.rule, cohort.given, cohort.doubtful = "dynamic", rule, None, set()
        else:
            await self._send("PATCH", f"/{cohort.id}", 200, json={"kind": "static"})
            cohort.kind = "static"

    async def _rename(self) -> None:
        if cohort := self._some("static", "dynamic"):
            name = f"Renamed {self.acts}"
            answer = await self._send("PATCH", f"/{cohort.id}", 200, json={"name": name})
            assert answer is not None
            assert answer["name"] == name

    async def _purge(self) -> None:
        """The workers' chore."""
        await generations.purge()

    async def _send(self, method: str, path: str, status: int, **request: Any) -> dict[str, Any] | None:
        """The answer; None when a rule is refused because of what it names.

        A slow machine may answer 202: then the job goes on, and this waits for its end.
        """
        answer = await self.api.request(method, f"/v1/cohorts{path}", **request)
        if answer.status_code == 422 and ("part of itself" in answer.text or "There is no cohort" in answer.text):
            self.refused += 1
            return None
        assert answer.status_code in {status, 202}, f"{method} {path} {request}: {answer} {answer.text}"
        result = dict(answer.json())
        if answer.status_code == 202:
            await until(lambda: self._ended(result["job_id"]))
        return result

    async def _ended(self, job: str) -> bool:
        answer = await self.api.get(f"/v1/jobs/{job}")
        return answer.json()["finished_at"] is not None
