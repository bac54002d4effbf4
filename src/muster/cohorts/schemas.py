"""Cohorts and rules on the wire."""

import json
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints

from muster.api.requests import Body
from muster.cohorts.documents import Cohort, Evaluation, Kind, State
from muster.rules import Function

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=5_000)]


def _as_it_was_answered(rule: Any) -> Any:
    """A rule as a GET shows it, in both forms, may be sent back: its text counts."""
    return rule["text"] if isinstance(rule, dict) and rule.keys() == {"text", "tree"} else rule


RuleSource = Annotated[str | dict[str, Any], BeforeValidator(_as_it_was_answered)]
PiiIds = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=200)]], Field(max_length=100_000)]

_READ_ONLY = frozenset(
    {
        "id",
        "rule_fields",
        "entity_scope",
        "state",
        "error",
        "member_count",
        "evaluation",
        "job_id",
        "key",
        "managed_by",
        "created_at",
        "updated_at",
        "rev",
    }
)


class CohortIn(Body):
    """A new cohort: dynamic with a rule, or static with members of one kind or another, or none yet.

    A static one takes them from a list, from an import, from another cohort as it is or was `at` a moment, or from its
    rule, evaluated once. Beside any other source a rule is kept: `progress` tells how many members match it.
    """

    read_only: ClassVar[frozenset[str]] = _READ_ONLY

    name: Name
    description: Description = ""
    project_id: str | None = None
    kind: Literal["dynamic", "static"]
    rule: RuleSource | None = Field(
        default=None, description="A text in the rule language, or a condition tree.", examples=["lead.score > 50"]
    )
    members: PiiIds | None = Field(default=None, description="`pii_id`s of profiles that exist.")
    import_id: str | None = Field(default=None, description="The profiles that an import brought.")
    from_cohort: str | None = Field(
        default=None, description="The members of another cohort of the project; its rule comes along, if it has one."
    )
    at: str | None = Field(default=None, description="With `from_cohort`: as they were at this moment (RFC 3339).")


class CohortPatch(Body):
    """What may change of a cohort; what is left out stays. A changed rule evaluates anew."""

    read_only: ClassVar[frozenset[str]] = _READ_ONLY | {"project_id"}

    # The defaults stand for nothing: what counts is which properties were given. A null is an error, except for the
    # rule of a static cohort, which may be forgotten.
    name: Name = ""
    description: Description = ""
    kind: Literal["dynamic", "static"] = "dynamic"
    rule: RuleSource | None = None


class RuleOut(BaseModel):
    """A rule in both forms."""

    text: str
    tree: dict[str, Any]


class CohortOut(BaseModel):
    """A cohort. `job_id` stands while its evaluation goes on in the background."""

    id: str
    name: str
    description: str
    project_id: str
    kind: Kind
    rule: RuleOut | None
    rule_fields: list[str]
    entity_scope: list[str]
    state: State
    error: str | None
    member_count: int
    evaluation: Evaluation | None
    key: str | None
    managed_by: str | None
    created_at: datetime
    updated_at: datetime
    rev: int
    job_id: str | None = None

    @classmethod
    def of(cls, cohort: Cohort) -> "CohortOut":
        """The wire form of a stored cohort."""
        rule = cohort.rule
        return cls(
            id=cohort.id,
            name=cohort.name,
            description=cohort.description,
            project_id=cohort.project_id,
            kind=cohort.kind,
            rule=RuleOut(text=rule.text, tree=json.loads(rule.tree)) if rule else None,
            rule_fields=rule.fields if rule else [],
            entity_scope=rule.entity_scope if rule else [],
            state=cohort.state,
            error=cohort.error,
            member_count=cohort.member_count,
            evaluation=cohort.evaluation,
            key=cohort.key,
            managed_by=cohort.managed_by,
            created_at=cohort.created_at,
            updated_at=cohort.updated_at,
            rev=cohort.rev,
            job_id=cohort.run,
        )


class EvaluatedOut(BaseModel):
    """What a full evaluation changed."""

    added: int
    removed: int
    member_count: int


class AcceptedOut(BaseModel):
    """Long work has begun: follow `/v1/jobs/{job_id}`."""

    job_id: str


class MemberOut(BaseModel):
    """One member, with what tells it apart at a glance. `cause` says why it entered."""

    pii_id: str
    name: str | None
    type: Literal["person", "company"]
    email: str | None
    domain: str | None
    entered_at: datetime
    cause: str


class MembersIn(Body):
    """Profiles by their `pii_id`."""

    members: PiiIds


class AddedOut(BaseModel):
    """Who was added by hand, was in already, or is nobody we know."""

    added: int
    already: int
    unknown: list[str]


class RemovedOut(BaseModel):
    """Who was taken out by hand, and who was not in."""

    removed: int
    not_members: list[str]


class ProgressOut(BaseModel):
    """How far the members have moved away from the rule: `progress_percent` of them no longer match (0 to 100)."""

    total: int
    still_matching: int
    diverged: int
    progress_percent: float


class ProfileCohortOut(BaseModel):
    """A cohort that a profile is in."""

    id: str
    name: str
    kind: Kind
    entered_at: datetime
    cause: str


class ExplanationOut(BaseModel):
    """Whether a profile is a member, and whether its rule holds now, condition by condition."""

    member: bool
    matches: bool
    conditions: dict[str, Any] = Field(description="`{text, span, result, actual?, children?}`, children alike.")


class RuleIn(Body):
    """A rule to look at, in either form."""

    rule: RuleSource
    project_id: str | None = None


class PreviewIn(RuleIn):
    """A rule to try: how many match now, and a few of them."""

    sample: Annotated[int, Field(ge=0, le=100)] = 5
    key: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="What you choose for one editor: a later preview with the same key supersedes this one.",
    )


class PieceOut(BaseModel):
    """One piece of a rule, where it runs, and why."""

    text: str
    span: dict[str, int] | None
    where: Literal["mongodb", "python"]
    reason: str


class PlanOut(BaseModel):
    """How a rule runs: what MongoDB filters, and what Python checks of what it lets through."""

    strategy: Literal["mongodb", "hybrid", "python"]
    pipeline: list[dict[str, Any]]
    residual: str | None
    pieces: list[PieceOut]


class CheckOut(BaseModel):
    """Everything that can be said of a rule without running it."""

    valid: bool
    text: str | None
    tree: dict[str, Any] | None
    fields: list[str]
    entity_scope: list[str]
    time_dependent: bool
    plan: PlanOut | None
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]]


class ParameterOut(BaseModel):
    """A parameter of a function; `types` are those of fields, mostly one."""

    name: str
    types: list[str]


class FunctionOut(BaseModel):
    """A function that rules can call. `provider` is the package that brings it; `runs` says where."""

    name: str
    signature: str
    description: str
    parameters: list[ParameterOut]
    result: str
    version: str
    provider: str
    runs: Literal["python"] = "python"

    @classmethod
    def of(cls, function: Function) -> "FunctionOut":
        """As the API shows it."""
        return cls(
            name=f"${function.name}",
            signature=function.signature,
            description=function.description,
            parameters=[ParameterOut(name=name, types=list(types)) for name, types in function.parameters],
            result=function.result,
            version=function.version,
            provider=function.provider,
        )


class PreviewOut(BaseModel):
    """`count` is the number of matches; with `exact` false, a floor: the look ended early."""

    count: int
    exact: bool
    sample: list[dict[str, Any]]
    plan: PlanOut
    elapsed_ms: float
