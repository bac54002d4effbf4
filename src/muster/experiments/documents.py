"""What is stored of experiments: what they are, each run with how far its dispatch came, and its personas.

Free-form JSON is kept as text: a property may have any name, and nest deeper than a BSON document can.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from beanie import Document
from bson import ObjectId
from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, DESCENDING, IndexModel


class CohortArm(BaseModel):
    """A cohort whose members are one arm of an experiment."""

    name: str
    cohort_id: str


class Experiment(Document):
    """A configuration, and whom it is run over. `_id` is its number, such as "EXP-1".

    At most one of `cohort_id`, `arms` and `members` says who: the members of a cohort, of several cohorts that are one
    arm each, or profiles picked by hand. None of them: the other side makes its personas up.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    owner: str
    name: str
    description: str = ""
    config: str = "{}"
    cohort_id: str | None = None
    arms: list[CohortArm] = Field(default_factory=list)
    cohorts: list[str] = Field(default_factory=list)  # all that are named above
    members: list[ObjectId] = Field(default_factory=list)
    member_count: int | None = None  # of those picked by hand; None: nobody was
    runs: int = 0  # so far; written with every new one, so that a deletion does not miss it
    rev: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "experiments"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="project"),
            IndexModel([("cohorts", ASCENDING)], name="cohorts"),
            IndexModel([("members", ASCENDING)], name="members"),
        ]


class Phase(StrEnum):
    """What a run does next; whether it goes on, and how it ended, its job tells."""

    FREEZING = "freezing"
    SENDING = "sending"
    WAITING = "waiting"
    DONE = "done"


class Part(BaseModel):
    """One request's share of a run's personas, from number `first` on; nearly always there is one part.

    `call_id` is what the other side calls its work on it, `result_url` where a redirect said the answer would be: one
    of them stands from the moment that the request was accepted.
    """

    number: int
    first: int
    count: int
    size: int  # bytes of its personas as JSON
    call_id: str | None = None
    result_url: str | None = None
    accepted_at: datetime | None = None
    seen: int = 0  # how far the other side says it is, in personas
    is_done: bool = False


class FrozenRule(BaseModel):
    """The rule of a cohort as it was when its members were frozen."""

    cohort_id: str
    arm: str | None = None
    name: str
    member_count: int
    rule_text: str | None = None
    rule_version: int | None = None  # the number of its generation


class ExperimentRun(Document):
    """One run over personas that were frozen for it. `_id` is a name that nobody else in the world has.

    `snapshot` names the personas that count: those of the attempt that froze them all.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    experiment: str
    project_id: str
    owner: str
    job: str
    phase: Phase = Phase.FREEZING
    config: str | None = None  # as it was frozen
    seed: str | None = None
    rules: list[FrozenRule] = Field(default_factory=list)
    weights: dict[str, float] = Field(default_factory=dict)  # of arms by hash
    erased: list[ObjectId] = Field(default_factory=list)  # profiles erased while the run froze
    snapshot: str | None = None
    snapshot_hash: str | None = None
    frozen_at: datetime | None = None
    commit: str | None = None  # of the manifest
    persona_count: int | None = None
    held_out_count: int = 0
    arm_counts: dict[str, int] = Field(default_factory=dict)
    parts: list[Part] = Field(default_factory=list)
    tries: int = 0  # in a row that were not accepted, or not answered
    unknown: int = 0  # answers in a row that knew nothing of what was accepted
    looks: int = 0  # at the other side since it accepted
    last_trouble: str | None = None
    failure: str | None = None  # what the other side said by a callback
    called_back: int = 0
    result_count: int = 0
    created_at: datetime

    class Settings:
        name = "experiment_runs"
        indexes: ClassVar[list[Any]] = [
            IndexModel(
                [("experiment", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="experiment_newest"
            ),
            IndexModel([("job", ASCENDING)], name="job"),
            IndexModel([("project_id", ASCENDING), ("phase", ASCENDING)], name="project_phase"),
        ]


class Persona(Document):
    """A profile as one run sees it, frozen, and what came of it. `_id` is "run|attempt|number".

    `number` is its place in what is sent, from 0 on; who is held out stands behind them all. `profile` and `pii_id` are
    None where the other side made it up, and when it is erased: then nothing is left but its place.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    snapshot: str
    run: str
    experiment: str
    number: int
    is_held_out: bool = False
    is_erased: bool = False
    profile: ObjectId | None = None
    pii_id: str | None = None
    name: str | None = None
    sent: str | None = None  # the JSON that stands for it in what is sent
    arm: str | None = None
    result: str | None = None
    state: str | None = None
    result_at: datetime | None = None

    class Settings:
        name = "personas"
        indexes: ClassVar[list[Any]] = [
            IndexModel(
                [("profile", ASCENDING), ("experiment", ASCENDING)],
                name="profile",
                partialFilterExpression={"profile": {"$exists": True}},
            ),
            IndexModel([("run", ASCENDING), ("snapshot", ASCENDING)], name="run_snapshot"),
        ]


HELD_OUT = 10**9  # numbers of those who are held out begin here


def snapshot_name(run_id: str, fence: int) -> str:
    """The name that all personas of one attempt to freeze a run carry."""
    return f"{run_id}|{fence}"


def persona_id(snapshot: str, number: int) -> str:
    """The `_id` of a persona: those of a snapshot lie side by side, in the order of their numbers."""
    return f"{snapshot}|{number:010}"


def ids_between(snapshot: str, first: int, end: int) -> dict[str, str]:
    """The condition on `_id` for the personas from number `first` up to `end`, without it."""
    return {"$gte": persona_id(snapshot, first), "$lt": persona_id(snapshot, end)}


DOCUMENTS: Sequence[type[Document]] = (Experiment, ExperimentRun, Persona)
