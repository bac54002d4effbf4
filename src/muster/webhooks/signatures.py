"""Secrets of webhooks: made, kept encrypted, and signed with as Standard Webhooks says."""

import base64
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from standardwebhooks import Webhook as Signer

from muster.api.keys import kept_key
from muster.errors import Unavailable
from muster.settings import Settings

KEY_FILE = "webhooks-key"
PREFIX = "whsec_"
SECRET_BYTES = 32
NONCE_BYTES = 12


class WrongKey(Exception):
    """A secret was encrypted under another data folder's key, or for another webhook."""


class Vault:
    """Encrypts secrets under the key of the data folder. Each is bound to its webhook: moved to another it is none."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def lock(self, secret: str, webhook_id: str) -> bytes:
        """A secret as it is stored."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret.encode(), webhook_id.encode())

    def unlock(self, stored: bytes, webhook_id: str) -> str:
        """The secret. Raises WrongKey."""
        nonce, locked = stored[:NONCE_BYTES], stored[NONCE_BYTES:]
        try:
            return self._cipher.decrypt(nonce, locked, webhook_id.encode()).decode()
        except InvalidTag:
            raise WrongKey from None


def open_vault(settings: Settings) -> Vault:
    """The vault of these settings' data folder; its key is made on first use. Raises Unavailable."""
    file: Path = settings.data_path / KEY_FILE
    try:
        return Vault(bytes.fromhex(kept_key(file).decode()))
    except (OSError, ValueError) as error:
        raise Unavailable(f"The key for webhooks' secrets, {file}, cannot be read or made: {error}.") from error


def new_secret() -> str:
    """A secret as receivers' libraries take it."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed(delivery_id: str, at: datetime, body: str, secrets_: Iterable[str]) -> Mapping[str, str]:
    """The headers of one attempt, with a signature by each secret: the new one, and on its first day the old one."""
    signatures = [Signer(secret).sign(delivery_id, at, body) for secret in secrets_]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
