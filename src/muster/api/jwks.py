"""The public keys of an identity provider (Clerk, or any OIDC): fetched, kept, and fetched again when they rotate."""

import asyncio
import json
import logging
import time
from collections import deque

import httpx
import jwt

from muster.errors import Unauthenticated, Unavailable

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})

_log = logging.getLogger(__name__)


class ProviderKeys:
    """Keys by their id.

    They are fetched anew after `lifetime` seconds, and when a token names a key that is not among them (it may have
    rotated a second ago): at most `burst` times in `window` seconds, so that invented ids do not become a flood.
    """

    lifetime = 300.0
    burst, window = 5, 60.0

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -float("inf")
        self._fetches: deque[float] = deque(maxlen=self.burst)
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str | None) -> jwt.PyJWK:
        """The key of this id; without an id, the only key. Raises Unauthenticated, or Unavailable without any keys."""
        if time.monotonic() - self._fetched_at > self.lifetime or self._find(key_id) is None:
            await self._fetch(key_id)
        if not self._keys:
            raise Unavailable("The identity provider's keys cannot be fetched at the moment; try again.")
        found = self._find(key_id)
        if found is None:
            raise Unauthenticated("The token is signed with a key that the identity provider does not list.")
        return found

    def _find(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    async def _fetch(self, key_id: str | None) -> None:
        asked_at = time.monotonic()
        async with self._fetching:
            fresh = time.monotonic() - self._fetched_at <= self.lifetime
            if self._fetched_at > asked_at or (fresh and self._find(key_id)):
                return  # another request fetched meanwhile
            if len(self._fetches) == self.burst and asked_at - self._fetches[0] < self.window:
                return
            self._fetches.append(asked_at)
            try:
                async with httpx.AsyncClient(timeout=5, transport=self._transport) as client:
                    answer = (await client.get(self._url)).raise_for_status()
                self._keys = _signing_keys(answer.json())
                self._fetched_at = time.monotonic()
            except (httpx.HTTPError, json.JSONDecodeError, jwt.PyJWTError, TypeError, KeyError) as error:
                _log.warning("The keys at %s cannot be read: %s", self._url, type(error).__name__)


def _signing_keys(document: dict[str, list[dict[str, str]]]) -> dict[str, jwt.PyJWK]:
    """The usable keys of a JWK set: asymmetric ones that are meant for signatures."""
    keys: dict[str, jwt.PyJWK] = {}
    for entry in document["keys"]:
        if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError:  # a kind of key that we do not know is no reason to refuse the others
            continue
        if key.algorithm_name in ALGORITHMS:
            keys[entry.get("kid", "")] = key
    return keys
