"""What is stored of cohorts: the cohort, its members by generation, what changed, and how its runs went."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from beanie import Document
from bson import ObjectId, Timestamp
from pydantic import BaseModel, ConfigDict, Field
from pymongo import ASCENDING, DESCENDING, IndexModel


class Kind(StrEnum):
    """Dynamic cohorts follow their rule; static ones hold the members they were given."""

    DYNAMIC = "dynamic"
    STATIC = "static"


class State(StrEnum):
    """Whether the members are what the cohort asks for, are being found, or could not be found."""

    READY = "ready"
    EVALUATING = "evaluating"
    FAILED = "failed"


class Cause(StrEnum):
    """Why a profile entered or left."""

    RULE = "rule"
    RECORD = "record"
    TIME = "time"
    MANUAL = "manual"
    IMPORT = "import"


class RunState(StrEnum):
    """How a run ended. Only one that succeeded changed what readers see."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


class StoredRule(BaseModel):
    """A rule as its author wrote it, and what was read from it.

    `tree` is JSON text: a condition tree may nest deeper than a BSON document can.
    """

    text: str
    tree: str
    fields: list[str]
    entity_scope: list[str]
    required_parts: list[str]
    time_dependent: bool
    time_zone: str
    cohorts: list[str] = []  # that it names
    functions: dict[str, str] = {}  # that it calls, with the versions that they had when it was saved


class Generation(BaseModel):
    """The members under one effective rule: its own, and those of the cohorts that it names, as they were at its begin.

    `rule` is None where members follow none: given by hand, or kept as they were when the cohort became static.
    `inner` holds every cohort that the rule reaches: a dynamic one with its
    rule, a static one with None.
    """

    number: int
    rule: StoredRule | None = None
    inner: dict[str, StoredRule | None] = {}
    now: datetime | None = None  # what `$now` was to the run that filled it
    placed_at: datetime | None = None  # when readers began to see it, by the database server's clock
    # Raised by the watcher with every row it writes: a write to the document that runs and conversions write, too, so
    # that they exclude each other, and the count that a run takes as it puts the generation in place is exact.
    live_writes: int = 0


class Evaluation(BaseModel):
    """How the last full evaluation went. `scanned` counts the profiles that left MongoDB."""

    strategy: str
    scanned: int
    matched: int
    elapsed_ms: float
    at: datetime


class Cohort(Document):
    """A named group of profiles. `_id` is its number, such as "COH-3"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    project_id: str
    owner: str
    name: str
    description: str = ""
    kind: Kind
    rule: StoredRule | None = None
    state: State
    error: str | None = None
    run: str | None = None  # the job whose result is wanted; another job that ends is superseded
    active: Generation | None = None  # what readers see
    filling: Generation | None = None  # what the wanted run writes; nobody reads it
    last_generation: int = 0
    member_count: int = 0
    evaluation: Evaluation | None = None
    key: str | None = None  # of the file in rules/cohorts that manages it
    managed_by: str | None = None
    rev: int = 1
    created_at: datetime
    updated_at: datetime

    class Settings:
        name = "cohorts"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("project_id", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="project"),
            IndexModel(
                [("project_id", ASCENDING), ("key", ASCENDING)],
                name="project_key",
                unique=True,
                partialFilterExpression={"key": {"$type": "string"}},
            ),
            IndexModel([("rule.cohorts", ASCENDING)], name="names"),
        ]


def generation_id(cohort_id: str, number: int) -> str:
    """The name that all rows of a generation carry, such as "COH-3|7"."""
    return f"{cohort_id}|{number}"


def row_id(generation: str, profile: ObjectId) -> str:
    """The `_id` of a membership: sorted inserts of one generation land side by side."""
    return f"{generation}|{profile.binary.hex()}"  # as str() has it, and faster


def ids_of(generation: str) -> dict[str, str]:
    """The condition on `_id` for all rows of a generation: "}" sorts right after the "|" before a profile."""
    return {"$gt": f"{generation}|", "$lt": f"{generation}}}"}


class Membership(Document):
    """One profile in, or out of, one generation. `_id` is "cohort|generation|profile".

    `is_member` false is a tombstone: while a run fills the generation, the watcher's later "no" must outlive the run's
    earlier "yes". `as_of` is the cluster time of the snapshot that decided.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    generation: str
    profile: ObjectId
    is_member: bool = Field(alias="in")
    entered_at: datetime
    cause: Cause
    as_of: Timestamp

    class Settings:
        name = "memberships"
        indexes: ClassVar[list[Any]] = [
            IndexModel(
                [("generation", ASCENDING), ("in", ASCENDING), ("entered_at", ASCENDING), ("profile", ASCENDING)],
                name="generation_joined",
            ),
            # Holds all that the watcher asks of a profile's rows, so that it fetches none of them.
            IndexModel(
                [("profile", ASCENDING), ("generation", ASCENDING), ("in", ASCENDING), ("as_of", ASCENDING)],
                name="profile_decided",
            ),
        ]


