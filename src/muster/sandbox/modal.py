"""A stand-in for Modal that runs a toy experiment, so that the whole way can be tried without an account.

It behaves as a deployed function does: credentials in `Modal-Key` and `Modal-Secret`, a call id for what it accepts,
202 while it works. A run id that it has seen already is dropped: the answer is the first one's. It forgets at its end.
"""

import asyncio
import hashlib
import json
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.params import FromPath

PATH = "/modal"
KEY, SECRET = "wk-sandbox", "ws-sandbox"
LARGEST_BODY = 1_000_000_000  # bytes, unpacked
PER_SECOND = 500.0  # personas: slow enough to watch
BREATHS = 5  # a second, in which others have their turn and progress is to be seen

Experiment = Callable[[dict[str, Any], dict[str, Any]], Any]


def toy(configuration: dict[str, Any], persona: dict[str, Any]) -> dict[str, Any]:
    """What somebody might say to a question: always the same of the same persona, and a little warmer in later arms."""
    question = str(configuration.get("question", "Would you take this offer?"))
    known = json.dumps([question, persona.get("name"), persona.get("attributes")], sort_keys=True)
    drawn = int.from_bytes(hashlib.blake2b(known.encode(), digest_size=4).digest()) / 2**32
    arms = configuration.get("personas", {}).get("arms") or []
    warmth = arms.index(persona["arm"]) if persona.get("arm") in arms else 0
    interest = round(min(10.0, 10 * drawn**0.8 + 0.5 * warmth), 2)
    mood = "yes" if interest >= 7 else "perhaps" if interest >= 4 else "no"
    return {
        "state": "completed",
        "interest": interest,
        "would_buy": mood == "yes",
        "words": 5 + int(drawn * 40),
        "answer": f"{persona.get('name') or 'I'} says {mood} to: {question}",
    }


@dataclass
class Call:
    """One accepted part of a run."""

    id: str
    key: str
    personas: list[dict[str, Any]]
    done: int = 0
    results: list[Any] = field(default_factory=list)


@dataclass
class Modal:
    """What the stand-in has accepted. With `keys`, no others hold; `per_second` is how quick it is."""

    keys: tuple[str, str] | None = None
    per_second: float = PER_SECOND
    run: Experiment = toy
    calls: dict[str, Call] = field(default_factory=dict)
    by_key: dict[str, str] = field(default_factory=dict)
    posts: dict[str, int] = field(default_factory=dict)  # how often each key was sent
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def refuses(self, headers: Mapping[str, str]) -> bool:
        """Whether the credentials do not hold."""
        given = (headers.get("modal-key", ""), headers.get("modal-secret", ""))
        return given != self.keys if self.keys else not all(given)

    def accept(self, configuration: dict[str, Any]) -> Call:
        """The call that works on this run and part: a new one, or the one that does already."""
        part = configuration.get("part") or {}
        key = f"{configuration.get('run_id')}/{part.get('number', 0)}"
        self.posts[key] = self.posts.get(key, 0) + 1
        if key in self.by_key:
            return self.calls[self.by_key[key]]
        personas = configuration.get("personas") or {}
        members = personas.pop("members", None)
        if members is None:
            members = [
                {"name": f"Persona {number + 1}", "type": "person"} for number in range(personas.get("count", 0))
            ]
        call = Call(f"fc-{secrets.token_hex(10)}", key, members)
        self.calls[call.id], self.by_key[key] = call, call.id
        task = asyncio.create_task(self._work(call, configuration))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return call

    async def _work(self, call: Call, configuration: dict[str, Any]) -> None:
        at_once = max(1, min(1_000, round(self.per_second / BREATHS)))
        for start in range(0, len(call.personas), at_once):
            some = call.personas[start : start + at_once]
            call.results += [self.run(configuration, persona) for persona in some]
            call.done = len(call.results)
            await asyncio.sleep(len(some) / self.per_second)

    def stop(self) -> None:
        """Work no more."""
        for task in self._tasks:
            task.cancel()


async def _body(request: Request[Any, Any, Any]) -> dict[str, Any]:
    packed = request.headers.get("content-encoding") == "gzip"
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    body = bytearray()
    async for chunk in request.stream():
        body += unpacker.decompress(chunk, LARGEST_BODY) if packed else chunk
    read: dict[str, Any] = msgspec.json.decode(body)
    return read


@post("/", status_code=200, summary="Accept a run")
async def start(request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """What a deployed function's first endpoint does."""
    modal: Modal = state.modal
    if modal.refuses(request.headers):
        return Response({"error": "modal-http: invalid credentials for proxy authorization"}, status_code=401)
    try:
        configuration = await _body(request)
    except (msgspec.MsgspecError, zlib.error):
        return Response({"error": "the body is no JSON object"}, status_code=400)
    if not isinstance(configuration.get("run_id"), str):
        return Response({"error": "run_id is missing"}, status_code=422)
    return Response({"call_id": modal.accept(configuration).id})


@get("/result/{call_id:str}", summary="What became of a call")
async def result(request: Request[Any, Any, Any], state: State, call_id: FromPath[str]) -> Response[Any]:
    """202 while it goes on."""
    modal: Modal = state.modal
    if modal.refuses(request.headers):
        return Response({"error": "modal-http: invalid credentials for proxy authorization"}, status_code=401)
    call = modal.calls.get(call_id)
    if call is None:
        return Response({"error": "there is no such call, or its results have expired"}, status_code=404)
    if call.done < len(call.personas):
        return Response({"progress": {"done": call.done, "total": len(call.personas)}}, status_code=202)
    return Response({"status": "completed", "results": call.results})


ROUTER = Router(PATH, route_handlers=[start, result], request_max_body_size=None)
"""The stand-in's routes, below PATH; the application's state has to have a `modal`."""


def create_app(modal: Modal) -> Litestar:
    """The stand-in as an application of its own."""
    return Litestar([ROUTER], state=State({"modal": modal}), openapi_config=None, logging_config=None)


def beside(app: Any, modal: Modal) -> Any:
    """Another application, with this stand-in below PATH."""
    own = create_app(modal)

    async def both(scope: Any, receive: Any, send: Any) -> None:
        mine = scope.get("path", "").startswith(f"{PATH}/") or scope.get("path") == PATH
        await (own if mine else app)(scope, receive, send)

    return both
