"""`muster import attio`: companies, people or a list, from Attio into the project."""

import json
from typing import Any

import click

from muster.terminal.client import open_api
from muster.terminal.output import as_json_option, print_fields, print_json, project_option, say

SHOWN = 20  # failures; --json shows all that the job lists


@click.command("attio")
@click.argument("source", type=click.Choice(["companies", "people", "list"]), required=False)
@click.argument("list_name", metavar="[LIST]", required=False)
@click.option("--q", help="Only those whose name, e-mail address or domain holds this.")
@click.option("--filter", "attio_filter", metavar="JSON", help="Only what a filter in Attio's grammar lets through.")
@click.option("--ids", help="Only these record ids, separated by commas; @FILE reads one a line, @- standard input.")
@click.option("--save-as-cohort", metavar="NAME", help="Make a static cohort of exactly what is imported.")
@click.option("--add-to-cohort", metavar="ID", help="Put what is imported into this static cohort.")
@click.option("--refresh", is_flag=True, help="Fetch again what was imported, and mark what Attio has no longer.")
@click.option("--no-wait", is_flag=True, help="Print the job and leave; `muster jobs show --wait` looks at it later.")
@project_option
@as_json_option
def import_attio(
    *,
    source: str | None,
    list_name: str | None,
    q: str | None,
    attio_filter: str | None,
    ids: str | None,
    save_as_cohort: str | None,
    add_to_cohort: str | None,
    refresh: bool,
    no_wait: bool,
    project: str | None,
    as_json: bool,
) -> None:
    """Import companies, people, or the LIST of this slug, from Attio.

    \b
    muster import attio people --filter '{"job_title": "Engineer"}' --save-as-cohort "Beta testers"
    muster import attio list prospects
    muster import attio --refresh
    """
    if source is None and not refresh:
        raise click.UsageError("Say what to import: companies, people or list.")
    if source == "list" and list_name is None and not refresh:
        raise click.UsageError("Name the list: muster import attio list SLUG (`muster attio lists` shows them).")
    body: dict[str, Any] = {
        "source": source,
        "list": list_name,
        "q": q,
        "filter": _filter(attio_filter),
        "record_ids": _ids(ids),
        "project_id": project,
        "save_as_cohort": {"name": save_as_cohort} if save_as_cohort else None,
        "add_to_cohort": add_to_cohort,
    }
    with open_api() as api:
        begun = {name: value for name, value in body.items() if value is not None} | {"refresh": refresh}
        job_id = api.post("/v1/attio/imports", begun)["job_id"]
        if no_wait:
            job = api.get(f"/v1/jobs/{job_id}")
        else:
            say(f"{job_id} imports.")
            job = api.wait_for(job_id)
    if as_json:
        print_json(job)
        return
    print_fields({"job": job_id, **(job["result"] or {"state": job["state"]})})
    for failure in job["failures"][:SHOWN]:
        say(": ".join(str(failure[name]) for name in ("record_id", "detail") if failure.get(name)))
    if len(job["failures"]) > SHOWN:
        say(f"… and {len(job['failures']) - SHOWN:,} more; `muster jobs show {job_id}` lists them.")


def _filter(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        read = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--filter is no JSON: {error}") from error
    if not isinstance(read, dict):
        raise click.UsageError('--filter is an object, such as {"name": {"$contains": "acme"}}.')
    return read


def _ids(text: str | None) -> list[str] | None:
    if text is None:
        return None
    if text.startswith("@"):
        with click.open_file(text[1:]) as file:
            text = file.read().replace("\n", ",")
    return [one for each in text.split(",") if (one := each.strip())]
