"""At a quiet point: is everything what a recount by brute force says it must be?"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorDatabase

from tests.recount import Counted, Recount
from tests.simulation.books import Known
from tests.simulation.drawing import Chance
from tests.simulation.writers import Writer

Database = AsyncIOMotorDatabase[dict[str, Any]]
PAGED = 3  # cohorts whose members are also read through REST, page by page
REMEMBERED = 25  # cohorts of every quiet point, to be asked for later
ASKED_BACK = 6  # of those, at every later quiet point
LOOKED_UP = 5  # profiles whose cohorts are also asked for


@dataclass(frozen=True, slots=True)
class Shown:
    """A cohort as it was at a quiet point."""

    members: set[ObjectId]


@dataclass(frozen=True, slots=True)
class Past:
    """A cohort at a quiet point long ago."""

    cohort: str
    project: str
    at: datetime
    members: frozenset[ObjectId]


@dataclass
class Checks:
    """Recounts everything, again and again; what it finds wrong is a sentence each."""

    database: Database
    api: httpx.AsyncClient
    chance: Chance
    recounts: Mapping[str, Recount[ObjectId]]  # by project
    before: dict[str, Shown] = field(default_factory=dict)
    past: list[Past] = field(default_factory=list)
    last_change: ObjectId | None = None
    rows: int = 0  # memberships compared
    changes: int = 0  # replayed

    async def wrong(self, known: Mapping[str, Known], writers: list[Writer], now: datetime) -> list[str]:
        """All that differs."""
        profiles = await self._profiles()
        found = [complaint for writer in writers for complaint in writer.complaints]
        for writer in writers:
            stored = {each["pii_id"]: each for each in profiles[writer.project].values()}
            found += writer.wrong(stored)
        cohorts = {cohort["_id"]: cohort async for cohort in self.database["cohorts"].find()}
        if set(cohorts) != set(known):
            found.append(f"cohorts are {sorted(cohorts)}, they must be {sorted(known)}")
        rows = await self._rows()
        shown: dict[str, Shown] = {}
        counted: dict[str, list[Counted[ObjectId]]] = defaultdict(list)
        for cohort_id in cohorts.keys() & known.keys():
            cohort, each = cohorts[cohort_id], known[cohort_id]
            number = cohort["active"]["number"] if cohort["active"] else 0
            listed = rows.get(f"{cohort_id}|{number}", [])
            shown[cohort_id] = Shown(set(listed))
            rule = each.rule if each.kind == "dynamic" else None
            counted[each.project].append(Counted(cohort_id, rule, listed, cohort["member_count"]))
            found += self._state(cohort, each)
            self.rows += len(listed)
        for project, recount in self.recounts.items():
            recount.take(profiles[project])
            found += recount.differences(counted[project], now)
        for cohort_id, each in known.items():
            if each.kind == "static" and cohort_id in shown:
                found += self._given(each, shown[cohort_id].members)
        found += await self._replay(shown)
        found += await self._through_rest(cohorts, shown)
        found += await self._as_it_was(shown)
        self.before = shown
        for cohort_id in self.chance.random.sample(sorted(shown), min(REMEMBERED, len(shown))):
            self.past.append(Past(cohort_id, known[cohort_id].project, now, frozenset(shown[cohort_id].members)))
        return found

    async def _profiles(self) -> dict[str, dict[ObjectId, dict[str, Any]]]:
        profiles: dict[str, dict[ObjectId, dict[str, Any]]] = {project: {} for project in self.recounts}
        async for profile in self.database["profiles"].find():
            profiles[profile["project_id"]][profile["_id"]] = profile
        return profiles

    async def _rows(self) -> dict[str, list[ObjectId]]:
        pipeline = [{"$match": {"in": True}}, {"$group": {"_id": "$generation", "profiles": {"$push": "$profile"}}}]
        groups = self.database["memberships"].aggregate(pipeline, allowDiskUse=True)
        return {group["_id"]: group["profiles"] async for group in groups}

    def _state(self, cohort: Mapping[str, Any], known: Known) -> list[str]:
        rule = cohort["rule"] and cohort["rule"]["text"]
        is_so = (cohort["kind"], cohort["state"], cohort["run"], cohort["filling"])
        found = []
        if is_so != (known.kind, "ready", None, None):
            found.append(f"{known.id} is {is_so} with {cohort['error']!r}, it must be a ready {known.kind} one")
        if known.kind == "dynamic" and not rule == known.rule == cohort["active"]["rule"]["text"]:
            found.append(f"{known.id} has the rule {rule!r}, it must have {known.rule!r}")
        return found

    def _given(self, known: Known, members: set[ObjectId]) -> list[str]:
        """Whom a hand put into a static cohort, as far as they still are, and nobody else."""
        there = self.recounts[known.project].everybody.keys()
        wrong = (members ^ (members if known.given is None else known.given & there)) - known.doubtful
        gone = members - there
        known.given, known.doubtful = members, set()
        if not wrong and not gone:
            return []
        what = f"{known.id}, static, {known.rule!r}: {len(wrong - members)} missing, {len(wrong & members)} surplus"
        return [f"{what}, {len(gone)} are no more: {list(wrong | gone)[:5]}"]

    async def _replay(self, shown: Mapping[str, Shown]) -> list[str]:
        """What `changes` tell since the last quiet point leads from the members of then to those of now."""
        wanted = {} if self.last_change is None else {"_id": {"$gt": self.last_change}}
        by_cohort: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        async for change in self.database["changes"].find(wanted).sort("_id", 1):
            by_cohort[change["cohort"]].append(change)
            self.last_change = change["_id"]
            self.changes += 1
        found: list[str] = []
        for cohort_id, now in shown.items():
            changes = sorted(by_cohort[cohort_id], key=lambda change: (change["at"], change["_id"]))
            before = self.before.get(cohort_id)
            if before is not None:
                found += _differs(cohort_id, before.members, changes, now.members)
            else:
                found += await self._first_fill(cohort_id, changes, now)
        return found

    async def _first_fill(self, cohort_id: str, changes: list[Mapping[str, Any]], now: Shown) -> list[str]:
        """Undone one by one, the changes of a new cohort lead back to as many members as its first run found."""
        members = set(now.members)
        for change in reversed(changes):
            members ^= {change["profile"]}
        run = await self.database["runs"].find_one({"cohort": cohort_id, "state": "succeeded"}, sort=[("at", 1)])
        count = run["member_count"] if run else 0
        found = _differs(cohort_id, members, changes, now.members)
        if count != len(members):
            found.append(f"{cohort_id}: the run says {count} members, the changes since lead back to {len(members)}")
        return found

    async def _through_rest(self, cohorts: Mapping[str, Any], shown: Mapping[str, Shown]) -> list[str]:
        """A few cohorts and profiles, as whoever asks the API sees them."""
        found: list[str] = []
        for cohort_id in self.chance.random.sample(sorted(shown), min(PAGED, len(shown))):
            project = cohorts[cohort_id]["project_id"]
            everybody = self.recounts[project].everybody
            expected = {
                str(everybody[each].profile["pii_id"]) for each in shown[cohort_id].members if each in everybody
            }
            for order in ("joined", "id"):
                listed = [each["pii_id"] for each in await self._pages(f"/v1/cohorts/{cohort_id}/members", order=order)]
                if len(listed) != len(expected) or set(listed) != expected:
                    found.append(f"{cohort_id}: pages by {order} show {len(listed)} members, {len(expected)} they must")
        for project, recount in self.recounts.items():
            everybody = sorted(recount.everybody)
            for profile in self.chance.random.sample(everybody, min(LOOKED_UP, len(everybody))):
                pii_id = recount.everybody[profile].profile["pii_id"]
                answer = await self.api.get(f"/v1/profiles/{pii_id}", params={"project_id": project})
                listed = answer.json()["cohorts"]
                expected = {cohort for cohort, each in shown.items() if profile in each.members}
                if len(listed) != len(expected) or set(listed) != expected:
                    found.append(f"{project} {pii_id} shows {listed}, it is in {sorted(expected)}")
        return found

    async def _as_it_was(self, shown: Mapping[str, Shown]) -> list[str]:
        """Members and sizes of earlier quiet points, as the API tells them today; who was erased since has no name."""
        found: list[str] = []
        self.past = [then for then in self.past if then.cohort in shown]
        for then in self.chance.random.sample(self.past, min(ASKED_BACK, len(self.past))):
            path, at = f"/v1/cohorts/{then.cohort}", then.at.isoformat()
            everybody = self.recounts[then.project].everybody
            expected = {everybody[each].profile["pii_id"] for each in then.members if each in everybody}
            listed = [each["pii_id"] for each in await self._pages(f"{path}/members", at=at)]
            if len(listed) != len(expected) or set(listed) != expected:
                wrong = sorted(set(listed) ^ expected)
                found.append(f"{then.cohort} at {at}: {len(listed)} members, {len(expected)} they were, {wrong[:5]}")
            answer = await self.api.get(f"{path}/size", params={"from": at, "to": at})
            if (size := answer.json()["size_before"]) != len(then.members):
                found.append(f"{then.cohort} at {at}: size {size}, it was {len(then.members)}")
        return found

    async def _pages(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        while True:
            answer = await self.api.get(path, params={"limit": "1000", **parameters})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            parameters["cursor"] = page["next_cursor"]


def _differs(cohort_id: str, before: set[ObjectId], changes: list[Mapping[str, Any]], now: set[ObjectId]) -> list[str]:
    """Where changes do not lead from some members to others; entered and left must take turns."""
    members, found = set(before), []
    for change in changes:
        if (change["change"] == "entered") == (change["profile"] in members):
            found.append(f"{cohort_id}: {change['profile']} {change['change']} twice, last at {change['as_of']}")
        members ^= {change["profile"]}
    if members != now:
        found.append(f"{cohort_id}: changes lead to other members than stored: {list(members ^ now)[:5]}")
    return found
