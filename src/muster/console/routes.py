"""The pages."""

from typing import Annotated, Any
from urllib.parse import urlencode

import jwt
from litestar import Request, Response, Router, get, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Redirect
from litestar.static_files import create_static_files_router

from muster.api.auth import PUBLIC, BearerTokens, redeem_signin_code
from muster.api.paging import Cursor
from muster.console import pages, views
from muster.console.pages import Page
from muster.console.sessions import CONSOLE, Sessions, ended
from muster.errors import Unauthenticated
from muster.projects.service import project_of

LARGEST_FORM = 100_000  # bytes

AnyRequest = Request[Any, Any, Any]
Search = Annotated[str | None, QueryParameter(max_length=200)]
Seen = Annotated[str | None, QueryParameter(max_length=64)]
Code = Annotated[str | None, QueryParameter(max_length=200)]


@get("/")
async def home(
    request: AnyRequest, owner: NamedDependency[str], q: Search = None, cursor: Cursor = None, seen: Seen = None
) -> Response[Any]:
    """The cohorts of the default project."""
    project = await project_of(owner, None)
    shown = await views.cohort_list(project, q=q, cursor=cursor)
    version = views.version_of(shown)
    if seen == version:
        return _nothing_new()
    profiles = None if seen else await views.profile_count(project)  # only when a person asks: it takes its time
    return Page(
        "home.html",
        shown=shown,
        version=version,
        profiles=profiles,
        q=q or "",
        cursor=cursor,
        zone=project.time_zone,
        here=_address("/", q=q, cursor=cursor),
        base=str(request.base_url).rstrip("/"),
    )


@get("/cohorts/{cohort_id:str}")
async def cohort(
    owner: NamedDependency[str], cohort_id: FromPath[str], cursor: Cursor = None, seen: Seen = None
) -> Response[Any]:
    """One cohort with its members."""
    shown, project = await views.cohort_detail(owner, cohort_id, cursor=cursor)
    version = views.version_of(shown)
    if seen == version:
        return _nothing_new()
    return Page(
        "cohort.html",
        shown=shown,
        version=version,
        cursor=cursor,
        zone=project.time_zone,
        here=_address(f"/cohorts/{shown.cohort.id}", cursor=cursor),
    )


@get("/signin", opt=PUBLIC)
async def sign_in_page(request: AnyRequest, code: Code = None) -> Response[Any]:
    """The printed link: its code signs in once. Without a code, or with one that does not hold, a form for a token."""
    sessions: Sessions = request.app.state.sessions
    problem = None
    if code is not None:
        try:
            return _signed_in(request, await redeem_signin_code(code))
        except Unauthenticated as error:
            problem = error.detail
    if sessions.owner(request) is not None:
        return Redirect("/", status_code=303, headers=pages.HEADERS)
    return _sign_in_form(request, problem)


@post("/signin", opt=PUBLIC)
async def sign_in(request: AnyRequest) -> Response[Any]:
    """Sign in with a token; the session ends no later than the token does."""
    tokens: BearerTokens = request.app.state.tokens
    token = str((await request.form()).get("token", "")).strip()
    try:
        owner = await tokens.owner(token)
    except Unauthenticated as error:
        return _sign_in_form(request, error.detail)
    expires = jwt.decode(token, options={"verify_signature": False})["exp"]
    return _signed_in(request, owner, not_after=float(expires))


@post("/signout")
async def sign_out(request: AnyRequest) -> Response[Any]:
    """End the session in this browser."""
    return Redirect(pages.SIGN_IN, status_code=303, cookies=[ended(request)], headers=pages.HEADERS)


def _signed_in(request: AnyRequest, owner: str, *, not_after: float | None = None) -> Response[Any]:
    sessions: Sessions = request.app.state.sessions
    cookie = sessions.begin(request, owner, not_after=not_after)
    return Redirect("/", status_code=303, cookies=[cookie], headers=pages.HEADERS)


def _sign_in_form(request: AnyRequest, problem: str | None) -> Response[Any]:
    sessions: Sessions = request.app.state.sessions
    visit = sessions.begin_visit(request)
    page = Page(
        "signin.html", status_code=401 if problem else 200, problem=problem, form_token=sessions.form_token(visit.value)
    )
    page.set_cookie(visit)
    return page


def _nothing_new() -> Response[Any]:
    """The page shows this already. htmx leaves it alone, and so does a screen reader."""
    return Response(None, status_code=204, headers=pages.HEADERS)


def _address(path: str, **query: str | None) -> str:
    """The address of what is shown, for the page to ask again."""
    given = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def routes(sessions: Sessions) -> tuple[Router, Router]:
    """The pages and their static files."""
    console = Router(
        "/",
        route_handlers=[home, cohort, sign_in_page, sign_in, sign_out],
        before_request=sessions.check_form,
        exception_handlers=pages.EXCEPTION_HANDLERS,
        include_in_schema=False,
        opt=CONSOLE,
        request_max_body_size=LARGEST_FORM,
    )
    static = create_static_files_router(
        "/static",
        directories=[pages.STATIC],
        cache_control=CacheControlHeader(public=True, max_age=365 * 24 * 3600, immutable=True),
        opt=PUBLIC,
    )
    return console, static
