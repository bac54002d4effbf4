"""`muster rules indexes`: which indexes rules would gain by."""

from typing import Any

import click

from muster.terminal.client import open_api
from muster.terminal.output import as_json_option, print_fields, print_json, print_rows, project_option

INDEXES = {"field": "Field", "state": "State", "cohorts": "Cohorts", "size": "Size", "reason": "Why"}
SHOWN_COHORTS = 3


@click.command("indexes")
@project_option
@click.option("--all", "every", is_flag=True, help="By the rules of all your projects.")
@click.option("--create", is_flag=True, help="Build the indexes that are suggested, and wait for them.")
@click.option("--field", "fields", multiple=True, help="With --create, build on this field instead; may be repeated.")
@click.option("--drop-unused", is_flag=True, help="Drop those that no rule of a dynamic cohort speaks of.")
@as_json_option
def list_indexes(
    *, project: str | None, every: bool, create: bool, fields: tuple[str, ...], drop_unused: bool, as_json: bool
) -> None:
    """Say which indexes on fields the rules of cohorts would gain by, and why; build or drop them on request."""
    if fields and not create:
        raise click.UsageError("--field goes with --create.")
    with open_api() as api:
        if not create and not drop_unused:
            found = api.get("/v1/rules/indexes", project_id=project, all=every or None)["items"]
            print_rows(found if as_json else map(_row, found), INDEXES, as_json=as_json)
            return
        body: dict[str, Any] = {"all": every, "create": create, "drop_unused": drop_unused}
        body |= {"project_id": project} if project else {}
        body |= {"fields": list(fields)} if fields else {}
        result = api.post("/v1/rules/indexes", body)
        if "job_id" in result:
            result = {**api.wait_for(result["job_id"])["result"], "dropped": result["dropped"]}
    if as_json:
        print_json(result)
    else:
        print_fields({**result, "left_out": [f"{each['field']}: {each['detail']}" for each in result["left_out"]]})


def _row(index: dict[str, Any]) -> dict[str, Any]:
    cohorts = index["cohorts"]
    more = f" and {len(cohorts) - SHOWN_COHORTS} more" if len(cohorts) > SHOWN_COHORTS else ""
    size = index["size_bytes"]
    return {
        **index,
        "cohorts": ", ".join(cohorts[:SHOWN_COHORTS]) + more,
        "size": "" if size is None else f"{size / 1_000_000:,.1f} MB",
    }
