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


def parts_of_new(changes: Changes) -> dict[str, dict[str, Any]]:
    """The parts of a profile that comes into being by these changes."""
    return {
        part: dict(change.values if isinstance(change, FieldChanges) else change)
        for part, change in changes.items()
        if change is not None
    }


def differences(stored: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    """What must be written for a stored profile to become what the changes ask for, as `$set` and `$unset`.

    Nothing when it is so already. Right only while the profile has the revision that was read: the update has to
    name it in its filter.
    """
    wanted: dict[str, Any] = {}
    unwanted: dict[str, str] = {}
    for part, change in changes.items():
        found = stored.get(part)
        if change is None:
            if found is not None:
                unwanted[part] = ""
        elif found is None:
            wanted[part] = dict(change.values if isinstance(change, FieldChanges) else change)
        else:
            values = change.values if isinstance(change, FieldChanges) else change
            removed = change.removed if isinstance(change, FieldChanges) else found.keys() - change.keys()
            wanted.update({f"{part}.{name}": value for name, value in values.items() if found.get(name) != value})
            unwanted.update({f"{part}.{name}": "" for name in removed if name in found})
    return {operator: fields for operator, fields in (("$set", wanted), ("$unset", unwanted)) if fields}


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
