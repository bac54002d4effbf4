"""`Idempotency-Key`: the first answer to a POST is kept for a day and given again to every repetition."""

import asyncio
import hashlib
import logging
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from bson import Binary
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from muster.api.documents import KeptAnswer
from muster.api.requests import JsonRequest
from muster.errors import BadRequest, Conflict, Invalid
from muster.tasks import stop

KEEP_MS = 24 * 3600 * 1000
LOCK_MS = 30_000  # a request that died with its process blocks its key no longer than this
RENEW_SECONDS = 10.0
LARGEST_ANSWER = 8_000_000  # bytes; a document ends at 16 MB

SECRET_ANSWER: dict[str, Any] = {"secret_answer": True}
"""`opt=SECRET_ANSWER` on a route handler: its answer shows a secret and is not kept."""

_NOT_KEPT = {b"content-length", b"set-cookie", b"date", b"server"}

_log = logging.getLogger(__name__)


class Idempotency(ASGIMiddleware):
    """Stands behind authentication, around POST routes that read JSON (or nothing).

    Per owner, path and key. The same key with another body or query is refused with 422; while the first request
    still runs, with 409. An answer of 500 and above, or one that shows a secret, is not kept: the next request runs.
    """

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        request = JsonRequest(scope, receive, send)
        key = request.headers.get("idempotency-key")
        streams = "media_types" in request.route_handler.opt
        if key is None or request.method != "POST" or streams or not scope.get("user"):
            await next_app(scope, receive, send)
            return
        if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
            raise BadRequest("An Idempotency-Key is 1 to 255 printable ASCII characters.")
        raw_path = scope.get("raw_path") or scope["path"].encode()
        identity = _digest(str(scope["user"]).encode(), raw_path, key.encode())
        fingerprint = _digest(scope.get("query_string", b""), await request.body())

        holder = secrets.token_hex(16)
        kept = await _claim(identity, str(scope["user"]), fingerprint, holder)
        if kept is not None:
            await _replay(kept, send)
            return
        answer = _Answer(send)
        try:
            async with _renewed(identity, holder):
                await next_app(scope, receive, answer.hold_back)
        except BaseException:
            await _release(identity, holder)
            raise
        if answer.is_kept and not request.route_handler.opt.get("secret_answer"):
            await _keep(identity, holder, answer)
        else:
            await _release(identity, holder)
        await answer.let_go()


@dataclass(slots=True)
class _Answer:
    """An answer held back until it is stored: who saw it may count on its being given again."""

    send: Send
    messages: list[Message] = field(default_factory=list)
    size: int = 0
    too_large: bool = False

    async def hold_back(self, message: Message) -> None:
        if self.too_large:
            await self.send(message)
            return
        self.messages.append(message)
        self.size += len(message.get("body", b""))  # type: ignore[arg-type]  # messages are a union of TypedDicts
        if self.size > LARGEST_ANSWER:
            self.too_large = True
            await self.let_go()

    async def let_go(self) -> None:
        while self.messages:
            await self.send(self.messages.pop(0))

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])  # type: ignore[typeddict-item]  # the first message starts the response

    @property
    def is_kept(self) -> bool:
        return bool(self.messages) and not self.too_large and self.status < 500

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        start: Any = self.messages[0]
        return [(name, value) for name, value in start["headers"] if name.lower() not in _NOT_KEPT]

    @property
    def body(self) -> bytes:
        messages: list[Any] = self.messages[1:]
        return b"".join(message.get("body", b"") for message in messages)


async def forget(owner: str, name: str) -> int:
    """Drop the kept answers of an owner in which this name stands, such as the id of an erased profile; how many.

    It stands there as a JSON string, or amid a sentence, as it is or in Python's notation; "P1" does not stand in
    "P10".
    """
    forms = {name, repr(name)[1:-1]}
    written = b"|".join(re.escape(msgspec.json.encode(form)[1:-1]) for form in forms)
    stands = re.compile(rb"(?<![\w\x80-\xff])(?:%b)(?![\w\x80-\xff])" % written)
    answers = KeptAnswer.get_motor_collection()
    kept = answers.find({"owner": owner, "body": {"$ne": None}}, {"body": 1})
    found = [answer["_id"] async for answer in kept if stands.search(answer["body"])]
    return (await answers.delete_many({"_id": {"$in": found}})).deleted_count


async def _claim(identity: str, owner: str, fingerprint: str, holder: str) -> dict[str, Any] | None:
    """Take the key for this request (None), or the answer that stands under it.

    One atomic update by the server's clock: a key that is new, expired, or whose request died (its lock ran out)
    becomes ours. Raises Conflict while the first request runs, Invalid when it had another body.
    """
    abandoned = {"$and": [{"$eq": ["$status", None]}, {"$lte": ["$locked_until", "$$NOW"]}]}
    free = {
        "$or": [
            {"$eq": [{"$type": "$holder"}, "missing"]},
            {"$lte": ["$expires_at", "$$NOW"]},
            {"$and": [abandoned, {"$eq": ["$fingerprint", fingerprint]}]},
        ]
    }
    ours = {
        "_id": "$_id",
        "owner": {"$literal": owner},
        "fingerprint": fingerprint,
        "holder": holder,
        "locked_until": {"$add": ["$$NOW", LOCK_MS]},
        "status": None,
        "expires_at": {"$add": ["$$NOW", KEEP_MS]},
    }
    claim = [{"$replaceWith": {"$cond": [free, ours, "$$ROOT"]}}]
    answers = KeptAnswer.get_motor_collection()
    while True:
        try:
            found: dict[str, Any] = await answers.find_one_and_update(
                {"_id": identity}, claim, upsert=True, return_document=ReturnDocument.AFTER
            )
            break
        except DuplicateKeyError:  # two first requests at once: the loser looks again
            continue
    if found["holder"] == holder:
        return None
    if found["fingerprint"] != fingerprint:
        raise Invalid("This Idempotency-Key was used with another body; take a new key for a new request.")
    if found["status"] is None:
        raise Conflict("The first request with this Idempotency-Key still runs; ask again in a moment.")
    return found


@asynccontextmanager
async def _renewed(identity: str, holder: str) -> AsyncIterator[None]:
    """Hold the lock while the request runs, however long."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            with suppress(PyMongoError):  # the next turn tries again
                await KeptAnswer.get_motor_collection().update_one(
                    {"_id": identity, "holder": holder},
                    [{"$set": {"locked_until": {"$add": ["$$NOW", LOCK_MS]}}}],
                )

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        await stop(renewing)


async def _keep(identity: str, holder: str, answer: _Answer) -> None:
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    kept = {"status": answer.status, "headers": headers, "body": Binary(answer.body), "locked_until": None}
    try:
        await KeptAnswer.get_motor_collection().update_one({"_id": identity, "holder": holder}, {"$set": kept})
    except PyMongoError as error:  # what was asked for is done, and the caller must learn it
        _log.warning("An answer could not be kept for its Idempotency-Key: %s", type(error).__name__)


async def _release(identity: str, holder: str) -> None:
    try:
        await KeptAnswer.get_motor_collection().delete_one({"_id": identity, "holder": holder})
    except PyMongoError as error:  # the lock runs out by itself
        _log.warning("An Idempotency-Key stays locked for %d s: %s", LOCK_MS // 1000, type(error).__name__)


async def _replay(kept: dict[str, Any], send: Send) -> None:
    body = bytes(kept["body"])
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in kept["headers"]]
    headers += [(b"content-length", str(len(body)).encode()), (b"idempotency-replayed", b"true")]
    await send({"type": "http.response.start", "status": kept["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()
