"""Which indexes on fields the rules of cohorts would gain by, measured on a sample of their profiles.

A comparison with now ± d gains always: time is asked every few seconds whom it moved. Any other condition gains where
it leads to few of the profiles; else reading them all is the quicker way. One index is enough for a rule, so of several
that would do, those are suggested that help the most rules.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from muster.cohorts.documents import Cohort, Kind, StoredRule
from muster.cohorts.graph import inner_rules, read_stored
from muster.cohorts.reading import most_by_index
from muster.projects.documents import Project
from muster.records.documents import Profile
from muster.records.indexes import FieldIndex, field_indexes, index_name, index_sizes
from muster.records.registry import registry
from muster.rules import PARTS, PROFILE_ID, AccessPath, Plan, Rule, RuleError, Use, plan_rule

SAMPLE = 1_000  # profiles of a project
SMALL_SAMPLE = 200  # fewer by chance than this: then the project is a small part of all, and is asked itself
MOST_RULES = 2_000  # the newest of each project; reading a rule takes milliseconds
RULES_AT_ONCE = 20  # between two chances for others in this process

State = Literal["ready", "building", "suggested", "not worth it", "unused"]


@dataclass(slots=True)
class Advice:
    """What is to be said about an index on one field. `share` is that of the profiles it leads to, from 0 to 1."""

    field: str
    state: State
    reason: str
    uses: list[Use]
    cohorts: list[str]
    share: float | None = None
    size: int | None = None

    @property
    def name(self) -> str:
        """Of the index, as MongoDB knows it."""
        return index_name(self.field)


@dataclass(frozen=True, slots=True)
class _Path:
    """A path of one rule, with the share of its project's profiles that it leads to."""

    cohort: str
    path: AccessPath
    share: float
    is_worth_it: bool

    @property
    def fields(self) -> frozenset[str]:
        return self.path.fields - {PROFILE_ID}

    @property
    def text(self) -> str:
        return " or ".join(branch.text for branch in self.path.branches)


@dataclass(slots=True)
class _Findings:
    """What the rules of some projects could use."""

    windows: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # field → cohorts
    paths: dict[str, list[_Path]] = field(default_factory=dict)  # cohort → the paths of its rule
    known: set[str] = field(default_factory=set)  # the fields of the projects

    def with_field(self, name: str) -> list[_Path]:
        """The paths that ask for an index on a field, the shortest first."""
        found = [path for paths in self.paths.values() for path in paths if name in path.fields]
        return sorted(found, key=lambda path: (path.share, len(path.path.branches), len(path.text)))


async def advise(projects: Sequence[Project]) -> list[Advice]:
    """What there is to say about the fields of these projects, most urgent first; other projects' fields stay out."""
    findings = _Findings()
    for project in projects:
        await _look_at(project, findings)
    indexes = await field_indexes()
    sizes = await index_sizes() if indexes else {}
    wanted = _suggested(findings, frozenset(indexes))
    fields = {
        *findings.windows,
        *indexes,
        *(name for paths in findings.paths.values() for p in paths for name in p.fields),
    }
    advice = [await _advice(name, findings, indexes.get(name), wanted) for name in sorted(fields & findings.known)]
    for each in advice:
        each.size = sizes.get(each.field)
    urgency: tuple[State, ...] = ("suggested", "building", "ready", "unused", "not worth it")
    return sorted(advice, key=lambda each: (urgency.index(each.state), "window" not in each.uses, -len(each.cohorts)))


async def _look_at(project: Project, findings: _Findings) -> None:
    fields = await registry(project.id)
    findings.known |= fields.keys()
    total = await Profile.get_motor_collection().estimated_document_count()
    sample, profiles = await _sample(project.id, total)
    now = datetime.now(UTC)
    looked_at = 0
    async for cohort_id, rule in _rules(project, fields):
        for window in rule.windows:
            findings.windows[window.field].add(cohort_id)
        plan = plan_rule(rule)
        shares = [(path, _share(plan, path, sample, now)) for path in plan.access_paths]
        findings.paths[cohort_id] = [
            _Path(cohort_id, path, share, share * profiles <= most_by_index(total)) for path, share in shares
        ]
        looked_at += 1
        if looked_at % RULES_AT_ONCE == 0:
            await asyncio.sleep(0)


