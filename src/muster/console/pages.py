"""How a page is made: the templates, what all of them know, the headers, and errors that people can read."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import MediaType, Request, Response
from litestar.exceptions import NotFoundException
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.response import Redirect, Template
from litestar.types import ExceptionHandlersMap

from muster.api import problems
from muster.console import forms, languages
from muster.console.forms import is_piece, take_notice
from muster.console.languages import LANGUAGES, language_of, speak
from muster.console.preferences import THEMES, theme_of
from muster.console.rooms import Room
from muster.console.sentences import told
from muster.console.sessions import SESSION, Sessions, StaleForm, is_from_our_page

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"
SIGN_IN = "/signin"
KEEP = "/signin/keep"
LONGEST_ADDRESS = 4_000  # characters that one is led back to after signing in

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Not stored: after signing out, the back button of a shared computer shows nothing.
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}

AnyRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Section:
    """An entry of the navigation. `name` is marked for translation where it is listed, and translated when shown."""

    key: str
    address: str
    name: str


SECTIONS: list[Section] = []
"""The navigation, in its order. `muster.console.routes` fills it: an entry appears with its page."""


class Page(Template):
    """A template with what every page needs beside its own context.

    `section` is the key of the entry in the navigation that it belongs to, `crumbs` the way to it as pairs of a text
    and an address.
    """

    def __init__(
        self,
        name: str,
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        room: Room | None = None,
        section: str = "",
        crumbs: Sequence[tuple[str, str]] = (),
        **context: Any,
    ):
        super().__init__(
            name,
            context={**context, "room": room, "section": section, "crumbs": crumbs},
            status_code=status_code,
            headers={**HEADERS, **(headers or {})},
            media_type=MediaType.HTML,
        )

    def create_template_context(self, request: AnyRequest) -> dict[str, Any]:
        sessions: Sessions = request.app.state.sessions
        language = language_of(request)
        speak(language.code)
        notice = None
        if not is_piece(request):
            notice, forget = take_notice(request)
            if forget is not None:
                self.cookies.append(forget)
        owner = request.scope.get("user")
        return {
            "language": language,
            "languages": LANGUAGES,
            "theme": theme_of(request),
            "themes": THEMES,
            "sections": SECTIONS,
            "notice": notice,
            "owner": owner,
            "back": _back(request, owner),
            "form_token": sessions.form_token(request.cookies.get(SESSION)),
            **self.context,
        }


def nothing_new() -> Response[Any]:
    """The page shows this already. htmx leaves it alone, and so does a screen reader."""
    return Response(None, status_code=204, headers=HEADERS)


def address(path: str, **query: object) -> str:
    """An address with those parts of a query that say something."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def _back(request: AnyRequest, owner: str | None) -> str:
    """Where a form in the frame of the page leads back to: this page, if it can be asked for again."""
    if owner is None:
        return address(SIGN_IN, next=request.query_params.get("next"))
    query = request.scope["query_string"].decode("latin-1")
    return f"{request.url.path}?{query}".rstrip("?") if request.method == "GET" else "/"


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
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # the extension adds it
        languages.gettext, languages.ngettext, newstyle=True
    )
    environment.globals |= {"asset": asset, "address": address, "week": languages.WEEK}
    environment.filters |= {
        "number": languages.number,
        "percent": languages.percent,
        "moment": languages.moment,
        "ago": languages.ago,
        "told": told,
        "weekday": languages.weekday,
        "plain": plain,
    }
    return JinjaTemplateEngine.from_environment(environment)


def plain(value: object) -> str:
    """Anything as JSON, to be read, not run."""
    return json.dumps(value, ensure_ascii=False, default=str)


@cache
def asset(name: str) -> str:
    """The address of a static file. It names the content, so that a browser may keep it for ever."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
    return f"/static/{name}?v={digest}"


def _as_page(handler: Callable[[AnyRequest, Any], Response[dict[str, Any]]]) -> Callable[..., Response[Any]]:
    """The page for what the API would answer with a problem document."""

    def page(request: AnyRequest, error: Exception) -> Response[Any]:
        problem = handler(request, error).content
        speak(language_of(request).code)
        is_late = problem["status"] == 401 or isinstance(error, StaleForm)
        if is_late and (kept := _kept(request)):
            return kept
        if problem["status"] != 401:
            template = "problem.html" if is_piece(request) else "error.html"
            return Page(template, status_code=problem["status"], problem=problem, title=_title(problem))
        if not is_piece(request):
            return Redirect(_sign_in(request), status_code=303, headers=HEADERS)
        if request.method == "GET":  # a page that refreshes itself: the browser has to leave it
            leave = {"HX-Redirect": _sign_in(request)}
            return Response(None, status_code=401, headers=leave, media_type=MediaType.TEXT)
        return Page("signed_out.html", status_code=401)

    return page


def _sign_in(request: AnyRequest) -> str:
    """Where to sign in, so that one is led back to the page that was asked for."""
    shown = urlsplit(request.headers.get("hx-current-url", "") if is_piece(request) else str(request.url))
    back = forms.ours(shown._replace(scheme="", netloc="", fragment="").geturl()) if request.method == "GET" else "/"
    return address(SIGN_IN, next=back if back != "/" and len(back) <= LONGEST_ADDRESS else None)


def _kept(request: AnyRequest) -> Response[Any] | None:
    """A form of ours that comes too late is sent on, as it is, to where what was typed is kept."""
    if request.method != "POST" or is_piece(request) or not is_from_our_page(request):
        return None
    path = request.url.path
    if path in {SIGN_IN, "/signout"}:
        return None
    return Redirect(address(KEEP, next=path), status_code=307, headers=HEADERS)


def _title(problem: Mapping[str, Any]) -> str:
    """An error's title in the language of the page; what is wrong with it is said in English, as by the API."""
    titles = {
        400: languages.gettext("This request cannot be read"),
        403: languages.gettext("This is not allowed"),
        404: languages.gettext("There is nothing here"),
        409: languages.gettext("This is not possible now"),
        412: languages.gettext("Somebody else changed this meanwhile"),
        413: languages.gettext("This is too large"),
        415: languages.gettext("This cannot be read here"),
        422: languages.gettext("Something is not right"),
        503: languages.gettext("The database does not answer"),
    }
    return titles.get(problem["status"], str(problem["title"]))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    kind: _as_page(handler) for kind, handler in problems.EXCEPTION_HANDLERS.items()
}


def unknown_address(request: AnyRequest, error: NotFoundException) -> Response[Any]:
    """Where no route is: a page for a browser that strayed, a problem document for everybody else."""
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1")
    handler = _as_page(problems.from_http) if wants_page else problems.from_http
    return handler(request, error)
