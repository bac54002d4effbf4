"""A proxy between Muster and the stand-in that gets things wrong on purpose, by a seed: before the other side has heard
of a request, after it, or in the middle of the answer.
"""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

from tests.experiments.endpoint import read_request

# What may happen to a request, each as likely as another of its method; "well" more often than all others together.
POSTS = (
    "lost",
    "dropped",
    "cut off",
    "500",
    "500 after",
    "429",
    "429 after",
    "303",
    "401",
    "404",
    "hangs",
    "hangs after",
)
GETS = ("lost", "dropped", "cut off", "502", "429", "404", "401", "pending", "moved", "hangs")
WELL = 0.45  # of the requests
HELD = "/held/"


@dataclass
class Proxy:
    """Forwards to `upstream`, an address with a path, and counts what it did."""

    upstream: str
    chance: Random
    port: int = 0
    did: Counter[str] = field(default_factory=Counter)
    held: dict[str, bytes] = field(default_factory=dict)
    well: float = WELL

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{urlsplit(self.upstream).path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, OSError):
            raw = Recorder(reader)
            asked = await read_request(raw)  # type: ignore[arg-type]  # it reads as a StreamReader does
            fault = self._fault(asked.method)
            self.did[f"{asked.method} {fault}"] += 1
            if (answer := await self._answer(fault, asked.path, bytes(raw.read_so_far))) is None:
                await reader.read()  # until the other side gives up
            else:
                writer.write(answer)
                await writer.drain()
        writer.close()

    def _fault(self, method: str) -> str:
        if self.chance.random() < self.well:
            return "well"
        return self.chance.choice(POSTS if method == "POST" else GETS)

    async def _answer(self, fault: str, path: str, request: bytes) -> bytes | None:
        """What to send back; nothing at all is b"", and None is to hang."""
        match fault:
            case "lost":
                return b""
            case "hangs":
                return None
            case "500" | "502" | "429" | "404" | "401":
                return plain(int(fault), {"Retry-After": "0"} if fault == "429" else {})
            case "pending":
                return plain(202)
            case "moved":
                return plain(307, {"Location": path})
        if path.startswith(f"{urlsplit(self.upstream).path}{HELD}"):
            answer = self.held.get(path.rpartition("/")[2]) or plain(404)
        else:
            answer = await self._forward(request)
        match fault:
            case "dropped":
                return b""
            case "hangs after":
                return None
            case "cut off":
                return answer[: len(answer) - len(answer.partition(b"\r\n\r\n")[2]) // 2 - 1]
            case "500 after" | "429 after":
                return plain(int(fault[:3]))
            case "303":
                token = secrets.token_hex(8)
                self.held[token] = answer
                return plain(303, {"Location": f"{urlsplit(self.upstream).path}{HELD}{token}"})
        return answer

    async def _forward(self, request: bytes) -> bytes:
        """The whole answer of the other side; its connection is closed then."""
        upstream = urlsplit(self.upstream)
        reader, writer = await asyncio.open_connection(upstream.hostname, upstream.port)
        head, _, body = request.partition(b"\r\n\r\n")
        writer.write(head + b"\r\nConnection: close\r\n\r\n" + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer


class Recorder:
    """Reads, and keeps every byte."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.read_so_far = bytearray()

    async def readuntil(self, separator: bytes) -> bytes:
        return self._kept(await self._reader.readuntil(separator))

    async def readexactly(self, count: int) -> bytes:
        return self._kept(await self._reader.readexactly(count))

    async def readline(self) -> bytes:
        return self._kept(await self._reader.readline())

    def _kept(self, data: bytes) -> bytes:
        self.read_so_far += data
        return data


def plain(status: int, headers: dict[str, str] | None = None) -> bytes:
    """An answer without much in it."""
    body = json.dumps({"error": f"a {status} on purpose"}).encode()
    lines = [f"HTTP/1.1 {status} On purpose", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def proxying(upstream: str, chance: Random) -> AsyncIterator[Proxy]:
    """A proxy that listens for as long as the block lasts."""
    proxy = Proxy(upstream, chance)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
