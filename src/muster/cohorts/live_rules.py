"""Which rules a record change can touch: every live generation, compiled, found by the fields that changed."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from muster.cohorts.documents import Cohort, Generation, Kind, State, generation_id
from muster.cohorts.graph import read_stored
from muster.cohorts.snapshot import Snapshot
from muster.records.service import registry
from muster.rules import PARTS, Key, Registry, Rule, RuleError, compile_rule, key_of, values_at

Predicate = Callable[[Mapping[str, Any], datetime], bool]

TOUCHED = "touched"
"""The path of a profile that changes with its membership in a static cohort; rules that look into one follow it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LiveRule:
    """One generation that the watcher writes: its cohort, whether a run still fills it, and its compiled rule."""

    cohort_id: str
    project_id: str
    number: int
    is_filling: bool
    rule: Rule | None  # None: a static cohort, which only loses the profiles that are erased
    matches: Predicate
    evaluated_at: datetime | None = None  # what `$now` was to the run that filled it
    placed_at: datetime | None = None  # when readers began to see it
    key: Key | None = None  # values without which nobody enters
    generation: str = field(init=False)  # the name its rows carry: made once, since it is asked for at every decision
    paths: frozenset[str] = field(init=False)  # the fields and parts, and TOUCHED, whose change can flip it

    def __post_init__(self) -> None:
        object.__setattr__(self, "generation", generation_id(self.cohort_id, self.number))
        object.__setattr__(self, "paths", _paths(self.rule) if self.rule else frozenset())


def _paths(rule: Rule) -> frozenset[str]:
    """The fields of a rule and of the cohorts that it names, and each of their parts as a whole.

    A part that comes or goes changes all its fields. Membership in static cohorts is a path, too.
    """
    parts = {name.partition(".")[0] for name in rule.watched}
    return frozenset((*rule.watched, *parts, *([TOUCHED] if rule.looked_up else [])))


@dataclass(slots=True)
class _Rules:
    """Rules by their keys: to look at for every profile, or for those that have a value in a field."""

    always: list[LiveRule] = field(default_factory=list)
    keyed: dict[str, dict[Any, list[LiveRule]]] = field(default_factory=dict)

    def add(self, live: LiveRule) -> None:
        if live.key is None:
            self.always.append(live)
            return
        by_value = self.keyed.setdefault(live.key.field, {})
        for value in live.key.values:
            by_value.setdefault(value, []).append(live)

    def into(self, found: dict[str, LiveRule], profile: Mapping[str, Any]) -> None:
        """Add those that this profile may be let in by."""
        for live in self.always:
            found[live.generation] = live
        for name, by_value in self.keyed.items():
            for value in values_at(profile, name):
                for live in by_value.get(value, ()):
                    found[live.generation] = live


@dataclass(slots=True)
class _ProjectRules:
    by_path: dict[str, _Rules] = field(default_factory=lambda: defaultdict(_Rules))
    all: _Rules = field(default_factory=_Rules)


@dataclass(slots=True)
class LiveRules:
    """All live generations as of one version of the cohort registry."""

    version: int = -1
    by_generation: dict[str, LiveRule] = field(default_factory=dict)
    looked_up: dict[str, str] = field(default_factory=dict)
    """The generations in place of static cohorts that rules look into, with the numbers of their cohorts."""
    _projects: dict[str, _ProjectRules] = field(default_factory=dict)

    def may_touch(self, project_id: str, changed: frozenset[str] | None) -> bool:
        """Whether a change of these document paths can decide any rule anew; None means that anything may differ."""
        project = self._projects.get(project_id)
        if project is None:
            return False
        return changed is None or any(watched_path(path) in project.by_path for path in changed)

    def touched(
        self, profile: Mapping[str, Any], changed: frozenset[str] | None, generations: Iterable[str]
    ) -> Collection[LiveRule]:
        """The rules to ask about a profile in which these document paths changed; `generations` are those of its rows.

        Beside the rules that it is a member by, those whose key it has: by no other can it enter.
        """
        project = self._projects.get(profile["project_id"])
        if project is None:
            return ()
        found: dict[str, LiveRule] = {}
        paths = None if changed is None else {watched_path(path) for path in changed}
        if paths is None:
            project.all.into(found, profile)
        for path in paths or ():
            if (rules := project.by_path.get(path)) is not None:
                rules.into(found, profile)
        for generation in generations:
            live = self.by_generation.get(generation)
            if live is None or live.rule is None:  # a static cohort is asked about nobody
                continue
            if paths is None or not live.paths.isdisjoint(paths):
                found[generation] = live
        return found.values()

    @property
    def filling(self) -> list[LiveRule]:
        """The generations that runs fill right now."""
        return [rule for rule in self.by_generation.values() if rule.is_filling]

    @property
    def in_place(self) -> list[LiveRule]:
        """The generations that readers see."""
        return [rule for rule in self.by_generation.values() if not rule.is_filling]

    @property
    def time_dependent(self) -> list[LiveRule]:
        """Those in place whose answer changes when time passes."""
        return [live for live in self.in_place if live.rule is not None and live.rule.time_dependent]

    def add(self, live: LiveRule) -> None:
        """Index one rule by the paths whose change can flip it, and by its key."""
        self.by_generation[live.generation] = live
        if live.rule is None:
            return
        project = self._projects.setdefault(live.project_id, _ProjectRules())
        project.all.add(live)
        for path in live.paths:
            project.by_path[path].add(live)


