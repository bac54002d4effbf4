"""Signing in and out, and what becomes of a form that comes too late for its session."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import jwt
from litestar import Request, Response, get, post
from litestar.params import QueryParameter
from litestar.response import Redirect

from muster.api.auth import PUBLIC, BearerTokens, redeem_signin_code
from muster.console import forms, pages
from muster.console.pages import Page
from muster.console.sessions import ANY_FORM, FORM_TOKEN, Sessions, ended, is_from_our_page
from muster.errors import Unauthenticated

AnyRequest = Request[Any, Any, Any]
Code = Annotated[str | None, QueryParameter(max_length=200)]
Next = Annotated[str, QueryParameter(max_length=pages.LONGEST_ADDRESS)]
Typed = Sequence[tuple[str, str]]

_NOT_KEPT: Final = frozenset({FORM_TOKEN, "api_key"})  # a secret does not come back in a page
_LARGEST = 300_000  # bytes: a form of another page within a form


@get("/signin", opt=PUBLIC)
async def sign_in_page(request: AnyRequest, code: Code = None, next: Next = "/") -> Response[Any]:  # noqa: A002
    """The printed link: its code signs in once. Without a code, or with one that does not hold, a form for a token.

    `next` is the page that was asked for.
    """
    sessions: Sessions = request.app.state.sessions
    problem = None
    if code is not None:
        try:
            return _signed_in(request, await redeem_signin_code(code), next)
        except Unauthenticated as error:
            problem = error.detail
    if sessions.owner(request) is not None:
        return Redirect(forms.ours(next), status_code=303, headers=pages.HEADERS)
    return _sign_in_form(request, problem, next)


@post("/signin", opt=PUBLIC, request_max_body_size=_LARGEST)
async def sign_in(request: AnyRequest) -> Response[Any]:
    """Sign in with a token; the session ends no later than the token does."""
    tokens: BearerTokens = request.app.state.tokens
    form = await request.form()
    token, after = str(form.get("token", "")).strip(), str(form.get("next", "/"))
    typed = _typed(form.items(), "typed.") if "typed" in form else None
    try:
        owner = await tokens.owner(token)
    except Unauthenticated as error:
        return _sign_in_form(request, error.detail, after, typed)
    expires = jwt.decode(token, options={"verify_signature": False})["exp"]
    return _signed_in(request, owner, after, typed, not_after=float(expires))


@get("/signin/keep", opt=PUBLIC)
async def kept(next: Next) -> Response[Any]:  # noqa: A002
    """What was kept stood in a form, and is not in the address: the page that it came from, empty."""
    return Redirect(forms.ours(next), status_code=303, headers=pages.HEADERS)


@post("/signin/keep", opt=PUBLIC | ANY_FORM, status_code=200)
async def keep(request: AnyRequest, next: Next) -> Response[Any]:  # noqa: A002
    """A form whose session has ended: nothing is done with it, and what was typed is kept on the page.

    It is sent again by whoever signed in, by a button: only a form of ours, and only to where it went before.
    """
    if not is_from_our_page(request):
        return Redirect(pages.SIGN_IN, status_code=303, headers=pages.HEADERS)
    sessions: Sessions = request.app.state.sessions
    typed = _typed((await request.form()).items())
    if sessions.owner(request) is None:
        return _sign_in_form(request, None, next, typed)
    return Page("send_again.html", next=forms.ours(next), typed=typed)


@post("/signout")
async def sign_out(request: AnyRequest) -> Response[Any]:
    """End the session in this browser."""
    return Redirect(pages.SIGN_IN, status_code=303, cookies=[ended(request)], headers=pages.HEADERS)


def _typed(form: Iterable[tuple[str, Any]], prefix: str = "") -> Typed:
    """The fields of a form, without what is not to come back."""
    fields = [(name.removeprefix(prefix), str(value)) for name, value in form if name.startswith(prefix)]
    return [(name, value) for name, value in fields if name not in _NOT_KEPT]


def _signed_in(
    request: AnyRequest, owner: str, after: str, typed: Typed | None = None, *, not_after: float | None = None
) -> Response[Any]:
    """Lead to the page `after`, or show what was typed there, to be sent again."""
    sessions: Sessions = request.app.state.sessions
    cookie = sessions.begin(request, owner, not_after=not_after)
    if typed is None:
        return Redirect(forms.ours(after), status_code=303, cookies=[cookie], headers=pages.HEADERS)
    page = Page(
        "send_again.html", next=forms.ours(after), typed=typed, form_token=sessions.form_token(str(cookie.value))
    )
    page.set_cookie(cookie)
    return page


def _sign_in_form(request: AnyRequest, problem: str | None, after: str, typed: Typed | None = None) -> Response[Any]:
    sessions: Sessions = request.app.state.sessions
    visit = sessions.begin_visit(request)
    page = Page(
        "signin.html",
        status_code=401 if problem else 200,
        problem=problem,
        next=forms.ours(after),
        typed=typed,
        form_token=sessions.form_token(visit.value),
    )
    page.set_cookie(visit)
    return page


ROUTES = [sign_in_page, sign_in, kept, keep, sign_out]
