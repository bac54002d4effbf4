"""Tokens: who calls. `Authorization: Bearer <JWT>`, and the owner is its `sub`."""

import hashlib
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from muster.api.documents import SigninCode
from muster.api.jwks import ALGORITHMS, ProviderKeys
from muster.api.keys import kept_key
from muster.errors import StartError, Unauthenticated
from muster.settings import Settings

Connection = ASGIConnection[Any, Any, Any, Any]
Authenticator = Callable[[Connection], Awaitable[str | None]]
"""Reads the owner from a connection: None when it finds none of its kind, Unauthenticated when it does not hold."""

PUBLIC: Final[dict[str, Any]] = {"public": True}
"""`opt=PUBLIC` on a route handler: no token is needed."""
PUBLIC_SECURITY: Final[list[dict[str, list[str]]]] = [{}]
"""`security=PUBLIC_SECURITY`: the same, said in OpenAPI."""

SIGNIN_SECONDS = 15 * 60

SECRET_FILE = "auth-secret"  # noqa: S105  # a file name


def signing_secret(settings: Settings) -> bytes:
    """The HS256 key: `MUSTER_AUTH_SECRET`, or one made once and kept in the data folder (0600).

    Raises StartError when the key is too short to sign with or the folder cannot be written.
    """
    if settings.auth_secret is not None:
        secret = settings.auth_secret.get_secret_value().encode()
        if len(secret) < 32:
            raise StartError("MUSTER_AUTH_SECRET is shorter than 32 bytes; `openssl rand -hex 32` makes a good one.")
        return secret
    path = settings.data_path / SECRET_FILE
    try:
        secret = kept_key(path)
    except OSError as error:
        raise StartError(f"The signing key {path} cannot be read or made: {error.strerror}.") from error
    if len(secret) < 32:
        raise StartError(f"{path} is shorter than 32 bytes; delete it, and a new key is made (old tokens end).")
    return secret


def issue_token(settings: Settings, owner: str, ttl_seconds: int = 30 * 24 * 3600) -> str:
    """A signed token for an owner, valid for `ttl_seconds` from now.

    Raises StartError when an identity provider issues the tokens and no `MUSTER_AUTH_SECRET` stands beside it.
    """
    if settings.auth_jwks_url is not None and settings.auth_secret is None:
        raise StartError("MUSTER_AUTH_JWKS_URL is set: the identity provider issues the tokens, not Muster.")
    now = int(time.time())
    claims = {
        "sub": owner,
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "iat": now,
        "exp": now + ttl_seconds,
    }
    return jwt.encode(claims, signing_secret(settings), algorithm="HS256")


class BearerTokens:
    """Reads `Authorization: Bearer <JWT>`.

    HS256 with our own secret; with `MUSTER_AUTH_JWKS_URL` the provider's asymmetric keys instead, and HS256 only if
    `MUSTER_AUTH_SECRET` is set as well. The algorithm picks the key, so a public key never checks an HMAC.
    """

    def __init__(self, settings: Settings, keys: ProviderKeys | None = None) -> None:
        self._settings = settings
        self._keys = keys or (ProviderKeys(settings.auth_jwks_url) if settings.auth_jwks_url else None)
        own = self._keys is None or settings.auth_secret is not None
        self._secret = signing_secret(settings) if own else None

    async def __call__(self, connection: Connection) -> str | None:
        header = connection.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("The Authorization header is not `Bearer <token>`.")
        return await self.owner(token.strip())

    async def owner(self, token: str) -> str:
        """The `sub` of a token that holds. Raises Unauthenticated with a reason that gives nothing away."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))  # it may be anything
            key: Any
            if algorithm == "HS256" and self._secret is not None:
                key = self._secret
            elif algorithm in ALGORITHMS and self._keys is not None:
                key = await self._keys.key(header.get("kid"))
                if key.algorithm_name != algorithm:
                    raise Unauthenticated("The token's algorithm is not the one of its key.")
            else:
                raise Unauthenticated("The token is signed with an algorithm that is not accepted here.")
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.auth_audience,
                issuer=self._settings.auth_issuer,
                leeway=0 if algorithm == "HS256" else 5,  # a provider's clock is not ours
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, RecursionError, OverflowError):
            raise Unauthenticated("The token does not hold: signature, issuer, audience or a claim is wrong.") from None
        owner = claims["sub"]
        if not isinstance(owner, str) or not 0 < len(owner) <= 200 or not owner.isprintable():
            raise Unauthenticated("The token's `sub` is not 1 to 200 printable characters.")
        return owner


class Authentication(ASGIMiddleware):
    """Finds out who calls, by the first authenticator that knows; `request.user` is the owner from here on.

    The console adds its own (a session cookie) to the list.
    """

    scopes = (ScopeType.HTTP,)
    exclude_opt_key = "public"

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        connection: Connection = ASGIConnection(scope)
        for authenticator in self._authenticators:
            owner = await authenticator(connection)
            if owner is not None:
                scope["user"], scope["auth"] = owner, authenticator
                await next_app(scope, receive, send)
                return
        raise Unauthenticated("A token is needed: `Authorization: Bearer <token>`. `muster token` makes one.")


def provide_owner(request: Request[str, Any, Any]) -> str:
    """The caller. A dependency named `owner`."""
    return request.user


async def issue_signin_code(owner: str) -> str:
    """A code that signs a browser in as `owner`, once, within 15 minutes. Only its digest is stored."""
    code = secrets.token_urlsafe(32)
    expires_at = datetime.now(UTC) + timedelta(seconds=SIGNIN_SECONDS)
    await SigninCode(id=_digest(code), owner=owner, expires_at=expires_at).insert()
    return code


async def redeem_signin_code(code: str) -> str:
    """The owner of a code, which is used up by this. Raises Unauthenticated when it is unknown, used or too old."""
    found = await SigninCode.get_motor_collection().find_one_and_delete(
        {"_id": _digest(code), "expires_at": {"$gt": datetime.now(UTC)}}
    )
    if found is None:
        raise Unauthenticated("This sign-in link was used already or is too old; `muster up` prints a new one.")
    return str(found["owner"])


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
