"""What the API itself stores: counters, kept answers, sign-in codes."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from beanie import Document
from pymongo import ASCENDING, IndexModel


class Counter(Document):
    """The last number given out under a prefix; `_id` is the prefix, such as "PRJ"."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    value: int

    class Settings:
        name = "counters"


class KeptAnswer(Document):
    """The first answer to a POST that carried an Idempotency-Key, or the lock of the request still running.

    `_id` is a digest of owner, path and key; `fingerprint` one of the query and the body.
    """

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    owner: str
    fingerprint: str
    holder: str  # names the request that may finish this answer
    locked_until: datetime | None  # None once the answer stands
    status: int | None = None
    headers: list[tuple[str, str]] | None = None
    body: bytes | None = None
    expires_at: datetime

    class Settings:
        name = "idempotency"
        indexes: ClassVar[list[Any]] = [
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
            IndexModel([("owner", ASCENDING)], name="owner"),
        ]


class SigninCode(Document):
    """A code that signs a browser in once. `_id` is the SHA-256 of the code: the code itself is not kept."""

    id: str  # type: ignore[assignment]  # Beanie declares an ObjectId
    owner: str
    expires_at: datetime

    class Settings:
        name = "signin_codes"
        indexes: ClassVar[list[Any]] = [IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0)]


DOCUMENTS: Sequence[type[Document]] = (Counter, KeptAnswer, SigninCode)
