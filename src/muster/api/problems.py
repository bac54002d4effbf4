"""Every error on the wire: RFC 9457 problem documents, as `application/problem+json`."""

import http
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import redis.exceptions
from litestar import Request, Response
from litestar._signature.types import ExtendedMsgSpecValidationError
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap
from pymongo.errors import ConnectionFailure, PyMongoError

from muster import errors
from muster.errors import Invalid, MusterError, Problem, Unavailable
from muster.rules import RuleError

MEDIA_TYPE = "application/problem+json"

AnyRequest = Request[Any, Any, Any]
ProblemResponse = Response[dict[str, Any]]

_log = logging.getLogger(__name__)

KINDS: Mapping[int, type[MusterError]] = {
    kind.status: kind
    for kind in (
        errors.BadRequest,
        errors.Unauthenticated,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.PreconditionFailed,
        errors.TooLarge,
        errors.UnsupportedMedia,
        errors.Invalid,
        errors.BadGateway,
        errors.Unavailable,
    )
}

_SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not know the method {method}.",
    413: "The body is larger than this address takes.",
}


def problem_type(kind: type[MusterError]) -> str:
    """The stable `type` of an error: "/problems/not-found" for NotFound. `GET` of it says what it means."""
    return "/problems/" + re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def problem_response(
    status: int,
    detail: str,
    problems: Iterable[Any] = (),
    *,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemResponse:
    """One problem document. `problems` are `Problem`s, ours or the rule language's."""
    kind = KINDS.get(status)
    content = {
        "type": problem_type(kind) if kind else "about:blank",
        "title": title or (kind.title if kind else http.HTTPStatus(status).phrase),
        "status": status,
        "detail": detail,
        "errors": [_wire(problem) for problem in problems],
    }
    every = {"Cache-Control": "no-store", **(headers or {})}
    return Response(content, status_code=status, media_type=MEDIA_TYPE, headers=every)


def from_muster(_: AnyRequest, error: MusterError) -> ProblemResponse:
    """Our own errors say everything themselves."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="muster"'
    if error.status == 503:
        headers["Retry-After"] = "1"
    return problem_response(error.status, error.detail, error.problems, title=error.title, headers=headers)


def from_rule(_: AnyRequest, error: RuleError) -> ProblemResponse:
    """A rule that cannot stand: every problem with its span."""
    detail = f"The rule does not hold: {error.problems[0].detail}" if error.problems else "The rule does not hold."
    return problem_response(422, detail, error.problems)


def from_validation(request: AnyRequest, error: ValidationException) -> ProblemResponse:
    """What Litestar and pydantic found wrong, with a pointer for each place in the body."""
    cause = error.__cause__
    if isinstance(cause, ExtendedMsgSpecValidationError):
        problems = [Problem(_sentence(found), pointer=json_pointer(found["loc"])) for found in cause.errors]
        return from_muster(request, Invalid("The body does not fit.", problems))
    extra = error.extra if isinstance(error.extra, list) else []
    problems = [Problem(_parameter_sentence(found)) for found in extra if isinstance(found, dict)]
    return from_muster(request, Invalid("The request does not fit.", problems))


def from_http(request: AnyRequest, error: HTTPException) -> ProblemResponse:
    """Litestar's own errors: no such route, another method, too large, …"""
    status = error.status_code
    if status >= 500 and error.detail != "client disconnected prematurely":
        _log.error("%s %s failed", request.method, _template(request), exc_info=error)
    sentence = _SENTENCES.get(status, error.detail if status < 500 else "Muster failed here; its log says why.")
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return problem_response(status, sentence.format(method=request.method), headers=headers)


def from_driver(request: AnyRequest, error: Exception) -> ProblemResponse:
    """MongoDB or Redis does not answer: try again later. What they answer wrongly is our fault."""
    unreachable = (ConnectionFailure, redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
    if not isinstance(error, unreachable):
        return from_unexpected(request, error)
    server = "MongoDB" if isinstance(error, PyMongoError) else "Redis"
    _log.warning("%s does not answer: %s", server, error)
    return from_muster(request, Unavailable(f"{server} does not answer at the moment; try again."))


def from_unexpected(request: AnyRequest, error: Exception) -> ProblemResponse:
    """A bug of ours: the log has it all, the caller learns nothing of the inside."""
    _log.error("%s %s failed", request.method, _template(request), exc_info=error)
    return problem_response(500, "Muster failed here; its log says why.")


# Mypy: Litestar's map takes handlers of exactly Exception, while each of these takes the class it stands beside.
EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    MusterError: from_muster,
    RuleError: from_rule,
    ValidationException: from_validation,
    HTTPException: from_http,
    PyMongoError: from_driver,
    redis.exceptions.RedisError: from_driver,
    Exception: from_unexpected,
}


def json_pointer(location: Iterable[str | int]) -> str:
    """The RFC 6901 pointer to a place in a body: ("members", 3) gives "/members/3"."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)


def _sentence(found: Mapping[str, Any]) -> str:
    """pydantic's messages name Python's types; these name JSON's."""
    match found["type"]:
        case "missing":
            return "This property is required."
        case "extra_forbidden":
            return "This property is not known here."
        case "string_type":
            return "This must be a string."
        case "bool_type":
            return "This must be true or false."
        case "list_type":
            return "This must be a list."
        case "dict_type" | "model_type" | "model_attributes_type":
            return "This must be an object."
        case "value_error":
            return str(found["msg"]).removeprefix("Value error, ")
        case _:
            return str(found["msg"]) + "."


def _parameter_sentence(found: Mapping[str, Any]) -> str:
    name, message = found.get("key", ""), str(found.get("message", "does not fit"))
    if name == "data" or not name:
        return "A JSON object is required as the body." if "data" in name else message
    return f"{name}: {message}"


def _wire(problem: Any) -> dict[str, Any]:
    if isinstance(problem, Problem):
        return problem.as_json()
    if not is_dataclass(problem) or isinstance(problem, type):
        raise TypeError(problem)
    return {name: value for name, value in asdict(problem).items() if value is not None}


def _template(request: AnyRequest) -> str:
    """The route, not the path: an id in a path is personal data and has no place in a log."""
    return str(request.scope.get("path_template") or "(no route)")
