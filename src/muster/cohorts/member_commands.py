"""`muster cohorts add`, `remove`, `progress` and `export`: the members of a cohort as a whole."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from muster.terminal.client import Api, open_api
from muster.terminal.output import as_json_option, print_fields, print_json, say, write_whole

AT_ONCE = 50_000  # profiles in one request
SHOWN = 20  # of those who could not be added or removed; --json shows all that the API lists

file_option = click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="With an id on every line (`-`: stdin).",
)


@click.command("add")
@click.argument("cohort_id")
@click.argument("pii_ids", metavar="[PROFILE]...", nargs=-1)
@file_option
@as_json_option
def add_members(cohort_id: str, pii_ids: tuple[str, ...], file: str | None, as_json: bool) -> None:
    """Put profiles into a static cohort. Exit code 1 when some of them are not known; the others are added."""
    _change("POST", cohort_id, _ids(pii_ids, file), {"added": 0, "already": 0}, others="unknown", as_json=as_json)


@click.command("remove")
@click.argument("cohort_id")
@click.argument("pii_ids", metavar="[PROFILE]...", nargs=-1)
@file_option
@as_json_option
def remove_members(cohort_id: str, pii_ids: tuple[str, ...], file: str | None, as_json: bool) -> None:
    """Take profiles out of a static cohort. Exit code 1 when some of them are no members; the others are removed."""
    _change("DELETE", cohort_id, _ids(pii_ids, file), {"removed": 0}, others="not_members", as_json=as_json)


@click.command("progress")
@click.argument("cohort_id")
@as_json_option
def show_progress(cohort_id: str, as_json: bool) -> None:
    """Say how many members no longer match the rule that they came from."""
    with open_api() as api:
        found = api.get(f"{_path(cohort_id)}/progress")
    if as_json:
        print_json(found)
    else:
        print_fields(found)


@click.command("export")
@click.argument("cohort_id")
@click.option("--format", "file_format", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.option("--fields", help="Fields by commas, such as lead.score,contact.email; else all.")
@click.option("--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Else standard output.")
def export_members(cohort_id: str, file_format: str, fields: str | None, output: Path | None) -> None:
    """Write all members of a cohort with their fields; `muster import profiles` reads the file again.

    Exit code 1 when the connection breaks off: what was written by then is not whole. A file of that name is only
    replaced by a whole one.
    """
    with open_api() as api:
        chunks = api.stream(f"{_path(cohort_id)}/export", format=file_format, fields=fields)
        write_whole(chunks, output)


MEMBER_COMMANDS: Sequence[click.Command] = (add_members, remove_members, show_progress, export_members)


def _change(
    method: str, cohort_id: str, pii_ids: Sequence[str], totals: dict[str, int], *, others: str, as_json: bool
) -> None:
    """Send the ids, a part at a time, and print what it came to."""
    failed: list[str] = []
    failed_count = 0
    with open_api() as api:
        for part in _parts(pii_ids):
            answer = _answer(api, method, f"{_path(cohort_id)}/members", part)
            totals = {name: count + answer[name] for name, count in totals.items()}
            named = answer[others] if others in answer else [failure["pii_id"] for failure in answer["failures"]]
            failed += named
            failed_count += answer.get("failed_count", len(named))
    if as_json:
        print_json({**totals, others: failed, "failed_count": failed_count})
    else:
        print_fields({**totals, others: failed_count})
        for pii_id in failed[:SHOWN]:
            say(f"{others.replace('_', ' ')}: {pii_id}")
        if failed_count > SHOWN:
            say(f"… and {failed_count - SHOWN:,} more.")
    sys.exit(1 if failed_count else 0)


def _answer(api: Api, method: str, path: str, pii_ids: Sequence[str]) -> dict[str, Any]:
    """What became of one part, once it is done: an answer, or the result of a job with its failures."""
    answer: dict[str, Any] = api.call(method, path, json={"members": list(pii_ids)})
    if "job_id" not in answer:
        return answer
    job = api.wait_for(answer["job_id"])
    return {**job["result"], "failures": job["failures"]}


def _ids(pii_ids: tuple[str, ...], file: str | None) -> list[str]:
    if file is None and not pii_ids:
        raise click.UsageError("Name profiles, or a file that does.")
    if file is None:
        return list(pii_ids)
    with click.open_file(file, encoding="utf-8") as opened:
        return [*pii_ids, *(line.rstrip("\r\n") for line in opened if line.strip())]


def _parts(pii_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(pii_ids), AT_ONCE):
        yield pii_ids[start : start + AT_ONCE]


def _path(cohort_id: str) -> str:
    return f"/v1/cohorts/{quote(cohort_id, safe='')}"
