"""What the tests of records share."""

import httpx
import pytest

NDJSON = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv"}


@pytest.fixture
async def project(client: httpx.AsyncClient) -> str:
    """The default project of the client's owner."""
    await client.get("/v1/leads")
    return str((await client.get("/v1/projects")).json()["items"][0]["id"])
