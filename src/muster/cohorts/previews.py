"""Looking at a rule before it is a cohort: is it right, how would it run, how many match, and who."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from muster.cohorts.schemas import CheckOut, PieceOut, PlanOut, PreviewIn, PreviewOut, RuleIn, RuleSource
from muster.cohorts.service import read_for
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import Plan, Registry, RuleError, plan_rule, read_rule

COUNT_WITHIN_MS = 5_000
LOOK_FOR = 2.0  # seconds that Python looks at candidates before it says "at least"
BATCH = 500


async def check(owner: str, body: RuleIn) -> CheckOut:
    """Everything that can be said of a rule of a project without running it."""
    project = await project_of(owner, body.project_id)
    return checked(body.rule, await registry(project.id), project.time_zone)


def checked(source: RuleSource, fields: Registry, time_zone: str = "UTC") -> CheckOut:
    """The same for any fields; a wrong rule is an answer here, not an error."""
    try:
        rule = read_rule(source, fields, time_zone=time_zone)
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
        plan=plan_out(plan_rule(rule), datetime.now(UTC)),
        errors=[],
        warnings=[problem.as_json() for problem in rule.warnings],
    )


async def preview(owner: str, body: PreviewIn) -> PreviewOut:
    """How many profiles match a rule now, and a few of them; nothing is stored. Raises RuleError."""
    started = time.perf_counter()
    project = await project_of(owner, body.project_id)
    plan = plan_rule(await read_for(project, body.rule))
    now = datetime.now(UTC)
    query = {"$and": [{"project_id": project.id}, plan.match_at(now)]}
    if plan.residual is None:
        count = await Profile.get_motor_collection().count_documents(query, maxTimeMS=COUNT_WITHIN_MS)
        exact = True
        sample = await _profiles(query, body.sample)
    else:
        count, exact, ids = await _look(plan, query, now, body.sample)
        sample = await _profiles({"_id": {"$in": ids}}, body.sample) if ids else []
    elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
    return PreviewOut(count=count, exact=exact, sample=sample, plan=plan_out(plan, now), elapsed_ms=elapsed_ms)


async def _look(plan: Plan, query: Mapping[str, Any], now: datetime, sample: int) -> tuple[int, bool, list[ObjectId]]:
    """Count by Python until done or out of time: (count, whether it is exact, a few ids)."""
    deadline = time.monotonic() + LOOK_FOR
    cursor = Profile.get_motor_collection().find(query, {"_id": 1, **plan.projection}, batch_size=BATCH)
    count = 0
    ids: list[ObjectId] = []
    while profiles := await cursor.to_list(BATCH):
        for profile in profiles:
            if plan.accepts(profile, now):
                count += 1
                if len(ids) < sample:
                    ids.append(profile["_id"])
        if time.monotonic() > deadline:
            return count, False, ids
    return count, True, ids


async def _profiles(query: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    if limit == 0:
        return []
    found = Profile.get_motor_collection().find(query, {"_id": 0, "project_id": 0, "touched": 0}).limit(limit)
    return [profile async for profile in found]


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
