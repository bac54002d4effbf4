"""`muster import`: records into the running API."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from muster.terminal.client import open_api
from muster.terminal.output import Count, as_json_option, counting, print_fields, print_json, project_option, say

MEDIA_TYPES = {"ndjson": "application/x-ndjson", "csv": "text/csv"}
ENDINGS = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}
CHUNK = 256 * 1024  # bytes
SHOWN = 20  # failed lines; --json shows all that the API lists


@click.group("import")
def import_group() -> None:
    """Bring records in from files."""


@import_group.command("profiles")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--format", "file_format", type=click.Choice(list(MEDIA_TYPES)), help="Else by the ending of the name.")
@click.option("--save-as-cohort", metavar="NAME", help="Make a static cohort of whose lines were taken.")
@project_option
@as_json_option
def import_profiles(
    *, file: str, file_format: str | None, save_as_cohort: str | None, project: str | None, as_json: bool
) -> None:
    """Import profiles from FILE (`-`: standard input), NDJSON or CSV, of any size.

    A line of NDJSON is `{"pii_id": "P1", "lead": {…}, "contact": {…}}`; a part that is named replaces the stored one.
    CSV has a header `pii_id,lead.status,…` and sets the named fields only. Exit code 1 when a line was not taken.
    """
    file_format = file_format or ENDINGS.get(Path(file).suffix.lower())
    if file_format is None:
        raise click.UsageError(f"{file}: neither .ndjson, .jsonl nor .csv; name its format with --format.")
    size = None if file == "-" else Path(file).stat().st_size
    with open_api() as api, click.open_file(file, "rb") as opened, counting("Bytes") as count:
        report = api.import_profiles(_chunks(opened, size, count), MEDIA_TYPES[file_format], project, save_as_cohort)
    show_report(report, as_json=as_json)
    sys.exit(1 if report["failed_count"] else 0)


def show_report(report: dict[str, Any], *, as_json: bool) -> None:
    """How an import went: counts on stdout, the lines that were not taken on stderr."""
    if as_json:
        print_json(report)
        return
    shown = ("upserted", "unchanged", "failed_count", "cohort_id")
    print_fields({name: report[name] for name in shown if name in report})
    for failed in report["failed"][:SHOWN]:
        say(f"line {failed['line']}: {failed['detail']}")
    if report["failed_count"] > SHOWN:
        say(f"… and {report['failed_count'] - SHOWN:,} more lines.")


def _chunks(file: IO[bytes], size: int | None, count: Count) -> Iterator[bytes]:
    """The bytes of a file, counted while they go."""
    done = 0
    while chunk := file.read(CHUNK):
        yield chunk
        done += len(chunk)
        count(done, size)
