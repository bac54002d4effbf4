"""`muster cohorts changes`, `runs` and `size`: what became of a cohort over time."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from muster.terminal.client import open_api
from muster.terminal.output import as_json_option, limit_option, print_json, print_rows, say

CHANGES = {"at": "At", "pii_id": "Profile", "change": "Change", "cause": "Cause", "run": "Run"}
RUNS = {
    "id": "Run",
    "at": "At",
    "state": "State",
    "cause": "Cause",
    "added": "Entered",
    "removed": "Left",
    "member_count": "Members",
    "elapsed_ms": "ms",
    "rule": "Rule",
    "error": "Error",
}
STATES = ["succeeded", "failed", "cancelled", "superseded"]
SIZES = {"at": "At", "size": "Members", "entered": "Entered", "left": "Left"}

from_option = click.option("--from", "since", metavar="TIME", help="From this moment on, as 2026-11-25T12:00:00Z.")
to_option = click.option("--to", "until", metavar="TIME", help="Up to this moment.")


@click.command("changes")
@click.argument("cohort_id")
@click.option("--order", type=click.Choice(["newest", "oldest"]), default="newest", show_default=True)
@click.option("--change", type=click.Choice(["entered", "left"]), help="Only one kind.")
@click.option("--cause", type=click.Choice(["rule", "record", "time", "manual", "import"]), help="Only of this cause.")
@click.option("--profile", "pii_id", help="Only of this profile.")
@click.option("--run", help="Only what this run changed.")
@from_option
@to_option
@limit_option
@as_json_option
def list_changes(
    *, cohort_id: str, since: str | None, until: str | None, limit: int, as_json: bool, **query: str | None
) -> None:
    """List who entered a cohort and who left it, and why."""
    with open_api() as api:
        filters: dict[str, Any] = {**query, "from": since, "to": until}
        print_rows(api.items(f"{_path(cohort_id)}/changes", limit=limit, **filters), CHANGES, as_json=as_json)


@click.command("runs")
@click.argument("cohort_id")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@limit_option
@as_json_option
def list_runs(cohort_id: str, state: str | None, limit: int, as_json: bool) -> None:
    """List the full evaluations of a cohort, newest first; also those that came to nothing."""
    with open_api() as api:
        print_rows(api.items(f"{_path(cohort_id)}/runs", limit=limit, state=state), RUNS, as_json=as_json)


@click.command("size")
@click.argument("cohort_id")
@from_option
@to_option
@click.option("--points", type=click.IntRange(1, 1_000), default=200, show_default=True, help="At most so many.")
@as_json_option
def show_sizes(cohort_id: str, since: str | None, until: str | None, points: int, as_json: bool) -> None:
    """Show how many members a cohort had over time: after each change, or, where those are too many, by intervals."""
    with open_api() as api:
        found = api.get(f"{_path(cohort_id)}/size", points=points, **{"from": since, "to": until})
    if as_json:
        print_json(found)
        return
    if found["interval_seconds"] is not None:
        say(f"Intervals of {found['interval_seconds']:,.3f} s, each with its last moment of change.")
    print_rows([{"at": found["since"], "size": found["size_before"]}, *found["items"]], SIZES, as_json=False)


def _path(cohort_id: str) -> str:
    return f"/v1/cohorts/{quote(cohort_id, safe='')}"


HISTORY: Sequence[click.Command] = (list_changes, list_runs, show_sizes)
