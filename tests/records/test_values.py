"""What a value becomes at ingress, and what is refused."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.records import registry_file
from muster.records.fields import Fields
from muster.records.values import READERS, DoesNotFitError, read_datetime, read_number, read_pii_id, read_string
from muster.rules import FieldType
from muster.settings import bundled

FIELDS = Fields(registry_file.read(bundled("rules") / "fields.yaml"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(FieldType), JSON)
def test_every_json_value_is_read_or_refused(type_: FieldType, value: Any) -> None:
    """And what is read can be stored, comes back equal, and is read as itself again."""
    try:
        read = READERS[type_](value)
    except DoesNotFitError:
        return
    stored = bson.decode(bson.encode({"x": read}), bson.CodecOptions(tz_aware=True))["x"]
    assert stored == read
    assert READERS[type_](read) == read


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, 2**53 + 1, -(2**53) - 1, 1e300, 10**400, True, "5", None, [1], {}]
)
def test_no_number(value: Any) -> None:
    with pytest.raises(DoesNotFitError):
        read_number(value)


@pytest.mark.parametrize("value", [0, 5, -5, 2**53, -(2**53), 0.1, 1e-300, 0.30000000000000004])
def test_numbers_are_doubles(value: float) -> None:
    read = read_number(value)
    assert type(read) is float
    assert read == value


def test_there_is_one_zero() -> None:
    """Or two equal documents would differ in their bytes."""
    assert math.copysign(1, read_number(-0.0)) == 1


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31 12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T12:00:00.1Z", datetime(2026, 1, 31, 12, 0, 0, 100_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123999999Z", datetime(2026, 1, 31, 12, 0, 0, 123_000, tzinfo=UTC)),
        ("1969-12-31T23:59:59.9999Z", datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        ("0001-01-01", datetime(1, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_utc_in_whole_milliseconds_rounded_down(text: str, moment: datetime) -> None:
    assert read_datetime(text) == moment


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-31T12:00:00",
        "2026-01-31T12:00Z",
        "2026-1-31",
        "20260131",
        "2026-W01-1",
        "2026-02-30",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00:00+99:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-01-31T12:00:00Z\n",
        "\u0662026-01-31",
        "",
        "now",
        1769860800,
        True,
        None,
        datetime(2026, 1, 31),  # noqa: DTZ001 - a naive one is the point
    ],
)
def test_no_time(value: Any) -> None:
    with pytest.raises(DoesNotFitError):
        read_datetime(value)


def test_a_time_without_zone_says_what_is_missing() -> None:
    with pytest.raises(DoesNotFitError, match="time zone"):
        read_datetime("2026-01-31T12:00:00")


def test_an_aware_datetime_of_a_program_is_read_too() -> None:
    moment = datetime(2026, 1, 31, 14, 0, 0, 1, tzinfo=timezone(timedelta(hours=2)))
    assert read_datetime(moment) == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * 500_001, 5, b"x", None])
def test_no_string(value: Any) -> None:
    with pytest.raises(DoesNotFitError):
        read_string(value)


@pytest.mark.parametrize("value", ["", "$secret", "$$ROOT", "a.b", "é", "e\u0301", "\n\t", "\U0001f600", "x" * 300_000])
def test_strings_stay_as_they_are(value: str) -> None:
    assert read_string(value) == value


@pytest.mark.parametrize("value", ["", "x" * 201, "a\nb", "a\0", "\x7f", "\x85", "\ud800", 5, None, ["a"], {"$ne": ""}])
def test_no_pii_id(value: Any) -> None:
    with pytest.raises(DoesNotFitError):
        read_pii_id(value)


@pytest.mark.parametrize("value", ["a", "x" * 200, "attio:1/2", "..", "$ne", " ", "é", "\U0001f600" * 200])
def test_pii_ids_stay_as_they_are(value: str) -> None:
    assert read_pii_id(value) == value


def test_every_problem_has_its_pointer() -> None:
    read = FIELDS.read_part(
        "lead", {"scor": 1, "score": "1", "tags": ["a", None], "a/b~c": 1, "status": "new"}, "/lead"
    )
    assert [(problem.pointer, problem.suggestion) for problem in read.problems] == [
        ("/lead/a~1b~0c", None),
        ("/lead/scor", "score"),
        ("/lead/score", None),
        ("/lead/tags/1", None),
    ]


@pytest.mark.parametrize("value", [[], "lead", 5, None])
def test_a_part_is_an_object(value: Any) -> None:
    assert [problem.pointer for problem in FIELDS.read_part("lead", value, "/lead").problems] == ["/lead"]


def test_nulls_are_removed_and_named() -> None:
    read = FIELDS.read_part("lead", {"status": None, "stage": "x", "score": None})
    assert (read.values, read.removed, read.problems) == ({"stage": "x"}, ("score", "status"), [])


def test_keys_come_in_one_order() -> None:
    read = FIELDS.read_part("lead", {"status": "a", "name": "b", "agent_id": "c"})
    assert list(read.values) == ["agent_id", "name", "status"]


def test_read_only_properties_are_ignored() -> None:
    assert FIELDS.read_part("lead", {"pii_id": "x", "rev": {}, "updated_at": 1}).problems == []


def test_a_part_is_bounded() -> None:
    read = FIELDS.read_part("contact", {"name": "x" * 400_000, "email": "x" * 400_000, "phone": "x" * 400_000})
    assert "1,000,000 bytes" in read.problems[0].detail


def test_a_thousand_unknown_fields_are_not_all_discussed() -> None:
    read = FIELDS.read_part("lead", {f"unknown_{number}": 1 for number in range(10_000)})
    assert len(read.problems) == 100


@pytest.mark.parametrize("content", ["lead: [status]", "lead: {status: text}", "[", "lead", "5: {a: string}: x"])
def test_a_broken_registry_file_says_so(tmp_path: Path, content: str) -> None:
    file = tmp_path / "fields.yaml"
    file.write_text(content)
    with pytest.raises(Exception, match=r"fields\.yaml"):
        registry_file.read(file)
