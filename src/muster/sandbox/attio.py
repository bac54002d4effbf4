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
from urllib.parse import parse_qsl
from uuid import uuid4

import msgspec

from muster.sandbox.attio_faults import Fault, Faults
from muster.sandbox.attio_queries import in_order, places_of, shifted
from muster.sandbox.attio_wire import Answer, Asked, Refused, body_of, invalid, json_answer, limited, live, unauthorized
from muster.sandbox.attio_world import Raw, Rows, World

KEY = "sandbox-key-for-trying-out-muster-which-is-not-a-secret-00000001"
"""Works in every sandbox. 64 characters, as Attio's have."""

SCOPES = "record_permission:read object_configuration:read list_configuration:read list_entry:read webhook:read-write"
LARGEST_PAGE = 500
RATE = 100  # requests a second
HTML = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1><p>cloud-front-12</p></body></html>"

_log = logging.getLogger(__name__)


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
            await live(receive, send)
            return
        asked = Asked(
            method=scope["method"],
            path=(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("ascii", "replace"),
            query=dict(parse_qsl(scope["query_string"].decode("ascii", "replace"))),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=await body_of(receive),
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
                return json_answer(200, await self.control(self, asked))
            self.seen.append(f"{asked.method} {asked.path}")
            fault = self.faults.take(asked.path)
            if fault is not None:
                failed = await self._fail(fault, asked)
                if failed is not None:
                    return failed
            if self._is_too_fast():
                return limited("date")
            found = self._route(asked, fault)
            return found if isinstance(found, Answer) else json_answer(200, found)
        except Refused as refused:
            return json_answer(refused.status, refused.envelope)

    async def _fail(self, fault: Fault, asked: Asked) -> Answer | None:
        """The answer of a fault; None when the request goes on all the same."""
        match fault.kind:
            case "rate_limited":
                return limited(fault.retry_after)
            case "server_error":
                raise Refused(fault.status, "api_error", "internal_error", "Something went wrong on our side.")
            case "html_error":
                return Answer(502, HTML, {"content-type": "text/html"})
            case "html":
                return Answer(200, HTML, {"content-type": "text/html"})
            case "no_data":
                return json_answer(200, {"message": "nothing here"})
            case "revoked":
                raise unauthorized()
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
        whole = found if isinstance(found, Answer) else json_answer(200, found)
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
            raise unauthorized()
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
            raise invalid("The body is an object.")
        limit, offset = body.get("limit", LARGEST_PAGE), body.get("offset", 0)
        if not isinstance(limit, int) or not 0 < limit <= LARGEST_PAGE:
            raise invalid(f"limit is 1 to {LARGEST_PAGE}.")
        if not isinstance(offset, int) or offset < 0:
            raise invalid("offset is 0 or more.")
        if fault is not None:
            offset = shifted(rows, fault, offset)
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
            self._found[key] = in_order(rows, places_of(world, slug, rows, filter_), sorts)
        return self._found[key]

    def _webhooks(self, asked: Asked) -> Raw:
        match asked.method, asked.steps[2:]:
            case "GET", []:
                return {"data": [{**each, "secret": None} for each in self.webhooks]}
            case "POST", []:
                data = (asked.json() or {}).get("data") or {}
                wanted = data.get("subscriptions")
                if not data.get("target_url") or not isinstance(wanted, list):
                    raise invalid("A webhook has a target_url and subscriptions.")
                if any("filter" not in each for each in wanted):
                    raise invalid("filter must be present, even null.")
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
