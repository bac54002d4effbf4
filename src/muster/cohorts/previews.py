"""Looking at a rule before it is a cohort: is it right, how would it run, how many match, and who."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from pymongo.errors import ExecutionTimeout

from muster.cohorts.graph import inner_rules, read_inner
from muster.cohorts.scans import filter_for, planned, reading_order
from muster.cohorts.schemas import CheckOut, PieceOut, PlanOut, PreviewIn, PreviewOut, RuleIn, RuleSource
from muster.cohorts.service import read_for
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.rules import PARTS, Plan, Registry, Rule, RuleError, cohorts_in, plan_rule, read_rule

COUNT_WITHIN_MS = 5_000
LOOK_FOR = 2.0  # seconds that Python looks at candidates before it says "at least"
BATCH = 500


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


async def preview(owner: str, body: PreviewIn) -> PreviewOut:
    """How many profiles match a rule now, and a few of them; nothing is stored. Raises RuleError."""
    started = time.perf_counter()
    project = await project_of(owner, body.project_id)
    plan = await planned(await read_for(project, body.rule))
    now = datetime.now(UTC)
    find = _Find(filter_for(project.id, plan, now), await reading_order(project.id))
    if plan.residual is not None:
        count, exact, ids = await _look(find, plan, now, body.sample)
        sample = await _sample(_Find({"_id": {"$in": ids}}, None), body.sample)
    else:
        try:
            options: dict[str, Any] = {"hint": find.hint} if find.hint else {}
            count = await Profile.get_motor_collection().count_documents(
                find.filter, maxTimeMS=COUNT_WITHIN_MS, **options
            )
            exact = True
        except ExecutionTimeout:
            count, exact, _ = await _look(find, plan, now, 0)
        sample = await _sample(find, body.sample)
    elapsed_ms = round((time.perf_counter() - started) * 1000, 1)
    return PreviewOut(count=count, exact=exact, sample=sample, plan=plan_out(plan, now), elapsed_ms=elapsed_ms)


@dataclass(frozen=True, slots=True)
class _Find:
    """Which profiles to look at, and how MongoDB shall read them."""

    filter: Mapping[str, Any]
    hint: list[tuple[str, int]] | None

    def cursor(self, projection: Mapping[str, int]) -> Any:
        found = Profile.get_motor_collection().find(self.filter, projection, batch_size=BATCH)
        return found.hint(self.hint) if self.hint else found


async def _look(find: _Find, plan: Plan, now: datetime, sample: int) -> tuple[int, bool, list[ObjectId]]:
    """Count one by one until done or out of time: (count, whether it is exact, a few ids)."""
    deadline = time.monotonic() + LOOK_FOR
    cursor = find.cursor({"_id": 1, **plan.projection})
    count = 0
    ids: list[ObjectId] = []
    while profiles := await cursor.to_list(BATCH):
        for profile in profiles:
            if plan.residual is None or plan.accepts(profile, now):
                count += 1
                if len(ids) < sample:
                    ids.append(profile["_id"])
        if time.monotonic() > deadline:
            return count, False, ids
    return count, True, ids


async def _sample(find: _Find, limit: int) -> list[dict[str, Any]]:
    """A few profiles as `GET /v1/profiles/{pii_id}` shows them, but for the cohorts they are in."""
    if limit == 0:
        return []
    found = await find.cursor({"pii_id": 1, "rev": 1, **dict.fromkeys(PARTS, 1)}).limit(limit).to_list(limit)
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
