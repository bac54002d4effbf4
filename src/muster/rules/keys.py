"""The values without which a rule cannot hold: a rule over `lead.agent_id == "A0-7"` never lets anybody else in.

Whoever keeps many rules can look only at those whose key a profile has. A profile with a key may still not match.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from muster.rules.conditions import And, Compare, Condition, Holds, OneOf, Or, Scalar, pushed_in
from muster.rules.nesting import written_out
from muster.rules.reading import Rule
from muster.rules.translating import stored_values

MOST_VALUES = 100  # of a key: a rule with more is looked at every time


@dataclass(frozen=True, slots=True)
class Key:
    """A field that must have one of these stored values; a list must hold one of them."""

    field: str
    values: frozenset[Any]


def key_of(rule: Rule) -> Key | None:
    """The narrowest key of a rule; None where it has none."""
    return _key(pushed_in(written_out(rule.condition)))


def values_at(profile: Mapping[str, Any], field: str) -> list[Any]:
    """What a profile has in a field, as keys are looked up: the members of a list, one value, or nothing."""
    part, _, attribute = field.partition(".")
    value = (profile.get(part) or {}).get(attribute)
    return value if isinstance(value, list) else [] if value is None else [value]


def _key(condition: Condition) -> Key | None:
    match condition:
        case And(parts=parts):
            keys = [key for part in parts if (key := _key(part)) is not None]
            return min(keys, key=lambda key: len(key.values), default=None)
        case Or(parts=parts):
            keys = [key for part in parts if (key := _key(part)) is not None]
            if len(keys) < len(parts) or len({key.field for key in keys}) != 1:
                return None
            return _of(keys[0].field, frozenset().union(*(key.values for key in keys)))
        case Compare(operator="==", field=field, value=value) if value is not None and not field.type.is_list:
            return _literals(field.name, (value,))
        case OneOf(field=field, values=values):
            return _literals(field.name, values)
        case Holds(field=field, value=value):
            return _literals(field.name, (value,))
    return None


def _literals(field: str, values: tuple[Scalar, ...]) -> Key | None:
    return _of(field, frozenset(stored_values(values)))


def _of(field: str, values: frozenset[Any]) -> Key | None:
    return Key(field, values) if len(values) <= MOST_VALUES else None
