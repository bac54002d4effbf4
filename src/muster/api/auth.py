"""Tokens: who calls. `Authorization: Bearer <JWT>`, and the owner is its `sub`."""

import os
import secrets
import time
from pathlib import Path

import jwt

from muster.errors import StartError
from muster.settings import Settings

SECRET_FILE = "auth-secret"  # noqa: S105  # a file name


def signing_secret(settings: Settings) -> bytes:
    """The HS256 key: `MUSTER_AUTH_SECRET`, or one made once and kept in the data folder (0600).

    Several processes may start at once: whoever links the file first decides, the others read it.
    Raises StartError when the key is too short to sign with or the folder cannot be written.
    """
    if settings.auth_secret is not None:
        secret = settings.auth_secret.get_secret_value().encode()
        if len(secret) < 32:
            raise StartError("MUSTER_AUTH_SECRET is shorter than 32 bytes; `openssl rand -hex 32` makes a good one.")
        return secret
    path = settings.data_path / SECRET_FILE
    try:
        if not path.exists():
            _write_once(path, secrets.token_hex(32).encode())
        secret = path.read_bytes().strip()
    except OSError as error:
        raise StartError(f"The signing key {path} cannot be read or made: {error.strerror}.") from error
    if len(secret) < 32:
        raise StartError(f"{path} is shorter than 32 bytes; delete it, and a new key is made (old tokens end).")
    return secret


def issue_token(settings: Settings, owner: str, ttl_seconds: int = 30 * 24 * 3600) -> str:
    """A signed token for an owner, valid for `ttl_seconds` from now."""
    now = int(time.time())
    claims = {
        "sub": owner,
        "iss": settings.auth_issuer,
        "aud": settings.auth_audience,
        "iat": now,
        "exp": now + ttl_seconds,
    }
    return jwt.encode(claims, signing_secret(settings), algorithm="HS256")


def _write_once(path: Path, content: bytes) -> None:
    """Write a private file unless it is there already; a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
