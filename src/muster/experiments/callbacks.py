"""Results that the other side sends by itself: `POST /hooks/experiments/{run id}`, signed as Standard Webhooks says.

Every run has a secret of its own, made from a key of the data folder and stored nowhere. The other side is told it in
a header of the request that hands the run over, if Muster knows its own public address.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping

from standardwebhooks import Webhook as Signer
from standardwebhooks import WebhookVerificationError

from muster.api.keys import kept_key
from muster.errors import Unauthenticated, Unavailable
from muster.settings import Settings

KEY_FILE = "experiments-key"
ADDRESS_HEADER, SECRET_HEADER = "Muster-Callback", "Muster-Callback-Secret"


def callback_secret(settings: Settings, run_id: str) -> str:
    """The secret of one run, as libraries for Standard Webhooks take it. Raises Unavailable."""
    file = settings.data_path / KEY_FILE
    try:
        key = bytes.fromhex(kept_key(file).decode())
    except (OSError, ValueError) as error:
        raise Unavailable(f"The key for callbacks, {file}, cannot be read or made: {error}.") from error
    return "whsec_" + base64.b64encode(hmac.digest(key, run_id.encode(), hashlib.sha256)).decode()


def callback_headers(settings: Settings, run_id: str) -> Mapping[str, str]:
    """What tells the other side where results may be sent to, and how they are signed; nothing without an address."""
    if settings.public_url is None:
        return {}
    address = f"{settings.public_url.rstrip('/')}/hooks/experiments/{run_id}"
    return {ADDRESS_HEADER: address, SECRET_HEADER: callback_secret(settings, run_id)}


def verify(settings: Settings, run_id: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raise Unauthenticated unless the body is signed with the run's secret, within the last five minutes."""
    try:
        Signer(callback_secret(settings, run_id)).verify(body.decode(), dict(headers))
    except (WebhookVerificationError, ValueError):
        detail = "The signature does not hold: sign as Standard Webhooks says, with the run's secret, within 5 minutes."
        raise Unauthenticated(detail) from None
