"""`muster agents`, `muster assign`, `muster jobs undo`: leads handed to people, from a terminal."""

from typing import Any
from urllib.parse import quote

import click

from muster.terminal.client import Api, open_api
from muster.terminal.output import (
    as_json_option,
    limit_option,
    print_fields,
    print_json,
    print_rows,
    project_option,
    say,
)

LISTED = {
    "id": "Agent",
    "name": "Name",
    "email": "E-mail",
    "daily_capacity": "Capacity",
    "capacity_used_today": "Used today",
    "capacity_left_today": "Left",
    "active": "Active",
}
SHARES = {
    "agent_id": "Agent",
    "leads": "Leads",
    "share": "Exact share",
    "deviation": "Deviation",
    "daily_capacity": "Capacity",
}
TASKS = {"id": "Task", "pii_id": "Lead", "title": "Title", "due_at": "Due", "state": "State"}
STRATEGIES = ("round_robin", "capacity_weighted")
COUNTS = ("assigned_count", "unchanged", "reassigned", "left_alone", "unassigned_count", "failed_count")
SHOWN_FAILURES = 10


@click.group()
def agents() -> None:
    """People to whom leads are assigned."""


@agents.command("list")
@click.option("--active/--inactive", default=None, help="Only those who are, or are not.")
@project_option
@limit_option
@as_json_option
def list_agents(active: bool | None, project: str | None, limit: int, as_json: bool) -> None:
    """List agents, with what is left of today's capacity."""
    with open_api() as api:
        found = api.items("/v1/agents", limit=limit, project_id=project, **_flag("active", active))
        print_rows(found, LISTED, as_json=as_json)


@agents.command("show")
@click.argument("agent_id")
@project_option
@as_json_option
def show_agent(agent_id: str, project: str | None, as_json: bool) -> None:
    """Show one agent."""
    with open_api() as api:
        _print(api.get(_path(agent_id), project_id=project), as_json=as_json)


@agents.command("create")
@click.argument("name")
@click.option("--capacity", type=click.IntRange(0), required=True, help="Leads a day.")
@click.option("--email")
@click.option("--id", "agent_id", help="An id of your own; else the next one, such as A0-1001.")
@project_option
@as_json_option
def create_agent(
    *, name: str, capacity: int, email: str | None, agent_id: str | None, project: str | None, as_json: bool
) -> None:
    """Create an agent."""
    body = {"name": name, "daily_capacity": capacity} | ({"email": email} if email else {})
    with open_api() as api:
        if agent_id is None:
            made = api.call("POST", "/v1/agents", query={"project_id": project}, json=body)
        else:
            only_new = {"If-None-Match": "*"}
            query = {"project_id": project}
            made = api.call("PUT", _path(agent_id), query=query, json=body, headers=only_new)
    _print(made, as_json=as_json)


@agents.command("set")
@click.argument("agent_id")
@click.option("--name")
@click.option("--email")
@click.option("--capacity", type=click.IntRange(0), help="Leads a day.")
@click.option("--active/--inactive", default=None, help="Whether leads may be assigned to this agent.")
@project_option
@as_json_option
def set_agent(
    *,
    agent_id: str,
    name: str | None,
    email: str | None,
    capacity: int | None,
    active: bool | None,
    project: str | None,
    as_json: bool,
) -> None:
    """Change an agent."""
    values = {"name": name, "email": email, "daily_capacity": capacity, "active": active}
    body = {field: value for field, value in values.items() if value is not None}
    if not body:
        raise click.UsageError("Say what to change, such as --capacity 20.")
    with open_api() as api:
        changed = api.call("PATCH", _path(agent_id), query={"project_id": project}, json=body)
    _print(changed, as_json=as_json)


@agents.command("delete")
@click.argument("agent_id")
@project_option
def delete_agent(agent_id: str, project: str | None) -> None:
    """Delete an agent who has no leads any more."""
    with open_api() as api:
        api.call("DELETE", _path(agent_id), query={"project_id": project})
    say(f"{agent_id} is deleted.")


@agents.command("tasks")
@click.argument("agent_id")
@click.option("--state", type=click.Choice(["open", "done", "cancelled"]), default="open", show_default=True)
@project_option
@limit_option
@as_json_option
def list_tasks(*, agent_id: str, state: str, project: str | None, limit: int, as_json: bool) -> None:
    """List what an agent has to do, by when it is due."""
    with open_api() as api:
        found = api.items(f"{_path(agent_id)}/tasks", limit=limit, state=state, project_id=project)
        print_rows(found, TASKS, as_json=as_json)


@click.command()
@click.argument("cohort_id")
@click.option("--agents", "agent_ids", required=True, help="Their ids, with commas between them, in order.")
@click.option("--strategy", type=click.Choice(STRATEGIES), default=STRATEGIES[0], show_default=True)
@click.option("--keep", is_flag=True, help="Leave leads alone that are with an agent already.")
@click.option("--continue", "goes_on", is_flag=True, help="Go on where the last assignment to these agents stopped.")
@click.option("--respect-capacity", is_flag=True, help="Nobody gets more than is left of today; the rest waits.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@as_json_option
def assign(
    *,
    cohort_id: str,
    agent_ids: str,
    strategy: str,
    keep: bool,
    goes_on: bool,
    respect_capacity: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Hand the leads of a cohort to agents, and wait until that is done."""
    body = {
        "agent_ids": [agent.strip() for agent in agent_ids.split(",") if agent.strip()],
        "strategy": strategy,
        "reassign": not keep,
        "rotation": "continue" if goes_on else "restart",
        "respect_capacity": respect_capacity,
        "dry_run": dry_run,
    }
    with open_api() as api:
        answer = _finished(api, api.post(f"/v1/cohorts/{quote(cohort_id, safe='')}/assign", body))
    if as_json:
        print_json(answer)
        return
    print_rows(answer["fairness"]["agents"], SHARES, as_json=False)
    print_fields({name.removesuffix("_count"): answer[name] for name in COUNTS})
    _say_failures(answer)


@click.command("undo")
@click.argument("job_id")
@as_json_option
def undo(job_id: str, as_json: bool) -> None:
    """Take an assignment back, for the leads that nobody touched since, and wait until that is done."""
    with open_api() as api:
        answer = _finished(api, api.post(f"/v1/jobs/{quote(job_id, safe='')}/undo"))
    if as_json:
        print_json(answer)
        return
    print_fields({"job": answer["job_id"], "undone": answer["undone_count"], "left": answer["failed_count"]})
    _say_failures(answer)


def _finished(api: Api, answer: dict[str, Any]) -> dict[str, Any]:
    """The answer of an assignment; one that goes on in the background, with a bar, once it has ended."""
    if set(answer) != {"job_id"}:
        return answer
    job = api.wait_for(answer["job_id"])
    return {**answer, **job["result"], "failures": job["failures"]}


def _say_failures(answer: dict[str, Any]) -> None:
    for failure in answer.get("failures", [])[:SHOWN_FAILURES]:
        say(f"{failure['pii_id'] or 'Somebody'}: {failure['detail']}")
    if answer["failed_count"] > SHOWN_FAILURES:
        say(f"… and {answer['failed_count'] - SHOWN_FAILURES:,} more: GET /v1/jobs/{answer['job_id']}/failures.")


def _print(agent: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(agent)
    else:
        print_fields(agent)


def _flag(name: str, value: bool | None) -> dict[str, str]:
    return {} if value is None else {name: str(value).lower()}


def _path(agent_id: str) -> str:
    return f"/v1/agents/{quote(agent_id, safe='')}"
