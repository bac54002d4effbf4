"""What can be done with cohorts: create, read, change, delete, evaluate."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReturnDocument
from pymongo.errors import OperationFailure

from muster.api.etags import stale
from muster.api.numbering import next_number
from muster.api.paging import decode_cursor, page_of
from muster.cohorts.documents import Cause, Cohort, Generation, Kind, State, StoredRule
from muster.cohorts.generations import freeze
from muster.cohorts.graph import (
    KIND,
    PREFIX,
    check_edges,
    dependents_of,
    inner_rules,
    read_inner,
    read_stored,
    reevaluate,
    saving,
    send_all,
    users_of,
)
from muster.cohorts.jobs import run_here_or_wait
from muster.cohorts.reading import hint_for, is_without_index
from muster.cohorts.scans import filter_for, planned
from muster.cohorts.schemas import CohortIn, CohortPatch, RuleSource
from muster.cohorts.sources import Source, source_of
from muster.errors import Conflict, Invalid, NotFound, Problem
from muster.jobs.documents import FINISHED, Job
from muster.jobs.service import create_job
from muster.projects.documents import Project
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.rolls import Roll
from muster.records.service import registry
from muster.rules import Rule, RuleError, cohorts_in, read_rule
from muster.transactions import in_transaction

# Python decides this many candidates here, within the request; more go to a worker, so that the API stays quick.
RESIDUAL_CANDIDATES_HERE = 20_000

Blocker = Callable[[str], Awaitable[list[str]]]
blockers: list[Blocker] = []
"""Asked before a cohort is deleted: each names what still uses it. Filled by `muster.app`."""

Beside = Callable[[Cohort, AsyncIOMotorClientSession], Awaitable[None]]
"""Writes something of its own in the transaction that creates a cohort."""


async def create(owner: str, body: CohortIn) -> Cohort:
    """A new cohort, evaluated when the answer comes, or `evaluating` with its job in `run`."""
    project = await project_of(owner, body.project_id)
    rule = await rule_for(project, body.rule)
    if body.kind == "dynamic" and rule is None:
        raise Invalid("A dynamic cohort needs a rule.", [Problem("Give the rule to follow.", pointer="/rule")])
    source, its_rule = await source_of(project, body)
    return await create_managed(project, body, rule or its_rule, source=source)


async def save_import(
    owner: str, project_id: str, name: str, roll: Roll, *, description: str = "", beside: Beside | None = None
) -> tuple[str, str | None]:
    """A static cohort of the profiles that an import brought; its id, and the job that still fills it, if one does.

    What `beside` writes stands exactly when the cohort stands.
    """
    body = CohortIn(name=name, description=description, kind="static")
    source = Source(Cause.IMPORT, roll=roll)
    project = await project_of(owner, project_id)
    cohort = await create_managed(project, body, None, source=source, beside=beside)
    return cohort.id, cohort.run


async def create_managed(
    project: Project,
    body: CohortIn,
    rule: StoredRule | None,
    *,
    source: Source | None = None,
    key: str | None = None,
    beside: Beside | None = None,
) -> Cohort:
    """Create with a rule already read, and a source already kept.

    With a `key` the cohort belongs to the file that carries it. `beside` is called within the transaction.
    """
    now = datetime.now(UTC)
    cohort = Cohort(
        id=await next_number("COH"),
        project_id=project.id,
        owner=project.owner,
        name=body.name,
        description=body.description,
        kind=Kind(body.kind),
        rule=rule,
        state=State.EVALUATING,
        key=key,
        managed_by="file" if key else None,
        created_at=now,
        updated_at=now,
    )
    arguments: dict[str, Any] = {"cohort_id": cohort.id, "cause": "rule"}
    if source is not None:
        arguments |= {"cause": source.cause.value, "source": source.as_arguments()}
    if source is None and rule is None:  # an empty static cohort needs no run
        cohort.state, cohort.active, cohort.last_generation = State.READY, Generation(number=1), 1

    async def insert(session: AsyncIOMotorClientSession) -> Job | None:
        """With its job in one step: a worker that finds the job finds the cohort, too."""
        await check_edges(cohort, session)
        job = None
        if cohort.active is None:
            job = await create_job(PREFIX, KIND, project.id, project.owner, arguments, session=session)
            cohort.run = job.id
        await cohort.insert(session=session)
        if beside is not None:
            await beside(cohort, session)
        return job

    job = await saving(insert)
    if job is None:
        return cohort
    await run_here_or_wait(job, here=await _is_quick(cohort, job.arguments))
    return await cohort_of(project.owner, cohort.id)


async def cohort_of(owner: str, cohort_id: str, *, session: AsyncIOMotorClientSession | None = None) -> Cohort:
    """One cohort of an owner. Raises NotFound, also for another owner's."""
    cohort = await Cohort.find_one({"_id": cohort_id, "owner": owner}, session=session)
    if cohort is None:
        raise NotFound(f"There is no cohort {cohort_id}.")
    return cohort


