"""How a request is read: its JSON, its media type, and the ids in its path."""

import re
from typing import Any, ClassVar
from urllib.parse import unquote_to_bytes

import msgspec
from litestar import Request
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send
from pydantic import BaseModel, ConfigDict, model_validator

from muster.errors import BadRequest, Problem, UnsupportedMedia

MEDIA_TYPES_KEY = "media_types"
_JSON = re.compile(r"application/(json|[\w.+-]+\+json)")
_BYTE = re.compile(r"\(byte (\d+)\)")

# Stands for an encoded slash inside one segment of a path, while the router splits at the real ones. No id has it.
_SLASH = "\x1f"


class Body(BaseModel):
    """The base of what comes in: strict types, unknown properties refused, read-only ones ignored.

    So that what a GET answered can be changed and sent back as it is, a subclass names in `read_only` what its
    answers carry beside the writable properties.
    """

    model_config = ConfigDict(extra="forbid", strict=True)
    read_only: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_read_only(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: item for name, item in value.items() if name not in cls.read_only}
        return value


class JsonRequest(Request[Any, Any, Any]):
    """A request whose JSON errors say where in the body they are."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return msgspec.json.decode(body)
        except RecursionError:
            raise BadRequest("The body nests too deeply.") from None
        except UnicodeDecodeError:
            raise _malformed(body, _first_undecodable(body), "invalid UTF-8") from None
        except msgspec.DecodeError as error:
            found = _BYTE.search(str(error))
            offset = int(found[1]) if found else len(body)
            reason = _BYTE.sub("", str(error)).removeprefix("JSON is malformed: ").strip()
            raise _malformed(body, offset, reason) from None
        except ValueError as error:  # a number with more digits than Python reads
            raise BadRequest(f"The body cannot be read: {error}") from None


def media_type(request: Request[Any, Any, Any]) -> str:
    """The media type of the body, without parameters; empty when none is named."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def disconnected(request: Request[Any, Any, Any]) -> None:
    """Return when the client has gone away. The body must have been read: nothing else comes after it."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def refuse_other_media(request: Request[Any, Any, Any]) -> None:
    """Refuse a body of a type that the route does not read. By default a route reads JSON, also when none is named."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    accepted, named = request.route_handler.opt.get(MEDIA_TYPES_KEY), media_type(request)
    fits = named in accepted if accepted else not named or _JSON.fullmatch(named)
    if not fits:
        wanted = " or ".join(accepted or ["application/json"])
        raise UnsupportedMedia(f"This address reads {wanted}, not {named or 'a body without a Content-Type'}.")


class EncodedSlashes:
    """Lets an id hold a slash: `/v1/leads/a%2Fb` is the lead `a/b`, though ASGI hands the path over decoded.

    Wraps the whole application, before the router; `PathIds` undoes it behind the router.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") if scope["type"] == ScopeType.HTTP else None
        if raw and b"%" in raw:
            marked = re.sub(rb"%2f", _SLASH.encode(), re.sub(rb"(?i)%(1f|00)", b"%FF", raw), flags=re.IGNORECASE)
            # What is not UTF-8 names nothing: better 404 than a replacement character that another id could share.
            path = unquote_to_bytes(marked).decode("utf-8", errors="surrogateescape")
            scope["path"] = path if path.isascii() or _is_unicode(path) else "/" + _SLASH
        await self.app(scope, receive, send)


class PathIds(ASGIMiddleware):
    """Gives ids in the path their slashes back."""

    scopes = (ScopeType.HTTP,)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if _SLASH in scope["path"]:
            parameters = scope["path_params"]  # shared by the router's cache: replaced, not changed
            scope["path_params"] = {
                name: value.replace(_SLASH, "/") if isinstance(value, str) else value
                for name, value in parameters.items()
            }
        await next_app(scope, receive, send)


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _first_undecodable(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)


def _malformed(body: bytes, offset: int, reason: str) -> BadRequest:
    before = body[:offset].decode(errors="replace")
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    span = {"start": len(before), "end": len(before) + 1, "line": line, "column": column}
    detail = f"{reason[:1].upper()}{reason[1:]} at line {line}, column {column}."
    return BadRequest("The body is not JSON.", [Problem(detail, span=span)])
