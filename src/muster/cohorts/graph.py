"""Cohorts that name cohorts: what a rule rests on, what depends on a cohort, and changes that keep it without cycles.

Only dynamic cohorts pass on what they name: a static one holds its members, whatever its rule says by now.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from graphlib import TopologicalSorter
from typing import Any, TypeVar

from motor.motor_asyncio import AsyncIOMotorClientSession

from muster.cohorts.documents import Cohort, Kind, State, StoredRule
from muster.cohorts.snapshot import raise_registry_version
from muster.errors import Invalid, Problem
from muster.jobs.documents import Job
from muster.jobs.service import create_job, send
from muster.rules import Registry, Rule, read_rule
from muster.transactions import in_transaction

PREFIX, KIND = "RUN", "evaluate"  # of jobs that evaluate a cohort

T = TypeVar("T")
Inner = Mapping[str, StoredRule | None]
"""Cohorts that rules name, by number: a dynamic one with its rule, a static one with None."""


async def saving(change: Callable[[AsyncIOMotorClientSession], Awaitable[T]]) -> T:
    """Run a change of who names whom as one transaction; no two of them overlap, so each sees the other's edges.

    All of them write the version of the cohort registry first: the later one conflicts there and begins again.
    """

    async def alone(session: AsyncIOMotorClientSession) -> T:
        await raise_registry_version(session)
        return await change(session)

    return await in_transaction(Cohort.get_motor_collection(), alone)


async def inner_rules(
    project_id: str, cohorts: Collection[str], session: AsyncIOMotorClientSession | None = None
) -> dict[str, StoredRule | None]:
    """These cohorts as they stand, and those that they name in turn; whom the project does not have is left out."""
    found: dict[str, StoredRule | None] = {}
    asked: set[str] = set()
    wanted = set(cohorts)
    while wanted:
        asked |= wanted
        query = {"_id": {"$in": sorted(wanted)}, "project_id": project_id}
        documents = Cohort.get_motor_collection().find(query, {"kind": 1, "rule": 1}, session=session)
        wanted = set()
        for document in await documents.to_list(None):
            follows = document["kind"] == Kind.DYNAMIC and document["rule"]
            rule = StoredRule.model_validate(document["rule"]) if follows else None
            found[document["_id"]] = rule
            wanted |= set(rule.cohorts) - asked if rule else set()
    return found


def read_stored(rule: StoredRule, fields: Registry, inner: Inner) -> Rule:
    """A stored rule, read again with what it names. Its fields cannot have changed type: the registry forbids it."""
    return read_rule(rule.text, fields, time_zone=rule.time_zone, cohorts=read_inner(inner, fields))


def read_inner(inner: Inner, fields: Registry) -> dict[str, Rule | None]:
    """The rules of cohorts, each read after those that it names."""
    read: dict[str, Rule | None] = {}
    edges = {cohort: rule.cohorts if rule else [] for cohort, rule in inner.items()}
    for cohort in TopologicalSorter(edges).static_order():
        rule = inner.get(cohort)
        if rule is not None:
            read[cohort] = read_rule(rule.text, fields, time_zone=rule.time_zone, cohorts=read)
        elif cohort in inner:
            read[cohort] = None
    return read


async def check_edges(cohort: Cohort, session: AsyncIOMotorClientSession) -> None:
    """Raise Invalid where what a cohort names is gone by now or, for a dynamic one, would make it a part of itself."""
    if cohort.rule is None or not cohort.rule.cohorts:
        return
    inner = await inner_rules(cohort.project_id, cohort.rule.cohorts, session)
    if missing := [named for named in cohort.rule.cohorts if named not in inner]:
        detail = f"There is no cohort {', '.join(missing)} any more."
        raise Invalid(detail, [Problem(detail, pointer="/rule")])
    if cohort.kind is Kind.DYNAMIC and (way := _way_back(cohort.id, cohort.rule, inner)):
        detail = f"{cohort.id} would be a part of itself: {' → '.join(way)}. Take one of them out of the other's rule."
        raise Invalid(detail, [Problem(detail, pointer="/rule")])


def _way_back(cohort_id: str, rule: StoredRule, inner: Inner) -> list[str] | None:
    """The cohorts on a way from a rule back to its own cohort, both ends included."""
    waiting = [[cohort_id, named] for named in rule.cohorts]
    seen: set[str] = set()
    while waiting:
        way = waiting.pop()
        here = way[-1]
        if here == cohort_id:
            return way
        if here not in seen:
            seen.add(here)
            follows = inner.get(here)
            waiting += [[*way, named] for named in (follows.cohorts if follows else [])]
    return None


async def users_of(cohort_id: str, session: AsyncIOMotorClientSession | None = None) -> list[str]:
    """The cohorts whose rule names this one, dynamic or static, in words for people."""
    users = Cohort.get_motor_collection().find({"rule.cohorts": cohort_id}, {"name": 1}, session=session).sort("_id", 1)
    return [f"{user['_id']} ({user['name']})" for user in await users.to_list(None)]


async def dependents_of(cohorts: Iterable[str], session: AsyncIOMotorClientSession | None = None) -> list[str]:
    """The dynamic cohorts that follow any of these, directly or through others, each after what it follows."""
    edges: dict[str, set[str]] = {}
    frontier = set(cohorts)
    reached = set(frontier)
    while frontier:
        query = {"rule.cohorts": {"$in": sorted(frontier)}, "kind": Kind.DYNAMIC.value}
        found = await Cohort.get_motor_collection().find(query, {"rule.cohorts": 1}, session=session).to_list(None)
        for user in found:
            edges[user["_id"]] = set(user["rule"]["cohorts"])
        frontier = {user["_id"] for user in found} - reached
        reached |= frontier
    return [cohort for cohort in TopologicalSorter(edges).static_order() if cohort in edges]


async def reevaluate(cohorts: Iterable[str], session: AsyncIOMotorClientSession) -> list[Job]:
    """Ask for a new generation of these cohorts, within the transaction that makes it needed; `send` the jobs after it.

    Members stay what they are until each of them is evaluated.
    """
    jobs: list[Job] = []
    for cohort_id in cohorts:
        found = await Cohort.find_one({"_id": cohort_id}, session=session)
        if found is None:
            continue
        arguments = {"cohort_id": cohort_id, "cause": "rule"}
        job = await create_job(PREFIX, KIND, found.project_id, found.owner, arguments, session=session)
        values: dict[str, Any] = {"run": job.id, "state": State.EVALUATING.value, "error": None, "filling": None}
        await Cohort.get_motor_collection().update_one({"_id": cohort_id}, {"$set": values}, session=session)
        jobs.append(job)
    return jobs


async def send_all(jobs: Iterable[Job]) -> None:
    """Tell the workers of jobs, in their order."""
    for job in jobs:
        await send(job)
