"""`muster attio`: connect a project with Attio, and see what is there."""

import os
import sys
from typing import Any

import click

from muster.terminal.client import open_api
from muster.terminal.output import (
    as_json_option,
    limit_option,
    print_fields,
    print_json,
    print_rows,
    project_option,
    say,
)

LISTS = {"api_slug": "List", "name": "Name", "parent_objects": "Holds", "created_at": "Created"}


@click.group()
def attio() -> None:
    """The connection with Attio: a project's key, what it may do, and the lists it sees."""


@attio.command("connect")
@project_option
@as_json_option
def connect(project: str | None, as_json: bool) -> None:
    """Connect a project. The key comes from the terminal (unseen), standard input, or MUSTER_ATTIO_API_KEY.

    Never from an argument: everybody on the machine could read it there.
    """
    body: dict[str, Any] = {"api_key": _key()} | ({"project_id": project} if project else {})
    with open_api() as api:
        state = api.call("PUT", "/v1/attio/connection", json=body)
    _show(state, as_json=as_json)


@attio.command("status")
@project_option
@as_json_option
def status(project: str | None, as_json: bool) -> None:
    """Show how a project is connected; exit code 1 when it is not."""
    with open_api() as api:
        state = api.get("/v1/attio/connection", project_id=project)
    _show(state, as_json=as_json)
    if not state["connected"]:
        sys.exit(1)


@attio.command("disconnect")
@project_option
def disconnect(project: str | None) -> None:
    """Forget the key and the workspace of a project. What was imported stays."""
    with open_api() as api:
        api.call("DELETE", "/v1/attio/connection", query={"project_id": project})
    say("Disconnected.")


@attio.command("lists")
@project_option
@limit_option
@as_json_option
def lists(project: str | None, limit: int, as_json: bool) -> None:
    """List the lists of the workspace."""
    with open_api() as api:
        print_rows(api.items("/v1/attio/lists", limit=limit, project_id=project), LISTS, as_json=as_json)


def _key() -> str:
    """The key, from wherever nobody else can see it."""
    if sys.stdin.isatty():
        found: str = os.environ.get("MUSTER_ATTIO_API_KEY") or click.prompt("Attio API key", hide_input=True, err=True)
    else:
        found = sys.stdin.readline() or os.environ.get("MUSTER_ATTIO_API_KEY", "")
    if not found.strip():
        raise click.UsageError("No key: type it, pipe it in, or set MUSTER_ATTIO_API_KEY.")
    return found.strip()


def _show(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    workspace = state["workspace"] or {}
    print_fields(
        {
            "Project": state["project_id"],
            "Connected": state["connected"],
            "Workspace": workspace.get("name") or workspace.get("id"),
            "Scopes": state["scopes"],
            "Missing scopes": state["missing_scopes"],
            "Key of": state["key"],
            "Problem": state["problem"],
        }
    )
    if state["missing_scopes"]:
        say("Without these scopes not everything can be read: give the key all of them in Attio.")