def watched_path(path: str) -> str:
    """The field or part that a changed document path belongs to: "lead.tags.0" is a change of "lead.tags"."""
    return ".".join(path.split(".", 2)[:2])


def changes_a_rule_could_see(paths: Iterable[str]) -> frozenset[str]:
    """Only the paths inside of parts, and TOUCHED: `rev`, `updated_at` and the like touch no rule."""
    return frozenset(path for path in paths if path == TOUCHED or path.partition(".")[0] in PARTS)


async def read_live_rules(snapshot: Snapshot, before: LiveRules) -> LiveRules:
    """The live rules at the snapshot; `before` itself when the cohort registry has not changed since."""
    if snapshot.registry_version == before.version:
        return before
    live = LiveRules(version=snapshot.registry_version)
    registries: dict[str, Registry] = {}
    cohorts = Cohort.get_motor_collection().find(
        {}, {"project_id": 1, "kind": 1, "active": 1, "filling": 1}, session=snapshot.session
    )
    async for cohort in cohorts:
        project_id = cohort["project_id"]
        for place in ("active", "filling"):
            if cohort.get(place) is None:
                continue
            known = before.by_generation.get(generation_id(cohort["_id"], cohort[place]["number"]))
            generation = Generation.model_validate(cohort[place])
            # A static cohort keeps the rule it came from, but no longer follows it.
            follows = cohort["kind"] == Kind.DYNAMIC and generation.rule is not None
            rule = known.rule if known and follows else None
            if follows and rule is None and generation.rule is not None:
                if project_id not in registries:
                    registries[project_id] = await registry(project_id)
                rule = await _read(cohort["_id"], generation, registries[project_id])
            live.add(
                LiveRule(
                    cohort_id=cohort["_id"],
                    project_id=project_id,
                    number=generation.number,
                    is_filling=place == "filling",
                    rule=rule,
                    matches=compile_rule(rule) if rule else _nobody,
                    # Beside a run a "no" is written as well, so nobody may be passed over.
                    key=key_of(rule) if rule and place == "active" else None,
                    evaluated_at=generation.now,
                    placed_at=generation.placed_at,
                )
            )
    asked_for = {cohort for each in live.by_generation.values() if each.rule for cohort in each.rule.looked_up}
    live.looked_up = {each.generation: each.cohort_id for each in live.in_place if each.cohort_id in asked_for}
    return live


def _nobody(_profile: Mapping[str, Any], _now: datetime) -> bool:
    """The predicate of a static cohort, which nobody enters by a change."""
    return False


async def _read(cohort_id: str, generation: Generation, fields: Registry) -> Rule | None:
    """A rule that was accepted once and no longer is (after an upgrade, say) stops one cohort, not all of them."""
    if generation.rule is None:
        return None
    try:
        return read_stored(generation.rule, fields, generation.inner)
    except RuleError as error:
        await log.aerror(
            "A stored rule can no longer be read; its cohort stands still", cohort=cohort_id, error=str(error)
        )
        await Cohort.get_motor_collection().update_one(
            {"_id": cohort_id},
            {"$set": {"state": State.FAILED.value, "error": f"The rule can no longer be read: {error}"}},
        )
        return None
