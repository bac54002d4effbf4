"""A visitor of the console: a client of the same application as `client`, with cookies and no token."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest

from muster.api.auth import issue_signin_code


def form_token(page: str) -> str:
    """What the first form of a page carries."""
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
    assert found, page
    return found[1]


async def sign_in(visitor: httpx.AsyncClient, owner: str) -> None:
    """Follow a printed link."""
    answer = await visitor.get("/signin", params={"code": await issue_signin_code(owner)})
    assert answer.status_code == 303, answer.text


@pytest.fixture
async def visitor(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Nobody yet."""
    async with httpx.AsyncClient(transport=client._transport, base_url="http://muster.test") as opened:
        yield opened


@pytest.fixture
async def ada(visitor: httpx.AsyncClient) -> httpx.AsyncClient:
    """Signed in as ada, whose token `client` has."""
    await sign_in(visitor, "ada")
    return visitor
