"""From the profiles that changed to the rows that have to: a pure comparison of what rules say with what is stored."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from bson import ObjectId, Timestamp

from muster.cohorts import changes
from muster.cohorts.documents import Cause, row_id
from muster.cohorts.generations import row
from muster.cohorts.live_rules import LiveRule, LiveRules
from muster.rules import IN_COHORTS

Row = Mapping[str, Any]
Rows = Mapping[ObjectId, Mapping[str, Row]]  # profile → generation → stored row


@dataclass(frozen=True, slots=True)
class Pending:
    """A profile to look at again, or its end (`profile` None).

    Which rules to ask: `rules`, or, where that is None, those that `changed` document paths touch (None: anything).
    """

    profile: Mapping[str, Any] | None
    cause: Cause
    changed: frozenset[str] | None = None
    rules: Collection[LiveRule] | None = None


class Counted(NamedTuple):
    """A generation that a transaction writes rows of, and on what terms."""

    cohort_id: str
    number: int
    is_filling: bool
    follows: bool  # a rule


@dataclass(slots=True)
class Decisions:
    """What one transaction writes. `counts` is by generation: (net members, rows)."""

    inserted: list[dict[str, Any]] = field(default_factory=list)
    replaced: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    changes: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[Counted, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def __len__(self) -> int:
        """How many rows are written."""
        return len(self.inserted) + len(self.replaced) + len(self.deleted)

    def count(self, live: LiveRule, net: int) -> None:
        """One more row written for a generation."""
        both = self.counts[Counted(live.cohort_id, live.number, live.is_filling, live.rule is not None)]
        both[0] += net
        both[1] += 1

    @property
    def touches_filling(self) -> bool:
        """Whether a run writes beside these: then they must be decided anew on rows read in the transaction."""
        return any(generation.is_filling for generation in self.counts)


@dataclass(frozen=True, slots=True)
class Moment:
    """What a batch is decided on: the live rules and cluster time of one snapshot, and what `$now` is."""

    live: LiveRules
    as_of: Timestamp
    now: datetime


def decide(pending: Mapping[ObjectId, Pending], rows: Rows, moment: Moment) -> Decisions:
    """Compare and collect; nothing is read or written here.

    In a generation in place the watcher is the only writer, so a row stands for a member and leaving deletes it.
    Beside a run the later decision must win whichever comes first, so a "no" is written too, and nothing over a row
    that was decided later.
    """
    decisions = Decisions()
    decide_one = _Decider(moment.live, moment.now, moment.as_of, decisions)
    for profile_id, work in pending.items():
        stored = rows.get(profile_id, {})
        if work.profile is None:
            decide_one.gone(profile_id, stored)
            continue
        profile = work.profile
        if moment.live.looked_up:
            profile = {**profile, IN_COHORTS: _looked_up(stored, moment.live)}
        rules = moment.live.touched(profile, work.changed, stored) if work.rules is None else work.rules
        for rule in rules:  # the innermost loop of the watcher: most pairs end at the first `continue`
            answer = rule.matches(profile, moment.now)
            found = stored.get(rule.generation)
            if answer == (found is not None and found["in"]) and not rule.is_filling:
                continue
            decide_one(rule, work.profile, stored, answer=answer, cause=work.cause)
    return decisions


def _looked_up(stored: Mapping[str, Row], live: LiveRules) -> list[str]:
    """The static cohorts that a profile with these rows is in, of those that rules look into."""
    return [cohort for generation, cohort in live.looked_up.items() if (row := stored.get(generation)) and row["in"]]


@dataclass(frozen=True, slots=True)
class _Decider:
    live: LiveRules
    now: datetime
    as_of: Timestamp
    into: Decisions

    def __call__(
        self, rule: LiveRule, about: Mapping[str, Any], stored: Mapping[str, Row], *, answer: bool, cause: Cause
    ) -> None:
        """Write what the rule answers about a profile; in a generation in place it differs from what is stored."""
        profile: ObjectId = about["_id"]
        if rule.is_filling:
            self.beside_a_run(rule, profile, stored, answer=answer)
            return
        found = stored.get(rule.generation)
        if answer:  # a tombstone left from the run may still stand there
            entry = self._row(rule, profile, is_member=True, cause=cause)
            (self.into.inserted if found is None else self.into.replaced).append(entry)
        else:
            self.into.deleted.append(row_id(rule.generation, profile))
        self.into.count(rule, 1 if answer else -1)
        self._changed(rule, profile, about["pii_id"], entered=answer, cause=cause)

    def beside_a_run(self, rule: LiveRule, profile: ObjectId, stored: Mapping[str, Row], *, answer: bool) -> None:
        found = stored.get(rule.generation)
        if found is not None and (found["as_of"] >= self.as_of or found["in"] == answer):
            return
        # Whoever is found while the generation is filled is in because of its rule, as if the run had come first.
        entry = self._row(rule, profile, is_member=answer, cause=Cause.RULE)
        shown = self._row_in_place(rule, stored)
        if answer and shown is not None:  # a member before the edit stays one: since when and why stay, too
            entry |= {"entered_at": shown["entered_at"], "cause": shown["cause"]}
        (self.into.inserted if found is None else self.into.replaced).append(entry)
        self.into.count(rule, 0)

    def gone(self, profile: ObjectId, stored: Mapping[str, Row]) -> None:
        for generation, found in stored.items():
            rule = self.live.by_generation.get(generation)
            if rule is None or rule.is_filling:
                continue  # not live any more, and purged soon; or below
            self.into.deleted.append(row_id(generation, profile))
            if found["in"]:
                self.into.count(rule, -1)
                self._changed(rule, profile, None, entered=False, cause=Cause.RECORD)
        for rule in self.live.filling:
            self.beside_a_run(rule, profile, stored, answer=False)

    def _row(self, rule: LiveRule, profile: ObjectId, *, is_member: bool, cause: Cause) -> dict[str, Any]:
        return row(rule.generation, profile, is_member=is_member, entered_at=self.now, cause=cause, as_of=self.as_of)

    def _row_in_place(self, rule: LiveRule, stored: Mapping[str, Row]) -> Row | None:
        for generation, found in stored.items():
            other = self.live.by_generation.get(generation)
            if other is not None and other.cohort_id == rule.cohort_id and not other.is_filling and found["in"]:
                return found
        return None

    def _changed(self, rule: LiveRule, profile: ObjectId, pii_id: str | None, *, entered: bool, cause: Cause) -> None:
        self.into.changes.append(
            changes.entry(
                rule.cohort_id,
                rule.number,
                profile,
                pii_id,
                entered=entered,
                cause=cause,
                at=self.now,
                as_of=self.as_of,
            )
        )
