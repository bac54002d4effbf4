"""What Attio answers when it does not do what was asked.

    AttioApiError           502  Attio's answer cannot be used (a redirect, something that is no JSON)
    ├── AttioKeyRefused     409  401 or 403: the key is revoked or malformed, or lacks a scope; final at once
    ├── AttioNotFound       404  404: no such record, list or object; `code` says `merge_in_progress` while two merge
    ├── AttioRefused        422  400, 409, …: the request itself is wrong, such as a filter over an unknown attribute
    └── AttioUnavailable    503  429, 5xx, time-outs, dropped connections, after every try

They are MusterErrors: the number is what Muster's own API answers; `attio_status` is what Attio said.
"""

from dataclasses import dataclass
from typing import ClassVar

from muster.errors import MusterError


@dataclass(eq=False)
class AttioApiError(MusterError):
    """An answer of Attio's that is an error. `detail` is the whole sentence for a person, and never holds the key.

    `attio_status` is the HTTP status (None without an answer), `code` Attio's own, such as "rate_limit_exceeded",
    `message` Attio's sentence, `execution_id` what their support asks for (`x-attio-execution-id`).
    """

    attio_status: int | None = None
    code: str | None = None
    message: str = ""
    execution_id: str | None = None

    status: ClassVar[int] = 502
    title: ClassVar[str] = "Attio failed"


class AttioKeyRefused(AttioApiError):
    """The key is revoked or malformed, or lacks a scope. Trying again changes nothing."""

    status, title = 409, "Attio refuses the key"


class AttioNotFound(AttioApiError):
    """There is no such thing in the workspace; or, with the code `merge_in_progress`, not yet again."""

    status, title = 404, "Not found in Attio"


class AttioRefused(AttioApiError):
    """Attio can read the request, and finds it wrong."""

    status, title = 422, "Attio refuses the request"


class AttioUnavailable(AttioApiError):
    """Attio did not do it, however often it was asked; it may, later."""

    status, title = 503, "Attio does not answer"
