"""The field `lists` of a part: the lists that its record stands in, as far as they were imported."""

from collections.abc import Mapping, Sequence
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection

from muster.attio.documents import AttioImport, import_key
from muster.attio.parts import LISTS
from muster.attio.selecting import Found, Missing
from muster.records.bulk import Line
from muster.records.updates import FieldChanges


async def lists_of(project_id: str, found: Sequence[Found]) -> Mapping[str, Sequence[str]]:
    """The lists of each of these records, by record id, those that they come from now included."""
    subjects = {one.record.record_id for one in found}
    lists: dict[str, set[str]] = {}
    query = {"project_id": project_id, "subject_id": {"$in": list(subjects)}, "attio_object_type": "list_entry"}
    present = {"sync_status": {"$ne": "error"}}
    async for row in _rows().find({**query, **present}, {"subject_id": 1, "list_slug": 1}):
        lists.setdefault(row["subject_id"], set()).add(row["list_slug"])
    for one in found:
        if one.list_slug is not None:
            lists.setdefault(one.record.record_id, set()).add(one.list_slug)
    return {subject: sorted(slugs) for subject, slugs in lists.items()}


async def without_lists(project_id: str, missing: Sequence[Missing]) -> list[Line]:
    """What changes of the parts whose records have left a list."""
    gone = [import_key(project_id, "list_entry", each.attio_id) for each in missing if not each.pending]
    left = {row["subject_id"]: row async for row in _rows().find({"_id": {"$in": gone}, "list_slug": {"$ne": None}})}
    still: dict[str, set[str]] = {}
    query = {"project_id": project_id, "subject_id": {"$in": list(left)}, "attio_object_type": "list_entry"}
    present = {"sync_status": {"$ne": "error"}, "_id": {"$nin": gone}}
    async for row in _rows().find({**query, **present}, {"subject_id": 1, "list_slug": 1}):
        still.setdefault(row["subject_id"], set()).add(row["list_slug"])
    lines: list[Line] = []
    for subject, row in left.items():
        lists = sorted(still.get(subject, ()))
        change = FieldChanges({LISTS: lists}) if lists else FieldChanges({}, (LISTS,))
        part = "person" if row["parent_object"] == "people" else "company"
        lines.append((row["pii_id"], {part: change}))
    return lines


def _rows() -> AsyncIOMotorCollection[dict[str, Any]]:
    return AttioImport.get_motor_collection()
