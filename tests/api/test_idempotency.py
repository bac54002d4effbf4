"""The first answer under an Idempotency-Key, and only the first, decides."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Response, post
from litestar.params import JSONBody

from muster.api import idempotency
from muster.api.documents import KeptAnswer
from muster.api.idempotency import SECRET_ANSWER, Idempotency
from muster.api.problems import EXCEPTION_HANDLERS
from muster.api.requests import JsonRequest
from muster.errors import Conflict
from tests.waiting import until

OWNER = b"owner"


class Desk:
    """Routes whose runs are counted, and that can be held up or made to fail."""

    def __init__(self) -> None:
        self.runs = 0
        self.entered = asyncio.Event()
        self.may_finish = asyncio.Event()
        self.may_finish.set()
        self.error: BaseException | None = None

    def app(self) -> Litestar:
        @post("/orders")
        async def order(data: JSONBody[dict[str, Any]]) -> Response[Any]:
            self.runs += 1
            self.entered.set()
            await self.may_finish.wait()
            if self.error:
                raise self.error
            return Response({"run": self.runs, "data": data}, headers={"ETag": '"1"', "Location": f"/{self.runs}"})

        @post("/secrets", opt=SECRET_ANSWER)
        async def secret() -> dict[str, int]:
            self.runs += 1
            return {"run": self.runs}

        def as_owner(app: Any) -> Any:
            async def middleware(scope: Any, receive: Any, send: Any) -> None:
                scope["user"] = Request(scope).headers["owner"]
                await app(scope, receive, send)

            return middleware

        return Litestar(
            [order, secret],
            middleware=[as_owner, Idempotency()],
            exception_handlers=EXCEPTION_HANDLERS,
            request_class=JsonRequest,
            openapi_config=None,
            logging_config=None,
        )


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def http(desk: Desk, clean: Any) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ARG001 - it binds the documents
    transport = httpx.ASGITransport(desk.app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test", headers={"owner": "ada"}) as opened:
        yield opened


def key(value: str, **others: str) -> dict[str, str]:
    return {"Idempotency-Key": value, **others}


async def test_a_repetition_gets_the_first_answer(http: httpx.AsyncClient, desk: Desk) -> None:
    first = await http.post("/orders", json={"n": "$1"}, headers=key("k"))
    second = await http.post("/orders", json={"n": "$1"}, headers=key("k"))
    assert desk.runs == 1
    assert (second.status_code, second.content) == (first.status_code, first.content) == (201, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    for name in ("etag", "location", "content-type", "content-length"):
        assert second.headers[name] == first.headers[name]


async def test_keys_are_apart_by_owner_path_and_key(http: httpx.AsyncClient, desk: Desk) -> None:
    await http.post("/orders", json={}, headers=key("k"))
    await http.post("/orders", json={}, headers=key("l"))
    await http.post("/orders", json={}, headers=key("k", owner="bob"))
    await http.post("/orders", json={})
    await http.post("/orders", json={})
    assert desk.runs == 5


@pytest.mark.parametrize(("path", "body"), [("/orders", {"n": 2}), ("/orders?project_id=PRJ-2", {"n": 1})])
async def test_another_body_or_query_under_the_key_is_invalid(
    http: httpx.AsyncClient, desk: Desk, path: str, body: dict[str, int]
) -> None:
    await http.post("/orders", json={"n": 1}, headers=key("k"))
    answer = await http.post(path, json=body, headers=key("k"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert desk.runs == 1


async def test_while_the_first_runs_the_others_conflict(http: httpx.AsyncClient, desk: Desk) -> None:
    desk.may_finish.clear()
    first = asyncio.create_task(http.post("/orders", json={}, headers=key("k")))
    await desk.entered.wait()
    others = await asyncio.gather(*(http.post("/orders", json={}, headers=key("k")) for _ in range(5)))
    assert {answer.status_code for answer in others} == {409}
    desk.may_finish.set()
    assert (await first).status_code == 201
    assert (await http.post("/orders", json={}, headers=key("k"))).status_code == 201
    assert desk.runs == 1


async def test_of_many_at_the_same_moment_one_runs(http: httpx.AsyncClient, desk: Desk) -> None:
    answers = await asyncio.gather(*(http.post("/orders", json={}, headers=key("k")) for _ in range(20)))
    assert desk.runs == 1
    assert {answer.status_code for answer in answers} <= {201, 409}


async def test_a_refusal_is_an_answer_too(http: httpx.AsyncClient, desk: Desk) -> None:
    desk.error = Conflict("not now")
    first = await http.post("/orders", json={}, headers=key("k"))
    desk.error = None
    second = await http.post("/orders", json={}, headers=key("k"))
    assert first.status_code == second.status_code == 409
    assert first.content == second.content
    assert second.headers["content-type"] == "application/problem+json"
    assert desk.runs == 1


async def test_a_failure_of_ours_is_not_kept(http: httpx.AsyncClient, desk: Desk) -> None:
    desk.error = RuntimeError("a bug")
    assert (await http.post("/orders", json={}, headers=key("k"))).status_code == 500
    desk.error = None
    assert (await http.post("/orders", json={}, headers=key("k"))).status_code == 201
    assert desk.runs == 2


async def test_an_answer_that_shows_a_secret_is_not_kept(http: httpx.AsyncClient) -> None:
    answers = [(await http.post("/secrets", json={}, headers=key("k"))).json() for _ in range(2)]
    assert answers == [{"run": 1}, {"run": 2}]
    assert await KeptAnswer.count() == 0


async def test_a_request_that_died_blocks_its_key_only_for_a_while(
    http: httpx.AsyncClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash is a lock that nobody renews or releases."""

    async def crash(*_: Any) -> None:
        return None

    with monkeypatch.context() as crashing:
        crashing.setattr(idempotency, "_keep", crash)
        await http.post("/orders", json={}, headers=key("k"))
    assert (await http.post("/orders", json={}, headers=key("k"))).status_code == 409
    await KeptAnswer.get_motor_collection().update_many({}, [{"$set": {"locked_until": "$$NOW"}}])
    assert (await http.post("/orders", json={"other": 1}, headers=key("k"))).status_code == 422
    assert (await http.post("/orders", json={}, headers=key("k"))).status_code == 201
    assert desk.runs == 2


