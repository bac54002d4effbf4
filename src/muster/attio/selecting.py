"""What an import fetches: by filter, by search, by ids, a list, or what was imported before. Batch by batch."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from muster.attio.client import AttioClient, ObjectSlug, build_name_filter
from muster.attio.documents import AttioImport, import_key
from muster.attio.errors import AttioNotFound
from muster.attio.files import ObjectType
from muster.attio.lookup import Lookup, answers_of
from muster.attio.marks import Marked
from muster.attio.models import AttioList, ListEntry, Record
from muster.attio.values import current_values, name_of
from muster.errors import Invalid

BY_ID = 200  # records in a batch of those that are looked up by their ids
OBJECTS: Sequence[ObjectSlug] = ("companies", "people")
TYPE_OF: Mapping[ObjectSlug, ObjectType] = {"companies": "company", "people": "person"}
OBJECT_OF: Mapping[str, ObjectSlug] = {type_: slug for slug, type_ in TYPE_OF.items()}


@dataclass(frozen=True, slots=True)
class Found:
    """A record, or an entry of a list with the record that stands in it."""

    object_slug: ObjectSlug
    record: Record
    entry: ListEntry | None = None
    list_slug: str | None = None

    @property
    def attio_id(self) -> str:
        """Of the entry, if it is one; else of the record."""
        return self.record.record_id if self.entry is None else self.entry.entry_id

    @property
    def object_type(self) -> ObjectType:
        """As files and metadata call it."""
        return TYPE_OF[self.object_slug] if self.entry is None else "list_entry"


@dataclass(frozen=True, slots=True)
class Missing:
    """A record or entry that was asked for and is not to be had; `pending` when it may be, later."""

    attio_id: str
    object_type: ObjectType
    detail: str
    pending: bool = False

    @classmethod
    def of(cls, attio_id: str, object_type: ObjectType, error: AttioNotFound) -> "Missing":
        """As Attio answered."""
        if error.code == "merge_in_progress":
            sentence = f"Attio is merging it with another record; import it again later. ({error.detail})"
            return cls(attio_id, object_type, sentence, pending=True)
        return cls(attio_id, object_type, f"Attio has it no longer, or the key may not see it. ({error.detail})")


@dataclass(slots=True)
class Batch:
    """What came together; nothing stands in two batches of a selection."""

    found: list[Found] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.found) + len(self.missing)


Batches = AsyncGenerator[Batch, None]


async def by_filter(client: AttioClient, object_slug: ObjectSlug, filter_: Mapping[str, Any] | None) -> Batches:
    """Every record of an object that a filter of Attio's lets through."""
    async with aclosing(client.fetch_all_records(object_slug, filter=filter_)) as pages:
        async for page in pages:
            yield Batch([Found(object_slug, record) for record in page])


def by_search(client: AttioClient, object_slug: ObjectSlug, q: str) -> Batches:
    """Every record whose name, domain or address holds a text."""
    return by_filter(client, object_slug, build_name_filter(object_slug, q))


async def by_ids(client: AttioClient, object_slug: ObjectSlug, ids: AsyncIterator[Sequence[str]]) -> Batches:
    """The records of these ids. One that was merged comes as what it became."""
    lookup, seen = Lookup(client), set[str]()
    async for some in ids:
        for start in range(0, len(some), BY_ID):
            batch = Batch()
            chunk = some[start : start + BY_ID]
            for record_id, record in (await lookup.records(object_slug, chunk)).items():
                if isinstance(record, AttioNotFound):
                    batch.missing.append(Missing.of(record_id, TYPE_OF[object_slug], record))
                elif record.record_id not in seen:
                    seen.add(record.record_id)
                    batch.found.append(Found(object_slug, record))
            yield batch


async def list_named(client: AttioClient, name: str) -> AttioList:
    """The list of this slug or id. Raises Invalid naming those that there are."""
    lists = await client.fetch_lists()
    for each in lists:
        if name in (each.api_slug, each.list_id):
            return each
    if not lists:
        raise Invalid(f"Attio has no list {name!r} that the key may see; it may see none.")
    known = ", ".join(sorted(each.api_slug for each in lists)[:20])
    raise Invalid(f"Attio has no list {name!r} that the key may see; there are: {known}.")


async def by_list(
    client: AttioClient,
    found_list: AttioList,
    *,
    filter_: Mapping[str, Any] | None = None,
    q: str | None = None,
    ids: Sequence[str] | None = None,
) -> Batches:
    """The entries of a list, each with its record: those that a filter over entries lets through, whose record's name
    (domain, address) holds `q`, or that are named by `ids`, their own or their records'.
    """
    wanted = None if ids is None else frozenset(ids)
    lookup = Lookup(client)
    async with aclosing(client.fetch_all_entries(found_list.api_slug, filter=filter_)) as pages:
        async for page in pages:
            named = [
                entry for entry in page if wanted is None or {entry.entry_id, entry.parent_record_id or ""} & wanted
            ]
            for start in range(0, len(named), BY_ID):
                batch = await _with_records(lookup, found_list, named[start : start + BY_ID])
                if q is not None:
                    batch.found = [found for found in batch.found if _holds(found.record, q)]
                yield batch