async def _rules(project: Project, fields: Mapping[str, Any]) -> AsyncIterator[tuple[str, Rule]]:
    """The rules that the cohorts of a project follow."""
    dynamic = {"project_id": project.id, "kind": Kind.DYNAMIC.value}
    async for found in (
        Cohort.get_motor_collection().find(dynamic, {"rule": 1}).sort("created_at", -1).limit(MOST_RULES)
    ):
        stored = StoredRule.model_validate(found["rule"])
        try:
            yield found["_id"], read_stored(stored, fields, await inner_rules(project.id, stored.cohorts))
        except RuleError:
            continue  # its cohort says so itself


async def _sample(project_id: str, total: int) -> tuple[list[dict[str, Any]], float]:
    """Some profiles of a project, and about how many it has of all."""
    profiles = Profile.get_motor_collection()
    ours, parts = {"$match": {"project_id": project_id}}, {"$project": dict.fromkeys(PARTS, 1)}
    some: dict[str, Any] = {"$sample": {"size": SAMPLE}}
    found: list[dict[str, Any]] = await profiles.aggregate([some, ours, parts]).to_list(None)
    if len(found) >= SMALL_SAMPLE:
        return found, len(found) / SAMPLE * max(total, SAMPLE)
    found = await profiles.aggregate([ours, some, parts]).to_list(None)
    return found, await profiles.count_documents(ours["$match"])


def _share(plan: Plan, path: AccessPath, sample: Sequence[Mapping[str, Any]], now: datetime) -> float:
    by_fields = AccessPath(tuple(branch for branch in path.branches if branch.field != PROFILE_ID))
    holds = plan.on_path(by_fields)
    return sum(holds(profile, now) for profile in sample) / len(sample) if sample else 1.0


def _suggested(findings: _Findings, there: frozenset[str]) -> frozenset[str]:
    """The fields to build indexes on: for windows, and then those that help most rules that have no index yet."""
    chosen = set(findings.windows) | there
    waiting = [
        [path for path in paths if path.is_worth_it]
        for paths in findings.paths.values()
        if not any(path.is_worth_it and path.fields <= chosen for path in paths)
    ]
    waiting = [paths for paths in waiting if paths]
    while waiting:
        missing = [[path.fields - chosen for path in paths] for paths in waiting]
        by_fields = Counter(fields for each in missing for fields in set(each))
        fewest = min(map(len, by_fields))
        best = max(
            (fields for fields in by_fields if len(fields) == fewest), key=lambda each: (by_fields[each], sorted(each))
        )
        chosen |= best
        waiting = [paths for paths in waiting if not any(path.fields <= chosen for path in paths)]
    return frozenset(chosen - there)


async def _advice(name: str, findings: _Findings, index: FieldIndex | None, wanted: Iterable[str]) -> Advice:
    paths = findings.with_field(name)
    windows = findings.windows.get(name, set())
    cohorts = sorted({*windows, *(path.cohort for path in paths)}, key=lambda cohort: (len(cohort), cohort))
    uses: set[Use] = {branch.use for path in paths for branch in path.path.branches if branch.field == name}
    uses |= {"window"} if windows else set()
    share = paths[0].share if paths else None
    reason = _reason(name, paths, windows)
    state: State = "suggested" if name in wanted else "not worth it"
    if index is not None:
        state = "ready" if index.is_ready else "building"
        if not cohorts and not await _is_mentioned(name):
            state, reason = "unused", "no rule of a dynamic cohort speaks of it"
        elif not cohorts:
            reason = "rules speak of it"
    elif state == "not worth it" and paths and paths[0].is_worth_it:
        reason = f"{reason}, and another index does for its rules"
    return Advice(name, state, reason, sorted(uses), cohorts, share)


def _reason(name: str, paths: Sequence[_Path], windows: set[str]) -> str:
    reasons = []
    if windows:
        several = f"{len(windows)} rules compare" if len(windows) > 1 else "a rule compares"
        reasons.append(f"{several} it with now: every few seconds one range of it is read")
    if paths and not windows:
        best = paths[0]
        others = sorted(best.fields - {name})
        beside = f", with an index on {' and '.join(others)} beside it," if others else ""
        quicker = "" if best.is_worth_it else ": reading them all is quicker"
        reasons.append(
            f"{_shortened(best.text)} ({best.cohort}){beside} leads to {_percent(best.share)} of the profiles{quicker}"
        )
    return "; ".join(reasons)


def _percent(share: float) -> str:
    return f"about {share:.0%}" if share >= 0.01 else "less than 1%"


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


async def _is_mentioned(name: str) -> bool:
    """Whether the rule of any dynamic cohort, also of other owners, speaks of a field."""
    query = {"kind": Kind.DYNAMIC.value, "rule.fields": name}
    return await Cohort.get_motor_collection().find_one(query, {"_id": 1}) is not None
