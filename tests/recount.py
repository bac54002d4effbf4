"""Every membership counted again by brute force: the oracle over every profile, with nothing that MongoDB was asked.

An answer of the oracle is kept for as long as all that the rule's text names of a profile stays what it was. What a
rule names is read off its text alone, and rather too much than too little: neither the compiled rule nor its list of
fields, which the watcher goes by, has a say in it. A rule that names cohorts is asked with the recounted members of
those, never with their rules.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any, Generic, TypeVar

from muster.rules import IN_COHORTS, PARTS, Registry, known_functions, oracle, read_rule

Profile = Mapping[str, Any]
Name = TypeVar("Name")  # what a profile is called: its pii_id, or its `_id`

_NAMED = re.compile(rf"\b({'|'.join(PARTS)})\b(?:\.(\w+))?")
_COHORT = re.compile(r"\bCOH-[0-9]+\b")
_CLOCKS = ("$now", "$today")


@dataclass(frozen=True, slots=True)
class Seen:
    """A profile with its values laid out by path, each hashable; a part alone stands for all of its values."""

    profile: Profile
    parts: tuple[bool, ...]
    values: Mapping[str, Any]


def seen(profile: Profile) -> Seen:
    """Lay a profile out."""
    values: dict[str, Any] = {}
    for part in PARTS:
        if (found := profile.get(part)) is not None:
            laid_out = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
            values[part] = tuple(sorted(laid_out.items()))
            values.update({f"{part}.{name}": value for name, value in laid_out.items()})
    return Seen(profile, tuple(part in values for part in PARTS), values)


def cohorts_named(text: str) -> list[str]:
    """The cohorts whose numbers stand in a rule."""
    return sorted(set(_COHORT.findall(text)))


class Meaning:
    """What one rule means, by the oracle, with the answers that it gave last time."""

    def __init__(self, text: str, registry: Registry, time_zone: str = "UTC") -> None:
        self.cohorts = cohorts_named(text)
        by_hand = dict.fromkeys(self.cohorts)  # as if each were static: then the profile says whether it is in
        self._holds = oracle(read_rule(text, registry, time_zone=time_zone, cohorts=by_hand))
        self._paths = tuple(sorted({".".join(filter(None, named)) for named in _NAMED.findall(text)}))
        self.looks_at_clock = any(name in text for name in (*_CLOCKS, *_functions_of_the_clock()))
        self._known: dict[Any, bool] = {}

    def members(
        self,
        everybody: Mapping[Name, Seen],
        now: datetime,
        inner: Mapping[str, AbstractSet[Name]] | None = None,
    ) -> set[Name]:
        """The names of all who belong at this moment. `inner` are the members of the cohorts that the rule names."""
        known = {} if self.looks_at_clock else self._known
        answers: dict[Any, bool] = {}
        members: set[Name] = set()
        paths, holds = self._paths, self._holds
        named = [(cohort, (inner or {})[cohort]) for cohort in self.cohorts]
        for name, each in everybody.items():
            within = tuple([cohort for cohort, those in named if name in those]) if named else ()
            key = (each.parts, within, *map(each.values.get, paths))
            answer = answers.get(key)
            if answer is None:
                answer = known.get(key)
                if answer is None:
                    answer = holds({**each.profile, IN_COHORTS: within} if named else each.profile, now)
                answers[key] = answer
            if answer:
                members.add(name)
        self._known = answers
        return members


@dataclass(frozen=True, slots=True)
class Counted(Generic[Name]):
    """A cohort as somebody sees it. One that follows no rule, or none at this moment, has none here."""

    id: str
    rule: str | None
    listed: Sequence[Name]
    count: int


@dataclass
class Recount(Generic[Name]):
    """Recounts the cohorts of one project, again and again."""

    registry: Registry
    time_zone: str = "UTC"
    everybody: dict[Name, Seen] = field(default_factory=dict)
    pairs: int = 0  # of a rule and a profile, so far
    _meanings: dict[str, Meaning] = field(default_factory=dict)

    def take(self, profiles: Mapping[Name, Profile]) -> None:
        """Take over the profiles as they are stored by now; only those that changed are laid out anew."""
        before = self.everybody
        self.everybody = {
            name: kept if (kept := before.get(name)) is not None and kept.profile == profile else seen(profile)
            for name, profile in profiles.items()
        }

    def members(self, rule: str, now: datetime, inner: Mapping[str, AbstractSet[Name]] | None = None) -> set[Name]:
        """Who belongs by this rule; `inner` are the members of the cohorts that it names."""
        self.pairs += len(self.everybody)
        return self.meaning(rule).members(self.everybody, now, inner)

    def meaning(self, rule: str) -> Meaning:
        """Read once, for as long as some cohort has this rule."""
        if rule not in self._meanings:
            self._meanings[rule] = Meaning(rule, self.registry, self.time_zone)
        return self._meanings[rule]

    def differences(
        self, cohorts: Sequence[Counted[Name]], now: datetime, *, since: datetime | None = None
    ) -> list[str]:
        """Where what is seen is not what the oracle says at `now`, a sentence for each cohort.

        Where time goes on: a profile may also be what it was to be at `since`, when time was last let pass.
        """
        expected = self._expected(cohorts, now)
        earlier = self._expected(cohorts, since, but_for_time=expected) if since else expected
        found: list[str] = []
        for cohort in cohorts:
            members = set(cohort.listed)
            if not cohort.count == len(cohort.listed) == len(members):
                listed = f"{len(cohort.listed)} are listed, {len(members)} of them different ones"
                found.append(f"{cohort.id}: its count is {cohort.count}, {listed}")
            if wrong := (members ^ expected[cohort.id]) & (members ^ earlier[cohort.id]):
                missing = [self._about(name) for name in list(wrong & expected[cohort.id])[:3]]
                surplus = [self._about(name) for name in list(wrong - expected[cohort.id])[:3]]
                what = f"{cohort.id}, {cohort.rule!r} at {now}: {len(wrong)} wrong"
                found.append(f"{what}; missing are {missing}, surplus {surplus}")
        wanted = {cohort.rule for cohort in cohorts}
        self._meanings = {rule: meaning for rule, meaning in self._meanings.items() if rule in wanted}
        return found

    def _expected(
        self,
        cohorts: Sequence[Counted[Name]],
        now: datetime,
        but_for_time: Mapping[str, AbstractSet[Name]] | None = None,
    ) -> dict[str, AbstractSet[Name]]:
        """Each cohort after those that its rule names. One without a rule is taken as it is seen.

        `but_for_time` is what was expected at another moment: what does not depend on the clock is taken from there.
        """
        known = {cohort.id: cohort for cohort in cohorts}
        edges = {cohort.id: cohorts_named(cohort.rule or "") for cohort in cohorts}
        expected: dict[str, AbstractSet[Name]] = {}
        by_clock: set[str] = set()
        for cohort_id in TopologicalSorter(edges).static_order():
            rule = known[cohort_id].rule
            if rule is not None and (self.meaning(rule).looks_at_clock or not by_clock.isdisjoint(edges[cohort_id])):
                by_clock.add(cohort_id)
            if rule is None:
                expected[cohort_id] = set(known[cohort_id].listed)
            elif but_for_time is not None and cohort_id not in by_clock:
                expected[cohort_id] = but_for_time[cohort_id]
            else:
                expected[cohort_id] = self.members(rule, now, expected)
        return expected

    def _about(self, name: Name) -> Any:
        return self.everybody[name].profile if name in self.everybody else f"{name}, who is no more"


def _functions_of_the_clock() -> Iterable[str]:
    return (f"${name}" for name, function in known_functions().items() if function.looks_at_clock)
