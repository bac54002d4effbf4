"""Looking at a rule before it is a cohort: is it right, how would it run, how many match, and who."""

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo.errors import ExecutionTimeout, OperationFailure

from muster.cohorts.graph import inner_rules, read_inner
from muster.cohorts.reading import Hint, hint_for, is_without_index
from muster.cohorts.scans import accepted, filter_for, in_batches, planned
from muster.cohorts.schemas import CheckOut, PieceOut, PlanOut, PreviewIn, PreviewOut, RuleIn, RuleSource
from muster.cohorts.service import read_for
from muster.cohorts.stopping import Mark, end_with, was_ended
from muster.errors import Conflict
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import PARTS, Plan, Registry, Rule, RuleError, cohorts_in, plan_rule, read_rule

WITHIN_MS = 3_000  # that MongoDB reads; then what was found until then is said to be "at least"
LOOK_FOR = 2.0  # seconds that Python looks at candidates before it says so
BATCH = 500
FEW = 500  # matches among which a sample is taken


async def check(owner: str, body: RuleIn) -> CheckOut:
    """Everything that can be said of a rule of a project without running it."""
    project = await project_of(owner, body.project_id)
    fields = await registry(project.id)
    inner = read_inner(await inner_rules(project.id, cohorts_in(body.rule)), fields)
    return checked(body.rule, fields, project.time_zone, inner)


def checked(
    source: RuleSource, fields: Registry, time_zone: str = "UTC", cohorts: Mapping[str, Rule | None] | None = None
) -> CheckOut:
    """The same for any fields and cohorts; a wrong rule is an answer here, not an error.

    Without cohorts to go by, those that the rule names are taken to be there, and static.
    """
    try:
        known = dict.fromkeys(cohorts_in(source)) if cohorts is None else cohorts
        rule = read_rule(source, fields, time_zone=time_zone, cohorts=known)
    except RuleError as error:
        return CheckOut(
            valid=False,
            text=source if isinstance(source, str) else None,
            tree=source if isinstance(source, dict) else None,
            fields=[],
            entity_scope=[],
            time_dependent=False,
            plan=None,
            errors=[problem.as_json() for problem in error.problems],
            warnings=[],
        )
    return CheckOut(
        valid=True,
        text=rule.text,
        tree=dict(rule.tree),
        fields=list(rule.fields),
        entity_scope=list(rule.entity_scope),
        time_dependent=rule.time_dependent,
        plan=plan_out(plan_rule(rule).given(dict.fromkeys(rule.looked_up, frozenset())), datetime.now(UTC)),
        errors=[],
        warnings=[problem.as_json() for problem in rule.warnings],
    )


async def preview(owner: str, body: PreviewIn, disconnected: Awaitable[None] | None = None) -> PreviewOut:
    """How many profiles match a rule now, and a few of them; nothing is stored.

    Its queries end when the client is gone (`disconnected`), or when a later preview of the owner has the same key, in
    whichever process. Raises RuleError, and Conflict for a preview that was given up.
    """
    mark = Mark.of(owner, body.key)
    work = asyncio.create_task(_preview(owner, body, mark))
    superseded = _take_place(mark)
    gone: asyncio.Future[None] = asyncio.ensure_future(disconnected or asyncio.Future())
    reasons: set[asyncio.Future[Any]] = {work, superseded, gone}
    try:
        await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
    except OperationFailure as error:
        if not was_ended(error):
            raise
    finally:
        await end_with(work, mark)
        gone.cancel()
        if mark.key is not None and _latest.get(mark.key) is superseded:
            del _latest[mark.key]
    raise Conflict("This preview was given up: a later one with the same key took its place, or nobody waits for it.")


_latest: dict[str, "asyncio.Future[None]"] = {}  # by key, the preview of this process that is not superseded


def _take_place(mark: Mark) -> "asyncio.Future[None]":
    """Supersede the preview with the same key; what is returned is done when that happens to this one."""
    mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if mark.key is not None:
        older = _latest.get(mark.key)
        if older is not None and not older.done():
            older.set_result(None)
        _latest[mark.key] = mine
    return mine


