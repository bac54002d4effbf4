"""`muster webhooks`: other systems that are told of changes."""

from typing import Any
from urllib.parse import quote

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

LISTED = {"id": "Webhook", "url": "Address", "events": "Events", "cohort_ids": "Cohorts", "state": "State"}
DELIVERIES = {
    "id": "Delivery",
    "event": "Event",
    "about": "About",
    "change_count": "Changes",
    "state": "State",
    "attempt_count": "Attempts",
    "next_attempt_at": "Next attempt",
    "error": "Last error",
}
EVENTS = ("cohort.entered", "cohort.left", "job.finished")
STATES = ("pending", "delivered", "failed", "dropped")


@click.group()
def webhooks() -> None:
    """Addresses that are told who entered or left a cohort, and which job ended."""


@webhooks.command("list")
@project_option
@limit_option
@as_json_option
def list_webhooks(project: str | None, limit: int, as_json: bool) -> None:
    """List webhooks, oldest first."""
    with open_api() as api:
        found = api.items("/v1/webhooks", limit=limit, project_id=project)
        print_rows(found if as_json else map(_flat, found), LISTED, as_json=as_json)


@webhooks.command("create")
@click.argument("url")
@click.option("--event", "events", type=click.Choice(EVENTS), multiple=True, help="May be repeated; default: all.")
@click.option("--cohort", "cohorts", multiple=True, help="Only of this cohort; may be repeated.")
@click.option("--description", default="")
@project_option
@as_json_option
def create_webhook(
    *,
    url: str,
    events: tuple[str, ...],
    cohorts: tuple[str, ...],
    description: str,
    project: str | None,
    as_json: bool,
) -> None:
    """Create a webhook, and print the secret that signs what it sends: this once."""
    body: dict[str, Any] = {"url": url, "events": list(events or EVENTS), "description": description}
    body |= {"cohort_ids": list(cohorts)} if cohorts else {}
    body |= {"project_id": project} if project else {}
    with open_api() as api:
        made = api.post("/v1/webhooks", body)
    if as_json:
        print_json(made)
    else:
        print_fields(made)
        say("Keep the secret: nobody is shown it again.")


@webhooks.command("delete")
@click.argument("webhook_id")
def delete_webhook(webhook_id: str) -> None:
    """Delete a webhook, with what it still had to send."""
    with open_api() as api:
        api.call("DELETE", _path(webhook_id))
    say(f"{webhook_id} is deleted.")


@webhooks.command("test")
@click.argument("webhook_id")
@as_json_option
def test_webhook(webhook_id: str, as_json: bool) -> None:
    """Send a test event. `muster webhooks deliveries` shows what came of it."""
    with open_api() as api:
        made = api.post(f"{_path(webhook_id)}/test")
    if as_json:
        print_json(made)
    else:
        say(f"{made['id']} is on its way.")


@webhooks.command("deliveries")
@click.argument("webhook_id")
@click.option("--state", type=click.Choice(STATES), help="Only in this state.")
@limit_option
@as_json_option
def list_deliveries(webhook_id: str, state: str | None, limit: int, as_json: bool) -> None:
    """List what was sent and what waits to be, newest first."""
    with open_api() as api:
        found = api.items(f"{_path(webhook_id)}/deliveries", limit=limit, state=state)
        print_rows(found if as_json else map(_told, found), DELIVERIES, as_json=as_json)


@webhooks.command("resend")
@click.argument("webhook_id")
@click.argument("delivery_ids", nargs=-1)
@click.option("--failed", is_flag=True, help="All that have failed for good.")
@as_json_option
def resend(webhook_id: str, delivery_ids: tuple[str, ...], failed: bool, as_json: bool) -> None:
    """Send deliveries again, at once and under the same id."""
    if bool(delivery_ids) == failed:
        raise click.UsageError("Name deliveries, or give --failed.")
    path = f"{_path(webhook_id)}/deliveries"
    with open_api() as api:
        if failed:
            delivery_ids = tuple(delivery["id"] for delivery in api.items(path, state="failed"))
        sent = [api.post(f"{path}/{quote(delivery_id, safe='')}/resend") for delivery_id in reversed(delivery_ids)]
    if as_json:
        print_json(sent)
    else:
        say(f"{len(sent):,} {'delivery is' if len(sent) == 1 else 'deliveries are'} on the way again.")


def _flat(webhook: dict[str, Any]) -> dict[str, Any]:
    off = webhook["disabled_reason"] or "switched off"
    failing = f"failing since {webhook['failing_since']}" if webhook["failing_since"] else "active"
    return {**webhook, "state": failing if webhook["active"] else off}


def _told(delivery: dict[str, Any]) -> dict[str, Any]:
    last = delivery["attempts"][-1]["error"] if delivery["attempts"] else None
    return {**delivery, "about": delivery["cohort_id"] or delivery["job_id"], "error": last}


def _path(webhook_id: str) -> str:
    return f"/v1/webhooks/{quote(webhook_id, safe='')}"
