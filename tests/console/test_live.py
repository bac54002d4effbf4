"""Streams that tell a page that it is out of date."""

import re

import httpx
import pytest

from muster.api import serving
from muster.console import live
from tests.console.conftest import sign_in
from tests.console.worlds import build

STREAMS = ("/live", "/cohorts/live", "/cohorts/{dynamic}/live", "/jobs/live", "/jobs/{job}/live")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LONGEST", 0.1)
    monkeypatch.setattr(live, "LOOK_PAUSE", 0.05)


def page_of(stream: str) -> str:
    return stream.removesuffix("live").rstrip("/") or "/"


async def version(visitor: httpx.AsyncClient, page: str) -> str:
    found = re.search(r'name="seen" value="(\w+)"', (await visitor.get(page)).text)
    assert found
    return found[1]


async def test_a_stream_is_silent_until_something_changes(ada: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    """And names the version that the page would show: asked for with it, the page has nothing new."""
    world = await build(client)
    for stream in (each.format(**world) for each in STREAMS):
        seen = await version(ada, page_of(stream))
        quiet = await ada.get(stream, params={"seen": seen})
        assert quiet.headers["content-type"].startswith("text/event-stream")
        assert "changed" not in quiet.text, stream
        old = await ada.get(stream, params={"seen": "an older one"})
        assert re.search(rf"id: {seen}\r?\nevent: changed", old.text), (stream, old.text)
        back = await ada.get(stream, params={"seen": "an older one"}, headers={"Last-Event-ID": seen})
        assert "changed" not in back.text, "who comes back with what it has seen is told nothing"
        assert (await ada.get(page_of(stream), params={"seen": seen})).status_code == 204
    await client.patch(f"/v1/cohorts/{world['dynamic']}", json={"name": "Renamed"})
    told = await ada.get(f"/cohorts/{world['dynamic']}/live", params={"seen": seen})
    assert "event: changed" in told.text


async def test_a_stream_ends_with_the_process(ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one would never end by itself."""
    monkeypatch.setattr(live, "LONGEST", 1e9)
    monkeypatch.setattr(serving._Process, "stopping", True)
    assert (await ada.get("/live")).status_code == 200


async def test_who_may_not_see_a_page_may_not_follow_it(visitor: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    world = await build(client)
    await sign_in(visitor, "eve")
    for stream in ("/cohorts/{dynamic}/live", "/jobs/{job}/live"):
        assert (await visitor.get(stream.format(**world))).status_code == 404
    visitor.cookies.clear()
    gone = await visitor.get("/live", headers={"HX-Request": "true"})
    assert (gone.status_code, gone.headers["hx-redirect"]) == (401, "/signin")
