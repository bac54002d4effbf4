"""`POST /v1/profiles/import`: line by line, in order, in bounded memory, and nothing but whole lines."""

import asyncio
import csv
import io
import itertools
import json
import re
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.records import importing, registry_file
from muster.records.documents import Profile
from muster.records.fields import Fields
from muster.records.importing import CsvReader, NdjsonReader, import_lines
from muster.rules import PARTS, FieldType
from muster.settings import bundled

NDJSON, CSV = {"content-type": "application/x-ndjson"}, {"content-type": "text/csv"}
REGISTRY = registry_file.read(bundled("rules") / "fields.yaml")
FIELDS = Fields(REGISTRY)


async def put_in(client: httpx.AsyncClient, content: Any, headers: dict[str, str] = NDJSON) -> dict[str, Any]:
    answer = await client.post("/v1/profiles/import", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def counts(report: dict[str, Any]) -> tuple[int, int, int]:
    return report["upserted"], report["unchanged"], report["failed_count"]


def ndjson(*lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def test_a_line_replaces_the_parts_that_it_names(client: httpx.AsyncClient) -> None:
    await put_in(client, ndjson({"pii_id": "P1", "lead": {"status": "new", "score": 1}, "contact": {"city": "Bern"}}))
    report = await put_in(client, ndjson({"pii_id": "P1", "lead": {"status": "old"}, "person": {}, "customer": None}))
    assert counts(report) == (1, 0, 0)
    profile = (await client.get("/v1/profiles/P1")).json()
    assert {part: profile[part] for part in PARTS} == {
        "lead": {"status": "old"},
        "contact": {"city": "Bern"},
        "customer": None,
        "person": {},
        "company": None,
    }
    assert profile["rev"] == 2
    await put_in(client, ndjson({"pii_id": "P1", "contact": None}))
    assert (await client.get("/v1/profiles/P1")).json()["contact"] is None


async def test_the_same_again_changes_nothing(client: httpx.AsyncClient) -> None:
    lines = ndjson(*({"pii_id": f"P{n}", "lead": {"score": n, "tags": ["a"]}} for n in range(2500)))
    assert counts(await put_in(client, lines)) == (2500, 0, 0)
    assert counts(await put_in(client, lines)) == (2500, 2500, 0)
    profile = (await client.get("/v1/profiles/P7")).json()
    assert (profile["rev"], profile["created_at"]) == (1, profile["updated_at"])


async def test_lines_apply_in_order(client: httpx.AsyncClient) -> None:
    lines = [{"pii_id": f"P{n % 3}", "lead": {"score": n}} for n in range(30)]
    report = await put_in(client, ndjson(*lines, {"pii_id": "P0", "lead": None}, {"pii_id": "P0", "contact": {}}))
    assert counts(report) == (32, 0, 0)
    for number in range(3):
        profile = (await client.get(f"/v1/profiles/P{number}")).json()
        assert profile["lead"] == (None if number == 0 else {"score": 27 + number})
        assert profile["rev"] == (12 if number == 0 else 10)


async def test_a_line_that_names_no_part_makes_nobody(client: httpx.AsyncClient) -> None:
    report = await put_in(client, ndjson({"pii_id": "P1"}, {"pii_id": "P2", "lead": None}))
    assert counts(report) == (2, 2, 0)
    assert await Profile.count() == 0


async def test_an_answered_profile_is_a_line(client: httpx.AsyncClient) -> None:
    await put_in(client, ndjson({"pii_id": "P1", "lead": {"created_at": "2026-01-31T12:00:00.5Z"}, "company": {}}))
    profile = (await client.get("/v1/profiles/P1")).json()
    assert counts(await put_in(client, ndjson(profile))) == (1, 1, 0)


BAD_LINES: dict[str, tuple[bytes, str]] = {
    "no JSON": (b'{"pii_id": "X", "lead": }', "not JSON"),
    "no object": (b"[1]", "not a JSON object"),
    "cut off": (b'{"pii_id": "X", "lead": {"sta', "not JSON"),
    "not UTF-8": (b'{"pii_id": "X\xff"}', "not UTF-8"),
    "half a surrogate pair": (rb'{"pii_id": "X\ud800"}', "not JSON"),
    "NaN": (b'{"pii_id": "X", "lead": {"score": NaN}}', "not JSON"),
    "a number too large": (b'{"pii_id": "X", "lead": {"score": 1e999}}', "not JSON"),
    "a number of many digits": (b'{"pii_id": "X", "lead": {"score": ' + b"9" * 5000 + b"}}", ""),
    "nested too deeply": (b'{"pii_id": "X", "lead": ' + b"[" * 20_000, "deep"),
    "no pii_id": (b'{"lead": {}}', "no pii_id"),
    "a pii_id that is no string": (b'{"pii_id": 5, "lead": {}}', "string"),
    "an empty pii_id": (b'{"pii_id": "", "lead": {}}', "characters"),
    "an unknown part": (b'{"pii_id": "X", "leads": {}}', "Did you mean lead?"),
    "a part that is no object": (b'{"pii_id": "X", "lead": 5}', "/lead does not fit: "),
    "an unknown field": (b'{"pii_id": "X", "lead": {"scor": 5}}', "Did you mean score"),
    "a value of another type": (b'{"pii_id": "X", "lead": {"score": "5"}}', "/lead/score does not fit: "),
    "a null in a list": (b'{"pii_id": "X", "lead": {"tags": ["a", null]}}', "/lead/tags/1 does not fit: "),
}


@pytest.mark.parametrize(("line", "said"), BAD_LINES.values(), ids=BAD_LINES.keys())
async def test_a_line_that_cannot_be_taken_stops_no_other(client: httpx.AsyncClient, line: bytes, said: str) -> None:
    good = ndjson({"pii_id": "P1", "lead": {}}), ndjson({"pii_id": "P2", "lead": {}})
    report = await put_in(client, good[0] + line + b"\n\r\n\n" + good[1])
    assert counts(report) == (2, 0, 1)
    assert report["failed"][0]["line"] == 2
    assert said in report["failed"][0]["detail"]
    assert (await client.get("/v1/profiles/X")).status_code == 404


async def test_a_thousand_failures_are_listed_and_all_are_counted(client: httpx.AsyncClient) -> None:
    report = await put_in(client, b"x\n" * 1234)
    assert (report["failed_count"], len(report["failed"]), report["failed"][-1]["line"]) == (1234, 1000, 1000)


async def test_a_line_without_end_is_one_failure(client: httpx.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"pii_id": "X", "lead": {"name": "'
        for _ in range(20):
            yield b"x" * 1_000_000
        yield b'"}}\n' + ndjson({"pii_id": "P1", "lead": {}})

    report = await put_in(client, body())
    assert counts(report) == (1, 0, 1)
    assert "longer than" in report["failed"][0]["detail"]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
async def test_another_media_type_is_refused(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await client.post("/v1/profiles/import", content=b"{}\n", headers=headers)
    assert answer.status_code == 415


async def test_the_media_type_may_have_parameters(client: httpx.AsyncClient) -> None:
    headers = {"content-type": "Application/X-NDJSON; charset=utf-8"}
    assert counts(await put_in(client, b"\xef\xbb\xbf" + ndjson({"pii_id": "P1", "lead": {}}), headers)) == (1, 0, 0)


async def test_an_empty_import_is_no_error(client: httpx.AsyncClient) -> None:
    assert counts(await put_in(client, b"")) == (0, 0, 0)


@pytest.mark.usefixtures("clean")
async def test_whoever_hangs_up_leaves_whole_lines() -> None:
    class Gone(Exception):
        pass

    async def broken_off() -> AsyncIterator[bytes]:
        yield ndjson(*({"pii_id": f"P{n}", "lead": {"score": n}} for n in range(2500)))
        yield b'{"pii_id": "P-last", "lead": {"score": 1}}'
        raise Gone

    with pytest.raises(Gone):
        await import_lines("PRJ-1", NdjsonReader(FIELDS), broken_off())
    stored = await Profile.find_all().sort("+_id").to_list()
    assert 0 < len(stored) <= 2500
    assert all(profile.lead == {"score": float(profile.pii_id[1:])} for profile in stored)


async def test_memory_does_not_grow_with_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty thousand lines through the reader and the batches: what is held is a few batches."""

    async def swallow(_: str, lines: Any) -> importing.UpsertCounts:
        return importing.UpsertCounts(len(lines), 0)

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, 30_000, 1000):
            yield ndjson(*({"pii_id": f"P{n}", "lead": {"status": "x" * 50}} for n in range(start, start + 1000)))

    monkeypatch.setattr(importing, "upsert_parts", swallow)
    tracemalloc.start()
    try:
        report = await import_lines("PRJ-1", NdjsonReader(FIELDS), body())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert report.upserted == 30_000
    assert peak < 12_000_000


async def test_imports_at_the_same_time_lose_nothing(client: httpx.AsyncClient) -> None:
    """Each sets its own part of the same profiles, new and known ones, and some lines repeat."""
    await put_in(client, ndjson(*({"pii_id": f"P{n}", "lead": {"score": 0}} for n in range(0, 600, 2))))
    bodies = [
        ndjson(*({"pii_id": f"P{n % 600}", part: {"name": f"{n // 600}"}} for n in range(1200)))
        for part in ("lead", "contact", "person", "company")
    ]
    reports = await asyncio.gather(*(put_in(client, body) for body in bodies))
    assert [counts(report) for report in reports] == [(1200, 0, 0)] * 4
    profiles = await Profile.find_all().to_list()
    assert len(profiles) == 600
    for profile in profiles:
        assert [profile.lead, profile.contact, profile.person, profile.company] == [{"name": "1"}] * 4
        assert profile.rev == 8 + (int(profile.pii_id[1:]) % 2 == 0)


CSV_CELLS: dict[FieldType, st.SearchStrategy[Any]] = {
    FieldType.STRING: st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10),
    FieldType.NUMBER: st.floats(-(2.0**53), 2.0**53),
    FieldType.BOOLEAN: st.booleans(),
    FieldType.DATETIME: st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    FieldType.STRINGS: st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)),
    FieldType.NUMBERS: st.lists(st.floats(-(2.0**53), 2.0**53)),
}


def values_of(part: str) -> st.SearchStrategy[dict[str, Any]]:
    own = {name.partition(".")[2]: type_ for name, type_ in REGISTRY.items() if name.startswith(f"{part}.")}
    return st.fixed_dictionaries({}, optional={name: st.none() | CSV_CELLS[type_] for name, type_ in own.items()})


def as_json(values: Any) -> Any:
    return json.loads(json.dumps(values, default=lambda moment: moment.isoformat()))


PROFILES = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.fixed_dictionaries({}, optional={part: st.none() | values_of(part) for part in PARTS}),
    ),
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=PROFILES)
async def test_what_was_imported_reads_back_normalised(client: httpx.AsyncClient, lines: list[Any]) -> None:
    """Against a model in plain Python, in which a line assigns its parts."""
    await Profile.get_motor_collection().delete_many({})
    model: dict[str, dict[str, Any]] = {}
    for number, parts in lines:
        profile = model.setdefault(f"P{number}", {})
        for part, values in parts.items():
            profile[part] = None if values is None else FIELDS.read_part(part, as_json(values)).values
    report = await put_in(client, ndjson(*({"pii_id": f"P{number}", **as_json(parts)} for number, parts in lines)))
    assert report["failed"] == []
    assert report["upserted"] == len(lines)
    for pii_id, profile in model.items():
        stored = await Profile.find_one({"pii_id": pii_id})
        assert {part: getattr(stored, part, None) for part in PARTS} == {part: profile.get(part) for part in PARTS}


async def test_csv_sets_the_named_columns_only(client: httpx.AsyncClient) -> None:
    await put_in(client, ndjson({"pii_id": "P1", "lead": {"status": "new", "stage": "x", "score": 1}}))
    content = (
        "\ufeffpii_id, lead.status ,lead.score,lead.tags,contact.opted_in,lead.created_at\r\n"
        "P1,old,,a; b;;c,TRUE,2026-01-31\r\n"
        "\r\n"
        "P2,,2.5,,,\r\n"
        'P3,"a ""quoted"", cell\nof two lines",,,false,2026-01-31T12:00:00+02:00\r\n'
    )
    assert counts(await put_in(client, content.encode(), CSV)) == (3, 0, 0)
    profile = (await client.get("/v1/profiles/P1")).json()
    assert profile["lead"] == {
        "status": "old",
        "stage": "x",
        "score": 1,
        "tags": ["a", "b", "c"],
        "created_at": "2026-01-31T00:00:00Z",
    }
    assert profile["contact"] == {"opted_in": True}
    profile = (await client.get("/v1/profiles/P2")).json()
    assert (profile["lead"], profile["contact"]) == ({"score": 2.5}, None)
    profile = (await client.get("/v1/profiles/P3")).json()
    assert profile["lead"]["status"] == 'a "quoted", cell\nof two lines'
    assert counts(await put_in(client, content.encode(), CSV)) == (3, 3, 0)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("'=SUM(A1)", "=SUM(A1)"),
        ("'+1", "+1"),
        ("'-1", "-1"),
        ("'@x", "@x"),
        ("'x", "'x"),
        ("''=x", "'=x"),
        ("'", ""),
        ("''", "'"),
        ("=x", "=x"),
    ],
)
async def test_the_apostrophe_of_an_export_is_undone(client: httpx.AsyncClient, cell: str, value: str) -> None:
    await put_in(client, f"pii_id,lead.name\nP1,{cell}\n".encode(), CSV)
    assert (await client.get("/v1/leads/P1")).json()["name"] == value


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b"X,new", "2 cells, the header 3"),
        (b"X,new,1,2", "4 cells, the header 3"),
        (b"X,new,1_000", "/lead/score does not fit: This must be a number"),
        (b"X,new,nan", "/lead/score does not fit: "),
        (b"X,new,1e999", "/lead/score does not fit: "),
        (b"X,new,9007199254740994", "/lead/score does not fit: "),
        (b",new,1", "pii_id"),
        (b"X,\xff,1", "UTF-8"),
        (b'X,"new,1', "never closed"),
        (b'X,"new"x,1', "not CSV"),
    ],
)
async def test_a_bad_row_stops_no_other(client: httpx.AsyncClient, row: bytes, said: str) -> None:
    report = await put_in(client, b"pii_id,lead.status,lead.score\nP1,new,1\n" + row + b"\nP2,new,2\n", CSV)
    assert counts(report) == (2, 0, 1)
    assert report["failed"][0]["line"] == 3
    assert said in report["failed"][0]["detail"]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "no header"),
        ("pii_id;lead.status", "no column pii_id"),
        ("lead.status", "no column pii_id"),
        ("pii_id,lead.scor", "'lead.scor'"),
        ("pii_id,status", "'status'"),
        ("pii_id,lead.status,lead.status", "again"),
        ("pii_id,", "''"),
        ('pii_id,"lead.status', "never closed"),
    ],
)
async def test_a_header_that_does_not_fit_refuses_all(client: httpx.AsyncClient, header: str, said: str) -> None:
    answer = await client.post("/v1/profiles/import", content=f"{header}\nP1,1\n" if header else "", headers=CSV)
    assert answer.status_code == 422
    assert said in answer.text
    assert await Profile.count() == 0


async def test_a_header_suggests_what_was_meant(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/profiles/import", content="pii_id,lead.scor\n", headers=CSV)
    assert answer.json()["errors"][0]["suggestion"] == "lead.score"


@settings(max_examples=200, deadline=None)
@given(st.lists(values_of("lead"), max_size=5), st.lists(st.integers(0, 5000), max_size=6))
def test_csv_says_the_same_as_json(rows: list[dict[str, Any]], cuts: list[int]) -> None:
    """A row of non-empty cells gives the values that the JSON gives, wherever the chunks end."""
    names = sorted(name.partition(".")[2] for name in REGISTRY if name.startswith("lead."))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["pii_id", *(f"lead.{name}" for name in names)])
    for row in rows:
        writer.writerow(["P", *(cell(row.get(name)) for name in names)])
    content = buffer.getvalue().encode()
    reader = CsvReader(FIELDS)
    places = sorted({cut % (len(content) + 1) for cut in cuts} | {0, len(content)})
    changes = [c for start, end in itertools.pairwise(places) for c in reader.feed(content[start:end])]
    changes += list(reader.finish())
    assert [change.error for change in changes] == [None] * len(rows)
    for change, row in zip(changes, rows, strict=True):
        given_cells = {name: value for name, value in row.items() if cell(value)}
        expected = FIELDS.read_part("lead", as_json(given_cells)).values
        found = change.changes.get("lead")
        assert (dict(found.values) if found else {}) == expected  # type: ignore[union-attr, operator]


def quoted(item: str) -> str:
    return '"' + item.replace('"', '""') + '"'


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        text = ";".join(item if re.fullmatch(r"\w+( \w+)*", item) else quoted(item) for item in value)
    elif isinstance(value, bool):
        text = str(value).lower()
    else:
        text = str(value)
    return f"'{text}" if re.match(r"'+(?:[=+\-@\t\r]|\Z)", text) else text  # what reads as guarded
