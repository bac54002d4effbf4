"""Experiments on the wire."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, StringConstraints

from muster.api.requests import Body
from muster.experiments.configuration import ArmName, Configuration
from muster.experiments.documents import Experiment, ExperimentRun, FrozenRule, Phase
from muster.experiments.results import Group, Measure, Summary
from muster.jobs.documents import Job
from muster.jobs.schemas import State

MOST_MEMBERS = 10_000  # picked by hand; more are saved as a cohort first

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=5_000)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=200)]
PiiIds = Annotated[list[Id], Field(max_length=MOST_MEMBERS)]
ExperimentIds = Annotated[list[Id], Field(min_length=1, max_length=10_000)]

_READ_ONLY = frozenset({"id", "cohort_ids", "member_count", "created_at", "updated_at", "rev"})


class CohortArmIn(Body):
    """A cohort whose members are one arm."""

    name: ArmName
    cohort_id: Id


Arms = Annotated[list[CohortArmIn], Field(max_length=20)]


class ExperimentIn(Body):
    """A new experiment: over a cohort, several cohorts as arms, profiles picked by hand; or over made-up personas."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    name: Name
    description: Description = ""
    project_id: str | None = None
    cohort_id: Id | None = None
    arms: Arms | None = Field(default=None, description="Cohorts as arms, in place of `cohort_id`; at least two.")
    members: PiiIds | None = Field(default=None, description="`pii_id`s of profiles, in place of a cohort.")
    config: Configuration = Field(default_factory=Configuration)


class ExperimentPatch(Body):
    """What may change of an experiment; what is left out stays. One of `cohort_id`, `arms`, `members` replaces them
    all; null takes them away. `config` is replaced as a whole.
    """

    read_only: ClassVar[frozenset[str]] = _READ_ONLY | {"project_id"}

    # The defaults stand for nothing: what counts is which properties were given.
    name: Name = ""
    description: Description = ""
    cohort_id: Id | None = None
    arms: Arms | None = None
    members: PiiIds | None = None
    config: Configuration = Field(default_factory=Configuration)


class CohortArmOut(BaseModel):
    """A cohort whose members are one arm."""

    name: str
    cohort_id: str


class ExperimentOut(BaseModel):
    """An experiment. `member_count` is of profiles picked by hand; a cohort has its own."""

    id: str
    name: str
    description: str
    project_id: str
    cohort_id: str | None
    arms: list[CohortArmOut]
    cohort_ids: list[str]
    member_count: int | None
    config: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    rev: int

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """The wire form of a stored experiment."""
        return cls(
            id=experiment.id,
            name=experiment.name,
            description=experiment.description,
            project_id=experiment.project_id,
            cohort_id=experiment.cohort_id,
            arms=[CohortArmOut(name=arm.name, cohort_id=arm.cohort_id) for arm in experiment.arms],
            cohort_ids=experiment.cohorts,
            member_count=experiment.member_count,
            config=json.loads(experiment.config),
            created_at=experiment.created_at,
            updated_at=experiment.updated_at,
            rev=experiment.rev,
        )


class ProgressOut(BaseModel):
    """How many personas are done."""

    done: int
    total: int | None


class PartOut(BaseModel):
    """One request of a run, and what the other side calls it."""

    number: int
    first: int
    count: int
    call_id: str | None
    accepted_at: datetime | None
    done: bool


class RunOut(BaseModel):
    """A run. `phase` says what it does while it is `running`; `trouble` what it last had to try again for."""

    run_id: str
    experiment_id: str
    job_id: str
    state: State
    phase: Phase
    persona_count: int | None
    held_out_count: int
    arm_counts: dict[str, int]
    result_count: int
    snapshot_hash: str | None
    seed: str | None
    cohorts: list[FrozenRule]
    commit: str | None
    call_id: str | None
    parts: list[PartOut]
    progress: ProgressOut
    error: str | None
    trouble: str | None
    created_at: datetime
    frozen_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, run: ExperimentRun, job: Job | None) -> Self:
        """The wire form of a run, whose state is its job's."""
        state: State = "cancelled" if job is None else "failed" if job.state == "quarantined" else job.state
        done = sum(part.count if part.is_done else part.seen for part in run.parts)
        return cls(
            run_id=run.id,
            experiment_id=run.experiment,
            job_id=run.job,
            state=state,
            phase=run.phase,
            persona_count=run.persona_count,
            held_out_count=run.held_out_count,
            arm_counts=run.arm_counts,
            result_count=run.result_count,
            snapshot_hash=run.snapshot_hash,
            seed=run.seed,
            cohorts=run.rules,
            commit=run.commit,
            call_id=next((part.call_id for part in run.parts if part.call_id), None),
            parts=[
                PartOut(
                    number=part.number,
                    first=part.first,
                    count=part.count,
                    call_id=part.call_id,
                    accepted_at=part.accepted_at,
                    done=part.is_done,
                )
                for part in run.parts
            ],
            progress=ProgressOut(done=done, total=run.persona_count),
            error=job.error if job else None,
            trouble=run.last_trouble,
            created_at=run.created_at,
            frozen_at=run.frozen_at,
            started_at=job.started_at if job else None,
            finished_at=job.finished_at if job else None,
        )