async def list_cohorts(
    owner: str,
    *,
    project_id: str | None,
    kind: Kind | None,
    q: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Cohort], str | None]:
    """A page of a project's cohorts, oldest first. `q` looks for words in name and description."""
    project = await project_of(owner, project_id)
    query: dict[str, Any] = {"project_id": project.id}
    if kind is not None:
        query["kind"] = kind.value
    if q:
        words = {"$regex": re.escape(q.replace("\0", "")), "$options": "i"}
        query["$and"] = [{"$or": [{"name": words}, {"description": words}, {"_id": q}]}]
    if cursor is not None:
        created_at, cohort_id = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"created_at": {"$gt": created_at}}, {"created_at": created_at, "_id": {"$gt": cohort_id}}]
    rows = await Cohort.find(query).sort("created_at", "_id").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda cohort: (cohort.created_at, cohort.id))


async def patch(owner: str, cohort_id: str, body: CohortPatch, *, expected_revs: frozenset[int] | None) -> Cohort:
    """Change a cohort. A changed rule is evaluated anew while readers still see the old members."""
    while True:
        cohort = await cohort_of(owner, cohort_id)
        if expected_revs is not None and cohort.rev not in expected_revs:
            raise stale()
        if cohort.managed_by == "file":
            detail = f"{cohort_id} comes from the file with key {cohort.key!r} in rules/cohorts; change it there."
            raise Conflict(detail)
        patched = await _patch(cohort, body)
        if patched is not None:
            return patched


async def patch_managed(cohort: Cohort, body: CohortPatch) -> Cohort:
    """Change a cohort that belongs to a file, as its file says."""
    while True:
        patched = await _patch(cohort, body)
        if patched is not None:
            return patched
        cohort = await cohort_of(cohort.owner, cohort.id)


