"""The running API, as commands call it."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import httpx

from muster.settings import Settings, load_settings
from muster.terminal.output import counting, print_problem

Json = Any

LOOK_EVERY = 0.3  # seconds between two looks at a job
ENDED = ("succeeded", "failed", "cancelled")


class Refused(click.ClickException):
    """The API answered with a problem document. `source` is the rule text that spans in it refer to."""

    def __init__(self, problem: dict[str, Any], source: str | None = None) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title") or "The API refused."))
        self.problem = problem
        self.source = source

    def show(self, file: Any = None) -> None:  # noqa: ARG002  click's signature; errors always go to stderr
        """Print the whole document, with carets under what is wrong in a rule."""
        print_problem(self.problem, self.source)


class NoAnswer(click.ClickException):
    """Nothing listens at the API's address, or it stopped in the middle."""


class NoToken(click.ClickException):
    """There is no token to call the API with."""


class Api:
    """The API at one address, with one token. Every method raises Refused or NoAnswer."""

    def __init__(self, address: str, token: str) -> None:
        self.address = address
        # Reading may take long: an import answers when it is through.
        timeout = httpx.Timeout(10, read=None)
        self._http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=timeout)

    def get(self, path: str, **query: Any) -> Json:
        """The body of a GET; a query of None is left out."""
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Json = None, *, source: str | None = None, **query: Any) -> Json:
        """The body of the answer to a POST."""
        return self.call("POST", path, query=query, source=source, json=body)

    def call(
        self, method: str, path: str, *, query: dict[str, Any] | None = None, source: str | None = None, **more: Any
    ) -> Json:
        """One request; `more` goes to httpx."""
        with self._no_answer():
            answer = self._http.request(method, path, params=_given(query or {}), **more)
        if answer.is_success:
            return answer.json() if answer.content else None
        raise Refused(_problem(answer), source)

    def stream(self, path: str, **query: Any) -> Iterator[bytes]:
        """The bytes of a GET as they come. Raises NoAnswer also when they end before the whole is there."""
        with self._no_answer(), self._http.stream("GET", path, params=_given(query)) as answer:
            if not answer.is_success:
                answer.read()
                raise Refused(_problem(answer))
            yield from answer.iter_bytes()

    @contextmanager
    def _no_answer(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            raise NoAnswer(f"No API answers at {self.address}; `muster up` starts one.") from error
        except httpx.HTTPError as error:
            raise NoAnswer(f"The API at {self.address} broke off: {error or type(error).__name__}.") from error

    def items(self, path: str, *, limit: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """The items of a list over all its pages, or the first `limit`."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.get(path, **query, cursor=cursor, limit=min(1000, left or 1000))
            yield from page["items"]
            cursor = page["next_cursor"]
            left = None if left is None else left - len(page["items"])
            if cursor is None:
                return

    def import_profiles(
        self, lines: Iterable[bytes], media_type: str, project: str | None, save_as_cohort: str | None = None
    ) -> Json:
        """Stream an import; the counts of its answer."""
        return self.call(
            "POST",
            "/v1/profiles/import",
            query={"project_id": project, "save_as_cohort": save_as_cohort},
            headers={"Content-Type": media_type},
            content=lines,
        )

    def wait_for(self, job_id: str) -> dict[str, Any]:
        """Look at a job until it ends, with a progress bar on a terminal. A failed one is a ClickException."""
        with counting(job_id) as count:
            while True:
                job: dict[str, Any] = self.get(f"/v1/jobs/{job_id}")
                count(job["progress"]["done"], job["progress"]["total"])
                if job["state"] in ENDED:
                    break
                time.sleep(LOOK_EVERY)
        if job["state"] != "succeeded":
            raise click.ClickException(f"{job_id} {job['state']}: {job['error'] or 'cancelled by its owner'}")
        return job


@contextmanager
def open_api(settings: Settings | None = None) -> Iterator[Api]:
    """The API of the settings. Raises NoToken."""
    settings = settings or load_settings()
    api = Api(address_of(settings), token_of(settings))
    try:
        yield api
    finally:
        api._http.close()  # noqa: SLF001  the function is the other half of the class


def address_of(settings: Settings) -> str:
    """Where the API of these settings is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  what it is not
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def token_of(settings: Settings) -> str:
    """`MUSTER_TOKEN`, else the token that `muster up` left in the data folder."""
    if token := os.environ.get("MUSTER_TOKEN"):
        return token.strip()
    file = settings.data_path / "token"
    try:
        return file.read_text().strip()
    except OSError as error:
        raise NoToken(
            f"No token: set MUSTER_TOKEN (`muster token --owner NAME` makes one), or start `muster up`, which writes "
            f"{file} ({error.strerror})."
        ) from error


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def _problem(answer: httpx.Response) -> dict[str, Any]:
    """The problem document of an answer, or one about an answer that is none, such as a proxy's page."""
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "detail" not in problem:
        detail = f"{answer.request.url} answered {answer.status_code} {answer.reason_phrase}: is this Muster's API?"
        return {"detail": detail}
    return problem
