"""Webhooks as their owners see them: made, changed, tested, deleted."""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import ReturnDocument

from muster.api import etags
from muster.api.numbering import next_number
from muster.api.paging import decode_cursor, page_of
from muster.cohorts.documents import Cohort
from muster.cohorts.generations import server_time
from muster.cohorts.snapshot import open_snapshot
from muster.errors import Conflict, Invalid, NotFound, Problem
from muster.projects.service import project_of
from muster.settings import Settings
from muster.webhooks.addresses import Policy, Refused
from muster.webhooks.batches import delivery_id
from muster.webhooks.documents import KEEP, Delivery, Event, Webhook
from muster.webhooks.schemas import WebhookIn, WebhookPatch
from muster.webhooks.signatures import new_secret, open_vault

PREFIX = "WHK"
PER_PROJECT = 20
OLD_SECRET_SIGNS_FOR = timedelta(days=1)

# Asks the sender to look at a webhook at once; `wakes` tells a sender that was about to go to sleep.
WAKE: dict[str, Any] = {"wakes": {"$add": ["$wakes", 1]}, "wake_at": "$$NOW"}
# What is known of an endpoint's failures does not count any more.
FORGET_FAILURES: dict[str, Any] = {"failures": 0, "failing_since": None, "resting_until": None}


async def create(owner: str, body: WebhookIn, settings: Settings) -> tuple[Webhook, str]:
    """A new webhook and its secret, which nobody is shown again.

    Raises Invalid when Muster does not send to the address, or a cohort is not the project's.
    """
    project = await project_of(owner, body.project_id)
    await _check_address(body.url, settings)
    await _refuse_unknown(project.id, body.cohort_ids)
    if await Webhook.find({"project_id": project.id}).count() >= PER_PROJECT:
        raise Conflict(f"{project.id} has {PER_PROJECT} webhooks, and may not have more; delete one first.")
    webhook_id, secret, now = await next_number(PREFIX), new_secret(), await server_time()
    async with open_snapshot() as snapshot:
        since = snapshot.as_of
    webhook = Webhook(
        id=webhook_id,
        project_id=project.id,
        owner=owner,
        url=body.url,
        description=body.description,
        events=list(body.events),
        cohort_ids=body.cohort_ids,
        secret=open_vault(settings).lock(secret, webhook_id),
        since=since,
        since_at=now,
        created_at=now,
        updated_at=now,
    )
    # Beanie cannot encode a cluster time.
    await _webhooks().insert_one(webhook.model_dump(by_alias=True, exclude={"revision_id"}))
    return webhook, secret


async def webhook_of(owner: str, webhook_id: str) -> Webhook:
    """One webhook of an owner. Raises NotFound, also for another owner's."""
    found = await Webhook.find_one({"_id": webhook_id, "owner": owner})
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return found


async def list_webhooks(
    owner: str, *, project_id: str | None, limit: int, cursor: str | None
) -> tuple[list[Webhook], str | None]:
    """A page of a project's webhooks, the oldest first."""
    project = await project_of(owner, project_id)
    query: dict[str, Any] = {"project_id": project.id}
    if cursor is not None:
        created_at, last = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"created_at": {"$gt": created_at}}, {"created_at": created_at, "_id": {"$gt": last}}]
    rows = await Webhook.find(query).sort("created_at", "_id").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda webhook: (webhook.created_at, webhook.id))


async def patch(
    owner: str, webhook_id: str, body: WebhookPatch, settings: Settings, *, expected_revs: Collection[int] | None
) -> Webhook:
    """Set what is given. One that becomes active tells of what happens from now on, and sends what still waits."""
    given = body.model_fields_set
    values = {name: getattr(body, name) for name in given}
    while True:
        webhook = await webhook_of(owner, webhook_id)
        if expected_revs is not None and webhook.rev not in expected_revs:
            raise etags.stale()
        changed = {name: value for name, value in values.items() if getattr(webhook, name) != value}
        if not changed:
            return webhook
        if "url" in changed:
            await _check_address(body.url, settings)
        if "cohort_ids" in changed:
            await _refuse_unknown(webhook.project_id, body.cohort_ids)
        update: dict[str, Any] = {name: {"$literal": value} for name, value in changed.items()}
        if changed.get("active"):
            async with open_snapshot() as snapshot:
                update |= {"since": snapshot.as_of, "since_at": "$$NOW", "disabled_reason": None}
        if "url" in changed or changed.get("active"):
            update |= FORGET_FAILURES | WAKE
        update |= {"updated_at": "$$NOW", "rev": {"$add": ["$rev", 1]}}
        found = await _webhooks().find_one_and_update(
            {"_id": webhook_id, "owner": owner, "rev": webhook.rev},
            [{"$set": update}],
            return_document=ReturnDocument.AFTER,
        )
        if found is not None:
            return _read(found)


