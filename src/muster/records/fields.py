"""Parts at ingress: typed by the registry, brought to one form, or refused with a pointer.

REST, imports and every other source pass through here, so that a field holds one BSON type, and rules mean the same
in MongoDB and in Python.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import bson

from muster.errors import Problem
from muster.records.values import READERS, DoesNotFitError
from muster.rules import PARTS, FieldType
from muster.rules.suggestions import closest

LARGEST_PART = 1_000_000  # bytes of BSON, so that five parts and a change event stay far below MongoDB's 16 MB

MOST_PROBLEMS = 100  # of one part: whoever has more has another problem

# What a GET answers beside the fields of a part; sent back, it is ignored, and no field takes such a name.
READ_ONLY = frozenset({"pii_id", "rev", "updated_at"})


@dataclass(slots=True)
class Normalised:
    """A part brought to its stored form: keys in order, no nulls. `removed` are the fields that came as null."""

    values: dict[str, Any]
    removed: tuple[str, ...] = ()
    problems: list[Problem] = field(default_factory=list)


class Fields:
    """The registry of one project, made ready to read many parts."""

    def __init__(self, registry: Mapping[str, FieldType]) -> None:
        self.registry = registry
        self._readers: dict[str, dict[str, Callable[[Any], Any]]] = {part: {} for part in PARTS}
        for name, type_ in registry.items():
            part, _, field_name = name.partition(".")
            self._readers[part][field_name] = READERS[type_]

    def read_part(self, part: str, value: Any, pointer: str = "") -> Normalised:
        """Bring a part's fields to their stored form. What does not fit is in `problems`, each with its pointer."""
        if not isinstance(value, Mapping):
            return Normalised({}, problems=[Problem("This must be an object of fields.", pointer)])
        readers = self._readers[part]
        values: dict[str, Any] = {}
        removed: list[str] = []
        problems: list[Problem] = []
        for name in sorted(value, key=str):
            if len(problems) == MOST_PROBLEMS:
                break
            item, reader = value[name], readers.get(name)
            if reader is None:
                if name not in READ_ONLY:
                    problems.append(self._unknown(part, str(name), pointer))
            elif item is None:
                removed.append(name)
            else:
                try:
                    values[name] = reader(item)
                except DoesNotFitError as error:
                    place = f"/{error.index}" if error.index is not None else ""
                    problems.append(Problem(str(error), f"{pointer}/{name}{place}"))
        if not problems and len(bson.encode(values)) > LARGEST_PART:
            problems.append(Problem(f"This is larger than {LARGEST_PART:,} bytes.", pointer))
        return Normalised(values, tuple(removed), problems)

    def _unknown(self, part: str, name: str, pointer: str) -> Problem:
        escaped = name.replace("~", "~0").replace("/", "~1")
        detail = f"A {part} has no field {name[:100]!r}; POST /v1/fields registers one."
        return Problem(detail, f"{pointer}/{escaped}", suggestion=closest(name, self._readers[part]))
