"""Every error is a problem document: what is wrong, where, and nothing of our inside."""

from collections.abc import Iterator
from typing import Any

import httpx
import pymongo.errors
import pytest
import redis.exceptions
from litestar import Litestar, get
from litestar.testing import TestClient

from muster import errors
from muster.api.problems import EXCEPTION_HANDLERS, KINDS, json_pointer, problem_type
from muster.errors import Problem
from muster.rules import Problem as RuleProblem
from muster.rules import RuleError, Span

JSON = {"content-type": "application/json"}
RAISED: dict[str, Exception] = {
    "conflict": errors.Conflict("Not now.", [Problem("Here.", pointer="/a")]),
    "rule": RuleError(RuleProblem("Unknown field.", span=Span(3, 7, 1, 4), suggestion="lead.score")),
    "bug": RuntimeError("the password is hunter2"),
    "mongodb": pymongo.errors.ServerSelectionTimeoutError("mongodb://secret@host"),
    "mongodb-bug": pymongo.errors.OperationFailure("secret", code=2),
    "redis": redis.exceptions.ConnectionError("redis://secret@host"),
    "recursion": RecursionError("deep"),
}


@pytest.fixture(scope="module")
def failing() -> Iterator[TestClient[Litestar]]:
    @get("/{name:str}", sync_to_thread=False)
    def fail(name: str) -> None:
        raise RAISED[name]

    with pytest.warns(match="inferred style"):
        app = Litestar([fail], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None, logging_config=None)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def whole(answer: httpx.Response, status: int) -> dict[str, Any]:
    document = answer.json()
    assert answer.status_code == document["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(document) == {"type", "title", "status", "detail", "errors"}
    assert document["title"]
    assert document["detail"].endswith(".")
    for error in document["errors"]:
        assert set(error) <= {"detail", "pointer", "span", "suggestion"}
        assert error["detail"]
    return dict(document)


def test_our_own_errors_say_everything_themselves(failing: TestClient[Litestar]) -> None:
    document = whole(failing.get("/conflict"), 409)
    assert document["type"] == "/problems/conflict"
    assert document["errors"] == [{"detail": "Here.", "pointer": "/a"}]


def test_a_rule_s_problems_carry_their_spans(failing: TestClient[Litestar]) -> None:
    document = whole(failing.get("/rule"), 422)
    assert document["errors"] == [
        {
            "detail": "Unknown field.",
            "span": {"start": 3, "end": 7, "line": 1, "column": 4},
            "suggestion": "lead.score",
        }
    ]


@pytest.mark.parametrize("name", ["bug", "mongodb-bug", "recursion"])
def test_a_bug_shows_nothing_and_is_logged(
    failing: TestClient[Litestar], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = failing.get(f"/{name}")
    whole(answer, 500)
    assert "hunter2" not in answer.text
    assert "secret" not in answer.text
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("name", ["mongodb", "redis"])
def test_a_server_that_does_not_answer_is_no_bug(failing: TestClient[Litestar], name: str) -> None:
    answer = failing.get(f"/{name}")
    whole(answer, 503)
    assert "secret" not in answer.text
    assert answer.headers["retry-after"] == "1"


def test_every_error_has_a_type_of_its_own() -> None:
    assert len({problem_type(kind) for kind in KINDS.values()}) == len(KINDS)
    assert problem_type(errors.PreconditionFailed) == "/problems/precondition-failed"
    raised = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MusterError)}
    assert raised - {errors.MusterError} == set(KINDS.values())


@pytest.mark.parametrize(
    ("location", "pointer"),
    [((), ""), (("a", 0), "/a/0"), (("a/b", "c~d"), "/a~1b/c~0d"), (("lead.score",), "/lead.score")],
)
def test_pointers_are_escaped(location: tuple[str | int, ...], pointer: str) -> None:
    assert json_pointer(location) == pointer


async def test_each_type_says_what_it_means(client: httpx.AsyncClient) -> None:
    for kind in KINDS.values():
        document = (await client.get(problem_type(kind), headers={"Authorization": ""})).json()
        assert (document["status"], document["title"]) == (kind.status, kind.title)
        assert document["meaning"]
    whole(await client.get("/problems/unheard-of"), 404)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v1/leads/P1/nowhere", 404),
        ("POST", "/v1/leads/P1", 405),
        ("GET", "/schema/nowhere", 404),
        ("GET", "/v1/leads?limit=0", 422),
        ("GET", "/v1/leads?limit=1001", 422),
        ("GET", "/v1/leads?limit=x", 422),
        ("GET", "/v1/leads?limit=1&limit=2", 200),
        ("GET", "/v1/leads?cursor=x", 422),
        ("GET", f"/v1/leads?cursor={'x' * 5000}", 422),
        ("GET", "/v1/leads?project_id=PRJ-999", 404),
        ("GET", "/v1/leads?project_id=%00", 404),
        ("GET", "/v1/leads?project_id=%ED%A0%80", 404),
        ("GET", "/v1/projects/%24where", 404),
    ],
)
async def test_wrong_addresses(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await client.request(method, path)
    if status == 200:
        assert answer.status_code == 200
    else:
        whole(answer, status)


@pytest.mark.parametrize(
    ("content", "status", "place"),
    [
        (b'{"name": }', 400, {"start": 9, "end": 10, "line": 1, "column": 10}),
        (b'{\n"name":\n"\xc3\xa9" x}', 400, {"start": 14, "end": 15, "line": 3, "column": 5}),
        (b'{"name": "\xff"}', 400, {"start": 10, "end": 11, "line": 1, "column": 11}),
        (b'{"name": "cut', 400, {"start": 13, "end": 14, "line": 1, "column": 14}),
        (rb'{"name": "\ud800"}', 400, None),
        (b'{"name": NaN}', 400, None),
        (b"[" * 100_000, 400, None),
        (b'{"n": ' + b"9" * 5000 + b"}", 400, None),
        (b"", 422, None),
        (b"null", 422, None),
        (b"[]", 422, None),
        (b'"name"', 422, None),
        (b"x" * 10_000_001, 413, None),
    ],
)
async def test_bodies_that_cannot_be_read(
    client: httpx.AsyncClient, content: bytes, status: int, place: dict[str, int] | None
) -> None:
    document = whole(await client.post("/v1/projects", content=content, headers=JSON), status)
    if place is not None:
        assert document["errors"][0]["span"] == place


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"]
)
async def test_another_media_type_is_refused(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post("/v1/projects", content=b'{"name": "x"}', headers={"content-type": content_type})
    whole(answer, 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/merge-patch+json"])
async def test_kinds_of_json_are_json(client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post("/v1/projects", content=b'{"name": "x"}', headers={"content-type": content_type})
    assert answer.status_code == 201


async def test_pointers_name_every_place(client: httpx.AsyncClient) -> None:
    body = {"name": 5, "description": None, "time_zone": "Mars/Olympus", "nme": 1, "a.b/c": 1, "id": "ignored"}
    document = whole(await client.post("/v1/projects", json=body), 422)
    assert {error["pointer"] for error in document["errors"]} == {
        "/name",
        "/description",
        "/time_zone",
        "/nme",
        "/a.b~1c",
    }
