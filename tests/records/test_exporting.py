"""What is exported and imported again is what it was, whatever the values look like."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.errors import Invalid
from muster.records import registry_file
from muster.records.exporting import CsvWriter, NdjsonWriter, projection, selected
from muster.records.fields import Fields
from muster.records.importing import CsvReader, NdjsonReader
from muster.records.updates import parts_of_new
from muster.records.values import LARGEST_NUMBER
from muster.rules import PARTS, FieldType
from muster.settings import bundled

REGISTRY = registry_file.read(bundled("rules") / "fields.yaml") | {"lead.sizes": FieldType.NUMBERS}
FIELDS = Fields(REGISTRY)

NASTY = st.text(st.sampled_from("'=+-@\t\r\n\";, ab0\\\u2028\u00e9\U0001f600\ufeff"), max_size=8)
TEXT = NASTY | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
NUMBER = (st.floats(-LARGEST_NUMBER, LARGEST_NUMBER) | st.integers(-999, 999).map(float)).map(lambda value: value + 0.0)
MILLISECONDS = timedelta(days=9998 * 365) // timedelta(milliseconds=1)
MOMENT = st.integers(0, MILLISECONDS).map(lambda passed: datetime(1, 1, 1, tzinfo=UTC) + timedelta(milliseconds=passed))
VALUES = {
    FieldType.STRING: TEXT,
    FieldType.NUMBER: NUMBER,
    FieldType.BOOLEAN: st.booleans(),
    FieldType.DATETIME: MOMENT,
    FieldType.STRINGS: st.lists(TEXT, max_size=4),
    FieldType.NUMBERS: st.lists(NUMBER, max_size=4),
}
OF_A_PART = {
    part: st.fixed_dictionaries(
        {}, optional={name[len(part) + 1 :]: VALUES[REGISTRY[name]] for name in REGISTRY if name.startswith(f"{part}.")}
    )
    for part in ("lead", "customer")
}
PROFILE = st.fixed_dictionaries({"pii_id": IDS}, optional=OF_A_PART)
PROFILES = st.lists(PROFILE, max_size=4, unique_by=lambda profile: profile["pii_id"])


def in_chunks(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def read_again(reader: CsvReader | NdjsonReader, content: bytes, size: int) -> list[dict[str, Any]]:
    """The profiles that an import of this file makes of nothing, parts without fields left out."""
    changes = [change for chunk in in_chunks(content, size) for change in reader.feed(chunk)] + list(reader.finish())
    assert [change.error for change in changes if change.error] == []
    return [{"pii_id": change.pii_id, **parts_of_new(change.changes)} for change in changes]


def without_empty_parts(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in profile.items() if value != {}}


@given(PROFILES, st.integers(1, 50))
def test_importing_an_exported_csv_restores_the_same_values(profiles: list[dict[str, Any]], size: int) -> None:
    writer = CsvWriter(selected(None, REGISTRY), REGISTRY)
    again = read_again(CsvReader(FIELDS), writer.header() + writer.lines(profiles), size)
    assert again == [without_empty_parts(profile) for profile in profiles]


@given(PROFILES, st.integers(1, 50))
def test_importing_exported_ndjson_restores_the_same_profiles(profiles: list[dict[str, Any]], size: int) -> None:
    writer = NdjsonWriter(selected(None, REGISTRY))
    assert read_again(NdjsonReader(FIELDS), writer.header() + writer.lines(profiles), size) == profiles


@given(st.lists(TEXT, max_size=4), TEXT, IDS)
def test_no_cell_with_a_text_can_be_run(items: list[str], text: str, pii_id: str) -> None:
    writer = CsvWriter(["lead.name", "lead.tags", "lead.score"], REGISTRY)
    profile = {"pii_id": pii_id, "lead": {"name": text, "tags": items, "score": -5.0}}
    (record,) = csv.reader(io.StringIO(writer.lines([profile]).decode(), newline=""), strict=True)
    assert not [cell for cell in record[:3] if re.match(r"[=+\-@\t\r]", cell)]
    assert record[3] == "-5", "a number stays a number"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("plain", "plain"),
        ("", "'"),
        ("'", "''"),
        ("'tis", "'tis"),
        ("=1+1", "'=1+1"),
        ("'=1+1", "''=1+1"),
        ("-", "'-"),
        (["a", "b"], "a;b"),
        ([], ";"),
        ([""], '""'),
        (["a;b", 'say "x"', '"'], '"a;b";say "x";""""'),
        ([" a", "-"], '" a";-'),
        (["-1", "x"], "'-1;x"),
    ],
)
def test_texts_and_lists_as_cells(value: Any, cell: str) -> None:
    name = "lead.tags" if isinstance(value, list) else "lead.name"
    written = CsvWriter([name], REGISTRY).lines([{"pii_id": "P1", "lead": {name[5:]: value}}])
    assert list(csv.reader([written.decode()])) == [["P1", cell]]


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("a; b ;;c", ["a", "b", "c"]),
        ('5" pipe;6" pipe', ['5" pipe', '6" pipe']),
        ('"a" b;c', ['"a" b', "c"]),
        (' "a;b" ; c', ["a;b", "c"]),
        ('"never closed;b', ['"never closed', "b"]),
        (";;", []),
    ],
)
def test_lists_that_others_wrote_are_split_as_ever(cell: str, items: list[str]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["pii_id", "lead.tags"], ["P1", cell]])
    assert read_again(CsvReader(FIELDS), text.getvalue().encode(), 100) == [{"pii_id": "P1", "lead": {"tags": items}}]


def test_parts_that_are_missing_are_null_in_ndjson_and_those_not_asked_for_absent() -> None:
    profile = {"pii_id": "P1", "lead": {}, "company": {"name": "X"}}
    assert NdjsonWriter(["lead.score", "contact.city"]).lines([profile]) == (
        b'{"pii_id":"P1","lead":{},"contact":null}\n'
    )


def test_membership_may_stand_beside_the_fields() -> None:
    fields = selected("entered_at, lead.score,cause,pii_id,lead.score", REGISTRY)
    assert fields == ["entered_at", "lead.score", "cause"]
    assert projection(fields) == {"_id": 1, "pii_id": 1, "lead.score": 1}
    entered_at = datetime(2026, 1, 31, 12, 0, 0, 5000, tzinfo=UTC)
    profile = {"pii_id": "P1", "lead": {"score": 2.5}, "entered_at": entered_at, "cause": "record"}
    writer = CsvWriter(fields, REGISTRY)
    content = writer.header() + writer.lines([profile])
    assert content == b"pii_id,entered_at,lead.score,cause\r\nP1,2026-01-31T12:00:00.005Z,2.5,record\r\n"
    assert read_again(CsvReader(FIELDS), content, 100) == [{"pii_id": "P1", "lead": {"score": 2.5}}]
    line = NdjsonWriter(fields).lines([profile])
    assert b'"cause":"record"' in line
    assert read_again(NdjsonReader(FIELDS), line, 100) == [{"pii_id": "P1", "lead": {"score": 2.5}}]


def test_all_fields_come_part_by_part() -> None:
    names = selected(None, REGISTRY)
    assert sorted(names) == sorted(REGISTRY)
    assert list(dict.fromkeys(name.partition(".")[0] for name in names)) == list(PARTS)


def test_what_is_no_field_is_pointed_at() -> None:
    with pytest.raises(Invalid) as caught:
        selected("lead.score,lead.scroe,", REGISTRY)
    found = [(problem.pointer, problem.suggestion) for problem in caught.value.problems]
    assert found == [("/fields/1", "lead.score"), ("/fields/2", None)]
