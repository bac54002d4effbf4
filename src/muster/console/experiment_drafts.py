"""An experiment in a form: what somebody has typed, and the body of the API that it becomes.

The form names what most experiments set: who takes part, sample, holdout, arms. Everything else of the configuration
stands in a field as JSON, so that nothing is lost that the form does not know.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from litestar import Request

from muster.console import forms
from muster.errors import Invalid, Problem
from muster.experiments.documents import Experiment

NAMED = ("count", "sample", "holdout", "seed", "arms")  # of the personas: what the form has fields for
EMPTY_ARMS = 2  # lines to fill in behind those that are there
COHORT, MADE_UP, KEPT = "cohort", "made-up", "kept"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ArmLine:
    """An arm as it is typed."""

    name: str
    weight: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a form says. `source` is who takes part: a cohort, made-up personas, or whoever took part before."""

    name: str = ""
    description: str = ""
    source: str = COHORT
    cohort_id: str = ""
    q: str = ""
    count: str = ""
    sample: str = ""
    holdout: str = ""  # percent
    seed: str = ""
    arms: Sequence[ArmLine] = field(default_factory=list)
    rest: str = ""

    @classmethod
    def of(cls, experiment: Experiment) -> Self:
        """A stored experiment."""
        config = json.loads(experiment.config)
        personas = config.pop("personas", {})
        named = {name: personas.pop(name, None) for name in NAMED}
        rest = {**config, **({"personas": personas} if personas else {})}
        kept = experiment.member_count is not None or bool(experiment.arms)
        source = KEPT if kept else COHORT if experiment.cohort_id else MADE_UP
        return cls(
            name=experiment.name,
            description=experiment.description,
            source=source,
            cohort_id=experiment.cohort_id or "",
            count=_written(named["count"]),
            sample=_written(named["sample"]),
            holdout=_written(named["holdout"] * 100 if named["holdout"] else None),
            seed=_written(named["seed"]),
            arms=[ArmLine(arm["name"], _written(arm.get("weight", 1))) for arm in named["arms"] or []],
            rest=json.dumps(rest, ensure_ascii=False, indent=2) if rest else "",
        )

    @classmethod
    async def from_form(cls, request: Request[Any, Any, Any]) -> Self:
        """What somebody has typed."""
        form = await request.form()
        names, weights = ([str(each).strip() for each in form.getall(each, [])] for each in ("arm_name", "arm_weight"))
        typed = {
            name: await forms.text(request, name)
            for name in ("name", "description", "source", "q", "count", "sample", "holdout", "seed", "rest")
        }
        arms = [ArmLine(name, weight) for name, weight in zip(names, weights, strict=False) if name]
        return cls(**typed, cohort_id=await forms.text(request, "cohort"), arms=arms)

    @property
    def lines(self) -> Sequence[ArmLine]:
        """The arms with some empty lines."""
        return [*self.arms, *(ArmLine("", "") for _line in range(EMPTY_ARMS))]

    def as_body(self, project_id: str | None = None) -> Json:
        """As the API takes it. Raises Invalid for JSON that is none."""
        body: Json = {"name": self.name, "description": self.description, "config": self._config()}
        if project_id is not None:
            body["project_id"] = project_id
        if self.source == COHORT:
            if not self.cohort_id:
                detail = "Choose a cohort."
                raise Invalid(detail, [Problem(detail, "/cohort_id")])
            body["cohort_id"] = self.cohort_id
        elif self.source == MADE_UP:
            body["cohort_id"] = None
        return body

    def _config(self) -> Json:
        config = _read(self.rest)
        personas = config.get("personas", {})
        if not isinstance(personas, dict):
            detail = "The personas are an object."
            raise Invalid(detail, [Problem(detail, "/rest")])
        named: Json = {
            "count": _number(self.count) if self.source == MADE_UP else None,
            "sample": _number(self.sample),
            "holdout": _share(self.holdout),
            "seed": self.seed or None,
            "arms": [{"name": arm.name, "weight": _weight(arm.weight)} for arm in self.arms] or None,
        }
        personas |= {name: value for name, value in named.items() if value is not None}
        return {**config, **({"personas": personas} if personas else {})}


def _read(text: str) -> Json:
    """The JSON of the rest. Raises Invalid, saying where it ends to be JSON."""
    try:
        read = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        detail = f"This is no JSON: line {error.lineno}, column {error.colno}."
        raise Invalid(detail, [Problem(detail, "/rest")]) from None
    except RecursionError:
        detail = "This nests too deeply."
        raise Invalid(detail, [Problem(detail, "/rest")]) from None
    if not isinstance(read, dict):
        detail = "A configuration is an object: it begins with {."
        raise Invalid(detail, [Problem(detail, "/rest")])
    return read


def _number(text: str) -> int | float | str | None:
    """A number, nothing, or what is no number: the schema says what is wrong with it."""
    if not text:
        return None
    try:
        return int(text) if text.isascii() and text.isdigit() else float(text)
    except ValueError:
        return text


def _share(text: str) -> float | str | None:
    percent = _number(text)
    return percent / 100 if isinstance(percent, int | float) else percent


def _weight(text: str) -> float | str:
    weight = _number(text or "1")
    return float(weight) if isinstance(weight, int | float) else str(weight)


def _written(value: Mapping[str, Any] | float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
