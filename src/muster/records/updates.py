"""Changes of a profile as one MongoDB update: applied only where something really differs.

Each update is a pipeline that compares inside the server, in the same atomic step that writes. When nothing differs
the document stays as it is, byte for byte, so that no change event is emitted; otherwise `rev` goes up by one and
`updated_at` is the server's time. Every value is a `$literal`: a string such as "$lead" stays a string.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

Expression = Any


@dataclass(frozen=True, slots=True)
class FieldChanges:
    """Sets some fields of a part and removes others; the rest of the part stays. Creates a missing part."""

    values: Mapping[str, Any]
    removed: Sequence[str] = ()


PartChange = Mapping[str, Any] | FieldChanges | None
"""A whole part by its values; single fields; or None, which removes the part. Values are normalised."""

Changes = Mapping[str, PartChange]
"""By the name of the part. A part that is not named stays."""


def creates(changes: Changes) -> bool:
    """Whether a profile comes into being by these changes: removing parts of nobody makes nobody."""
    return any(change is not None for change in changes.values())


def pipeline(changes: Changes) -> list[dict[str, Expression]]:
    """The update for a document that has the `project_id` and `pii_id` already (or gets them by an upsert)."""
    new: dict[str, Expression] = {
        **{part: _new_value(part, change) for part, change in changes.items() if change is not None},
        "rev": {"$add": [{"$ifNull": ["$rev", 0]}, 1]},
        "created_at": {"$ifNull": ["$created_at", "$$NOW"]},
        "updated_at": "$$NOW",
    }
    removed = [part for part, change in changes.items() if change is None]
    changed = reduce(_without, removed, {"$mergeObjects": ["$$ROOT", new]})
    differs = {"$or": [expression for part, change in changes.items() for expression in _differs(part, change)]}
    return [{"$replaceWith": {"$cond": [differs, changed, "$$ROOT"]}}]


def _new_value(part: str, change: Mapping[str, Any] | FieldChanges) -> Expression:
    if isinstance(change, FieldChanges):
        merged = {"$mergeObjects": [f"${part}", {"$literal": dict(change.values)}]}
        return reduce(_without, change.removed, merged)
    return {"$literal": dict(change)}


def _without(value: Expression, field: str) -> Expression:
    return {"$unsetField": {"field": field, "input": value}}


def _differs(part: str, change: PartChange) -> list[Expression]:
    missing = {"$eq": [{"$type": f"${part}"}, "missing"]}
    if change is None:
        return [{"$not": [missing]}]
    if isinstance(change, FieldChanges):
        return [
            missing,
            *({"$ne": [f"${part}.{name}", {"$literal": value}]} for name, value in change.values.items()),
            *({"$ne": [{"$type": f"${part}.{name}"}, "missing"]} for name in change.removed),
        ]
    # As a set of pairs: the order of keys, which single-field changes leave to chance, is no difference.
    stored = {"$objectToArray": {"$ifNull": [f"${part}", {}]}}
    wanted = {"$literal": [{"k": name, "v": value} for name, value in change.items()]}
    return [missing, {"$not": [{"$setEquals": [stored, wanted]}]}]