async def delete(owner: str, webhook_id: str, *, expected_revs: Collection[int] | None) -> None:
    """Delete a webhook with its deliveries."""
    webhook = await webhook_of(owner, webhook_id)
    if expected_revs is not None and webhook.rev not in expected_revs:
        raise etags.stale()
    query: dict[str, Any] = {"_id": webhook_id, "owner": owner}
    if expected_revs is not None:
        query["rev"] = {"$in": list(expected_revs)}
    gone = await _webhooks().delete_one(query)
    if gone.deleted_count == 0:
        raise etags.stale()
    await Delivery.get_motor_collection().delete_many({"webhook": webhook_id})


async def rotate_secret(owner: str, webhook_id: str, settings: Settings) -> tuple[Webhook, str]:
    """A new secret. The one before it signs beside it for a day, so that the receiver can change over in peace."""
    webhook = await webhook_of(owner, webhook_id)
    secret = new_secret()
    found = await _webhooks().find_one_and_update(
        {"_id": webhook_id, "owner": owner},
        [
            {
                "$set": {
                    "secret": open_vault(settings).lock(secret, webhook.id),
                    "previous_secret": "$secret",
                    "previous_until": {"$add": ["$$NOW", OLD_SECRET_SIGNS_FOR // timedelta(milliseconds=1)]},
                    "updated_at": "$$NOW",
                    "rev": {"$add": ["$rev", 1]},
                }
            }
        ],
        return_document=ReturnDocument.AFTER,
    )
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return _read(found), secret


async def send_test(owner: str, webhook_id: str) -> Delivery:
    """A delivery of the event `webhook.test`. Raises Conflict when the webhook is switched off."""
    await active_webhook_of(owner, webhook_id)
    found = await _webhooks().find_one_and_update(
        {"_id": webhook_id, "owner": owner},
        {"$inc": {"made": 1}},
        return_document=ReturnDocument.AFTER,
    )
    if found is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    now = await server_time()
    delivery = Delivery(
        id=delivery_id(webhook_id, Event.TEST, secrets.token_hex(16)),
        webhook=webhook_id,
        project_id=found["project_id"],
        number=found["made"],
        event=Event.TEST,
        at=now,
        due_at=now,
        created_at=now,
        expires_at=now + KEEP,
    )
    await delivery.insert()
    await wake(webhook_id)
    return delivery


async def active_webhook_of(owner: str, webhook_id: str) -> Webhook:
    """A webhook that sends. Raises Conflict when it is switched off."""
    webhook = await webhook_of(owner, webhook_id)
    if not webhook.active:
        raise Conflict(f'{webhook_id} is switched off and sends nothing; PATCH {{"active": true}} switches it on.')
    return webhook


async def wake(webhook_id: str) -> None:
    """Let the sender look at a webhook at once, also while its endpoint rests."""
    await _webhooks().update_one({"_id": webhook_id}, [{"$set": WAKE | {"resting_until": None}}])


async def forget_webhooks(project_id: str) -> None:
    """Delete the webhooks of a project that is gone, and their deliveries."""
    await _webhooks().delete_many({"project_id": project_id})
    await Delivery.get_motor_collection().delete_many({"project_id": project_id})


async def _check_address(url: str, settings: Settings) -> None:
    try:
        await Policy(settings.webhooks_allow_private).check(url)
    except Refused as refused:
        raise Invalid("Muster does not send to this address.", [Problem(str(refused), pointer="/url")]) from None


async def _refuse_unknown(project_id: str, cohort_ids: Sequence[str] | None) -> None:
    """Raise Invalid naming the cohorts that are not the project's."""
    if cohort_ids is None:
        return
    query = {"_id": {"$in": list(cohort_ids)}, "project_id": project_id}
    known = {found["_id"] async for found in Cohort.get_motor_collection().find(query, {"_id": 1})}
    problems = [
        Problem(f"There is no cohort {cohort_id!r} in {project_id}.", pointer=f"/cohort_ids/{index}")
        for index, cohort_id in enumerate(cohort_ids)
        if cohort_id not in known
    ]
    if problems:
        raise Invalid(f"{len(problems)} of the {len(cohort_ids)} cohorts are not known.", problems[:100])


def _read(stored: dict[str, Any]) -> Webhook:
    read: Webhook = Webhook.model_validate(stored)
    return read


def _webhooks() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Webhook.get_motor_collection()
