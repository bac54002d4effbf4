"""What a rule can speak about: the parts of a profile, and the fields registered in them."""

from collections.abc import Mapping
from enum import StrEnum

PARTS = ("lead", "contact", "customer", "person", "company")


class FieldType(StrEnum):
    """The type of a registered field. One type per field is what lets MongoDB and Python agree on it."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATETIME = "datetime"
    STRINGS = "list of string"
    NUMBERS = "list of number"

    @property
    def is_list(self) -> bool:
        """Whether values are lists."""
        return self in (FieldType.STRINGS, FieldType.NUMBERS)


Registry = Mapping[str, FieldType]


def scope_of(parts: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """From the parts a rule uses: its `entity_scope`, and the parts that a profile must have.

    A lead is the root of lead, contact and customer: a rule about a customer is a rule about a lead that may have
    one. Person and company stand for themselves, and beside lead fields they may be missing.
    """
    scope: list[str] = []
    if parts & {"lead", "contact", "customer"}:
        scope.append("lead")
    if parts & {"contact", "customer"}:
        scope.append("contact")
    if "customer" in parts:
        scope.append("customer")
    own = [part for part in ("person", "company") if part in parts]
    required = ("lead",) if scope else tuple(own)
    return (*scope, *own), required
