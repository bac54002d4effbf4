"""HTTP to the other side: bodies streamed out, answers bounded, and secrets that go to one host only.

Nothing is followed by itself: a POST never, and a GET by hand, to the very host, scheme and port that it came from. The
secrets stand in the headers of those requests and nowhere else: whatever comes back has them blotted out before anybody
looks at it.
"""

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from types import TracebackType
from typing import Self

import httpcore
import httpx

from muster.errors import MusterError
from muster.webhooks.addresses import PinnedBackend, Policy
from muster.webhooks.addresses import Refused as NotThere
from muster.webhooks.posting import retry_after

CONNECT_WITHIN = 10.0  # seconds
ANSWER_WITHIN = 170.0  # seconds between two bytes: Modal answers 303 after 150
LARGEST_ANSWER = 256_000_000  # bytes
STREAMED_FROM = 1_000_000  # bytes of a body; from here on it goes compressed, in pieces
MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SECRET_LENGTH = 6  # characters; anything shorter may stand in an answer by chance

Chunks = AsyncIterator[bytes]


class Trouble(Exception):
    """It did not work this time; the sentence says why. `retry_after` is in seconds, if the other side asks for it."""

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Refusal(MusterError):
    """It will not work any other time either, unless somebody changes something."""

    status, title = 502, "The other side refuses"


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """The seconds that the other side asks to be left alone."""
        return retry_after(self.headers)

    @property
    def excerpt(self) -> str:
        """The beginning of the body, for a sentence."""
        text = " ".join(self.body[:400].decode("utf-8", "replace").split())
        return f": {text[:200]}" if text else ""


@dataclass(frozen=True, slots=True)
class Content:
    """A body: so many bytes of JSON, made anew whenever it is sent."""

    size: int
    chunks: Callable[[], Chunks]


@dataclass
class Wire:
    """Requests to one place. A context manager.

    `secrets` are headers that go along to `address`'s own host, those of `told` with a POST only. With a `policy`,
    every address is checked at every connection; without one it is the operator's own setting.
    """

    address: str
    secrets: Mapping[str, str] = field(repr=False)
    told: Mapping[str, str] = field(default_factory=dict, repr=False)
    policy: Policy | None = None
    tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=self.tls or ssl.create_default_context(),
            network_backend=None if self.policy is None else PinnedBackend(self.policy),
        )
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    async def post(self, url: str, content: Content) -> Reply:
        """One POST, not followed anywhere. Raises Trouble, Refusal."""
        sent = {"Content-Type": "application/json", **self.told}
        if content.size < STREAMED_FROM:
            body = b"".join([chunk async for chunk in content.chunks()])
            return await self._exchange("POST", url, sent | {"Content-Length": str(len(body))}, body)
        sent |= {"Content-Encoding": "gzip", "Transfer-Encoding": "chunked"}
        return await self._exchange("POST", url, sent, compressed(content.chunks()))

    async def get(self, url: str) -> Reply:
        """One GET, followed within the same host. Raises Trouble, Refusal when it leads elsewhere."""
        for _ in range(MOST_REDIRECTS):
            reply = await self._exchange("GET", url, {}, None)
            if reply.status not in REDIRECTS:
                return reply
            url = self.following(url, reply)
        return reply  # it still redirects: the work goes on

    def following(self, url: str, reply: Reply) -> str:
        """Where a redirect leads, within the same host. Raises Refusal."""
        try:
            there = httpx.URL(url).join(reply.headers["location"])
        except (KeyError, httpx.InvalidURL):
            raise Refusal(f"{self.host} answered {reply.status} without saying where to go.") from None
        if _origin(there) != _origin(httpx.URL(self.address)):
            raise Refusal(
                f"{self.host} redirects to another place ({there.scheme}://{there.netloc.decode()}): nothing was sent "
                "there. If that is right, name it in the settings."
            )
        return str(there.copy_with(fragment=None))

    @property
    def host(self) -> str:
        """Who the other side is, for sentences: an address may hold what is nobody's business."""
        return httpx.URL(self.address).host

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes | Chunks | None) -> Reply:
        parsed = httpx.URL(url)
        if _origin(parsed) != _origin(httpx.URL(self.address)):
            raise Refusal(f"This is no address of {self.host}.")
        if self.policy is not None:
            try:
                self.policy.read(url)
            except NotThere as reason:
                raise Refusal(str(reason)) from None
        sent = {
            "Host": parsed.netloc.decode("ascii"),
            "User-Agent": f"Muster/{version('muster')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            **self.secrets,
            **headers,
        }
        target = httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)
        timeouts = {"connect": CONNECT_WITHIN, "read": ANSWER_WITHIN, "write": ANSWER_WITHIN, "pool": ANSWER_WITHIN}
        try:
            async with self._pool.stream(
                method, target, headers=list(sent.items()), content=body, extensions={"timeout": timeouts}
            ) as response:
                read = bytearray()
                async for chunk in response.aiter_stream():
                    read += chunk
                    if len(read) > LARGEST_ANSWER:
                        raise Refusal(
                            f"{self.host} answers with more than {LARGEST_ANSWER:,} bytes; send fewer personas."
                        )
                answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                return Reply(response.status, answered, self._blotted(bytes(read)))
        except NotThere as reason:
            raise Refusal(str(reason)) from None
        except (TimeoutError, httpcore.TimeoutException):
            raise Trouble(f"{self.host} did not answer in time.") from None
        except httpcore.LocalProtocolError:  # its sentence may hold a header, and so a secret
            raise Refusal("MUSTER_MODAL_KEY or MUSTER_MODAL_SECRET holds what no header can.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError) as error:
            raise Trouble(f"The connection to {self.host} failed ({error or type(error).__name__}).") from None

    def _blotted(self, body: bytes) -> bytes:
        """An answer without our secrets, in case the other side tells what it was sent."""
        for name, secret in [*self.secrets.items(), *self.told.items()]:
            if len(secret) >= SECRET_LENGTH and (name in self.secrets or name.endswith("Secret")):
                body = body.replace(secret.encode(), b"[secret]")
        return body


async def compressed(chunks: Chunks) -> Chunks:
    """The same as gzip. Compressing takes its time: others have their turn between two pieces."""
    packer = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)
    async for chunk in chunks:
        if packed := packer.compress(chunk):
            yield packed
        await asyncio.sleep(0)
    yield packer.flush()


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