async def _patch(cohort: Cohort, body: CohortPatch) -> Cohort | None:
    """Apply the change to this very revision; None when another change came first."""
    project = await project_of(cohort.owner, cohort.project_id)
    given = body.model_fields_set
    values: dict[str, Any] = {}
    for name in ("name", "description"):
        if name in given and getattr(body, name) != getattr(cohort, name):
            values[name] = getattr(body, name)
    kind = Kind(body.kind) if "kind" in given else cohort.kind
    rule = await rule_for(project, body.rule) if "rule" in given else cohort.rule
    if kind is Kind.DYNAMIC and rule is None:
        raise Invalid("A dynamic cohort needs a rule.", [Problem("Give the rule to follow.", pointer="/rule")])
    if rule != cohort.rule:
        values["rule"] = rule.model_dump() if rule else None
    if kind is not cohort.kind:
        values["kind"] = kind.value
    becomes_dynamic = kind is Kind.DYNAMIC and cohort.kind is Kind.STATIC
    evaluates = kind is Kind.DYNAMIC and (becomes_dynamic or "rule" in values)
    if not values:
        return cohort

    async def update(session: AsyncIOMotorClientSession) -> tuple[Cohort | None, list[Job]]:
        changed = await Cohort.get_motor_collection().find_one_and_update(
            {"_id": cohort.id, "rev": cohort.rev},
            {"$set": {**values, "updated_at": datetime.now(UTC)}, "$inc": {"rev": 1}},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if changed is None:
            return None, []
        patched: Cohort = Cohort.model_validate(changed)
        await check_edges(patched, session)
        if kind is Kind.STATIC and cohort.kind is Kind.DYNAMIC:
            await freeze(patched, session)
        jobs = await reevaluate([patched.id] if evaluates else [], session)
        if evaluates or kind is not cohort.kind:  # what follows it rests on the rule, or on the kind, that it had
            jobs += await reevaluate(await dependents_of([patched.id], session), session)
        return patched, jobs

    patched, jobs = await saving(update)
    if patched is None:
        return None
    await send_all(job for job in jobs if job.arguments["cohort_id"] != patched.id)
    if not evaluates:
        return await cohort_of(cohort.owner, cohort.id)
    await run_here_or_wait(jobs[0], here=await _is_quick(patched, jobs[0].arguments))
    return await cohort_of(cohort.owner, cohort.id)


async def delete(owner: str, cohort_id: str, *, expected_revs: frozenset[int] | None) -> None:
    """Delete a cohort with its members. Raises Conflict naming what still uses it."""
    cohort = await cohort_of(owner, cohort_id)
    if expected_revs is not None and cohort.rev not in expected_revs:
        raise stale()
    if users := [user for blocker in blockers for user in await blocker(cohort_id)]:
        raise Conflict(f"{cohort_id} is used by {', '.join(users)}; take it out there first.")
    query: dict[str, Any] = {"_id": cohort_id, "owner": owner}
    if expected_revs is not None:
        query["rev"] = {"$in": list(expected_revs)}

    async def remove(session: AsyncIOMotorClientSession) -> None:
        if users := await users_of(cohort_id, session):
            raise Conflict(f"The rule of {', '.join(users)} names {cohort_id}; take it out there first.")
        gone = await Cohort.get_motor_collection().delete_one(query, session=session)
        if gone.deleted_count == 0:
            raise stale()

    await saving(remove)  # the rows go in the background (`generations.purge`): nobody reads them any more


async def evaluate_now(owner: str, cohort_id: str) -> Job:
    """Evaluate a dynamic cohort in full; the answer is the job, ended or still under way. Joins one that runs."""
    cohort = await cohort_of(owner, cohort_id)
    if cohort.kind is Kind.STATIC:
        raise Conflict(
            f"{cohort_id} is static: its members are fixed. `progress` tells how far they drifted from its rule; "
            'PATCH {"kind": "dynamic"} makes it follow the rule.'
        )
    if cohort.run is not None:
        running = await Job.get(cohort.run)
        if running is not None and running.state not in FINISHED:
            return await run_here_or_wait(running, here=False)
    arguments = {"cohort_id": cohort_id, "cause": "evaluate"}

    async def ask(session: AsyncIOMotorClientSession) -> Job | None:
        """In one step, as in `create_managed`."""
        cohorts = Cohort.get_motor_collection()
        asked = {"_id": cohort_id, "run": cohort.run, "kind": Kind.DYNAMIC.value}
        if await cohorts.find_one(asked, session=session) is None:
            return None
        job = await create_job(PREFIX, KIND, cohort.project_id, owner, arguments, session=session)
        wanted = {"run": job.id, "state": State.EVALUATING.value}
        await cohorts.update_one({"_id": cohort_id}, {"$set": wanted}, session=session)
        return job

    job = await in_transaction(Cohort.get_motor_collection(), ask)
    if job is None:  # somebody else began one since, or it is static by now
        return await evaluate_now(owner, cohort_id)
    return await run_here_or_wait(job, here=await _is_quick(cohort, job.arguments))


async def holdings(project_id: str) -> list[str]:
    """What a project holds of cohorts, in words."""
    count = await Cohort.find({"project_id": project_id}).count()
    return [f"{count:,} cohorts" if count > 1 else "a cohort"] if count else []


async def read_for(project: Project, source: RuleSource) -> Rule:
    """A rule over the fields and cohorts of a project. Raises RuleError."""
    fields = await registry(project.id)
    cohorts = read_inner(await inner_rules(project.id, cohorts_in(source)), fields)
    return read_rule(source, fields, time_zone=project.time_zone, cohorts=cohorts)


async def follow_time_zone(project: Project) -> None:
    """Let rules count days in the project's time zone, once that is another one than they were written in."""

    async def move(session: AsyncIOMotorClientSession) -> list[Job]:
        behind = {"project_id": project.id, "rule": {"$ne": None}, "rule.time_zone": {"$ne": project.time_zone}}
        cohorts = Cohort.get_motor_collection()
        found = await cohorts.find(behind, {"kind": 1, "rule.time_dependent": 1}, session=session).to_list(None)
        await cohorts.update_many(behind, {"$set": {"rule.time_zone": project.time_zone}}, session=session)
        by_clock = [each["_id"] for each in found if each["rule"]["time_dependent"] and each["kind"] == Kind.DYNAMIC]
        following = await dependents_of(by_clock, session)
        return await reevaluate(dict.fromkeys([*by_clock, *following]), session)

    await send_all(await saving(move))


async def rule_for(project: Project, source: RuleSource | None) -> StoredRule | None:
    """A rule as it is kept. Raises Invalid with spans, or with pointers into the body."""
    if source is None:
        return None
    try:
        rule = await read_for(project, source)
    except RuleError as error:
        raise Invalid(
            f"The rule does not hold: {error.problems[0].detail}", rule_problems(error, below="/rule")
        ) from error
    return StoredRule(
        text=rule.text,
        tree=json.dumps(rule.tree),
        fields=list(rule.fields),
        entity_scope=list(rule.entity_scope),
        required_parts=list(rule.required_parts),
        time_dependent=rule.time_dependent,
        time_zone=project.time_zone,
        cohorts=list(rule.cohorts),
        functions=dict(rule.functions),
    )


def rule_problems(error: RuleError, *, below: str) -> list[Problem]:
    """The problems of a rule as those of a request, with pointers from the body's root."""
    return [
        Problem(
            detail=problem.detail,
            pointer=below + (problem.pointer or ""),
            span=problem.span.as_json() if problem.span else None,
            suggestion=problem.suggestion,
        )
        for problem in error.problems
    ]


async def _is_quick(cohort: Cohort, arguments: dict[str, Any]) -> bool:
    """Whether the evaluation may run inside of the request's process: what Python has to decide is little."""
    if "source" in arguments or cohort.rule is None:
        return True
    inner = await inner_rules(cohort.project_id, cohort.rule.cohorts)
    plan = await planned(read_stored(cohort.rule, await registry(cohort.project_id), inner))
    if plan.residual is None:
        return True
    now = datetime.now(UTC)
    hint = await hint_for(cohort.project_id, plan, now)
    options: dict[str, Any] = {} if hint is None else {"hint": hint}
    try:
        candidates = await Profile.get_motor_collection().count_documents(
            filter_for(cohort.project_id, plan, now), limit=RESIDUAL_CANDIDATES_HERE + 1, **options
        )
    except OperationFailure as error:
        if not is_without_index(error):
            raise
        return False  # it was dropped just now
    return candidates <= RESIDUAL_CANDIDATES_HERE
