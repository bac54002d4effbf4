"""`muster attio webhook`: whether Attio tells a project of changes."""

import sys
from typing import Any

import click

from muster.terminal.client import open_api
from muster.terminal.output import as_json_option, print_fields, print_json, project_option, say


@click.group()
def webhook() -> None:
    """Attio's webhook: what changes in Attio changes here a moment later."""


@webhook.command("register")
@click.argument("address")
@project_option
@as_json_option
def register(address: str, project: str | None, as_json: bool) -> None:
    """Let Attio tell of changes. ADDRESS is where Attio reaches Muster, such as https://muster.example.com.

    The key needs the scope webhook:read-write. An earlier webhook for this project is replaced.
    """
    _put({"target_url": address}, project, as_json=as_json)


@webhook.command("secret")
@project_option
@as_json_option
def secret(project: str | None, as_json: bool) -> None:
    """Keep the secret of a webhook that you made in Attio. It comes from the terminal (unseen) or standard input.

    Never from an argument: everybody on the machine could read it there.
    """
    found: str = click.prompt("Secret", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
    if not found.strip():
        raise click.UsageError("No secret: type it, or pipe it in.")
    _put({"secret": found.strip()}, project, as_json=as_json)


@webhook.command("status")
@project_option
@as_json_option
def status(project: str | None, as_json: bool) -> None:
    """Show whether Attio tells of changes, and when it last did; exit code 1 when it does not."""
    with open_api() as api:
        state = api.get("/v1/attio/webhook", project_id=project)
    _show(state, as_json=as_json)
    if state["state"] == "off":
        sys.exit(1)


@webhook.command("remove")
@project_option
def remove(project: str | None) -> None:
    """Hear no more: the webhook is deleted at Attio, its secret forgotten."""
    with open_api() as api:
        api.call("DELETE", "/v1/attio/webhook", query={"project_id": project})
    say("Removed.")


def _put(body: dict[str, Any], project: str | None, *, as_json: bool) -> None:
    with open_api() as api:
        state = api.call("PUT", "/v1/attio/webhook", json=body | ({"project_id": project} if project else {}))
    _show(state, as_json=as_json)


def _show(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    words = {"off": "off", "secret": "on, with a secret given by hand", "registered": "on, made at Attio"}
    print_fields(
        {
            "Project": state["project_id"],
            "Webhook": words[state["state"]],
            "Path": state["path"],
            "Address": state["target_url"],
            "Last delivery": state["last_delivery_at"],
        }
    )
