"""Whom an experiment takes, as a stream in bounded memory: read in one snapshot, sampled and split by hash."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING

from muster.cohorts.documents import Cohort, Membership, generation_id, ids_of, row_id
from muster.cohorts.scans import in_batches
from muster.cohorts.snapshot import Snapshot
from muster.errors import Conflict
from muster.experiments.allocation import Sample, Split, is_held_out, one_of
from muster.experiments.configuration import PersonaChoice, arms_of
from muster.experiments.documents import Experiment, FrozenRule
from muster.records.documents import Profile

AT_ONCE = 1_000

_JUST_NAMED = {"pii_id": 1}


class NotYet(Conflict):
    """A cohort is being evaluated for the first time: it has no members yet, but soon will."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A profile, as far as it was asked for, and what was decided about it."""

    profile: Mapping[str, Any]
    arm: str | None
    is_held_out: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The members of one cohort, by their generation, and the arm that they are."""

    arm: str | None
    generation: str


@dataclass(frozen=True, slots=True)
class Company:
    """Everybody whom an experiment takes, as of one snapshot."""

    experiment: Experiment
    choice: PersonaChoice
    snapshot: Snapshot
    rules: Sequence[FrozenRule]
    groups: Sequence[Group]

    @property
    def seed(self) -> str:
        """What decides about sample, holdout and arms."""
        seed = self.choice.seed
        return self.experiment.id if seed is None else str(seed)

    async def taken(self, projection: Mapping[str, int]) -> AsyncGenerator[list[Taken], None]:
        """All of them, in batches: those who take part, and those who are held out."""
        sample = await self._sample()
        split = Split(self.seed, arms) if (arms := arms_of(self.choice)) and not self.experiment.arms else None
        async with aclosing(self._profiles(projection)) as batches:
            async for batch in batches:
                yield [
                    Taken(profile, split.arm_of(profile["pii_id"]) if split else arm, held_out)
                    for profile, arm in batch
                    if (held_out := self._is_held_out(profile["pii_id"])) or profile["pii_id"] in sample
                ]

    def _is_held_out(self, pii_id: str) -> bool:
        return is_held_out(self.seed, pii_id, self.choice.holdout)

    async def _sample(self) -> Sample:
        sample = Sample(self.seed, self.choice.sample)
        if self.choice.sample is None:
            return sample
        async with aclosing(self._profiles(_JUST_NAMED)) as batches:
            async for batch in batches:
                for profile, _ in batch:
                    if not self._is_held_out(profile["pii_id"]):
                        sample.show(profile["pii_id"])
        return sample

    async def _profiles(
        self, projection: Mapping[str, int]
    ) -> AsyncGenerator[list[tuple[Mapping[str, Any], str | None]], None]:
        """Everybody once, with the arm that their cohort is. Whose profile is gone is left out."""
        if self.experiment.member_count is not None:
            picked = self.experiment.members
            for start in range(0, len(picked), AT_ONCE):
                yield [(profile, None) for profile in await self._read(picked[start : start + AT_ONCE], projection)]
        for group in self.groups:
            rows = Membership.get_motor_collection().find(
                {"_id": ids_of(group.generation), "in": True},
                {"_id": 0, "profile": 1},
                session=self.snapshot.session,
                sort=[("_id", ASCENDING)],
                batch_size=AT_ONCE,
            )
            async with aclosing(in_batches(rows, AT_ONCE)) as batches:
                async for batch in batches:
                    profiles = await self._read([row["profile"] for row in batch], projection)
                    if len(self.groups) > 1:
                        profiles = await self._of_this_arm(group, profiles)
                    yield [(profile, group.arm) for profile in profiles]

    async def _read(self, ids: Sequence[ObjectId], projection: Mapping[str, int]) -> list[Mapping[str, Any]]:
        """Those profiles of the project that are there, in the order of their ids."""
        query = {"_id": {"$in": list(ids)}, "project_id": self.experiment.project_id}
        found = Profile.get_motor_collection().find(query, projection, session=self.snapshot.session)
        profiles = {profile["_id"]: profile async for profile in found}
        return [profiles[each] for each in ids if each in profiles]

    async def _of_this_arm(self, group: Group, profiles: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Without those who stand in another arm's cohort as well, and whom the hash sends there."""
        rows = {
            row_id(other.generation, profile["_id"]): other.arm
            for other in self.groups
            if other is not group
            for profile in profiles
        }
        found = Membership.get_motor_collection().find(
            {"_id": {"$in": list(rows)}, "in": True}, {"profile": 1}, session=self.snapshot.session
        )
        choices: dict[ObjectId, list[str]] = {}
        async for row in found:
            choices.setdefault(row["profile"], []).append(rows[row["_id"]] or "")
        mine = group.arm or ""
        return [
            profile
            for profile in profiles
            if profile["_id"] not in choices
            or one_of(self.seed, profile["pii_id"], [mine, *choices[profile["_id"]]]) == mine
        ]


async def company_of(experiment: Experiment, choice: PersonaChoice, snapshot: Snapshot) -> Company:
    """Everybody whom an experiment takes in a snapshot. Raises Conflict without a cohort, NotYet while it fills."""
    named = [(arm.name, arm.cohort_id) for arm in experiment.arms]
    if experiment.cohort_id is not None:
        named = [("", experiment.cohort_id)]
    rules, groups = [], []
    for arm, cohort_id in named:
        cohort = await Cohort.find_one({"_id": cohort_id}, session=snapshot.session)
        if cohort is None:
            raise Conflict(f"{cohort_id}, whose members {experiment.id} takes, was deleted.")
        if cohort.active is None:
            if cohort.run is not None:
                raise NotYet(f"{cohort_id} is being evaluated for the first time; it has no members yet.")
            none = f"{cohort_id}, whose members {experiment.id} takes, has none."
            raise Conflict(f"{none} {cohort.error}" if cohort.error else none)
        rule = cohort.active.rule or cohort.rule
        rules.append(
            FrozenRule(
                cohort_id=cohort_id,
                arm=arm or None,
                name=cohort.name,
                member_count=cohort.member_count,
                rule_text=rule.text if rule else None,
                rule_version=cohort.active.number,
            )
        )
        groups.append(Group(arm or None, generation_id(cohort_id, cohort.active.number)))
    return Company(experiment, choice, snapshot, rules, groups)
