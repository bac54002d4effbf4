"""A stand-in for Attio's REST API, version 2: as much of it as Muster uses, quirks included.

A plain ASGI application, so that it can also do what no framework lets an application do: end an answer in the middle,
or keep silent. What is under `/sandbox` is not Attio's: `muster.sandbox.attio_control` has it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

import msgspec

from muster.sandbox.attio_faults import Fault, Faults, retry_after
from muster.sandbox.attio_filters import Matches, Row, WrongFilter, comparable, compile_filter, values_of
from muster.sandbox.attio_world import Raw, Rows, World

KEY = "sandbox-key-for-trying-out-muster-which-is-not-a-secret-00000001"
"""Works in every sandbox. 64 characters, as Attio's have."""

SCOPES = "record_permission:read object_configuration:read list_configuration:read list_entry:read webhook:read-write"
LARGEST_PAGE = 500
RATE = 100  # requests a second
HTML = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1><p>cloud-front-12</p></body></html>"
SYSTEM_SLUGS = frozenset({"record_id", "entry_id", "created_at", "parent_record", "parent_record_id"})

_log = logging.getLogger(__name__)


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


@dataclass
class Key:
    """A token: for which workspace, and what it may."""

    workspace: World
    scopes: str = SCOPES
    is_active: bool = True


