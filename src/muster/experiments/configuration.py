"""The configuration of an experiment: what Muster reads of it, and the JSON that it becomes with its personas.

All else in it is passed on as it is. The JSON is put together from pieces, so that a hundred thousand personas never
stand in memory at once.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from muster.cohorts.members import name_and_type
from muster.errors import Invalid, Problem
from muster.experiments.allocation import Arm
from muster.experiments.documents import Experiment
from muster.rules import PARTS, FieldType
from muster.rules.suggestions import closest

LARGEST_CONFIG = 1_000_000  # bytes of its JSON, without personas
MOST_SYNTHETIC = 100_000

# E-mail addresses and telephone numbers, by the name of the field: built-in ones, Attio's, and a project's own.
_PERSONAL = re.compile(r"e_?mail|phone|mobile|whatsapp", re.IGNORECASE)
_NAMED_BY_EVERYBODY = ("contact.name", "person.name", "company.name", "lead.name")

ArmName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9 _-]{0,49}$")]


class _Read(BaseModel):
    """What is not named here is nobody's business but the experiment's."""

    model_config = ConfigDict(extra="allow", strict=True, populate_by_name=True)


class ArmChoice(_Read):
    """An arm, and its share of the personas relative to the others'."""

    name: ArmName
    weight: float = Field(default=1.0, gt=0, le=1_000_000)


class PersonaChoice(_Read):
    """Who takes part, with which attributes, and in which arm; without a cohort, what the other side shall make up."""

    generation_type: Literal["cohort", "synthetic"] | None = Field(default=None, alias="generationType")
    count: int | None = Field(default=None, ge=1, le=MOST_SYNTHETIC, description="How many to make up.")
    traits: Any = Field(default=None, description="Passed on with `synthetic`.")
    fields: list[str] | None = Field(
        default=None, max_length=1_000, description="The attributes of each persona, such as `lead.score`; else all."
    )
    personal: bool = Field(default=False, description="Without `fields`: e-mail addresses and phone numbers, too.")
    sample: int | None = Field(default=None, ge=1, le=10_000_000, description="So many of the members, by a hash.")
    holdout: float = Field(default=0.0, ge=0, le=0.99, description="The share of members that takes no part.")
    arms: list[ArmChoice] = Field(default_factory=list, max_length=20, description="Split by a hash, by weight.")
    seed: Annotated[str, StringConstraints(max_length=200)] | int | None = Field(
        default=None, description="Decides sample, holdout and arms; else the experiment's number does."
    )

    @field_validator("arms")
    @classmethod
    def _names_differ(cls, arms: list[ArmChoice]) -> list[ArmChoice]:
        if len({arm.name for arm in arms}) < len(arms):
            raise ValueError("Two arms have the same name.")
        return arms


class DispatchChoice(_Read):
    """Where a run goes."""

    backend: Literal["modal", "webhook", "local"] = "modal"
    url: str | None = Field(default=None, max_length=2_048, description="With `webhook`: where to post to.")
    callable: str | None = Field(
        default=None, max_length=100, description="With `local`: an entry point of the group `muster.experiments`."
    )
    part_bytes: int = Field(
        default=64_000_000,
        ge=1_000,
        le=1_000_000_000,
        alias="partBytes",
        description="Personas that take more as JSON go in several requests.",
    )
    timeout_hours: float = Field(default=24.0, gt=0, le=168, alias="timeoutHours", description="For results to come.")


class Configuration(_Read):
    """Free-form JSON. Muster reads `personas` and `dispatch`, and passes on the rest as it is."""

    personas: PersonaChoice = Field(default_factory=PersonaChoice)
    dispatch: DispatchChoice = Field(default_factory=DispatchChoice)

    def as_text(self) -> str:
        """As it was given. Raises Invalid when it is too large, or nests too deeply."""
        try:
            text = json.dumps(self.model_dump(mode="json", by_alias=True, exclude_unset=True), ensure_ascii=False)
            size = len(text.encode())
        except (RecursionError, ValueError):
            detail = "A configuration nests no deeper than 200 levels, and its texts are Unicode."
            raise Invalid(detail, [Problem(detail, "/config")]) from None
        if size > LARGEST_CONFIG:
            detail = f"A configuration has at most {LARGEST_CONFIG:,} bytes."
            raise Invalid(detail, [Problem(detail, "/config")])
        return text


