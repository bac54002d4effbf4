"""What a workspace holds, page by page, with what is imported already marked."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from muster.api.paging import decode_cursor, encode_cursor
from muster.attio.client import PAGE, AttioClient, Filter, both, build_entry_filter, build_name_filter
from muster.attio.connection import client_of
from muster.attio.documents import AttioImport, import_key
from muster.attio.errors import AttioKeyRefused, AttioNotFound, AttioRefused
from muster.attio.models import AttioList, Attribute, ListEntry, Record
from muster.attio.paging import OVERLAP
from muster.attio.requests import WAITED_FOR
from muster.errors import Invalid, NotFound
from muster.settings import Settings

ObjectSlug = Literal["companies", "people"]
OBJECT_TYPES = {"companies": "company", "people": "person"}
LAST_OFFSET = 10_000_000  # further nobody pages by hand

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listed:
    """A record or an entry in a list, short: `domain` of a company, `email` of a person."""

    attio_record_id: str
    attio_object_type: str  # "company" | "person" | "list_entry"
    name: str
    imported: bool
    row: Record | ListEntry
    email: str | None = None
    domain: str | None = None
    parent: Record | None = None


async def list_records(
    project_id: str,
    slug: ObjectSlug,
    settings: Settings,
    *,
    q: str = "",
    wanted: Filter | None = None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Listed], str | None]:
    """A page of companies or people, the oldest first; with `q`, of those whose name, e-mail or domain holds it, and
    of those that a filter of Attio's wants.
    """
    wanted = both(build_name_filter(slug, q), wanted)
    async with await client_of(project_id, settings, patience=WAITED_FOR) as client:
        rows, following = await _page(
            lambda size, offset: client.fetch_records(slug, filter=wanted, limit=size, offset=offset),
            lambda record: record.record_id,
            limit,
            cursor,
        )
    kind = OBJECT_TYPES[slug]
    imported = await _imported(project_id, [(kind, record.record_id) for record in rows])
    return [
        Listed(
            attio_record_id=record.record_id,
            attio_object_type=kind,
            name=name_of(record),
            imported=record.record_id in imported,
            row=record,
            email=_first(record.values, "email_addresses", "email_address", "original_email_address"),
            domain=_first(record.values, "domains", "domain", "root_domain"),
        )
        for record in rows
    ], following


async def list_attributes(
    project_id: str, slug: str, settings: Settings, of: Literal["objects", "lists"] = "objects"
) -> list[Attribute]:
    """The attributes of an object or a list, those of the workspace's own included."""
    async with await client_of(project_id, settings, patience=WAITED_FOR) as client:
        return await client.fetch_attributes(slug, of)


async def list_lists(
    project_id: str, settings: Settings, *, q: str = "", limit: int, cursor: str | None
) -> tuple[list[AttioList], str | None]:
    """A page of the workspace's lists; with `q`, of those whose name holds it. Attio gives them all at once."""
    (offset,) = decode_cursor(cursor, int) if cursor else (0,)
    async with await client_of(project_id, settings, patience=WAITED_FOR) as client:
        found = [each for each in await client.fetch_lists() if q.strip().casefold() in each.name.casefold()]
    end = max(0, offset) + limit
    return found[max(0, offset) : end], encode_cursor([end]) if end < len(found) else None


async def list_entries(
    project_id: str,
    slug: str,
    settings: Settings,
    *,
    q: str = "",
    wanted: Filter | None = None,
    limit: int,
    cursor: str | None,
) -> tuple[list[Listed], str | None]:
    """A page of a list's entries, the oldest first, each with the record that stands there; with `q`, of those whose
    record has it in its name, e-mail address or domain.
    """
    async with await client_of(project_id, settings, patience=WAITED_FOR) as client:
        if q.strip():
            named = await _list(client, slug)
            wanted = both(build_entry_filter(named.api_slug, named.parent_objects, q), wanted)
        rows, following = await _page(
            lambda size, offset: client.fetch_list_entries(slug, filter=wanted, limit=size, offset=offset),
            lambda entry: entry.entry_id,
            limit,
            cursor,
        )
        parents = await _parents(client, rows)
    imported = await _imported(project_id, [("list_entry", entry.entry_id) for entry in rows])
    return [
        Listed(
            attio_record_id=entry.entry_id,
            attio_object_type="list_entry",
            name=name_of(parent) if (parent := parents.get(entry.parent_record_id or "")) else "",
            imported=entry.entry_id in imported,
            row=entry,
            email=_first(parent.values, "email_addresses", "email_address") if parent else None,
            domain=_first(parent.values, "domains", "domain") if parent else None,
            parent=parent,
        )
        for entry in rows
    ], following


