"""Deliveries as owners see them: listed, shown, sent again; and what an erasure takes out of them."""

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ReturnDocument

from muster.api.paging import decode_cursor, page_of
from muster.cohorts.documents import Change
from muster.errors import NotFound
from muster.webhooks import service
from muster.webhooks.documents import KEEP, Delivery, DeliveryState

_KEEP_MS = round(KEEP.total_seconds() * 1000)


async def list_deliveries(
    owner: str, webhook_id: str, *, state: DeliveryState | None, limit: int, cursor: str | None
) -> tuple[list[Delivery], str | None]:
    """A page of a webhook's deliveries, the newest first."""
    await service.webhook_of(owner, webhook_id)
    query: dict[str, Any] = {"webhook": webhook_id}
    if state is not None:
        query["state"] = state.value
    if cursor is not None:
        (number,) = decode_cursor(cursor, int)
        query["number"] = {"$lt": number}
    rows = await Delivery.find(query).sort("-number").limit(limit + 1).to_list()
    return page_of(rows, limit, lambda delivery: (delivery.number,))


async def delivery_of(owner: str, webhook_id: str, delivery_id: str) -> Delivery:
    """One delivery. Raises NotFound, also for another owner's, and for one that is kept no longer."""
    await service.webhook_of(owner, webhook_id)
    found = await Delivery.find_one({"_id": delivery_id, "webhook": webhook_id})
    if found is None:
        raise _unknown(webhook_id, delivery_id)
    return found


async def resend(owner: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Send once more, at once, and with all attempts again, under the same `webhook-id`.

    Raises Conflict when the webhook is switched off.
    """
    await service.active_webhook_of(owner, webhook_id)
    found = await Delivery.get_motor_collection().find_one_and_update(
        {"_id": delivery_id, "webhook": webhook_id},
        [
            {
                "$set": {
                    "state": DeliveryState.PENDING.value,
                    "due_at": "$$NOW",
                    "tries": 0,
                    "ended_at": None,
                    "expires_at": {"$add": ["$$NOW", _KEEP_MS]},
                }
            }
        ],
        return_document=ReturnDocument.AFTER,
    )
    if found is None:
        raise _unknown(webhook_id, delivery_id)
    await service.wake(webhook_id)
    delivery: Delivery = Delivery.model_validate(found)
    return delivery


async def forget_responses(
    session: AsyncIOMotorClientSession, _project_id: str, profile: ObjectId, _pii_id: str
) -> Mapping[str, int]:
    """Take what endpoints answered out of every delivery that told of a profile: it may repeat what it was told.

    Nothing else in a delivery is personal: it holds ids of changes. Called within an erasure's transaction.
    """
    changes = Change.get_motor_collection().find({"profile": profile}, {"_id": 1}, session=session)
    told = [change["_id"] async for change in changes]
    forgotten = await Delivery.get_motor_collection().update_many(
        {"entries": {"$in": told}, "attempts.response": {"$ne": None}},
        {"$set": {"attempts.$[].response": None}},
        session=session,
    )
    return {"webhook_responses": forgotten.modified_count}


def _unknown(webhook_id: str, delivery_id: str) -> NotFound:
    return NotFound(f"{webhook_id} has no delivery {delivery_id!r}; they are kept for {KEEP.days} days.")
