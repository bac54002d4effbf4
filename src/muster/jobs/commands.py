"""`muster jobs`: long work, seen from a terminal."""

import click

from muster.terminal.client import open_api
from muster.terminal.output import (
    as_json_option,
    limit_option,
    print_fields,
    print_json,
    print_rows,
    say,
)

COLUMNS = {"id": "Job", "kind": "Kind", "state": "State", "progress": "Progress", "created_at": "Created", "error": ""}
STATES = ("queued", "running", "succeeded", "failed", "cancelled")


@click.group()
def jobs() -> None:
    """Long work: evaluations, imports, assignments."""


@jobs.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@click.option("--kind", help="Only of this kind, such as evaluate.")
@click.option("--project", help="Only of this project; else of all.")
@limit_option
@as_json_option
def list_jobs(state: str | None, kind: str | None, project: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    with open_api() as api:
        found = api.items("/v1/jobs", limit=limit, state=state, kind=kind, project_id=project)
        print_rows(found if as_json else map(_row, found), COLUMNS, as_json=as_json)


@jobs.command("show")
@click.argument("job_id")
@click.option("--wait", is_flag=True, help="Wait until it ends, with a progress bar; exit code 1 when it fails.")
@as_json_option
def show_job(job_id: str, wait: bool, as_json: bool) -> None:
    """Show one job."""
    with open_api() as api:
        job = api.wait_for(job_id) if wait else api.get(f"/v1/jobs/{job_id}")
    if as_json:
        print_json(job)
    else:
        print_fields({**job, "progress": _progress(job)})


@jobs.command("cancel")
@click.argument("job_id")
@as_json_option
def cancel_job(job_id: str, as_json: bool) -> None:
    """Cancel a job; one that runs ends at its next report of progress."""
    with open_api() as api:
        job = api.post(f"/v1/jobs/{job_id}/cancel")
    if as_json:
        print_json(job)
    elif job["state"] == "cancelled":
        say(f"{job_id} is cancelled.")
    else:
        say(f"{job_id} ends at its next report of progress.")


@jobs.command("retry")
@click.argument("job_id")
@as_json_option
def retry_job(job_id: str, as_json: bool) -> None:
    """Try a failed or cancelled job again, or those of its items that failed, and wait until that is done."""
    with open_api() as api:
        api.post(f"/v1/jobs/{job_id}/retry")
        job = api.wait_for(job_id)
    if as_json:
        print_json(job)
    else:
        print_fields({**job, "progress": _progress(job)})


def _row(job: dict[str, object]) -> dict[str, object]:
    return {**job, "progress": _progress(job)}


def _progress(job: dict[str, object]) -> str:
    match job["progress"]:
        case {"done": int(done), "total": int(total)}:
            return f"{done:,} of {total:,}"
        case {"done": int(done)} if done:
            return f"{done:,}"
    return ""
