"""Every error that Muster raises on purpose.

    MusterError
    ├── BadRequest            400  the request cannot be read at all
    ├── Unauthenticated       401  no token, or one that does not hold
    ├── Forbidden             403  understood, and not allowed
    ├── NotFound              404  not there, or somebody else's
    ├── Conflict              409  the state of the thing does not allow it
    ├── PreconditionFailed    412  If-Match names an older revision
    ├── TooLarge              413  over a stated limit
    ├── UnsupportedMedia      415  a content type that the route does not read
    ├── Invalid               422  readable, and wrong: `problems` say where
    ├── BadGateway            502  another system that Muster asked answers what cannot be used
    └── Unavailable           503  MongoDB or Redis does not answer
    StartError                     a process cannot start; the sentence is for a person at a terminal

`muster.rules.RuleError` stands apart, because `rules` imports nothing of ours; it is rendered as `Invalid`.
One handler (`muster.api.problems`) renders them all as RFC 9457 problem documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a request, and where.

    `pointer` is an RFC 6901 JSON pointer into the body (`/members/3`), `span` a `{start, end, line, column}` into a
    rule's text (0-based character offsets, end exclusive), `suggestion` what the author may have meant.
    """

    detail: str
    pointer: str | None = None
    span: dict[str, int] | None = None
    suggestion: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The wire form: absent members are left out."""
        members = {
            "detail": self.detail,
            "pointer": self.pointer,
            "span": self.span,
            "suggestion": self.suggestion,
        }
        return {name: value for name, value in members.items() if value is not None}


@dataclass(eq=False)
class MusterError(Exception):
    """The root. `detail` is a sentence for the person who called: what is wrong, where, and what to do."""

    detail: str
    problems: Sequence[Problem] = field(default=())

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __str__(self) -> str:
        return self.detail


class BadRequest(MusterError):
    """The request cannot be read at all."""

    status, title = 400, "Bad request"


class Unauthenticated(MusterError):
    """There is no token, or one that does not hold."""

    status, title = 401, "Not authenticated"


class Forbidden(MusterError):
    """Understood, and not allowed."""

    status, title = 403, "Forbidden"


class NotFound(MusterError):
    """Not there, or somebody else's."""

    status, title = 404, "Not found"


class Conflict(MusterError):
    """The state of the thing does not allow it."""

    status, title = 409, "Conflict"


class PreconditionFailed(MusterError):
    """If-Match or If-None-Match asks for another state than the present one."""

    status, title = 412, "Precondition failed"


class TooLarge(MusterError):
    """Over a stated limit."""

    status, title = 413, "Too large"


class UnsupportedMedia(MusterError):
    """A content type that the address does not read."""

    status, title = 415, "Unsupported media type"


class Invalid(MusterError):
    """Readable, and wrong; `errors` say where."""

    status, title = 422, "Invalid"


class BadGateway(MusterError):
    """Another system, such as Attio, answers what cannot be used."""

    status, title = 502, "Bad gateway"


class Unavailable(MusterError):
    """MongoDB or Redis does not answer; the same request may succeed a moment later."""

    status, title = 503, "Unavailable"


class StartError(Exception):
    """A process cannot start. The message is one sentence that says what is wrong and what to do."""
