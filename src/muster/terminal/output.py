"""Printing: tables and JSON on stdout, problems and progress on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
project_option = click.option("--project", help="The project, such as PRJ-2; else your default one.")
limit_option = click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")

Count = Callable[[int, int | None], None]


def print_json(value: Any) -> None:
    """One JSON value."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str], *, as_json: bool) -> None:
    """A list: a table with these columns (field → heading), or a JSON array of whole items, printed as they come."""
    if as_json:
        separator = "["
        for row in rows:
            click.echo(f"{separator}\n{json.dumps(row, ensure_ascii=False)}", nl=False)
            separator = ","
        click.echo("[]" if separator == "[" else "\n]")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(row.get(field))) for field in columns))
    if table.row_count:
        _print(table)
    else:
        say("Nothing found.")


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing: a line per field."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, Text(plain(value)))
    _print(table)


def say(sentence: str) -> None:
    """Something for the person at the terminal, beside the data."""
    click.echo(sentence, err=True)


def plain(value: Any) -> str:
    """A value in a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list() | tuple():
            return ", ".join(plain(item) for item in value)
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def print_problem(problem: Mapping[str, Any], source: str | None = None) -> None:
    """A problem document as sentences; what is wrong inside a rule is shown with a caret under it."""
    say(f"Error: {problem.get('detail') or problem.get('title')}")
    for error in problem.get("errors") or ():
        print_error(error, source)


def print_error(error: Mapping[str, Any], source: str | None = None) -> None:
    """One error: where, what, and what may have been meant."""
    if source is not None and error.get("span"):
        for line in underlined(source, error["span"]):
            say(f"    {line}")
    place = f"{error['pointer']}: " if error.get("pointer") else ""
    hint = f" Did you mean {error['suggestion']}?" if error.get("suggestion") else ""
    say(f"  {place}{error['detail']}{hint}")


def underlined(source: str, span: Mapping[str, int]) -> Sequence[str]:
    """The line of a text in which a span begins, and carets under the span, as wide as a terminal shows them."""
    line = source.split("\n")[span["line"] - 1]
    before = line[: span["column"] - 1]
    marked = line[span["column"] - 1 :][: max(1, span["end"] - span["start"])]
    margin = "".join("\t" if character == "\t" else " " * cell_len(character) for character in before)
    return line, margin + "^" * max(1, cell_len(marked))


@contextmanager
def counting(what: str) -> Iterator[Count]:
    """A progress bar on a terminal, nothing elsewhere: call the result with (done, total)."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(table: Table) -> None:
    """As wide as the terminal; elsewhere as wide as it is, so that no cell is folded; no blanks at the ends."""
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def write_whole(chunks: Iterable[bytes], output: Path | None) -> None:
    """Write a stream to a file, which takes its place only once it is whole; without one, to standard output."""
    if output is None:
        for chunk in chunks:
            click.echo(chunk, nl=False)
        return
    with NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as part:
        try:
            part.writelines(chunks)
            part.flush()
            Path(part.name).replace(output)
        except BaseException:
            Path(part.name).unlink()
            raise
