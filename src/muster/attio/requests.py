"""One request to Attio, tried again for as long as that may help.

stamina waits between the tries; what it cannot know is how long Attio itself asks us to wait, so its hook reads
`Retry-After` in every form there is.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
import stamina
from pydantic import SecretStr
from stamina.instrumentation import PrometheusOnRetryHook, set_on_retry_hooks

from muster.attio.budget import Budget
from muster.attio.errors import AttioApiError, AttioKeyRefused, AttioNotFound, AttioRefused, AttioUnavailable

LONGEST_WAIT = 60.0  # seconds that a Retry-After is minded at most
JITTER = 0.25  # seconds added at random, so that what was refused together does not return together
LONGEST_MESSAGE = 1_000  # characters
TOO_MANY = 429
MERGING = "merge_in_progress"

T = TypeVar("T")
Read = Callable[[Any], T]
KeyNow = Callable[[], Awaitable[SecretStr]]
"""The key to use now, asked for before each try: it may have been changed. Raises MusterError without one."""

# Its own log would go to stdout, which belongs to data; ours says more. Retries are counted in /metrics.
set_on_retry_hooks([PrometheusOnRetryHook])

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and for how long, a request is tried."""

    tries: int = 6
    first_pause: float = 0.5  # seconds; doubled with every try
    longest_pause: float = 20.0
    answer_within: float = 60.0  # seconds for each try
    connect_within: float = 10.0


PATIENT = Patience()
"""For jobs: half a minute, and more where Attio asks for it."""

WAITED_FOR = Patience(tries=4, first_pause=0.25, longest_pause=2.0, answer_within=10.0, connect_within=5.0)
"""For requests that somebody waits for."""


@dataclass(frozen=True, slots=True)
class _Question:
    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] | None = None


@dataclass(eq=False)
class _Again(Exception):
    """What may go well the next time. `asked` is for how many seconds Attio wants to be left alone."""

    error: AttioApiError
    asked: float = 0.0
    wait: float = 0.0


