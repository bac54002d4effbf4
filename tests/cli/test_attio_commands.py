"""`muster attio`, as a person calls it."""

import json
from collections.abc import Awaitable, Callable

import pytest
from click.testing import Result

from muster.cli import main
from muster.sandbox.attio import KEY, AttioSandbox

Muster = Callable[..., Awaitable[Result]]


async def test_connect_status_lists_disconnect(muster: Muster, attio: AttioSandbox) -> None:
    assert KEY in attio.keys
    before = await muster("attio", "status")
    assert (before.exit_code, before.stdout.splitlines()[1].split()) == (1, ["Connected", "no"])
    refused = await muster("attio", "lists")
    assert (refused.exit_code, "muster attio connect" in refused.stderr) == (1, True)

    connected = await muster("attio", "connect", input=f"{KEY}\n")
    assert connected.exit_code == 0, connected.output
    assert "Sandbox (not Attio)" in connected.stdout
    assert KEY not in connected.output
    state = json.loads((await muster("attio", "status", "--json")).stdout)
    assert (state["connected"], state["missing_scopes"], state["key"]) == (True, [], "project")
    table = (await muster("attio", "lists")).stdout.splitlines()
    assert [line.split()[0] for line in table] == ["List", "beta-testers", "sales-pipeline"]
    assert [found["api_slug"] for found in json.loads((await muster("attio", "lists", "--json")).stdout)] == [
        "beta-testers",
        "sales-pipeline",
    ]

    gone = await muster("attio", "disconnect")
    assert (gone.exit_code, gone.stderr) == (0, "Disconnected.\n")
    assert (await muster("attio", "status")).exit_code == 1


async def test_the_key_comes_from_the_environment_too_and_scopes_that_lack_are_told(
    muster: Muster, attio: AttioSandbox
) -> None:
    attio.keys[KEY].scopes = "record_permission:read"
    connected = await muster("attio", "connect", env={"MUSTER_ATTIO_API_KEY": KEY})
    assert connected.exit_code == 0, connected.output
    assert "list_entry:read" in connected.stdout
    assert "Without these scopes" in connected.stderr


async def test_no_key_or_a_wrong_one(muster: Muster, attio: AttioSandbox) -> None:
    attio.keys[KEY].is_active = False
    assert (await muster("attio", "connect", input="\n", env={"MUSTER_ATTIO_API_KEY": ""})).exit_code == 2
    wrong = await muster("attio", "connect", input=f"{KEY}\n")
    assert (wrong.exit_code, KEY in wrong.output) == (1, False)
    assert "revoked" in wrong.stderr


@pytest.mark.parametrize("name", ["connect", "status", "lists", "disconnect"])
def test_no_command_takes_a_key_as_an_argument(name: str) -> None:
    """Whoever lists processes would see it."""
    command = main.commands["attio"].commands[name]  # type: ignore[attr-defined]
    assert {parameter.name for parameter in command.params} <= {"project", "as_json", "limit"}


async def test_webhook_register_status_secret_remove(muster: Muster, attio: AttioSandbox) -> None:
    assert (await muster("attio", "connect", input=f"{KEY}\n")).exit_code == 0
    off = await muster("attio", "webhook", "status")
    assert (off.exit_code, "off" in off.stdout) == (1, True)
    made = await muster("attio", "webhook", "register", "https://muster.example.com/")
    assert made.exit_code == 0, made.output
    assert "https://muster.example.com/hooks/attio/PRJ-" in made.stdout
    assert [each["status"] for each in attio.webhooks] == ["active"]
    assert attio.webhooks[0]["secret"] not in made.output
    given = await muster("attio", "webhook", "secret", "--json", input="a secret from Attio\n")
    assert json.loads(given.stdout)["state"] == "registered"
    assert (await muster("attio", "webhook", "secret", input="\n")).exit_code == 2
    gone = await muster("attio", "webhook", "remove")
    assert (gone.exit_code, gone.stderr, attio.webhooks) == (0, "Removed.\n", [])
