"""What can be asked of the stand-in itself, under `/sandbox`: faults, changed records, other keys, webhooks.

    GET    /sandbox                        what it is, and what it holds
    GET    /sandbox/requests               what was asked of it
    GET|POST|DELETE /sandbox/faults        what is to go wrong: {"kind", "times", "match", "skip", …}
    PUT    /sandbox/records/{object}/{id}  {"values": {slug: [...]}}: change a record, or make one
    DELETE /sandbox/records/{object}/{id}
    POST   /sandbox/records/{object}/{id}/merge   {"duplicate": id, "into": id?}: two records become one, or a third
    DELETE /sandbox/entries/{list}/{id}
    PUT    /sandbox/keys/{key}             {"scopes", "is_active", "workspace": 2}: another key, or another workspace's
    POST   /sandbox/deliveries             {"target_url", "secret", "events", …}: send a webhook, signed

A change tells every webhook that was made with `POST /v2/webhooks` and wants to know.
"""

import hashlib
import hmac
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import httpx
import msgspec

from muster.sandbox.attio import SCOPES, AttioSandbox, Key
from muster.sandbox.attio_faults import KINDS
from muster.sandbox.attio_people import FIRST_DAY, stamp
from muster.sandbox.attio_wire import Asked, Refused
from muster.sandbox.attio_world import Raw, Rows, generated_world

WHAT = "A stand-in for Attio, part of Muster. Nothing in here is real, and nothing is kept."
SEND_WITHIN = 10.0  # seconds


async def control(sandbox: AttioSandbox, asked: Asked) -> Any:
    """Answer a request under `/sandbox`. Raises Refused."""
    match asked.method, asked.steps[1:]:
        case "GET", []:
            return {"what": WHAT, "counts": _counts(sandbox), "faults": KINDS}
        case "GET", ["requests"]:
            return {"requests": sandbox.seen}
        case "DELETE", ["requests"]:
            sandbox.seen.clear()
        case "GET", ["faults"]:
            return {"faults": [asdict(fault) for fault in sandbox.faults.waiting]}
        case "POST", ["faults"]:
            try:
                return asdict(sandbox.faults.add(asked.json()))
            except (TypeError, ValueError) as error:
                raise _wrong(str(error)) from None
        case "DELETE", ["faults"]:
            sandbox.faults.waiting.clear()
        case "PUT", ["keys", key]:
            sandbox.keys[key] = _key(sandbox, key, asked.json())
        case "PUT", ["records", slug, record_id]:
            return await _put(sandbox, slug, record_id, asked.json())
        case "DELETE", ["records", slug, record_id]:
            await _remove(sandbox, _rows(sandbox, slug), record_id, "record.deleted", slug)
        case "DELETE", ["entries", slug, entry_id]:
            await _remove(sandbox, _entries(sandbox, slug), entry_id, "list-entry.deleted", slug)
        case "POST", ["records", slug, record_id, "merge"]:
            return await _merge(sandbox, slug, record_id, asked.json())
        case "POST", ["deliveries"]:
            return await _deliver(asked.json())
        case _:
            raise Refused(404, "sandbox", "not_found", __doc__ or WHAT)
    return {}


