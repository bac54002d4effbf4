"""What Attio sends, read liberally."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.attio.models import AttioList, Attribute, ListEntry, Record, Self, moment

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = ("id", "created_at", "web_url", "values", "entry_values", "parent_object", "parent_record_id", "api_slug")


@given(raw=JSON | st.dictionaries(st.sampled_from(NAMES), JSON))
@pytest.mark.parametrize("kind", [Record, ListEntry, AttioList, Attribute])
def test_whatever_comes_is_read_or_has_no_name(kind: Any, raw: Any) -> None:
    try:
        read = kind.of(raw)
    except ValueError as error:
        assert "without" in str(error)  # noqa: PT017  one of both is right
    else:
        assert kind is Attribute
        assert read.api_slug == raw["api_slug"]


@given(values=JSON, created_at=JSON, web_url=JSON)
def test_a_record_needs_nothing_but_its_id(values: Any, created_at: Any, web_url: Any) -> None:
    raw = {"id": {"record_id": "r"}, "values": values, "created_at": created_at, "web_url": web_url}
    record = Record.of(raw)
    assert record.record_id == "r"
    assert all(isinstance(value, dict) for listed in record.values.values() for value in listed)
    assert Self.of({"active": values, "scope": created_at}).active is (values is True)


def test_values_are_lists_of_objects_whatever_form_they_came_in() -> None:
    raw = {"a": None, "b": [], "c": {"value": 1}, "d": ["x", None], "e": 3, "f": [{"value": 2}]}
    record = Record.of({"id": {"record_id": "r"}, "values": raw})
    assert record.values == {
        "a": [],
        "b": [],
        "c": [{"value": 1}],
        "d": [{"value": "x"}],
        "e": [{"value": 3}],
        "f": [{"value": 2}],
    }


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("2025-11-03T09:14:22.417000000Z", datetime(2025, 11, 3, 9, 14, 22, 417000, UTC)),
        ("2025-11-03T09:14:22.123456789Z", datetime(2025, 11, 3, 9, 14, 22, 123456, UTC)),
        ("2025-11-03T09:14:22Z", datetime(2025, 11, 3, 9, 14, 22, tzinfo=UTC)),
        ("2025-11-03T10:14:22+01:00", datetime(2025, 11, 3, 9, 14, 22, tzinfo=UTC)),
        ("2025-11-03", datetime(2025, 11, 3, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_times_have_nine_digits_or_any_other_number(text: Any, read: datetime | None) -> None:
    assert moment(text) == read


def test_scopes_that_also_write_read() -> None:
    scope = "record_permission:read-write object_configuration:read list_entry:read-write"
    assert Self.of({"active": True, "scope": scope}).missing_scopes == ("list_configuration:read",)
    assert len(Self.of({"active": False}).missing_scopes) == 4


def test_a_list_is_known_by_its_id_where_it_has_no_slug() -> None:
    found = AttioList.of({"id": {"list_id": "l"}, "parent_object": "people"})
    assert (found.api_slug, found.name, found.parent_objects) == ("l", "l", ("people",))