_READ_OF_PERSONAS = frozenset(
    {field.alias or name for name, field in PersonaChoice.model_fields.items()} - {"count", "traits"}
)


def read(text: str) -> Configuration:
    """A configuration as it is stored."""
    return Configuration.model_validate_json(text)


def is_personal(field: str) -> bool:
    """Whether a field holds an address or a number at which somebody is reached."""
    return _PERSONAL.search(field) is not None


def fields_of(choice: PersonaChoice, registry: Mapping[str, FieldType]) -> list[str]:
    """The attributes that personas carry. Raises Invalid, pointing at a field that there is not."""
    if choice.fields is None:
        order = {part: place for place, part in enumerate(PARTS)}
        wanted = sorted(registry, key=lambda name: (order[name.partition(".")[0]], name))
        return [name for name in wanted if choice.personal or not is_personal(name)]
    problems = [
        Problem(
            f"There is no field {name[:100]!r}.",
            f"/config/personas/fields/{place}",
            suggestion=closest(name, set(registry)),
        )
        for place, name in enumerate(choice.fields)
        if name not in registry
    ]
    if problems:
        raise Invalid("The fields of the personas do not fit; GET /v1/fields lists them all.", problems[:100])
    return list(dict.fromkeys(choice.fields))


def projection(fields: Iterable[str]) -> dict[str, int]:
    """What must be read of a profile to make it a persona."""
    wanted = {*fields, *_NAMED_BY_EVERYBODY}
    return {"pii_id": 1, **dict.fromkeys(sorted(wanted), 1)}


def arms_of(choice: PersonaChoice) -> list[Arm]:
    """The arms that a hash splits the personas into."""
    return [Arm(arm.name, arm.weight) for arm in choice.arms]


class PersonaWriter:
    """Writes profiles as the JSON of personas."""

    def __init__(self, fields: Iterable[str]) -> None:
        self._fields = [(name, name.partition(".")[0], name.partition(".")[2]) for name in fields]
        self._encode = msgspec.json.Encoder().encode

    def persona(self, profile: Mapping[str, Any], arm: str | None) -> tuple[str | None, bytes]:
        """The name of one, and its JSON."""
        name, kind = name_and_type(profile)
        attributes = {
            full: value
            for full, part, field in self._fields
            if (value := (profile.get(part) or {}).get(field)) is not None
        }
        persona = {"name": name, "type": kind, "attributes": attributes}
        return name, self._encode(persona if arm is None else persona | {"arm": arm})


ERASED = b'{"name":null,"type":"person","attributes":{},"erased":true}'
"""Stands where somebody was who has been erased since, so that results keep their places."""

MADE_UP = b'{"name":null,"type":"person","attributes":{}}'
"""What a local function sees of a persona that somebody else would make up."""


def opening(config: Configuration, experiment: Experiment, more: Mapping[str, Any]) -> bytes:
    """The JSON of a configuration up to its first persona; `more` stands at its top level."""
    beside = {
        name: value for name, value in (config.personas.model_extra or {}).items() if name not in _READ_OF_PERSONAS
    }
    personas: dict[str, Any] = {**beside, "generationType": "cohort", "cohortId": experiment.cohort_id}
    if experiment.arms:
        personas["cohortIds"] = [arm.cohort_id for arm in experiment.arms]
    if names := [arm.name for arm in experiment.arms] or [arm.name for arm in config.personas.arms]:
        personas["arms"] = names
    return _unclosed({**_passed_on(config), **more, "personas": personas})[:-1] + b',"members":['


def closing(count: int) -> bytes:
    """The rest of the JSON, behind the last of so many personas."""
    return b'],"count":%d}}' % count


def synthetic(config: Configuration, more: Mapping[str, Any]) -> bytes:
    """The JSON of a configuration whose personas the other side makes up."""
    given = config.personas.model_dump(mode="json", by_alias=True, exclude_unset=True)
    personas = {name: value for name, value in given.items() if name not in _READ_OF_PERSONAS}
    count = personas.pop("count", None)
    return (
        _unclosed(
            {**_passed_on(config), **more, "personas": {"generationType": "synthetic", "count": count or 0, **personas}}
        )
        + b"}"
    )


def _passed_on(config: Configuration) -> dict[str, Any]:
    return {name: value for name, value in (config.model_extra or {}).items() if name not in {"personas", "dispatch"}}


def _unclosed(value: Mapping[str, Any]) -> bytes:
    """An object as JSON, without its last brace."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()[:-1]