def name_of(record: Record) -> str:
    """What a record is called: text of a company, full name of a person; empty without one."""
    for value in record.values.get("name") or ():
        parts = (value.get("first_name"), value.get("last_name"))
        joined = " ".join(part for part in parts if isinstance(part, str) and part)
        for name in (value.get("full_name"), value.get("value"), joined):
            if isinstance(name, str) and name.strip():
                return name.strip()
    return ""


async def _page(
    fetch: Callable[[int, int], Awaitable[list[T]]], id_of: Callable[[T], str], limit: int, cursor: str | None
) -> tuple[list[T], str | None]:
    """`limit` rows from behind the last one seen, which the cursor names, with its offset: rows move when others go."""
    offset, last = decode_cursor(cursor, int, str) if cursor else (0, "")
    if not 0 <= offset <= LAST_OFFSET:
        raise Invalid("The cursor is not one that this list gave out; start again without it.")
    start = max(0, offset - OVERLAP)  # the last row seen stands before the offset, further if rows before it went away
    rows: list[T] = []
    wanted = limit + 1 + (offset - start)
    while len(rows) < wanted:
        size = min(PAGE, wanted - len(rows))
        page = await fetch(size, start + len(rows))
        rows += page
        if len(page) < size:
            break
    # Where even the last row seen is gone, a row that is shown twice is better than one that is not shown.
    seen = [id_of(row) for row in rows[: offset - start]]
    skipped = seen.index(last) + 1 if last in seen else max(0, offset - start - 1)
    rows, start = rows[skipped:], start + skipped
    shown = rows[:limit]
    more = len(rows) > limit
    return shown, encode_cursor([start + len(shown), id_of(shown[-1])]) if more else None


async def _list(client: AttioClient, named: str) -> AttioList:
    """A list by its slug or id. Raises NotFound."""
    for each in await client.fetch_lists():
        if named in {each.api_slug, each.list_id}:
            return each
    raise NotFound(f"There is no list {named[:100]!r} in this Attio workspace, or the key may not see it.")


async def _parents(client: AttioClient, entries: Sequence[ListEntry]) -> dict[str, Record]:
    """The records that stand in a list, by their id: a query for each object and 500 of them. Of objects that the key
    may not read, none: their entries have no names.
    """
    ids: dict[str, list[str]] = {}
    for entry in entries:
        if entry.parent_object and entry.parent_record_id:
            ids.setdefault(entry.parent_object, []).append(entry.parent_record_id)
    found: dict[str, Record] = {}
    for slug, wanted in ids.items():
        each_once = list(dict.fromkeys(wanted))
        for start in range(0, len(each_once), PAGE):
            some = {"record_id": {"$in": each_once[start : start + PAGE]}}
            with suppress(AttioKeyRefused, AttioNotFound, AttioRefused):
                found |= {record.record_id: record for record in await client.fetch_records(slug, filter=some)}
    return found


async def _imported(project_id: str, named: Sequence[tuple[str, str]]) -> set[str]:
    """Which of these (type, Attio id) are imported, by their Attio id."""
    keys = [import_key(project_id, kind, attio_id) for kind, attio_id in named]
    found = AttioImport.get_motor_collection().find({"_id": {"$in": keys}}, {"attio_record_id": 1})
    return {row["attio_record_id"] async for row in found}


def _first(values: dict[str, list[dict[str, Any]]], slug: str, *properties: str) -> str | None:
    for value in values.get(slug) or ():
        for each in properties:
            if isinstance(value.get(each), str) and value[each]:
                return str(value[each])
    return None
