"""A client of the stand-in for Attio, in a hurry."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from muster.attio import browsing, connection
from muster.attio.client import AttioClient
from muster.attio.requests import Patience
from muster.sandbox.attio import KEY, AttioSandbox

HASTY = Patience(tries=4, first_pause=0.001, longest_pause=0.002, answer_within=5, connect_within=2)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that somebody waits for are tried again at once."""
    monkeypatch.setattr(connection, "WAITED_FOR", HASTY)
    monkeypatch.setattr(browsing, "WAITED_FOR", HASTY)


@pytest.fixture
async def attio_client(attio: AttioSandbox, attio_server: tuple[AttioSandbox, str]) -> AsyncIterator[AttioClient]:
    """A client with the sandbox's key, which waits next to nothing between its four tries."""
    assert attio is attio_server[0]
    async with AttioClient(SecretStr(KEY), base_url=f"{attio_server[1]}/v2", patience=HASTY) as client:
        yield client