async def test_a_long_request_keeps_its_lock(
    http: httpx.AsyncClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(idempotency, "LOCK_MS", 0)
    desk.may_finish.clear()
    first = asyncio.create_task(http.post("/orders", json={}, headers=key("k")))
    await desk.entered.wait()
    monkeypatch.setattr(idempotency, "LOCK_MS", 60_000)
    renewed = {"$expr": {"$gt": ["$locked_until", {"$add": ["$$NOW", 30_000]}]}}
    await until(lambda: KeptAnswer.get_motor_collection().find_one(renewed))
    assert (await http.post("/orders", json={}, headers=key("k"))).status_code == 409
    desk.may_finish.set()
    assert (await first).status_code == 201


async def test_a_kept_answer_ends_after_a_day(http: httpx.AsyncClient, desk: Desk) -> None:
    await http.post("/orders", json={}, headers=key("k"))
    kept = await KeptAnswer.find_one()
    assert kept is not None
    await KeptAnswer.get_motor_collection().update_many({}, [{"$set": {"expires_at": "$$NOW"}}])
    assert (await http.post("/orders", json={"another": "body"}, headers=key("k"))).status_code == 201
    assert desk.runs == 2


@pytest.mark.parametrize("value", ["", "x" * 256, "é".encode().decode("latin-1"), "a\tb"])
async def test_a_key_is_short_printable_ascii(http: httpx.AsyncClient, desk: Desk, value: str) -> None:
    headers = httpx.Headers([("owner", "ada"), ("Idempotency-Key", value.encode("latin-1"))])  # type: ignore[list-item]
    assert (await http.post("/orders", json={}, headers=headers)).status_code == 400
    assert desk.runs == 0


async def test_what_names_an_erased_profile_is_forgotten(http: httpx.AsyncClient) -> None:
    await http.post("/orders", json={"pii_id": 'é"1'}, headers=key("k"))
    await http.post("/orders", json={"pii_id": "other"}, headers=key("l"))
    await idempotency.forget("bob", 'é"1')
    assert await KeptAnswer.count() == 2
    await idempotency.forget("ada", 'é"1')
    assert await KeptAnswer.count() == 1
