"""A stream of bytes as lines, and lines as CSV records, in bounded memory."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST_LINE = 6_000_000  # bytes: five parts of the largest size, and their names
csv.field_size_limit(LONGEST_LINE)  # the module's own limit is smaller than a value may be

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class LineError(Exception):
    """One line cannot be taken. The sentence goes into the answer's `failed`; the import goes on."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its line feed. `content` is None when it was longer than `LONGEST_LINE`."""

    number: int  # counts from 1, empty lines too
    content: bytes | None


@dataclass(slots=True)
class LineSplitter:
    """Cuts chunks at line feeds. Holds at most one unfinished line; the rest of an overlong one is thrown away."""

    _number: int = 0
    _rest: list[bytes] = field(default_factory=list)
    _rest_size: int = 0

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that end in this chunk."""
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._hold(piece)
            yield self._end()
        self._hold(rest)

    def finish(self) -> Iterator[Line]:
        """The last line, when it does not end in a line feed."""
        if self._rest_size:
            yield self._end()

    def _hold(self, piece: bytes) -> None:
        self._rest_size += len(piece)
        if self._rest_size <= LONGEST_LINE:
            self._rest.append(piece)
        else:
            self._rest.clear()

    def _end(self) -> Line:
        content = b"".join(self._rest) if self._rest_size <= LONGEST_LINE else None
        self._rest.clear()
        self._rest_size = 0
        self._number += 1
        if content is not None and self._number == 1:
            content = content.removeprefix(_BYTE_ORDER_MARK)
        return Line(self._number, content)


@dataclass(frozen=True, slots=True)
class Row:
    """A CSV record, or why it is none, under the number of its first line."""

    number: int
    cells: list[str] | LineError


@dataclass(slots=True)
class RowReader:
    """Joins lines to CSV records: a quoted cell may hold line feeds.

    A quote that is never closed would swallow the rest of the file. So when a record grows too long, or the file ends
    inside one, only its first line fails, and the lines behind it are read anew.
    """

    _open: list[bytes] = field(default_factory=list)
    _open_size: int = 0
    _first: int = 0

    def feed(self, line: Line) -> Iterator[Row]:
        """The records that end with this line."""
        if line.content is None:
            yield from self.finish()
            yield Row(line.number, LineError(f"The line is longer than {LONGEST_LINE:,} bytes."))
            return
        quotes = line.content.count(b'"') % 2
        if not self._open and not quotes:
            if line.content.strip(b"\r"):
                yield Row(line.number, _cells([line.content]))
            return
        if not self._open:
            self._first = line.number
        self._open.append(line.content)
        self._open_size += len(line.content) + 1
        if len(self._open) > 1 and quotes:
            yield Row(self._first, _cells(self._open))
            self._close()
        elif self._open_size > LONGEST_LINE:
            yield from self.finish()

    def finish(self) -> Iterator[Row]:
        """What is left when the lines end: a record whose quote was never closed."""
        while self._open:
            first, behind = self._first, self._open[1:]
            self._close()
            yield Row(first, LineError("A quote in this line is never closed."))
            for offset, content in enumerate(behind, start=1):
                yield from self.feed(Line(first + offset, content))

    def _close(self) -> None:
        self._open = []
        self._open_size = 0


def _cells(lines: list[bytes]) -> list[str] | LineError:
    try:
        text = b"\n".join(lines).removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        return LineError(f"The line is not UTF-8 (byte {error.start}).")
    try:
        records = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        return LineError(f"The line is not CSV: {error}.")
    return records[0] if len(records) == 1 else LineError("The line is not CSV: a carriage return outside quotes.")