async def _preview(owner: str, body: PreviewIn, mark: Mark) -> PreviewOut:
    started = time.perf_counter()
    await mark.end_older()
    project = await project_of(owner, body.project_id)
    plan = await planned(await read_for(project, body.rule))
    now = datetime.now(UTC)
    hint = await hint_for(project.id, plan, now, comment=mark.comment)
    find = _Find(filter_for(project.id, plan, now), hint, mark)
    look = _count if plan.residual is None else _look
    try:
        count, exact, ids = await look(find, plan, now)
    except OperationFailure as error:
        if not is_without_index(error):
            raise
        count, exact, ids = await look(replace(find, hint=None), plan, now)  # it was dropped just now
    sample = await _sample(ids[: body.sample])
    elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
    return PreviewOut(count=count, exact=exact, sample=sample, plan=plan_out(plan, now), elapsed_ms=elapsed_ms)


@dataclass(frozen=True, slots=True)
class _Find:
    """Which profiles to look at, and how MongoDB shall read them."""

    filter: Mapping[str, Any]
    hint: Hint
    mark: Mark

    def cursor(self, projection: Mapping[str, int], batch: int = BATCH) -> Any:
        found = Profile.get_motor_collection().find(
            self.filter, projection, batch_size=batch, comment=self.mark.comment, max_time_ms=WITHIN_MS
        )
        return found.hint(self.hint) if self.hint else found

    async def count(self) -> int:
        hint: dict[str, Any] = {} if self.hint is None else {"hint": self.hint}
        found: int = await Profile.get_motor_collection().count_documents(
            self.filter, maxTimeMS=WITHIN_MS, comment=self.mark.comment, **hint
        )
        return found


async def _count(find: _Find, plan: Plan, now: datetime) -> tuple[int, bool, list[ObjectId]]:
    """What MongoDB decides alone: how many match, whether that is exact, and the ids of a few.

    The first few are found at once where many match. Where few do, all were read to find them, and they are all.
    """
    try:
        first = [profile["_id"] for profile in await find.cursor({"_id": 1}, FEW + 1).limit(FEW).to_list(FEW)]
    except ExecutionTimeout:
        return 0, False, []
    if len(first) < FEW:
        return len(first), True, first
    try:
        return await find.count(), True, first
    except ExecutionTimeout:
        return await _look(find, plan, now)


async def _look(find: _Find, plan: Plan, now: datetime) -> tuple[int, bool, list[ObjectId]]:
    """The same where Python decides: one by one until done or out of time."""
    deadline = time.monotonic() + LOOK_FOR
    count = 0
    ids: list[ObjectId] = []
    try:
        async with aclosing(in_batches(find.cursor({"_id": 1, **plan.projection}), BATCH)) as batches:
            async for profiles in batches:
                found = await accepted(plan, profiles, now)
                count += len(found)
                ids += found[: FEW - len(ids)]
                if time.monotonic() > deadline:
                    return count, False, ids
    except ExecutionTimeout:
        return count, False, ids
    return count, True, ids


async def _sample(ids: Sequence[ObjectId]) -> list[dict[str, Any]]:
    """Profiles as `GET /v1/profiles/{pii_id}` shows them, but for the cohorts they are in."""
    if not ids:
        return []
    shown = {"pii_id": 1, "rev": 1, **dict.fromkeys(PARTS, 1)}
    found = await Profile.get_motor_collection().find({"_id": {"$in": list(ids)}}, shown).to_list(len(ids))
    return [
        {"pii_id": profile["pii_id"], **{part: profile.get(part) for part in PARTS}, "rev": profile["rev"]}
        for profile in found
    ]


def plan_out(plan: Plan, now: datetime) -> PlanOut:
    """A plan on the wire. The pipeline is shown as JSON would have it: times as RFC 3339 text."""
    match = json.loads(json.dumps(plan.match_at(now), default=_plain))
    return PlanOut(
        strategy=plan.strategy,
        pipeline=[{"$match": match}],
        residual=plan.residual,
        pieces=[
            PieceOut(
                text=piece.text,
                span=piece.span.as_json() if piece.span else None,
                where=piece.where,
                reason=piece.reason,
            )
            for piece in plan.pieces
        ],
    )


def _plain(value: Any) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
