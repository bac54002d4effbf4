"""Which rows of the stand-in for Attio a query means, in which order, and what a fault makes of the page."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from muster.sandbox.attio_faults import Fault
from muster.sandbox.attio_filters import Matches, Row, WrongFilter, comparable, compile_filter, values_of
from muster.sandbox.attio_wire import Refused, invalid
from muster.sandbox.attio_world import Rows, World

SYSTEM_SLUGS = frozenset({"record_id", "entry_id", "created_at", "parent_record", "parent_record_id"})


def places_of(world: World, slug: str, rows: Rows, filter_: Any) -> Sequence[int]:
    """Where the rows stand that a filter lets through. Raises Refused."""
    if not filter_:
        return range(len(rows))
    slugs = frozenset(attribute["api_slug"] for attribute in world.attributes.get(slug, [])) | SYSTEM_SLUGS

    def follow(named: str, record_id: str) -> Row | None:
        target = world.object_slug(named)
        return world.objects[target].find(record_id) if target else None

    try:
        matches: Matches = compile_filter(filter_, slugs, follow)
        return [place for place in range(len(rows)) if matches(rows.row(place))]
    except WrongFilter as wrong:
        raise Refused(400, "invalid_request_error", wrong.code, str(wrong)) from None


def in_order(rows: Rows, places: Sequence[int], sorts: Any) -> Sequence[int]:
    """The places in the order of the first sort; rows stand in the order in which they were made."""
    if not isinstance(sorts, list) or not all(isinstance(sort, dict) for sort in sorts):
        raise invalid("sorts is a list of objects.")
    if not sorts or (sorts[0].get("attribute") == "created_at" and sorts[0].get("direction") == "asc"):
        return places
    slug, backwards = str(sorts[0].get("attribute")), sorts[0].get("direction") == "desc"

    def key(place: int) -> tuple[bool, str]:
        found = [str(each) for value in values_of(rows.row(place), slug) for each in comparable(value)]
        return not found, found[0].casefold() if found else ""

    return sorted(places, key=key, reverse=backwards)


def shifted(rows: Rows, fault: Fault, offset: int) -> int:
    """Let a fault move rows, or the page among them; the offset to read at then."""
    match fault.kind:
        case "rows_go":
            for _ in range(min(fault.count, len(rows))):
                rows.remove(0)
        case "rows_come":
            for _ in range(fault.count if len(rows) else 0):
                first = rows.row(0)
                rows.insert_first({**first, "id": {**first["id"], rows.id_name: str(uuid4())}})
        case "repeated":
            return max(0, offset - fault.count)
        case "missing":
            return offset + fault.count
    return offset
