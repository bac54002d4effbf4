"""The other side as a test writes it: a function of the request, and connections that break."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

DROP, HANG = "drop", "hang"


@dataclass(frozen=True)
class Asked:
    """One request, its body unpacked."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Said:
    """An answer. `whole` false: it breaks off in the middle."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True


Answer = Said | str
Answering = Callable[[Asked], Answer]


@dataclass
class Endpoint:
    """Answers with what `answer` says, and keeps what it was asked."""

    answer: Answering
    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str) -> int:
        return sum(one.method == method for one in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                asked = await read_request(reader)
                self.asked.append(asked)
                said = self.answer(asked)
                if said == HANG:
                    await reader.read()
                    break
                if not isinstance(said, Said):
                    break
                content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
                lines = [f"HTTP/1.1 {said.status} Whatever", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in said.headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode())
                writer.write(content if said.whole else content[: len(content) // 2])
                await writer.drain()
                if not said.whole:
                    break
        writer.close()


async def read_request(reader: asyncio.StreamReader) -> Asked:
    """A whole request, in pieces or at once, packed or not."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    if headers.get("content-encoding") == "gzip":
        body = zlib.decompress(body, zlib.MAX_WBITS | 16)
    return Asked(method, path, headers, body)


@asynccontextmanager
async def answering(answer: Answering) -> AsyncIterator[Endpoint]:
    """An endpoint that listens for as long as the block lasts."""
    endpoint = Endpoint(answer)
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