class Requests:
    """Sends requests with one key. Used by `AttioClient` alone."""

    def __init__(
        self,
        api_key: SecretStr,
        base_url: str,
        *,
        key_now: KeyNow | None,
        budget: Budget | None,
        patience: Patience,
    ) -> None:
        self._key, self._key_now = api_key, key_now
        self._budget = budget or Budget()
        self._patience = patience
        self._http = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"User-Agent": f"Muster/{version('muster')}", "Accept": "application/json"},
            timeout=httpx.Timeout(patience.answer_within, connect=patience.connect_within),
            follow_redirects=False,  # the key goes nowhere else
            verify=_certificates(),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def get(self, path: str) -> Any:
        """The JSON of an answer. Raises AttioApiError."""
        return await self._ask(_Question("GET", path), lambda answer: answer)

    async def rows(
        self, method: str, path: str, body: Any = None, *, query: Mapping[str, Any] | None = None, read: Read[T]
    ) -> list[T]:
        """The rows in `data` of an answer, each read by `read`. Raises AttioApiError."""
        return await self._ask(
            _Question(method, path, body, query), lambda answer: [read(row) for row in _data(answer, list)]
        )

    async def row(self, path: str, read: Read[T]) -> T:
        """The one thing in `data` of an answer. Raises AttioApiError."""
        return await self._ask(_Question("GET", path), lambda answer: read(_data(answer, dict)))

    async def send(self, method: str, path: str, body: Any = None, *, read: Read[T]) -> T:
        """Change something at Attio. It is tried again like a question: the caller sees that twice does no harm."""
        return await self._ask(_Question(method, path, body), read)

    async def _ask(self, question: _Question, read: Read[T]) -> T:
        patience, number = self._patience, 0
        try:
            async for attempt in stamina.retry_context(
                on=lambda error: error.wait if isinstance(error, _Again) else False,
                attempts=patience.tries,
                timeout=None,  # every try has its own
            ):
                with attempt:
                    number = attempt.num
                    await self._budget.turn()
                    return await self._try(question, read, number)
        except _Again as last:
            detail = last.error.detail
            if number > 1:
                detail = f"{detail} Muster asked {number} times."
            if last.error.attio_status == TOO_MANY:
                detail = f"{detail} A query that costs too much is refused however long one waits: narrow it."
            last.error.detail = detail
            raise last.error from None
        raise AssertionError  # stamina tries at least once

    async def _try(self, question: _Question, read: Read[T], number: int) -> T:
        """One try. Raises _Again, with how long to wait, when another one may go better."""
        if self._key_now is not None:
            self._key = await self._key_now()
        try:
            async with asyncio.timeout(self._patience.answer_within):
                answer = await self._http.request(
                    question.method,
                    question.path,
                    json=question.body,
                    params=question.query,
                    headers=self._authorization(),
                )
            return self._read(answer, read)
        except TimeoutError:
            again = _Again(_no_answer("Attio did not answer in time."))
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
            raise AttioApiError(f"Attio cannot be asked ({error}): is MUSTER_ATTIO_BASE_URL right?") from None
        except httpx.RequestError as error:
            again = _Again(_no_answer(_what(error)))
        except _Again as failed:
            again = failed
        pause = min(self._patience.longest_pause, self._patience.first_pause * 2 ** (number - 1))
        again.wait = max(pause, again.asked) + random.uniform(0, min(pause, JITTER))
        if again.error.attio_status == TOO_MANY:
            self._budget.limited(again.asked)
        _log.info("%s (%s %s, try %d)", again.error.detail, question.method, question.path, number)
        raise again from None

    def _read(self, answer: httpx.Response, read: Read[T]) -> T:
        """The answer by its status."""
        if 300 <= answer.status_code < 400:
            sentence = "sends elsewhere, where Muster does not take the key: is MUSTER_ATTIO_BASE_URL right?"
            raise self._error(AttioApiError, answer, {}, sentence)
        try:
            content = msgspec.json.decode(answer.content)
            if answer.is_success:
                self._budget.answered()
                return read(content)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
            sentence = f"what it sent cannot be read ({error})" if answer.is_success else "it sent no JSON"
            kind = AttioUnavailable if answer.status_code == TOO_MANY or answer.is_server_error else AttioApiError
            raise _Again(self._error(kind, answer, {}, sentence), _asked(answer)) from None
        envelope = content if isinstance(content, dict) else {}
        match answer.status_code:
            case 401 | 403:
                raise self._error(AttioKeyRefused, answer, envelope)
            case 404 if envelope.get("code") == MERGING:
                raise _Again(self._error(AttioNotFound, answer, envelope))
            case 404:
                raise self._error(AttioNotFound, answer, envelope)
            case 408 | 425 | 429 | 500 | 501 | 502 | 503 | 504 | 507 | 520 | 521 | 522 | 523 | 524 | 529:
                raise _Again(self._error(AttioUnavailable, answer, envelope), _asked(answer))
            case _:
                raise self._error(AttioRefused, answer, envelope)

    def _error(
        self, kind: type[AttioApiError], answer: httpx.Response, envelope: Mapping[str, Any], sentence: str = ""
    ) -> AttioApiError:
        """An answer as an error, in one sentence. Whatever Attio repeats of the key is taken out."""
        code = envelope.get("code") if isinstance(envelope.get("code"), str) else None
        message = self._without_key(sentence or _message(envelope))
        execution_id = self._without_key(answer.headers.get("x-attio-execution-id", "")[:100]) or None
        status = f"{answer.status_code} {code}" if code else str(answer.status_code)
        detail = f"Attio answered {status}: {message.rstrip('.')}."
        if execution_id:
            detail = f"{detail} Execution id: {execution_id}."
        return kind(
            detail,
            attio_status=answer.status_code,
            code=code,
            message=message,
            execution_id=execution_id,
        )

    def _authorization(self) -> dict[str, str]:
        key = self._key.get_secret_value()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise AttioKeyRefused("The Attio key holds characters that no key has: connect again with the right one.")
        return {"Authorization": f"Bearer {key}"}

    def _without_key(self, text: str) -> str:
        return text.replace(self._key.get_secret_value(), "[the key]") if self._key else text


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust; reading that takes longer than most requests, so once."""
    return httpx.create_ssl_context()


def _data(answer: Any, kind: type) -> Any:
    """What stands in `data`. Raises ValueError when it is not there."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, kind):
        raise ValueError("there is no data in it")  # noqa: TRY004  an answer that cannot be read, like any other
    return data


def _message(envelope: Mapping[str, Any]) -> str:
    """Attio's sentence, with what it says of single places of the request."""
    message = envelope.get("message")
    sentence = message if isinstance(message, str) and message else "no reason given"
    errors = envelope.get("validation_errors")
    places = [
        f"{'.'.join(map(str, path)) if isinstance(path := each.get('path'), list) else path}: {each.get('message')}"
        for each in (errors if isinstance(errors, list) else ())
        if isinstance(each, dict)
    ]
    return "; ".join([sentence, *places])[:LONGEST_MESSAGE]


def _asked(answer: httpx.Response) -> float:
    """How long Attio asks to be left alone, in seconds: from a date or a number; 0 without a wish, or a past one.

    A date is read by the clock of who sent it, so that ours may be wrong.
    """
    wish = answer.headers.get("retry-after", "").strip()
    if wish.isascii() and wish.isdigit():
        seconds = float(wish[:9])
    else:
        until = _date(wish)
        seconds = 0.0 if until is None else (until - (_date(answer.headers.get("date", "")) or _now())).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _now() -> datetime:
    return datetime.now(UTC)


def _no_answer(sentence: str) -> AttioUnavailable:
    return AttioUnavailable(sentence, message=sentence)


def _what(error: httpx.RequestError) -> str:
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return "Attio cannot be reached."
        case httpx.TimeoutException():
            return "Attio did not answer in time."
        case httpx.DecodingError():
            return "Attio sent what cannot be unpacked."
        case _:
            return "Attio broke the connection off."
