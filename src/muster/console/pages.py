"""How a page is made: the templates, what all of them know, the headers, and errors that people can read."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.exceptions import NotFoundException
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.types import ExceptionHandlersMap

from muster.api import problems
from muster.console.sessions import SESSION, Sessions

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
SIGN_IN = "/signin"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Not stored: after signing out, the back button of a shared computer shows nothing.
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}

AnyRequest = Request[Any, Any, Any]


class Page(Template):
    """A template with what every page needs beside its own context."""

    def __init__(self, name: str, *, status_code: int = 200, headers: Mapping[str, str] | None = None, **context: Any):
        super().__init__(
            name,
            context=context,
            status_code=status_code,
            headers={**HEADERS, **(headers or {})},
            media_type=MediaType.HTML,
        )

    def create_template_context(self, request: AnyRequest) -> dict[str, Any]:
        sessions: Sessions = request.app.state.sessions
        return {
            "language": "en",
            "direction": "ltr",
            "owner": request.scope.get("user"),
            "form_token": sessions.form_token(request.cookies.get(SESSION)),
            **self.context,
        }


def template_engine() -> JinjaTemplateEngine:
    """Jinja as the console uses it: everything escaped, a misspelt name an error, texts marked for translation."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_null_translations(newstyle=True)  # type: ignore[attr-defined]  # the extension adds it
    environment.globals["asset"] = asset
    environment.filters |= {"number": number, "moment": moment}
    return JinjaTemplateEngine.from_environment(environment)


@cache
def asset(name: str) -> str:
    """The address of a static file. It names the content, so that a browser may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def number(value: float) -> str:
    """A number with separators."""
    return f"{value:,}"


def moment(value: datetime, zone: str) -> str:
    """A time as a person reads it, in a project's time zone."""
    return value.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def _as_page(handler: Callable[[AnyRequest, Any], Response[dict[str, Any]]]) -> Callable[..., Response[Any]]:
    """The page for what the API would answer with a problem document."""

    def page(request: AnyRequest, error: Exception) -> Response[Any]:
        problem = handler(request, error).content
        if problem["status"] != 401:
            return Page("error.html", status_code=problem["status"], problem=problem)
        if request.headers.get("hx-request"):  # a page that refreshes itself: the browser has to leave it
            return Response(None, status_code=401, headers={"HX-Redirect": SIGN_IN}, media_type=MediaType.TEXT)
        return Redirect(SIGN_IN, status_code=303, headers=HEADERS)

    return page


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    kind: _as_page(handler) for kind, handler in problems.EXCEPTION_HANDLERS.items()
}


def unknown_address(request: AnyRequest, error: NotFoundException) -> Response[Any]:
    """Where no route is: a page for a browser that strayed, a problem document for everybody else."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1")
    handler = _as_page(problems.from_http) if wants_page else problems.from_http
    return handler(request, error)