class Change(Document):
    """One profile entering or leaving a cohort; only ever appended, but for what an erasure takes out of it.

    `pii_id` is None once the profile is erased: what is left names nobody, and keeps the sizes of the past right.
    `run` is the run that found the change; without one it was made live, or by hand.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    cohort: str
    generation: int
    profile: ObjectId
    pii_id: str | None = None
    change: str  # "entered" or "left"
    cause: Cause
    at: datetime
    as_of: Timestamp
    run: str | None = None

    class Settings:
        name = "changes"
        indexes: ClassVar[list[Any]] = [
            # Holds all that sizes and the filters of a list ask for.
            IndexModel(
                [
                    ("cohort", ASCENDING),
                    ("at", DESCENDING),
                    ("_id", DESCENDING),
                    ("change", ASCENDING),
                    ("cause", ASCENDING),
                    ("generation", ASCENDING),
                    ("run", ASCENDING),
                ],
                name="cohort_at",
            ),
            # Holds all that a walk over the members of a past moment asks for.
            IndexModel(
                [
                    ("cohort", ASCENDING),
                    ("profile", ASCENDING),
                    ("at", ASCENDING),
                    ("generation", ASCENDING),
                    ("change", ASCENDING),
                    ("run", ASCENDING),
                ],
                name="cohort_profile",
            ),
            IndexModel([("profile", ASCENDING)], name="profile"),
            # Most changes are those of records: a look for another cause need not pass over them.
            IndexModel(
                [("cohort", ASCENDING), ("cause", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)],
                name="cohort_cause",
                partialFilterExpression={"cause": {"$in": [cause for cause in Cause if cause is not Cause.RECORD]}},
            ),
        ]


class Written(BaseModel):
    """How far a run's difference stands in `changes`: up to which profile, and how many entries of either kind.

    The last transaction wrote those behind `since`.
    """

    since: str = ""
    after: str = ""
    entered: int = 0
    left: int = 0


class Run(Document):
    """One full evaluation and what came of it. `_id` is its job's.

    One that succeeded replaced the generation `previous` at the moment `at`; without a `previous` it was the first fill
    of its cohort, and stands for the entries that it would have made. `added` and `removed` are those of the run's
    snapshot as long as `pending` is set: then its difference is not all in `changes` yet, and nobody may delete the
    rows of its two generations.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    cohort: str
    state: RunState = RunState.SUCCEEDED
    error: str | None = None
    generation: int | None
    previous: int | None = None
    cause: str
    rule_text: str | None
    strategy: str | None = None
    scanned: int = 0
    matched: int = 0
    added: int = 0
    removed: int = 0
    count_before: int | None = None  # right before `at`
    member_count: int | None = None  # right after it
    elapsed_ms: float | None = None
    at: datetime
    as_of: Timestamp | None = None
    pending: bool = False
    written: Written | None = None

    class Settings:
        name = "runs"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("cohort", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)], name="cohort_at"),
            IndexModel(
                [("pending", ASCENDING), ("cohort", ASCENDING)],
                name="pending",
                partialFilterExpression={"pending": True},
            ),
        ]


class RegistryVersion(Document):
    """Raised whenever the watcher must look at the cohorts anew: one small document to read beside every batch.

    Another one, "slices", counts how often a watcher took a slice.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    version: int

    class Settings:
        name = "cohort_registry"


REGISTRY = "cohorts"


class WatchState(Document):
    """How far a slice of the change stream has been followed. `_id` is the slice's name, as is its lease's.

    `deployment` is the UUID of the `profiles` collection: a token of another one would be accepted in silence.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    token: dict[str, Any] | None
    session: str | None = None  # of the watcher's transactions, in hexadecimal
    deployment: str
    saved_at: datetime
    events: int
    lag_ms: float  # from the newest applied write to its commit here
    ticked_at: datetime | None = None  # until when cohorts over `$now` have seen time pass
    full_evaluations: int = 0
    full_evaluation_reason: str | None = None
    full_evaluation_at: datetime | None = None

    class Settings:
        name = "watch_states"


class Difference(BaseModel):
    """What the audit found and has not seen put right: a membership, or (`profile` None) a count."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    cohort: str
    profile: ObjectId | None
    stored: int  # a member or not; or the count
    right: int
    found_at: datetime


class Audit(Document):
    """What the audit of memberships came to so far. `_id` is "memberships"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    looks: int = 0  # memberships and counts that were held against their rules
    found: int = 0  # differences, ever
    differences: list[Difference] = Field(default_factory=list)
    looked_at: datetime

    class Settings:
        name = "audits"


DOCUMENTS: Sequence[type[Document]] = (Cohort, Membership, Change, Run, RegistryVersion, WatchState, Audit)
