"""Whatever is put into an address or a form of the console, the answer is a page, and never a failure of the server."""

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from litestar import Litestar

from tests.console.conftest import form_token
from tests.console.worlds import HOSTILE, build

WORDS = ("", "0", "-1", "1e999", "x" * 300, HOSTILE, "{", "[]", "null", "COH-1", "lead-03", "PRJ-1")
VALUES = (*WORDS, "\x00\ud7ff", "نورة")
FIELDS = [
    "name",
    "description",
    "rule",
    "kind",
    "members",
    "member",
    "back",
    "do",
    "q",
    "cohort",
    "agent",
    "strategy",
    "id",
    "email",
    "daily_capacity",
    "days",
    "begin",
    "end",
    "title",
    "due_in_hours",
    "source",
    "count",
    "sample",
    "holdout",
    "seed",
    "rest",
    "arm_name",
    "arm_weight",
    "tab",
    "list",
    "into",
    "record",
    "cohort_name",
    "api_key",
    "project_id",
    "time_zone",
    "part",
    "type",
    "url",
    "events",
    "cohort_ids",
    "pii_id",
    "language",
    "theme",
    "project",
    "rev",
    "key",
]
QUERY = [
    "q",
    "cursor",
    "rows",
    "seen",
    "tab",
    "list",
    "into",
    "cohort",
    "who",
    "project_id",
    "only",
    "id",
    "state",
    "arm",
]
LEFT_OUT = re.compile(r"/live$|^/signout|^/signin|^/static|^/v1|^/schema|^/hooks|^/health|^/metrics|^/problems")
ROUNDS = 3


def places(app: Litestar, method: str) -> list[str]:
    """The paths of the console's routes, with `{name}` for what they are about."""
    found = {re.sub(r"\{(\w+)(:\w+)?\}", r"{\1}", route.path) for route in app.routes if method in _methods(route)}
    return sorted(path for path in found if not LEFT_OUT.search(path))


def _methods(route: Any) -> set[str]:
    return {
        method for handler in getattr(route, "route_handlers", ()) for method in getattr(handler, "http_methods", ())
    }


def addresses(path: str, world: Mapping[str, str], chance: random.Random) -> Iterator[str]:
    """A path about things that are there, about others, and about none at all."""
    ids = list(world.values())
    known = {
        "cohort_id": world["static"],
        "job_id": world["assignment"],
        "experiment_id": world["experiment"],
        "run_id": world["run"],
        "webhook_id": world["webhook"],
    }
    for pick in (lambda name: known.get(name, "x"), lambda _: chance.choice(ids), lambda _: "%00%2F" + "x" * 50):
        yield re.sub(r"\{(\w+)\}", lambda place, pick=pick: pick(place[1]), path)


def is_harmless(answer: httpx.Response) -> bool:
    """No browser makes an element of what was sent: it is escaped, or in an answer that is never taken for a page."""
    is_page = answer.headers.get("Content-Type", "text/html").startswith("text/html")
    return "<img src=x" not in answer.text if is_page else answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_no_address_fails(ada: httpx.AsyncClient, client: httpx.AsyncClient, seed: int) -> None:
    chance, world = random.Random(seed), await build(client)
    app = client._transport.app  # type: ignore[attr-defined]  # an ASGITransport
    paths = places(app, "GET")
    assert len(paths) > 30
    for path in paths:
        for address in addresses(path, world, chance):
            query = {name: chance.choice(WORDS) for name in chance.sample(QUERY, 4)}
            answer = await ada.get(address, params=query)
            assert answer.status_code < 500, (address, query, answer.text[-2_000:])
            assert is_harmless(answer), (address, query)


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_no_form_fails(ada: httpx.AsyncClient, client: httpx.AsyncClient, seed: int) -> None:
    chance, world = random.Random(seed), await build(client)
    app = client._transport.app  # type: ignore[attr-defined]
    token = {"form_token": form_token((await ada.get("/")).text)}
    paths = places(app, "POST")
    assert len(paths) > 30
    for path in paths:
        for address in addresses(path, world, chance):
            fields = {name: [chance.choice(VALUES) for _ in range(chance.choice((1, 1, 3)))] for name in FIELDS}
            answer = await ada.post(address, data={**fields, **token})
            assert answer.status_code < 500, (address, fields, answer.text[-2_000:])
            assert is_harmless(answer), (address, fields)
            empty = await ada.post(address, data=token)
            assert empty.status_code < 500, (address, empty.text[-2_000:])
