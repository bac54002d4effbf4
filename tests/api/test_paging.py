"""Cursors carry exactly what they were given, and nothing else is one."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.api.paging import decode_cursor, encode_cursor, page_of
from muster.errors import Invalid

MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS, st.integers(-(2**63), 2**63 - 1), MOMENTS)
def test_a_cursor_comes_back_as_it_went(text: str, number: int, moment: datetime) -> None:
    assert decode_cursor(encode_cursor([text, number, moment]), str, int, datetime) == (text, number, moment)


@given(st.text())
def test_any_text_is_a_cursor_or_invalid(text: str) -> None:
    try:
        values = decode_cursor(text, str)
    except Invalid:
        return
    assert [type(value) for value in values] == [str]


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "é",
        encoded([]),
        encoded(["a", "b"]),
        encoded([1]),
        encoded([True]),
        encoded([None]),
        encoded([{"$gt": ""}]),
        encoded({"a": 1}),
        encoded("a"),
        encoded(["\ud800"]),
        encoded([["2026-01-01T00:00:00+00:00"]]),
        encoded([["2026-01-01T00:00:00"]]),
        encoded([[]]),
        encoded([[["x"]]]),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
    ],
)
def test_what_another_list_or_an_attacker_made_is_invalid(cursor: str) -> None:
    with pytest.raises(Invalid):
        decode_cursor(cursor, str)


def test_a_number_that_mongodb_cannot_hold_is_invalid() -> None:
    with pytest.raises(Invalid):
        decode_cursor(encoded([2**63]), int)


def test_a_page_has_a_cursor_only_when_there_is_more() -> None:
    assert page_of(["a", "b"], 2, lambda row: (row,)) == (["a", "b"], None)
    items, cursor = page_of(["a", "b", "c"], 2, lambda row: (row,))
    assert items == ["a", "b"]
    assert cursor is not None
    assert decode_cursor(cursor, str) == ("b",)
