"""`muster webhooks`, as a person calls it."""

import json
from collections.abc import Awaitable, Callable

from click.testing import Result

from muster.webhooks.documents import Delivery

Muster = Callable[..., Awaitable[Result]]
URL = "https://1.1.1.1/hook"


async def test_the_life_of_a_webhook(muster: Muster) -> None:
    made = json.loads((await muster("webhooks", "create", URL, "--event", "job.finished", "--json")).stdout)
    assert (made["events"], made["cohort_ids"], made["secret"][:6]) == (["job.finished"], None, "whsec_")
    other = await muster("webhooks", "create", URL)
    assert "whsec_" in other.stdout
    assert "Keep the secret" in other.stderr
    table = (await muster("webhooks", "list")).stdout.splitlines()
    assert table[1].split() == [made["id"], URL, "job.finished", "active"]
    assert "whsec_" not in (await muster("webhooks", "list", "--json")).stdout

    assert (await muster("webhooks", "test", made["id"])).exit_code == 0
    (delivery,) = json.loads((await muster("webhooks", "deliveries", made["id"], "--json")).stdout)
    assert (delivery["event"], delivery["state"]) == ("webhook.test", "pending")
    await Delivery.find_one({"_id": delivery["id"]}).update({"$set": {"state": "failed"}})
    assert delivery["id"] in (await muster("webhooks", "deliveries", made["id"], "--state", "failed")).stdout
    again = json.loads((await muster("webhooks", "resend", made["id"], "--failed", "--json")).stdout)
    assert [(one["id"], one["state"]) for one in again] == [(delivery["id"], "pending")]
    named = await muster("webhooks", "resend", made["id"], delivery["id"])
    assert named.stderr == "1 delivery is on the way again.\n"
    assert (await muster("webhooks", "resend", made["id"])).exit_code == 2

    assert (await muster("webhooks", "delete", made["id"])).exit_code == 0
    gone = await muster("webhooks", "deliveries", made["id"])
    assert (gone.exit_code, gone.stderr) == (1, f"Error: There is no webhook {made['id']}.\n")
    refused = await muster("webhooks", "create", "https://127.0.0.1/")
    assert refused.exit_code == 1
    assert "MUSTER_WEBHOOKS_ALLOW_PRIVATE" in refused.stderr
