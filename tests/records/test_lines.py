"""Streams cut into lines and records, wherever the chunks happen to end."""

import csv
import io
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.records import lines
from muster.records.lines import Line, LineError, LineSplitter, Row, RowReader

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=8)


def split(content: bytes, cuts: list[int]) -> list[Line]:
    splitter = LineSplitter()
    return [line for chunk in chunks(content, cuts) for line in splitter.feed(chunk)] + list(splitter.finish())


def rows(content: bytes) -> list[Row]:
    reader = RowReader()
    found = [row for line in split(content, []) for row in reader.feed(line)]
    return found + list(reader.finish())


def chunks(content: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({cut % (len(content) + 1) for cut in cuts} | {0, len(content)})
    for start, end in itertools.pairwise(places):
        yield content[start:end]


@given(st.lists(TEXT), st.lists(st.integers(0, 10_000)), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_do_not_depend_on_chunks(texts: list[str], cuts: list[int], ending: str, ended: bool) -> None:
    content = (ending.join(texts) + (ending if ended and texts else "")).encode()
    expected = content.decode().split("\n")
    if expected[-1] == "":
        expected.pop()
    whole = [text.encode() for text in expected]
    if whole:
        whole[0] = whole[0].removeprefix(b"\xef\xbb\xbf")
    found = split(content, cuts)
    assert [line.content for line in found] == whole
    assert [line.number for line in found] == list(range(1, len(whole) + 1))


def test_a_byte_order_mark_is_no_content() -> None:
    assert split(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}", [1, 2]) == [Line(1, b"{}"), Line(2, b"\xef\xbb\xbf{}")]


def test_an_overlong_line_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    splitter = LineSplitter()
    found = [line for _ in range(1000) for line in splitter.feed(b"x" * 100)]
    assert found == []
    assert sum(map(len, splitter._rest)) <= 10
    assert list(splitter.feed(b"\nshort\n")) == [Line(1, None), Line(2, b"short")]


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=6)


@given(st.lists(st.lists(CELL, min_size=2, max_size=4), max_size=6))
def test_records_are_read_as_csv_writes_them(records: list[list[str]]) -> None:
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(records)
    assert [row.cells for row in rows(buffer.getvalue().encode())] == records


def test_a_record_has_the_number_of_its_first_line() -> None:
    assert rows(b'a,"1\n2\n3"\n\nb,"4"\n') == [Row(1, ["a", "1\n2\n3"]), Row(5, ["b", "4"])]


def test_a_quote_that_is_never_closed_costs_one_line() -> None:
    found = rows(b'a,1\nb,"2\nc,3\nd,4\n')
    assert [(row.number, None if isinstance(row.cells, LineError) else row.cells) for row in found] == [
        (1, ["a", "1"]),
        (2, None),
        (3, ["c", "3"]),
        (4, ["d", "4"]),
    ]


def test_an_unclosed_quote_is_given_up_when_the_record_grows_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 20)
    content = b'a,"1\n' + b"".join(b"p%d,2\n" % number for number in range(9)) + b'z,"3"\n'
    found = rows(content)
    assert isinstance(found[0].cells, LineError)
    assert [row.number for row in found] == list(range(1, 12))
    assert found[-1].cells == ["z", "3"]
    assert not any(isinstance(row.cells, LineError) for row in found[1:])


def test_line_endings_inside_a_cell_stay() -> None:
    assert rows(b'a,"1\r\n2"\r\nb,3\r\n\r\n') == [Row(1, ["a", "1\r\n2"]), Row(3, ["b", "3"])]


@pytest.mark.parametrize("line", [b'a,"b"c', b"a,\xff", b'"', b"a\rb,c"])
def test_a_broken_record_is_one_failure(line: bytes) -> None:
    found = rows(b"x,y\n" + line + b"\nz,w\n")
    assert [isinstance(row.cells, LineError) for row in found] == [False, True, False]
