"""What the stand-in for Attio holds: companies, people and lists, generated or read from a folder.

Generated rows depend on their number alone: the same command gives the same records on every machine.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import msgspec

from muster.sandbox import attio_people
from muster.sandbox.attio_attributes import ATTRIBUTES, attributes_of_types

Raw = dict[str, Any]


@dataclass
class Rows:
    """The rows of one object or list, the oldest first; each is made when it is first asked for."""

    make: Callable[[int], Raw]
    id_name: str  # "record_id" or "entry_id"
    _encoded: list[bytes | None] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)
    _places_known: int = 0
    changes: int = 0

    @classmethod
    def generated(cls, make: Callable[[int], Raw], count: int, id_name: str) -> "Rows":
        """`count` rows, made by their number."""
        return cls(make, id_name, [None] * count)

    @classmethod
    def of(cls, rows: Sequence[Raw], id_name: str) -> "Rows":
        """These rows."""
        ordered = sorted(rows, key=lambda row: row["created_at"])
        return cls(ordered.__getitem__, id_name, [msgspec.json.encode(row) for row in ordered])

    def __len__(self) -> int:
        return len(self._encoded)

    def encoded(self, place: int) -> bytes:
        """A row as it goes over the wire."""
        found = self._encoded[place]
        if found is None:
            found = self._encoded[place] = msgspec.json.encode(self.make(place))
        return found

    def row(self, place: int) -> Raw:
        """A row to look at."""
        read: Raw = msgspec.json.decode(self.encoded(place))
        return read

    def place_of(self, row_id: str) -> int | None:
        """Where the row of this id stands."""
        while row_id not in self._places and self._places_known < len(self):
            row = self.row(self._places_known)
            self._places[row["id"][self.id_name]] = self._places_known
            self._places_known += 1
        return self._places.get(row_id)

    def find(self, row_id: str) -> Raw | None:
        """The row of this id."""
        place = self.place_of(row_id)
        return None if place is None else self.row(place)

    def put(self, row: Raw) -> None:
        """Change a row, or add one; a new one comes last, whatever its date."""
        place = self.place_of(row["id"][self.id_name])
        if place is None:
            self._encoded.append(msgspec.json.encode(row))
        else:
            self._encoded[place] = msgspec.json.encode(row)
        self.changes += 1

    def insert_first(self, row: Raw) -> None:
        """Add a row before all others, which moves them all."""
        self._settle()
        self._encoded.insert(0, msgspec.json.encode(row))
        self._forget_places()

    def remove(self, place: int) -> Raw:
        """Take a row out; those behind it move."""
        row = self.row(place)
        self._settle()
        del self._encoded[place]
        self._forget_places()
        return row

    def _settle(self) -> None:
        """Make every row: their numbers will no longer say which they are."""
        for place in range(len(self)):
            self.encoded(place)

    def _forget_places(self) -> None:
        self._places, self._places_known = {}, 0
        self.changes += 1


@dataclass
class World:
    """A workspace."""

    workspace_id: str
    name: str
    slug: str
    objects: dict[str, Rows]
    object_ids: dict[str, str]
    lists: dict[str, Raw]
    entries: dict[str, Rows]
    attributes: dict[str, list[Raw]]

    def object_slug(self, named: str) -> str | None:
        """The slug of an object that is named by its slug or id."""
        found = {**{slug: slug for slug in self.objects}, **{id_: slug for slug, id_ in self.object_ids.items()}}
        return found.get(named)

    def list_slug(self, named: str) -> str | None:
        """The slug of a list that is named by its slug or id."""
        for slug, found in self.lists.items():
            if named in {slug, found["id"]["list_id"]}:
                return slug
        return None


def generated_world(companies: int, people: int, number: int = 1) -> World:
    """A workspace of so many records, with two lists. Workspaces of other numbers have other ids."""
    workspace_id = _id(f"{number}/workspace")
    object_ids = {slug: _id(f"{number}/object/{slug}") for slug in ("companies", "people")}
    maker = attio_people.Maker(workspace_id, object_ids, companies, people)
    lists = {
        slug: {
            "id": {"workspace_id": workspace_id, "list_id": _id(f"{number}/list/{slug}")},
            "api_slug": slug,
            "name": name,
            "parent_object": [parent],
            "workspace_access": "full-access",
            "workspace_member_access": [],
            "created_by_actor": {"type": "system", "id": None},
            "created_at": attio_people.stamp(attio_people.FIRST_DAY),
        }
        for slug, name, parent in (
            ("beta-testers", "Beta testers 🧪", "people"),
            ("sales-pipeline", "Sales pipeline", "companies"),
        )
    }
    counts = {"beta-testers": -(-people // 4), "sales-pipeline": -(-companies // 3)}
    return World(
        workspace_id=workspace_id,
        name="Sandbox (not Attio)" if number == 1 else f"Sandbox {number} (not Attio)",
        slug="sandbox" if number == 1 else f"sandbox-{number}",
        objects={
            "companies": Rows.generated(maker.company, companies, "record_id"),
            "people": Rows.generated(maker.person, people, "record_id"),
        },
        object_ids=object_ids,
        lists=lists,
        entries={slug: Rows.generated(maker.entries_of(lists[slug]), counts[slug], "entry_id") for slug in lists},
        attributes=ATTRIBUTES,
    )


def world_of_folder(folder: Path) -> World:
    """The workspace in a folder: `companies.ndjson`, `people.ndjson`, `lists.ndjson`, `<list>-entries.ndjson`,
    `attribute-types.json`. Raises OSError, ValueError.
    """
    objects = {slug: Rows.of(_lines(folder / f"{slug}.ndjson"), "record_id") for slug in ("companies", "people")}
    first = {slug: rows.row(0)["id"] for slug, rows in objects.items() if len(rows)}
    workspace_id = next((ids["workspace_id"] for ids in first.values()), _id("empty"))
    object_ids = {slug: first[slug]["object_id"] if slug in first else _id(slug) for slug in objects}
    lists = {found["api_slug"]: found for found in _lines(folder / "lists.ndjson")}
    entries = {slug: Rows.of(_lines(folder / f"{slug}-entries.ndjson"), "entry_id") for slug in lists}
    types: Mapping[str, Mapping[str, str | None]] = json.loads((folder / "attribute-types.json").read_text())
    attributes = {slug: attributes_of_types(each, objects.get(slug)) for slug, each in types.items()}
    for slug, rows in entries.items():
        attributes.setdefault(slug, attributes_of_types({}, rows))
    name = f"Sandbox of {folder.name} (not Attio)"
    return World(workspace_id, name, "sandbox", objects, object_ids, lists, entries, attributes)


def _lines(file: Path) -> list[Raw]:
    if not file.exists():
        return []
    with file.open("rb") as opened:
        return [msgspec.json.decode(line) for line in opened if line.strip()]


def _id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"https://sandbox.muster.example/{name}"))
