"""What the rule editor asks for while somebody writes: names to choose from, known values, who would match."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from pymongo.errors import ExecutionTimeout

from muster.cohorts.documents import Cohort
from muster.cohorts.members import name_and_type
from muster.cohorts.schemas import FunctionOut, PreviewOut
from muster.console.rule_texts import because
from muster.records.documents import Profile
from muster.records.indexes import ready_fields
from muster.records.registry import registry
from muster.rules import PARTS, FieldType, known_functions

MOST_COHORTS = 1_000  # to choose from
LOOKED_AT = 5_000  # profiles whose values are looked at
MOST_VALUES = 20
LONGEST_VALUE = 200  # characters; a longer text is nothing to choose from a list
VALUES_WITHIN_MS = 300
TEXTS = (FieldType.STRING, FieldType.STRINGS)


@dataclass(frozen=True, slots=True)
class Sample:
    """A profile that would be a member."""

    pii_id: str
    name: str | None
    type: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class Why:
    """A piece of the plan in words."""

    text: str
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a preview found."""

    count: int
    exact: bool
    strategy: str
    elapsed_ms: float
    samples: Sequence[Sample]
    pieces: Sequence[Why]


def rule_of(text: str) -> str | dict[str, Any]:
    """A rule as a form carries it: its text, or a condition tree as JSON. No text of a rule begins with a brace."""
    if text.lstrip().startswith("{"):
        try:
            tree = msgspec.json.decode(text)
        except (ValueError, RecursionError):
            return text
        if isinstance(tree, dict):
            return tree
    return text


async def vocabulary(project_id: str) -> dict[str, Any]:
    """The names that a rule of a project can use."""
    fields = await registry(project_id)
    cohorts = Cohort.get_motor_collection().find({"project_id": project_id}, {"name": 1})
    return {
        "fields": [{"name": name, "type": str(fields[name])} for name in sorted(fields, key=_place)],
        "functions": [
            FunctionOut.of(function).model_dump(include={"name", "signature", "description"})
            for function in known_functions().values()
        ],
        "cohorts": [
            {"id": found["_id"], "name": found["name"]}
            for found in await cohorts.sort("created_at", 1).limit(MOST_COHORTS).to_list(MOST_COHORTS)
        ],
    }


def _place(name: str) -> tuple[int, str]:
    return PARTS.index(name.partition(".")[0]), name


async def known_values(project_id: str, field: str, begun: str) -> list[str]:
    """Values that a text field has, the most frequent first: those that hold `begun`, among a bounded number of
    profiles.

    Where an index on the field can find those that begin so, it does; else the first profiles are looked at.
    """
    fields = await registry(project_id)
    if fields.get(field) not in TEXTS or "\0" in begun:
        return []
    among: dict[str, Any] = {"project_id": project_id}
    if begun and field in await ready_fields():
        among[field] = {"$gte": begun, "$lt": begun + "\U0010ffff"}
    found = Profile.get_motor_collection().aggregate(
        [
            {"$match": among},
            {"$limit": LOOKED_AT},
            {"$project": {"_id": 0, "value": f"${field}"}},
            {"$unwind": "$value"},
            {"$match": {"value": {"$type": "string", "$regex": re.escape(begun), "$options": "i"}}},
            {"$match": {"$expr": {"$lte": [{"$strLenBytes": "$value"}, LONGEST_VALUE]}}},
            {"$group": {"_id": "$value", "count": {"$sum": 1}}},
            {"$sort": {"count": -1, "_id": 1}},
            {"$limit": MOST_VALUES},
        ],
        maxTimeMS=VALUES_WITHIN_MS,
    )
    try:
        return [each["_id"] for each in await found.to_list(MOST_VALUES)]
    except ExecutionTimeout:
        return []


def outcome(preview: PreviewOut) -> Outcome:
    """A preview as the editor shows it."""
    return Outcome(
        count=preview.count,
        exact=preview.exact,
        strategy=preview.plan.strategy,
        elapsed_ms=preview.elapsed_ms,
        samples=[_sample(profile) for profile in preview.sample],
        pieces=[Why(piece.text, piece.where, because(piece.reason)) for piece in preview.plan.pieces],
    )


def _sample(profile: Mapping[str, Any]) -> Sample:
    name, kind = name_and_type(profile)
    contact, person, company = (profile.get(part) or {} for part in ("contact", "person", "company"))
    domains = company.get("domains") or [None]
    detail = contact.get("email") or person.get("email") or domains[0]
    return Sample(profile["pii_id"], name, kind, detail)