class RunStartedOut(BaseModel):
    """A run that has begun, and the job that carries it."""

    job_id: str
    run_id: str


class ResultOut(BaseModel):
    """What came of one persona. `number` is its place in what was sent; `pii_id` leads to its profile."""

    pii_id: str | None
    name: str | None
    result: Any
    arm: str | None
    state: str
    number: int
    result_at: datetime

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The wire form of a persona with its result."""
        return cls(
            pii_id=stored.get("pii_id"),
            name=stored.get("name"),
            result=json.loads(stored["result"]),
            arm=stored.get("arm"),
            state=stored["state"],
            number=stored["number"],
            result_at=stored["result_at"],
        )


class ProfileResultOut(BaseModel):
    """What came of a profile in one run."""

    experiment_id: str
    run_id: str
    arm: str | None
    state: str
    result: Any
    result_at: datetime

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The wire form of a persona with its result."""
        return cls(
            experiment_id=stored["experiment"],
            run_id=stored["run"],
            arm=stored.get("arm"),
            state=stored["state"],
            result=json.loads(stored["result"]),
            result_at=stored["result_at"],
        )


class MeasureOut(BaseModel):
    """A number that results carry. `deviation` is the sample's standard deviation; null of fewer than two."""

    count: int
    mean: float
    deviation: float | None
    lowest: float
    highest: float

    @classmethod
    def of(cls, measure: Measure) -> Self:
        """The wire form."""
        return cls(
            count=measure.count,
            mean=measure.mean,
            deviation=measure.deviation,
            lowest=measure.lowest,
            highest=measure.highest,
        )


class GroupOut(BaseModel):
    """All results, or those of one arm."""

    count: int
    states: dict[str, int]
    measures: dict[str, MeasureOut]

    @classmethod
    def of(cls, group: Group) -> Self:
        """The wire form."""
        measures = {name: MeasureOut.of(measure) for name, measure in group.measures.items()}
        return cls(count=group.count, states=group.states, measures=measures)


class RatioOut(BaseModel):
    """Whether the arms came back as large as they should: Pearson's chi-squared test; `suspicious`: hardly chance."""

    observed: dict[str, int]
    expected: dict[str, float]
    chi_squared: float
    degrees_of_freedom: int
    p_value: float
    suspicious: bool


class SummaryOut(GroupOut):
    """What the results of a run come to, and each arm's."""

    persona_count: int | None
    arms: dict[str, GroupOut]
    sample_ratio: RatioOut | None

    @classmethod
    def of_run(cls, run: ExperimentRun, found: Summary) -> Self:
        """The wire form."""
        ratio = found.ratio and RatioOut(
            observed=dict(found.ratio.observed),
            expected=dict(found.ratio.expected),
            chi_squared=found.ratio.chi_squared,
            degrees_of_freedom=found.ratio.degrees_of_freedom,
            p_value=found.ratio.p_value,
            suspicious=found.ratio.is_suspicious,
        )
        return cls(
            **GroupOut.of(found.everybody).model_dump(),
            persona_count=run.persona_count,
            arms={name: GroupOut.of(group) for name, group in found.arms.items()},
            sample_ratio=ratio,
        )


class AssignIn(Body):
    """The experiments that shall run over a cohort."""

    experiment_ids: ExperimentIds


class FailedAssignment(BaseModel):
    """An experiment that was not changed, and why."""

    experiment_id: str
    detail: str


class AssignedOut(BaseModel):
    """How an assignment went."""

    assigned: int
    failed: list[FailedAssignment]


class AcceptedOut(BaseModel):
    """Long work goes on in the background."""

    job_id: str


class CallbackIn(Body):
    """Results that the other side sends by itself; `offset` counts within the part."""

    status: Literal["completed", "succeeded", "partial", "failed"] = "completed"
    results: list[Any] = Field(default_factory=list)
    part: int = Field(default=0, ge=0)
    offset: int = Field(default=0, ge=0)
    error: str | None = Field(default=None, max_length=1_000)


class CallbackOut(BaseModel):
    """How many personas of the run have a result now."""

    stored: int
