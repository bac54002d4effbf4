"""The filter grammar of Attio's queries, over records as they go over the wire.

Attributes and logic nest as Attio's documentation has it: `{"name": "Acme"}`, `{"name": {"$contains": "ac"}}`,
`{"name": {"last_name": {"$eq": "Ng"}}}`, `$and`, `$or`, `$not`, and `{"path": [...], "constraints": {...}}`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

Row = Mapping[str, Any]
Matches = Callable[[Row], bool]
Follow = Callable[[str, str], Row | None]
"""The record of an object (slug or id) with this id."""

COMPARABLE = (
    *("value", "full_name", "domain", "email_address", "original_phone_number", "currency_value"),
    *("target_record_id", "referenced_actor_id", "interacted_at", "locality"),
)
LARGEST_DEPTH = 32


class WrongFilter(Exception):
    """What Attio would refuse with 400, and under which code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def compile_filter(filter_: Any, slugs: frozenset[str], follow: Follow, depth: int = 0) -> Matches:
    """A filter as a function of a row; `slugs` are the attributes there are. Raises WrongFilter."""
    if not isinstance(filter_, Mapping) or depth > LARGEST_DEPTH:
        raise WrongFilter("filter_error", "A filter is an object, and no deep one.")
    if "path" in filter_:
        return _along(filter_, follow)
    conditions = [_named(name, wanted, slugs, follow, depth) for name, wanted in filter_.items()]
    return lambda row: all(condition(row) for condition in conditions)


def values_of(row: Row, slug: str) -> Sequence[Any]:
    """The values of an attribute of a row; its ids and times count as attributes too."""
    ids = row.get("id") or {}
    if slug in {"record_id", "entry_id"}:
        return [{"value": ids.get(slug)}]
    if slug == "created_at":
        return [{"value": row.get("created_at")}]
    if slug in {"parent_record", "parent_record_id"}:
        return [{"target_object": row.get("parent_object"), "target_record_id": row.get("parent_record_id")}]
    return (row.get("values") or row.get("entry_values") or {}).get(slug) or ()


def comparable(value: Any) -> Sequence[Any]:
    """What a value may be compared by, when no property is named: for a choice its title or its id."""
    if not isinstance(value, Mapping):
        return [value]
    for kind in ("option", "status"):
        chosen = value.get(kind)
        if isinstance(chosen, Mapping):
            return [chosen.get("title"), (chosen.get("id") or {}).get(f"{kind}_id")]
        if isinstance(chosen, str):
            return [chosen]
    return [value[name] for name in COMPARABLE if value.get(name) is not None]


def _named(name: str, wanted: Any, slugs: frozenset[str], follow: Follow, depth: int) -> Matches:
    if name in {"$and", "$or"}:
        if not isinstance(wanted, list):
            raise WrongFilter("filter_error", f"{name} takes a list.")
        parts = [compile_filter(part, slugs, follow, depth + 1) for part in wanted]
        every = all if name == "$and" else any
        return lambda row: every(part(row) for part in parts)
    if name == "$not":
        part = compile_filter(wanted, slugs, follow, depth + 1)
        return lambda row: not part(row)
    if name.startswith("$"):
        raise WrongFilter("filter_error", f"Unknown operator {name}.")
    if name not in slugs:
        raise WrongFilter("unknown_filter_attribute_slug", f'Unknown attribute slug: "{name}".')
    condition = _condition(wanted)
    return lambda row: condition(values_of(row, name))


def _condition(wanted: Any) -> Callable[[Sequence[Any]], bool]:
    """What is asked of the values of one attribute: one of them has to meet it all."""
    if not isinstance(wanted, Mapping):
        return _operator("$eq", wanted)
    parts = []
    for name, operand in wanted.items():
        if name.startswith("$"):
            parts.append(_operator(name, operand))
        else:
            parts.append(_property(name, _condition(operand)))
    return lambda values: all(part(values) for part in parts)


def _property(name: str, condition: Callable[[Sequence[Any]], bool]) -> Callable[[Sequence[Any]], bool]:
    return lambda values: condition(
        [value[name] for value in values if isinstance(value, Mapping) and value.get(name) is not None]
    )


def _operator(name: str, operand: Any) -> Callable[[Sequence[Any]], bool]:
    if name == "$not_empty":
        return lambda values: bool(values) is bool(operand)
    if name == "$in":
        if not isinstance(operand, list):
            raise WrongFilter("filter_error", "$in takes a list.")
        return lambda values: any(each in operand for value in values for each in comparable(value))
    if name not in _TESTS:
        raise WrongFilter("filter_error", f"Unknown operator {name}.")
    test = _TESTS[name]
    return lambda values: any(test(each, operand) for value in values for each in comparable(value))


def _folded(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, operand: test(str(value).casefold(), str(operand).casefold())


def _ordered(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, operand: Any) -> bool:
        numbers = isinstance(value, int | float) and isinstance(operand, int | float)
        texts = isinstance(value, str) and isinstance(operand, str)
        return (numbers or texts) and test(value, operand)

    return compare


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, operand: value == operand and isinstance(value, bool) is isinstance(operand, bool),
    "$contains": _folded(lambda value, operand: operand in value),
    "$starts_with": _folded(str.startswith),
    "$ends_with": _folded(str.endswith),
    "$lt": _ordered(lambda value, operand: value < operand),
    "$lte": _ordered(lambda value, operand: value <= operand),
    "$gt": _ordered(lambda value, operand: value > operand),
    "$gte": _ordered(lambda value, operand: value >= operand),
}


def _along(filter_: Mapping[str, Any], follow: Follow) -> Matches:
    """A filter over what a row refers to: each step names an attribute, the next one the object that it leads to."""
    path, constraints = filter_["path"], filter_.get("constraints")
    steps = path if isinstance(path, list) else []
    if not steps or not all(isinstance(step, list) and len(step) == 2 for step in steps):
        raise WrongFilter("filter_error", "A path is a list of pairs of an object or list and an attribute.")
    condition = _condition(constraints)

    def matches(row: Row) -> bool:
        rows: list[Row] = [row]
        for (_, attribute), (target, _) in pairwise(steps):
            references = [value for each in rows for value in values_of(each, attribute)]
            found = [follow(target, value.get("target_record_id") or "") for value in references]
            rows = [each for each in found if each is not None]
        return any(condition(values_of(each, steps[-1][1])) for each in rows)

    return matches