@dataclass
class AttioSandbox:
    """The application. `keys` are the tokens that it knows, `faults` what is to go wrong, `seen` what was asked."""

    world: World
    keys: dict[str, Key] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    rate: float = RATE
    control: Callable[["AttioSandbox", Asked], Any] | None = None
    seen: list[str] = field(default_factory=list)
    webhooks: list[Raw] = field(default_factory=list)
    _second: int = 0
    _in_second: int = 0
    _found: dict[Any, Sequence[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.keys.setdefault(KEY, Key(self.world))

    def reset(self, world: World) -> None:
        """Begin anew with another world."""
        self.world, self.keys, self.faults, self.rate = world, {KEY: Key(world)}, Faults(), RATE
        self.seen, self.webhooks, self._found = [], [], {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        asked = Asked(
            method=scope["method"],
            path=(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("ascii", "replace"),
            query=dict(parse_qsl(scope["query_string"].decode("ascii", "replace"))),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=await _body(receive),
        )
        answer = await self._answer(asked)
        headers = {"content-type": "application/json", "x-sandbox": "muster, not Attio", **answer.headers}
        headers |= {"content-length": str(len(answer.body)), "x-attio-execution-id": f"sandbox-{uuid4()}"}
        listed = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": listed})
        if answer.ends_after is None:
            await send({"type": "http.response.body", "body": answer.body})
        else:  # the server closes the connection when the application ends before its answer does
            await send({"type": "http.response.body", "body": answer.body[: answer.ends_after], "more_body": True})

    async def _answer(self, asked: Asked) -> Answer:
        try:
            if asked.steps[0] == "sandbox" and self.control is not None:
                return _json(200, await self.control(self, asked))
            self.seen.append(f"{asked.method} {asked.path}")
            fault = self.faults.take(asked.path)
            if fault is not None:
                failed = await self._fail(fault, asked)
                if failed is not None:
                    return failed
            if self._is_too_fast():
                return _limited("date")
            found = self._route(asked, fault)
            return found if isinstance(found, Answer) else _json(200, found)
        except Refused as refused:
            return _json(refused.status, refused.envelope)

    async def _fail(self, fault: Fault, asked: Asked) -> Answer | None:
        """The answer of a fault; None when the request goes on all the same."""
        match fault.kind:
            case "rate_limited":
                return _limited(fault.retry_after)
            case "server_error":
                raise Refused(fault.status, "api_error", "internal_error", "Something went wrong on our side.")
            case "html_error":
                return Answer(502, HTML, {"content-type": "text/html"})
            case "html":
                return Answer(200, HTML, {"content-type": "text/html"})
            case "no_data":
                return _json(200, {"message": "nothing here"})
            case "revoked":
                raise _unauthorized()
            case "forbidden":
                raise Refused(403, "auth_error", "auth_error", "The token lacks the scope record_permission:read.")
            case "not_found" | "merge_in_progress":
                raise Refused(404, "invalid_request_error", fault.kind, "The record could not be found.")
            case "redirect":
                return Answer(302, b"", {"location": fault.location})
            case "silent" | "slow":
                otherwise = 60.0 if fault.kind == "silent" else 1.0
                await asyncio.sleep(otherwise if fault.seconds is None else fault.seconds)
                return Answer(504, HTML) if fault.kind == "silent" else None
            case "lower_rate":
                self.rate = fault.count
                return None
            case "truncated" | "dropped":
                return self._broken(fault, asked)
            case _:
                return None  # the kinds that change a page

    def _broken(self, fault: Fault, asked: Asked) -> Answer:
        found = self._route(asked, None)
        whole = found if isinstance(found, Answer) else _json(200, found)
        half = len(whole.body) // 2
        if fault.kind == "truncated":
            return Answer(200, whole.body[:half])
        return Answer(200, whole.body, ends_after=half)

    def _is_too_fast(self) -> bool:
        second = int(time.time())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > self.rate

    def _route(self, asked: Asked, fault: Fault | None) -> Any:
        """What Attio answers: the JSON, or a whole answer where it is put together from encoded rows."""
        steps = asked.steps
        if steps[:1] != ["v2"]:
            raise Refused(404, "invalid_request_error", "not_found", "Attio's API begins with /v2.")
        token = asked.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if steps == ["v2", "self"]:
            return self._self(token)
        key = self.keys.get(token)
        if key is None or not key.is_active:
            raise _unauthorized()
        world = key.workspace
        match asked.method, steps[1:]:
            case "GET", ["lists"]:
                return {"data": list(world.lists.values())}
            case "GET", ["lists", slug]:
                return {"data": world.lists[_known_list(world, slug)]}
            case "GET", ["objects"]:
                return {"data": [_object(world, slug) for slug in world.objects]}
            case "GET", ["objects", slug]:
                return {"data": _object(world, _known_object(world, slug))}
            case "GET", [("objects" | "lists") as of, slug, "attributes"]:
                known = _known_object(world, slug) if of == "objects" else _known_list(world, slug)
                return {"data": _paged(world.attributes.get(known, []), asked.query)}
            case "GET", ["objects", slug, "records", record_id]:
                return {"data": _one(world.objects[_known_object(world, slug)], record_id)}
            case "GET", ["lists", slug, "entries", entry_id]:
                return {"data": _one(world.entries[_known_list(world, slug)], entry_id)}
            case "POST", ["objects", slug, "records", "query"]:
                known = _known_object(world, slug)
                return self._query(world, known, world.objects[known], asked, fault)
            case "POST", ["lists", slug, "entries", "query"]:
                known = _known_list(world, slug)
                return self._query(world, known, world.entries[known], asked, fault)
            case _, ["webhooks", *_]:
                return self._webhooks(asked)
            case _:
                raise Refused(404, "invalid_request_error", "not_found", "There is no such endpoint in the sandbox.")

    def _self(self, token: str) -> Raw:
        """Not wrapped in `data`; a token that nobody knows is no error, unless it is malformed."""
        if len(token) != len(KEY):
            raise Refused(400, "invalid_request_error", "missing_value", "The token is malformed.")
        key = self.keys.get(token)
        if key is None or not key.is_active:
            return {"active": False}
        world = key.workspace
        return {
            "active": True,
            "scope": key.scopes,
            "client_id": "sandbox",
            "token_type": "Bearer",
            "exp": None,
            "iat": 1_736_154_000,
            "sub": world.workspace_id,
            "aud": "sandbox",
            "iss": "attio.com",
            "authorized_by_workspace_member_id": None,
            "workspace_id": world.workspace_id,
            "workspace_name": world.name,
            "workspace_slug": world.slug,
            "workspace_logo_url": None,
        }

    def _query(self, world: World, slug: str, rows: Rows, asked: Asked, fault: Fault | None) -> Answer:
        body = asked.json()
        if not isinstance(body, dict):
            raise _invalid("The body is an object.")
        limit, offset = body.get("limit", LARGEST_PAGE), body.get("offset", 0)
        if not isinstance(limit, int) or not 0 < limit <= LARGEST_PAGE:
            raise _invalid(f"limit is 1 to {LARGEST_PAGE}.")
        if not isinstance(offset, int) or offset < 0:
            raise _invalid("offset is 0 or more.")
        if fault is not None:
            offset = _shift(rows, fault, offset)
            limit = min(limit, fault.count) if fault.kind == "short_page" else limit
        places = self._places(world, slug, rows, body)
        page = [rows.encoded(place) for place in places[offset : offset + limit]]
        return Answer(200, b'{"data":[' + b",".join(page) + b"]}")

    def _places(self, world: World, slug: str, rows: Rows, body: Raw) -> Sequence[int]:
        """Where the rows stand that a query means, in its order. Kept until a row changes."""
        filter_, sorts = body.get("filter"), body.get("sorts") or []
        key = (world.workspace_id, slug, rows.changes, msgspec.json.encode([filter_, sorts], order="deterministic"))
        if key not in self._found:
            if len(self._found) > 100:
                self._found.clear()
            self._found[key] = _in_order(rows, _sought(world, slug, rows, filter_), sorts)
        return self._found[key]

    def _webhooks(self, asked: Asked) -> Raw:
        match asked.method, asked.steps[2:]:
            case "GET", []:
                return {"data": [{**each, "secret": None} for each in self.webhooks]}
            case "POST", []:
                data = (asked.json() or {}).get("data") or {}
                wanted = data.get("subscriptions")
                if not data.get("target_url") or not isinstance(wanted, list):
                    raise _invalid("A webhook has a target_url and subscriptions.")
                if any("filter" not in each for each in wanted):
                    raise _invalid("filter must be present, even null.")
                webhook = {
                    "id": {"workspace_id": self.world.workspace_id, "webhook_id": str(uuid4())},
                    "target_url": data["target_url"],
                    "subscriptions": wanted,
                    "status": "active",
                    "secret": uuid4().hex + uuid4().hex,
                }
                self.webhooks.append(webhook)
                return {"data": webhook}
            case "DELETE", [webhook_id]:
                self.webhooks[:] = [each for each in self.webhooks if each["id"]["webhook_id"] != webhook_id]
                return {}
            case _:
                raise Refused(404, "invalid_request_error", "not_found", "There is no such webhook.")


def _sought(world: World, slug: str, rows: Rows, filter_: Any) -> Sequence[int]:
    if not filter_:
        return range(len(rows))
    slugs = frozenset(attribute["api_slug"] for attribute in world.attributes.get(slug, [])) | SYSTEM_SLUGS

    def follow(named: str, record_id: str) -> Row | None:
        target = world.object_slug(named)
        return world.objects[target].find(record_id) if target else None

    try:
        matches: Matches = compile_filter(filter_, slugs, follow)
        return [place for place in range(len(rows)) if matches(rows.row(place))]
    except WrongFilter as wrong:
        raise Refused(400, "invalid_request_error", wrong.code, str(wrong)) from None


def _in_order(rows: Rows, places: Sequence[int], sorts: Any) -> Sequence[int]:
    """The places in the order of the first sort; rows stand in the order in which they were made."""
    if not isinstance(sorts, list) or not all(isinstance(sort, dict) for sort in sorts):
        raise _invalid("sorts is a list of objects.")
    if not sorts or (sorts[0].get("attribute") == "created_at" and sorts[0].get("direction") == "asc"):
        return places
    slug, backwards = str(sorts[0].get("attribute")), sorts[0].get("direction") == "desc"

    def key(place: int) -> tuple[bool, str]:
        found = [str(each) for value in values_of(rows.row(place), slug) for each in comparable(value)]
        return not found, found[0].casefold() if found else ""

    return sorted(places, key=key, reverse=backwards)


def _shift(rows: Rows, fault: Fault, offset: int) -> int:
    """Let a fault move rows, or the page among them; the offset to read at then."""
    match fault.kind:
        case "rows_go":
            for _ in range(min(fault.count, len(rows))):
                rows.remove(0)
        case "rows_come":
            for _ in range(fault.count if len(rows) else 0):
                first = rows.row(0)
                rows.insert_first({**first, "id": {**first["id"], rows.id_name: str(uuid4())}})
        case "repeated":
            return max(0, offset - fault.count)
        case "missing":
            return offset + fault.count
    return offset


def _known_object(world: World, named: str) -> str:
    slug = world.object_slug(named)
    if slug is None:
        raise Refused(404, "invalid_request_error", "not_found", f'Object with slug/ID "{named}" was not found.')
    return slug


def _known_list(world: World, named: str) -> str:
    slug = world.list_slug(named)
    if slug is None:
        raise Refused(404, "invalid_request_error", "not_found", f'List with slug/ID "{named}" was not found.')
    return slug


def _one(rows: Rows, row_id: str) -> Raw:
    found = rows.find(row_id)
    if found is None:
        raise Refused(404, "invalid_request_error", "not_found", f'Nothing with the ID "{row_id}" was found.')
    return found


def _object(world: World, slug: str) -> Raw:
    singular = {"companies": "Company", "people": "Person"}.get(slug, slug)
    return {
        "id": {"workspace_id": world.workspace_id, "object_id": world.object_ids[slug]},
        "api_slug": slug,
        "singular_noun": singular,
        "plural_noun": slug.capitalize(),
        "created_at": "2025-01-06T09:00:00.000000000Z",
    }


def _paged(listed: list[Raw], query: Mapping[str, str]) -> list[Raw]:
    offset = int(query["offset"]) if query.get("offset", "").isdigit() else 0
    limit = int(query["limit"]) if query.get("limit", "").isdigit() else LARGEST_PAGE
    shown = [each for each in listed if query.get("show_archived") == "true" or not each["is_archived"]]
    return shown[offset : offset + limit]


def _limited(form: str) -> Answer:
    envelope = {
        "status_code": 429,
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "message": "Rate limit exceeded, please try again later.",
    }
    return _json(429, envelope, retry_after(form))


def _invalid(message: str) -> Refused:
    return Refused(400, "invalid_request_error", "validation_type", message)


def _unauthorized() -> Refused:
    return Refused(401, "auth_error", "unauthorized", "The token is not valid.")


def _json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, msgspec.json.encode(content), headers or {})


async def _body(receive: Any) -> bytes:
    whole = bytearray()
    while True:
        message = await receive()
        whole += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(whole)


async def _live(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
