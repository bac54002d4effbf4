"""One POST to one endpoint: bounded in time, in what it reads, and in where it goes."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from types import TracebackType
from typing import Self

import httpcore

from muster.webhooks.addresses import CONNECT_WITHIN, PinnedBackend, Policy, Refused

ANSWER_WITHIN = 15.0  # seconds for everything, from the look-up of the name to the end of the answer
LARGEST_RESPONSE = 1_024  # bytes of an answer's body that are kept, of those that are no success
LONGEST_RETRY_AFTER = 24 * 3600.0  # seconds
IDLE_CONNECTIONS = 20
KEEP_CONNECTION = 10.0  # seconds

GONE = 410


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a POST. `error` is None exactly when it was delivered; `retry_after` is in seconds."""

    duration_ms: float
    status: int | None = None
    error: str | None = None
    response: str | None = None
    retry_after: float | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the endpoint wants nothing more, ever."""
        return self.status == GONE


class Poster:
    """Posts over connections of its own: no proxy, no cookies, no redirects. A context manager."""

    def __init__(self, policy: Policy, *, tls: ssl.SSLContext | None = None) -> None:
        self._policy = policy
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or ssl.create_default_context(),
            max_connections=None,  # the sender bounds them, per endpoint
            max_keepalive_connections=IDLE_CONNECTIONS,
            keepalive_expiry=KEEP_CONNECTION,
            network_backend=PinnedBackend(policy),
        )

    async def __aenter__(self) -> Self:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send, and say what came of it; nothing that an endpoint does is raised."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                status, answered, text = await self._exchange(url, body, headers)
        except Refused as refused:
            return Answer(_since(started), error=str(refused))
        except (TimeoutError, httpcore.TimeoutException):
            return Answer(_since(started), error=f"There was no answer within {ANSWER_WITHIN:.0f} s.")
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            return Answer(_since(started), error=f"The connection failed: {error or type(error).__name__}.")
        if 200 <= status < 300:
            return Answer(_since(started), status)
        reason = f"The endpoint answered {status}"
        reason += "; redirects are not followed." if 300 <= status < 400 else "."
        return Answer(_since(started), status, reason, text, retry_after(answered))

    async def _exchange(
        self, url: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], str | None]:
        """Status, headers, and the beginning of the body; the rest is left unread, and its connection closed."""
        parsed = self._policy.read(url)
        sent = {
            "Host": parsed.netloc.decode("ascii"),
            "User-Agent": f"Muster/{version('muster')}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers,
        }
        async with self._pool.stream(
            "POST",
            httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path),
            headers=list(sent.items()),
            content=body,
            extensions={"timeout": {"connect": CONNECT_WITHIN, "read": ANSWER_WITHIN, "write": ANSWER_WITHIN}},
        ) as response:
            read = b""
            async for chunk in response.aiter_stream():
                read += chunk
                if len(read) > LARGEST_RESPONSE:
                    break
            answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            text = read[:LARGEST_RESPONSE].decode("utf-8", "replace") or None
            return response.status, answered, text


def _since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that an endpoint asks to be left alone, from a number or a date; None without a valid wish."""
    wish = headers.get("retry-after", "").strip()
    if not wish:
        return None
    if wish.isascii() and wish.isdigit():
        seconds = float(wish[:9])
    else:
        try:
            moment = parsedate_to_datetime(wish)
        except ValueError:
            return None
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