async def by_rows(client: AttioClient, project_id: str, rows: Mapping[str, Any]) -> Batches:
    """What was imported before, as Attio has it now; `rows` is the query for it. What is gone there is `missing`."""
    has_entries = rows.get("attio_object_type", "list_entry") == "list_entry"
    lists = {each.api_slug: each for each in await client.fetch_lists()} if has_entries else {}
    lookup, after = Lookup(client), ""
    while True:
        stored = AttioImport.get_motor_collection().find({**rows, "project_id": project_id, "_id": {"$gt": after}})
        chunk = await stored.sort("_id", 1).limit(BY_ID).to_list(None)
        if not chunk:
            return
        after = chunk[-1]["_id"]
        yield await _again(client, lookup, chunk, lists)


async def by_marks(client: AttioClient, marked: Marked) -> Batches:
    """What Attio said has changed, and for a while what it says meanwhile: a burst of events is one refresh."""
    lists: dict[str, AttioList] = {}
    lookup = Lookup(client)
    async for rows in marked.batches(BY_ID):
        if any(row["attio_object_type"] == "list_entry" for row in rows):
            lists = lists or {each.api_slug: each for each in await client.fetch_lists()}
        batch = await _again(client, lookup, rows, lists)
        marked.wait_for(
            import_key(marked.project_id, each.object_type, each.attio_id) for each in batch.missing if each.pending
        )
        yield batch


async def _again(
    client: AttioClient, lookup: Lookup, rows: Sequence[Mapping[str, Any]], lists: Mapping[str, AttioList]
) -> Batch:
    """These rows' records and entries. A record that was merged is gone, and what it became is found."""
    batch = Batch()
    for type_, object_slug in OBJECT_OF.items():
        asked = [row["attio_record_id"] for row in rows if row["attio_object_type"] == type_]
        became: dict[str, Record] = {}
        for record_id, record in (await lookup.records(object_slug, asked)).items():
            if isinstance(record, AttioNotFound):
                batch.missing.append(Missing.of(record_id, TYPE_OF[object_slug], record))
                continue
            if record.record_id != record_id:
                sentence = f"Attio has merged it into {record.record_id}."
                batch.missing.append(Missing(record_id, TYPE_OF[object_slug], sentence))
                key = import_key(rows[0]["project_id"], TYPE_OF[object_slug], record.record_id)
                if await AttioImport.find_one({"_id": key}) is not None:
                    continue  # it has its own turn
            became[record.record_id] = record
        batch.found += [Found(object_slug, record) for record in became.values()]
    by_list: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["attio_object_type"] == "list_entry":
            by_list.setdefault(row["list_slug"], []).append(row)
    for slug, of_list in by_list.items():
        if slug not in lists:
            sentence = f"Attio has no list {slug!r} any more that the key may see."
            batch.missing += [Missing(row["attio_record_id"], "list_entry", sentence) for row in of_list]
            continue
        entries = await answers_of(
            [client.fetch_entry(lists[slug].api_slug, row["attio_record_id"]) for row in of_list], AttioNotFound
        )
        there = [entry for entry in entries if isinstance(entry, ListEntry)]
        batch.missing += [
            Missing.of(row["attio_record_id"], "list_entry", entry)
            for row, entry in zip(of_list, entries, strict=True)
            if isinstance(entry, AttioNotFound)
        ]
        more = await _with_records(lookup, lists[slug], there)
        batch.found += more.found
        batch.missing += more.missing
    return batch


async def _with_records(lookup: Lookup, found_list: AttioList, entries: Sequence[ListEntry]) -> Batch:
    """Entries with their records, each fetched once however often it stands there.

    Attio names an entry's object by slug or by id, and an id may be either's: then both are asked.
    """
    batch, known = Batch(), dict[str, tuple[ObjectSlug, Record]]()
    for slug in OBJECTS:
        asked = [
            entry.parent_record_id
            for entry in entries
            if entry.parent_record_id and entry.parent_record_id not in known and slug in _objects_of(entry, found_list)
        ]
        for record_id, record in (await lookup.records(slug, asked)).items():
            if isinstance(record, Record):
                known[record_id] = slug, record
    for entry in entries:
        parent = known.get(entry.parent_record_id or "")
        if parent is None:
            sentence = f"Its record {entry.parent_record_id} is no company or person that the key may see."
            batch.missing.append(Missing(entry.entry_id, "list_entry", sentence))
        else:
            batch.found.append(Found(parent[0], parent[1], entry, found_list.api_slug))
    return batch


def _objects_of(entry: ListEntry, found_list: AttioList) -> Sequence[ObjectSlug]:
    named = {entry.parent_object} if entry.parent_object in OBJECTS else set(found_list.parent_objects)
    return [slug for slug in OBJECTS if slug in named] or OBJECTS


def _holds(record: Record, q: str) -> bool:
    """Whether a record is one that a search for this text would find."""
    wanted = q.strip().lower()
    texts = [name_of(record.values)]
    for slug, name in (("domains", "domain"), ("email_addresses", "email_address")):
        texts += [str(value.get(name) or "") for value in current_values(record.values, slug)]
    return any(wanted in text.lower() for text in texts)
