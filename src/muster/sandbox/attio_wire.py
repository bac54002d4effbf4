"""What goes over the wire between the stand-in for Attio and who asks it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import msgspec

from muster.sandbox.attio_faults import retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes over the wire; `ends_after` bytes of the body, where it is to end in the middle."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    ends_after: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def steps(self) -> list[str]:
        """The path, cut at its slashes."""
        return [unquote(step) for step in self.path.strip("/").split("/")]

    def json(self) -> Any:
        """The body; `{}` when there is none. Raises Refused."""
        try:
            return msgspec.json.decode(self.body) if self.body.strip() else {}
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Refused(400, "invalid_request_error", "validation_type", "The body is not JSON.") from None


class Refused(Exception):
    """An error of Attio's, in its envelope."""

    def __init__(self, status: int, type_: str, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.envelope = status, {"status_code": status, "type": type_, "code": code, "message": message}


def limited(form: str) -> Answer:
    """429, with a `Retry-After` of this form."""
    envelope = {
        "status_code": 429,
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "message": "Rate limit exceeded, please try again later.",
    }
    return json_answer(429, envelope, retry_after(form))


def invalid(message: str) -> Refused:
    """400 validation_type."""
    return Refused(400, "invalid_request_error", "validation_type", message)


def unauthorized() -> Refused:
    """401, as for a key that was revoked."""
    return Refused(401, "auth_error", "unauthorized", "The token is not valid.")


def json_answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
    """Anything as JSON."""
    return Answer(status, msgspec.json.encode(content), headers or {})


async def body_of(receive: Any) -> bytes:
    """The whole body of a request."""
    whole = bytearray()
    while True:
        message = await receive()
        whole += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(whole)


async def live(receive: Any, send: Any) -> None:
    """ASGI's lifespan: nothing to open, nothing to close."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
