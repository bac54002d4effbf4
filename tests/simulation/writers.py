"""Who writes profiles: in bulk, by import, one by one through REST, and some profiles hundreds of times in a burst."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from muster.records.bulk import upsert_parts
from muster.records.updates import Changes, FieldChanges
from tests.simulation.books import Book
from tests.simulation.clock import Clock
from tests.simulation.drawing import PARTS, Chance, changes, part_of, part_values, value

SINGLES = 12  # requests at once, one after the other
BY_REST = {"lead": "leads", "contact": "contacts", "customer": "customers"}

Line = tuple[str, Changes]


@dataclass
class Writer:
    """Has profiles of its own, of which it knows what they must be, and writes some that others write too."""

    api: httpx.AsyncClient
    chance: Chance
    clock: Clock
    project: str
    own: dict[str, Book]
    shared: Sequence[str]
    written: int = 0  # changes that changed something
    complaints: list[str] = field(default_factory=list)

    async def write(self, most: int) -> None:
        """One act, of about `most` changes at most."""
        self.chance.now = self.clock.now
        kind = self.chance.random.choices(
            (self._bulk, self._hot, self._import_ndjson, self._import_csv, self._one_by_one, self._erase_some),
            (6, 6, 2, 1, 3, 1.5),
        )[0]
        await kind(most)

    def somebody(self) -> str:
        """One of the own, or at times one that others write too."""
        return self.chance.choice(self.shared if self.chance.odds(0.15) else list(self.own))

    async def _bulk(self, most: int) -> None:
        size = self.chance.integer(1, min(most, 600))
        await self._upsert([(self.somebody(), changes(self.chance)) for _ in range(size)])

    async def _hot(self, most: int) -> None:
        """One or two profiles, hundreds of times in one go, across what rules look at."""
        hot = [self.somebody() for _ in range(self.chance.integer(1, 2))]
        lines: list[Line] = []
        for _ in range(self.chance.integer(min(most, 200), min(most, 900))):
            name = self.chance.choice(("lead.score", "lead.score", "lead.status", "lead.last_activity_at"))
            values = {name.partition(".")[2]: value(self.chance, name, plain=True)}
            lines.append((self.chance.choice(hot), {"lead": FieldChanges(values)}))
        await self._upsert(lines)

    async def _upsert(self, lines: list[Line]) -> None:
        counts = await upsert_parts(self.project, lines)
        self._took(lines, counts.upserted - counts.unchanged, "upsert_parts")

    async def _import_ndjson(self, most: int) -> None:
        lines: list[Line] = []
        for _ in range(self.chance.integer(1, min(most, 400))):
            part = part_of(self.chance)
            whole = None if self.chance.odds(0.1) else part_values(self.chance, part)
            lines.append((self.somebody(), {part: whole}))
        body = "\n".join(json.dumps({"pii_id": pii_id, **asked}, default=_written) for pii_id, asked in lines)
        await self._import(lines, body, "application/x-ndjson")

    async def _import_csv(self, most: int) -> None:
        """Plain values only: a cell is stripped, split at `;`, and leaves its field when it is empty."""
        names = self.chance.random.sample(("lead.score", "lead.status", "lead.tags", "contact.country"), 2)
        lines: list[Line] = []
        table = io.StringIO()
        rows = csv.writer(table)
        rows.writerow(["pii_id", *names])
        for _ in range(self.chance.integer(1, min(most, 300))):
            pii_id = self.somebody()
            values = [value(self.chance, name, plain=True) for name in names]
            rows.writerow([pii_id, *(";".join(each) if isinstance(each, list) else each for each in values)])
            asked: dict[str, FieldChanges] = {}
            for name, each in zip(names, values, strict=True):
                part, _, field_name = name.partition(".")
                before = asked[part].values if part in asked else {}
                if each != []:
                    asked[part] = FieldChanges({**before, field_name: each})
            lines.append((pii_id, asked))
        await self._import(lines, table.getvalue(), "text/csv")

    async def _import(self, lines: list[Line], body: str, media: str) -> None:
        answer = await self.api.post(
            "/v1/profiles/import",
            params={"project_id": self.project},
            content=body.encode(),
            headers={"Content-Type": media},
        )
        assert answer.status_code == 200, answer.text
        report = answer.json()
        assert report["failed_count"] == 0, report
        self._took(lines, report["upserted"] - report["unchanged"], f"import of {media}")

    def _took(self, lines: list[Line], changed: int, how: str) -> None:
        """Keep the books, and look whether the answer counts as they do."""
        expected, own = 0, True
        for pii_id, asked in lines:
            if (book := self.own.get(pii_id)) is None:
                own = False
            else:
                expected += book.ask(asked)
        if changed < expected or (own and changed != expected):
            self.complaints.append(f"{how} of {len(lines)} lines says {changed} changed, and it were {expected}")
        self.written += changed

    async def _one_by_one(self, _: int) -> None:
        for _ in range(SINGLES):
            pii_id, part = self.somebody(), self.chance.choice(tuple(BY_REST))
            dice = self.chance.random.random()
            if dice < 0.4:
                values = part_values(self.chance, part)
                await self._send("PUT", pii_id, part, {part: values}, values)
            elif dice < 0.85:
                asked = changes(self.chance)
                part, change = next(((part, asked[part]) for part in BY_REST if part in asked), (part, None))
                if isinstance(change, FieldChanges):
                    body = {**change.values, **dict.fromkeys(change.removed)}
                    await self._send("PATCH", pii_id, part, {part: change}, body)
            else:
                await self._send("DELETE", pii_id, part, {part: None}, None)

    async def _send(self, method: str, pii_id: str, part: str, asked: Changes, body: Mapping[str, Any] | None) -> None:
        content = None if body is None else json.dumps(body, default=_written)
        answer = await self.api.request(
            method,
            f"/v1/{BY_REST[part]}/{pii_id}",
            params={"project_id": self.project},
            content=content,
            headers={"Content-Type": "application/json"},
        )
        book = self.own.get(pii_id)
        if book is None:
            assert answer.status_code in {200, 201, 204, 404}, answer.text
            self.written += answer.status_code != 404
            return
        has_part = book.parts is not None and part in book.parts
        status = (
            (200 if has_part else 201) if method == "PUT" else 404 if not has_part else 204 - 4 * (body is not None)
        )
        assert answer.status_code == status, f"{method} {pii_id} {part} {body}: {answer} {answer.text}, not {status}"
        if status != 404:
            self.written += book.ask(asked)
            if body is not None and answer.json()["rev"] != book.rev:
                self.complaints.append(f"{method} {pii_id} {part} {body}: {answer.text}, and it has {book}")

    async def _erase_some(self, _: int) -> None:
        """And write some of them again at once: each is a new profile then."""
        for _ in range(self.chance.integer(1, 6)):
            pii_id = self.somebody()
            answer = await self.api.delete(f"/v1/profiles/{pii_id}", params={"project_id": self.project})
            book = self.own.get(pii_id)
            known = {200, 404} if book is None else {404 if book.parts is None else 200}
            assert answer.status_code in known, f"{pii_id}: {answer.text}, {book}"
            self.written += answer.status_code == 200
            if book is not None:
                book.erase()
            if self.chance.odds(0.5):
                await self._upsert([(pii_id, {part: part_values(self.chance, part) for part in PARTS[:3]})])

    def wrong(self, stored: Mapping[str, dict[str, Any]]) -> list[str]:
        """The own profiles of which MongoDB has something else; by pii_id, those of the own project."""
        return [
            f"{self.project} {pii_id}: stored is {stored.get(pii_id)}, it must be {book}"
            for pii_id, book in self.own.items()
            if book.differs(stored.get(pii_id))
        ]


def _written(found: Any) -> str:
    """Times as JSON has them."""
    assert isinstance(found, datetime)
    return found.isoformat()
