"""Who looks at a page: a session in a signed cookie, and the token that every form carries."""

import hmac
import secrets
import time
from typing import Any, Final

import jwt
from litestar import Request
from litestar.datastructures import Cookie

from muster.api.auth import Connection, signing_secret
from muster.api.requests import media_type
from muster.errors import Forbidden, UnsupportedMedia
from muster.settings import Settings

SESSION_SECONDS = 12 * 3600  # a working day; then sign in again
AUDIENCE = "muster-console"

SESSION: Final = "muster_session"
VISITOR: Final = "muster_visitor"  # before anybody signed in: what the sign-in form is bound to
FORM_TOKEN: Final = "form_token"  # noqa: S105  # the name of a form's field

ANY_FORM: Final[dict[str, Any]] = {"any_form": True}
"""`opt=ANY_FORM` on a route: it reads a form without a token, and changes nothing."""

CONSOLE: Final[dict[str, Any]] = {"console": True}
"""`opt=CONSOLE` on a route: a session cookie is accepted here. Everywhere else it counts for nothing."""

FORM = "application/x-www-form-urlencoded"

AnyRequest = Request[Any, Any, Any]


class StaleForm(Forbidden):
    """A form that is not of this session: of an earlier one, or of another site."""


class Sessions:
    """An authenticator that reads the session cookie, on pages only.

    The API takes no cookie, so no other site can make a browser call it. The cookie is a JWT under a key derived for
    this purpose alone: an API token is never a session, nor a session an API token, whatever audience is configured.
    """

    def __init__(self, settings: Settings) -> None:
        secret = signing_secret(settings)
        self._issuer = settings.auth_issuer
        self._session_key = hmac.digest(secret, b"muster console session", "sha256")
        self._form_key = hmac.digest(secret, b"muster console form", "sha256")

    async def __call__(self, connection: Connection) -> str | None:
        return self.owner(connection) if connection.route_handler.opt.get("console") else None

    def owner(self, connection: Connection) -> str | None:
        """Whose session this is; None when there is none, or it has ended."""
        try:
            claims = jwt.decode(
                connection.cookies.get(SESSION, ""),
                self._session_key,
                algorithms=["HS256"],
                audience=AUDIENCE,
                issuer=self._issuer,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, RecursionError, OverflowError):
            return None
        return str(claims["sub"])

    def begin(self, request: AnyRequest, owner: str, *, not_after: float | None = None) -> Cookie:
        """The cookie of a new session, which ends after SESSION_SECONDS, or earlier at `not_after` (Unix seconds)."""
        now = int(time.time())
        ends = min(now + SESSION_SECONDS, int(not_after)) if not_after is not None else now + SESSION_SECONDS
        claims = {
            "sub": owner,
            "iss": self._issuer,
            "aud": AUDIENCE,
            "iat": now,
            "exp": ends,
            "jti": secrets.token_urlsafe(16),  # no two sessions, and so no two form tokens, are the same
        }
        value = jwt.encode(claims, self._session_key, algorithm="HS256")
        return _cookie(request, SESSION, value, max_age=ends - now)

    def begin_visit(self, request: AnyRequest) -> Cookie:
        """The cookie that the sign-in form is bound to: the visitor's own where there is one."""
        return _cookie(request, VISITOR, request.cookies.get(VISITOR) or secrets.token_urlsafe(32))

    def form_token(self, cookie: str | None) -> str:
        """What a form must carry: only who can read our pages knows it. Bound to the value of a cookie."""
        return hmac.digest(self._form_key, cookie.encode(), "sha256").hex() if cookie else ""

    async def check_form(self, request: AnyRequest) -> None:
        """Let a form pass only if it came from a page of ours. Raises UnsupportedMedia, StaleForm."""
        if request.method in {"GET", "HEAD", "OPTIONS"} or request.route_handler.opt.get("any_form"):
            return
        if media_type(request) != FORM:
            raise UnsupportedMedia(f"This address reads {FORM}.")
        form = await request.form()
        cookie = request.cookies.get(VISITOR if request.route_handler.opt.get("public") else SESSION)
        expected, given = self.form_token(cookie), form.get(FORM_TOKEN)
        fits = isinstance(given, str) and hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
        if not expected or not fits:
            raise StaleForm("This form is too old or came from elsewhere; load the page again and repeat.")


def is_from_our_page(request: AnyRequest) -> bool:
    """Whether the browser vouches that a form was on a page of ours.

    https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
    """
    return request.headers.get("sec-fetch-site") == "same-origin" and media_type(request) == FORM


def ended(request: AnyRequest) -> Cookie:
    """The cookie that makes a browser forget its session."""
    return _cookie(request, SESSION, "", max_age=0)


def _cookie(request: AnyRequest, name: str, value: str, *, max_age: int | None = None) -> Cookie:
    # Lax, not strict: a sign-in link may be opened from a chat or a web terminal, and its redirect is a navigation
    # that began there. What changes anything is a POST with a form token.
    return Cookie(
        key=name,
        value=value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.url.scheme == "https",
    )