def signature(secret: str, body: bytes) -> str:
    """Attio's signature of a delivery."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def _deliver(wanted: Raw) -> Raw:
    """Send events to an address, signed with the secret, `copies` times under one idempotency key.

    `signature` sends another one. The answers' statuses come back.
    """
    try:
        target, secret, events = str(wanted["target_url"]), str(wanted["secret"]), wanted["events"]
    except KeyError as error:
        raise _wrong(f"{error} is missing") from None
    body = msgspec.json.encode({"webhook_id": wanted.get("webhook_id") or str(uuid4()), "events": events})
    signed = wanted.get("signature") or signature(secret, body)
    headers = {
        "Content-Type": "application/json",
        "Attio-Signature": signed,
        "X-Attio-Signature": signed,
        "Idempotency-Key": wanted.get("idempotency_key") or str(uuid4()),
    }
    statuses: list[int | None] = []
    async with httpx.AsyncClient(timeout=SEND_WITHIN) as client:
        for _ in range(int(wanted.get("copies", 1))):
            try:
                statuses.append((await client.post(target, content=body, headers=headers)).status_code)
            except httpx.HTTPError:
                statuses.append(None)
    return {"statuses": statuses, "idempotency_key": headers["Idempotency-Key"]}


async def _tell(sandbox: AttioSandbox, event_type: str, ids: Raw, **more: Any) -> None:
    """Tell the webhooks that want this event."""
    event = {"event_type": event_type, "id": ids, **more, "actor": {"type": "system", "id": None}}
    for webhook in sandbox.webhooks:
        if any(each.get("event_type") == event_type for each in webhook["subscriptions"]):
            to = {"target_url": webhook["target_url"], "secret": webhook["secret"]}
            await _deliver({**to, "webhook_id": webhook["id"]["webhook_id"], "events": [event]})


async def _put(sandbox: AttioSandbox, slug: str, record_id: str, wanted: Raw) -> Raw:
    rows = _rows(sandbox, slug)
    found = rows.find(record_id)
    world = sandbox.world
    ids = {"workspace_id": world.workspace_id, "object_id": world.object_ids[slug], "record_id": record_id}
    moment = stamp(FIRST_DAY.replace(year=2030))
    fresh: Raw = {"id": ids, "created_at": moment, "web_url": f"https://sandbox.example/{record_id}", "values": {}}
    record = found or fresh
    record["values"] = {**record["values"], **(wanted.get("values") or {})}
    rows.put(record)
    await _tell(sandbox, "record.updated" if found else "record.created", record["id"])
    return record


async def _remove(sandbox: AttioSandbox, rows: Rows, row_id: str, event_type: str, slug: str) -> None:
    place = rows.place_of(row_id)
    if place is None:
        raise Refused(404, "sandbox", "not_found", f"There is no {row_id}.")
    row = rows.remove(place)
    parent = {}
    if event_type.startswith("list"):
        object_id = sandbox.world.object_ids.get(sandbox.world.lists[slug]["parent_object"][0])
        parent = {"parent_object_id": object_id, "parent_record_id": row["parent_record_id"]}
    await _tell(sandbox, event_type, row["id"], **parent)


async def _merge(sandbox: AttioSandbox, slug: str, record_id: str, wanted: Raw) -> Raw:
    """The duplicate goes; with `into`, both go and a record of that id takes their place."""
    rows = _rows(sandbox, slug)
    kept, duplicate = rows.find(record_id), rows.find(str(wanted.get("duplicate")))
    if kept is None or duplicate is None:
        raise Refused(404, "sandbox", "not_found", "There are no two such records.")
    merged = {**duplicate["values"], **{name: values for name, values in kept["values"].items() if values}}
    gone: list[Raw] = [duplicate]
    survivor: Raw = {**kept, "values": merged}
    if into := wanted.get("into"):
        survivor = {**survivor, "id": {**kept["id"], "record_id": into}}
        gone.append(kept)
    for each in gone:
        rows.remove(rows.place_of(each["id"]["record_id"]) or 0)
    rows.put(survivor)
    for each in gone:
        ids = each["id"]
        others = {"duplicate_object_id": ids["object_id"], "duplicate_record_id": ids["record_id"]}
        await _tell(sandbox, "record.merged", survivor["id"], **others)
    return survivor


def _key(sandbox: AttioSandbox, key: str, wanted: Raw) -> Key:
    known = sandbox.keys.get(key)
    world = known.workspace if known else sandbox.world
    number = wanted.get("workspace")
    if isinstance(number, int) and number != 1:
        world = generated_world(3, 3, number)
    scopes = wanted.get("scopes", known.scopes if known else SCOPES)
    return Key(world, str(scopes), wanted.get("is_active", True) is True)


def _rows(sandbox: AttioSandbox, slug: str) -> Rows:
    if slug not in sandbox.world.objects:
        raise Refused(404, "sandbox", "not_found", f"There are no {slug}.")
    return sandbox.world.objects[slug]


def _entries(sandbox: AttioSandbox, slug: str) -> Rows:
    if slug not in sandbox.world.entries:
        raise Refused(404, "sandbox", "not_found", f"There is no list {slug}.")
    return sandbox.world.entries[slug]


def _counts(sandbox: AttioSandbox) -> dict[str, int]:
    every = {**sandbox.world.objects, **sandbox.world.entries}
    return {slug: len(rows) for slug, rows in every.items()}


def _wrong(message: str) -> Refused:
    return Refused(400, "sandbox", "wrong", message)
