"""Signing in and out."""

from typing import Annotated, Any

import jwt
from litestar import Request, Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect

from muster.api.auth import PUBLIC, BearerTokens, redeem_signin_code
from muster.console import pages
from muster.console.pages import Page
from muster.console.sessions import Sessions, ended
from muster.errors import Unauthenticated

AnyRequest = Request[Any, Any, Any]
Code = Annotated[str | None, QueryParameter(max_length=200)]


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


ROUTES = [sign_in_page, sign_in, sign_out]
