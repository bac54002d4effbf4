"""The client against the stand-in on a real port: every fault there is."""

import logging
import time
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from muster.attio import requests
from muster.attio.client import AttioClient, build_name_filter
from muster.attio.errors import AttioApiError, AttioKeyRefused, AttioNotFound, AttioRefused, AttioUnavailable
from muster.attio.requests import LONGEST_WAIT
from muster.sandbox.attio import KEY, AttioSandbox
from muster.sandbox.attio_world import generated_world
from muster.sandbox.serving import serving
from tests.attio.conftest import HASTY

PASSING = ("rate_limited", "server_error", "html_error", "html", "truncated", "no_data", "dropped")
CANARY = "canary-5b1f0b4e-key-of-a-workspace-that-nobody-else-may-see-0001"


async def companies(client: AttioClient) -> list[str]:
    return [record.record_id async for batch in client.fetch_all_records("companies") for record in batch]


async def test_whose_key_it_is(attio: AttioSandbox, attio_client: AttioClient) -> None:
    found = await attio_client.test_connection()
    assert (found.active, found.missing_scopes) == (True, ())
    assert found.workspace_name == "Sandbox (not Attio)"
    attio.keys[KEY].scopes = "record_permission:read"
    assert len((await attio_client.test_connection()).missing_scopes) == 3
    attio.keys[KEY].is_active = False
    assert not (await attio_client.test_connection()).active


async def test_a_malformed_key_is_refused_by_attio_and_an_impossible_one_before(attio: AttioSandbox, base: str) -> None:
    async with AttioClient(SecretStr("short"), base_url=base, patience=HASTY) as client:
        with pytest.raises(AttioRefused, match="missing_value"):
            await client.test_connection()
    asked = len(attio.seen)
    for impossible in ("", "a\nb", "schlüssel", "two words"):
        async with AttioClient(SecretStr(impossible), base_url=base, patience=HASTY) as client:
            with pytest.raises(AttioKeyRefused):
                await client.test_connection()
    assert len(attio.seen) == asked


async def test_everything_can_be_fetched(attio_client: AttioClient) -> None:
    assert len(await attio_client.fetch_companies(limit=7, offset=3)) == 7
    people = await attio_client.fetch_people()
    assert len(people) == 60
    assert people == sorted(people, key=lambda person: str(person.created_at))
    one = await attio_client.fetch_record("people", people[20].record_id)
    assert one == people[20]
    assert [each.api_slug for each in await attio_client.fetch_lists()] == ["beta-testers", "sales-pipeline"]
    entries = await attio_client.fetch_list_entries("beta-testers", limit=5)
    assert len({entry.entry_id for entry in entries}) == 5
    assert await attio_client.fetch_entry("beta-testers", entries[0].entry_id) == entries[0]
    every = [entry async for batch in attio_client.fetch_all_entries("beta-testers") for entry in batch]
    assert len(every) == 15
    assert len({entry.parent_record_id for entry in every}) == 14  # one stands there twice
    slugs = {attribute.api_slug: attribute for attribute in await attio_client.fetch_attributes("people")}
    assert slugs["nps"].type == "number"
    assert slugs["interests"].is_multiselect
    of_list = await attio_client.fetch_attributes("beta-testers", of="lists")
    assert "stage" in {attribute.api_slug for attribute in of_list}


@pytest.mark.parametrize(
    ("object_slug", "q", "count"),
    [("companies", "TWIN", 3), ("companies", "-7.example", 1), ("companies", "nobody", 0), ("people", "🦊", 1)],
)
async def test_a_search_finds_names_domains_and_addresses(
    attio_client: AttioClient, object_slug: str, q: str, count: int
) -> None:
    wanted = build_name_filter(object_slug, q)
    assert len(await attio_client.fetch_records(object_slug, filter=wanted)) == count


async def test_people_are_found_by_their_address(attio_client: AttioClient) -> None:
    (found,) = await attio_client.fetch_people(filter=build_name_filter("people", "SECOND.34@"))
    assert found.values["email_addresses"][1]["email_address"] == "second.34@people.example"
    assert build_name_filter("people", "  ") is None


@pytest.mark.parametrize("kind", PASSING)
async def test_what_passes_is_waited_for(attio: AttioSandbox, attio_client: AttioClient, kind: str) -> None:
    attio.faults.add({"kind": kind, "times": 3, "match": "query", "retry_after": "none"})
    assert len(await companies(attio_client)) == 30
    assert attio.faults.waiting == []


@pytest.mark.parametrize("kind", [*PASSING, "merge_in_progress"])
async def test_what_does_not_pass_ends_after_four_tries(
    attio: AttioSandbox, attio_client: AttioClient, kind: str
) -> None:
    attio.faults.add({"kind": kind, "times": -1, "retry_after": "none"})
    record_id = attio.world.objects["people"].row(3)["id"]["record_id"]
    with pytest.raises(AttioApiError) as caught:
        await attio_client.fetch_record("people", record_id)
    assert len(attio.seen) == HASTY.tries
    assert "asked 4 times" in str(caught.value)
    expected = {
        "rate_limited": (AttioUnavailable, 429, "rate_limit_exceeded"),
        "server_error": (AttioUnavailable, 500, "internal_error"),
        "html_error": (AttioUnavailable, 502, None),
        "dropped": (AttioUnavailable, None, None),
        "merge_in_progress": (AttioNotFound, 404, "merge_in_progress"),
    }.get(kind, (AttioApiError, 200, None))
    assert (type(caught.value), caught.value.attio_status, caught.value.code) == expected
    if kind != "dropped":
        assert str(caught.value.execution_id).startswith("sandbox-")
        assert str(caught.value.execution_id) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "error", "status"),
    [("revoked", AttioKeyRefused, 401), ("forbidden", AttioKeyRefused, 403), ("not_found", AttioNotFound, 404)],
)
async def test_what_is_final_is_asked_once(
    attio: AttioSandbox, attio_client: AttioClient, kind: str, error: type[AttioApiError], status: int
) -> None:
    attio.faults.add({"kind": kind, "times": -1, "match": "records"})
    with pytest.raises(error) as caught:
        await companies(attio_client)
    assert (caught.value.attio_status, len(attio.seen)) == (status, 1)


async def test_a_key_that_is_revoked_in_the_middle_ends_the_walk_at_once(
    attio: AttioSandbox, attio_client: AttioClient
) -> None:
    attio.reset(generated_world(3, 1_300))
    attio.faults.add({"kind": "revoked", "times": -1, "skip": 2})
    batches: list[int] = []

    async def walk() -> None:
        async for batch in attio_client.fetch_all_records("people"):
            batches.append(len(batch))  # noqa: PERF401  what came before the end counts

    with pytest.raises(AttioKeyRefused):
        await walk()
    assert (sum(batches), len(attio.seen)) == (980, 3)


async def test_a_wrong_filter_is_told_with_attio_s_own_words(attio: AttioSandbox, attio_client: AttioClient) -> None:
    with pytest.raises(AttioRefused, match="Unknown attribute slug") as caught:
        await attio_client.fetch_people(filter={"shoe_size": 43})
    assert (caught.value.attio_status, caught.value.code) == (400, "unknown_filter_attribute_slug")
    assert len(attio.seen) == 1


async def test_no_answer_is_not_waited_for_for_ever(attio: AttioSandbox, base: str) -> None:
    attio.faults.add({"kind": "silent", "times": -1, "seconds": 3})
    hasty = requests.Patience(tries=4, first_pause=0.001, longest_pause=0.001, answer_within=0.05)
    async with AttioClient(SecretStr(KEY), base_url=base, patience=hasty) as client:
        with pytest.raises(AttioUnavailable, match="in time"):
            await client.fetch_lists()
    assert len(attio.seen) == 4


async def test_nobody_at_the_address() -> None:
    async with AttioClient(SecretStr(KEY), base_url="http://127.0.0.1:9/v2", patience=HASTY) as client:
        with pytest.raises(AttioUnavailable, match=r"cannot be reached\. Muster asked 4 times"):
            await client.fetch_lists()


async def test_a_redirect_never_takes_the_key_along(attio: AttioSandbox, attio_client: AttioClient) -> None:
    elsewhere = AttioSandbox(generated_world(1, 1))
    async with serving(elsewhere) as address:
        attio.faults.add({"kind": "redirect", "location": f"{address}/v2/lists"})
        with pytest.raises(AttioApiError, match="MUSTER_ATTIO_BASE_URL"):
            await attio_client.fetch_lists()
    assert elsewhere.seen == []


async def test_a_page_that_is_no_attio_is_no_missing_record(attio: AttioSandbox, base: str) -> None:
    """A wrong address, or a proxy's page: to take it for a record that is gone would mark all of them as gone."""
    attio.faults.add({"kind": "html", "times": -1})

    def as_404(answer: httpx.Response) -> httpx.Response:
        return httpx.Response(404, content=answer.content, headers={"content-type": "text/html"})

    async with AttioClient(SecretStr(KEY), base_url=base, patience=HASTY) as client:
        original = client._requests._http.request

        async def request(*arguments: Any, **options: Any) -> httpx.Response:
            return as_404(await original(*arguments, **options))

        client._requests._http.request = request  # type: ignore[method-assign]
        with pytest.raises(AttioApiError) as caught:
            await client.fetch_record("people", "x")
    assert type(caught.value) is AttioApiError


@pytest.mark.parametrize(
    ("kind", "count"), [("rows_go", 7), ("rows_go", 70), ("rows_come", 9), ("repeated", 30), ("missing", 60)]
)
async def test_rows_that_move_between_pages_are_neither_missed_nor_doubled(
    attio: AttioSandbox, attio_client: AttioClient, kind: str, count: int
) -> None:
    attio.reset(generated_world(1, 1_700))
    before = {attio.world.objects["people"].row(place)["id"]["record_id"] for place in range(1_700)}
    attio.faults.add({"kind": kind, "skip": 2, "count": count})
    found = [record.record_id async for batch in attio_client.fetch_all_records("people") for record in batch]
    assert len(found) == len(set(found))
    rows = attio.world.objects["people"]
    assert before & {rows.row(place)["id"]["record_id"] for place in range(len(rows))} <= set(found)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "2"}, 2),
        ({"retry-after": "Tue, 23 May 2023 14:42:04 GMT", "date": "Tue, 23 May 2023 14:42:01 GMT"}, 3),
        ({"retry-after": "Tue, 23 May 2023 14:42:01 GMT"}, 0),
        ({"retry-after": "Tue, 23 May 2023 14:42:01 GMT", "date": "Tue, 23 May 2023 14:42:09 GMT"}, 0),
        ({"retry-after": "Tue, 23 May 2113 14:42:01 GMT"}, LONGEST_WAIT),
        ({"retry-after": "99999999999999999999"}, LONGEST_WAIT),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "-5"}, 0),
        ({"retry-after": "1.5"}, 0),
    ],
)
def test_every_form_of_retry_after(headers: dict[str, str], seconds: float) -> None:
    assert requests._asked(httpx.Response(429, headers=headers)) == seconds


@pytest.mark.parametrize("form", ["date", "seconds"])
async def test_attio_is_left_alone_for_as_long_as_it_asks(
    attio: AttioSandbox, attio_client: AttioClient, form: str
) -> None:
    attio.faults.add({"kind": "rate_limited", "retry_after": form})
    started = time.monotonic()
    await attio_client.fetch_lists()
    # A date has whole seconds: the next one begins in a second at most.
    assert time.monotonic() - started >= (0.9 if form == "seconds" else 0.5)


async def test_the_key_stands_in_nothing_that_can_be_read(
    attio: AttioSandbox, base: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs at the finest level, nor in errors, also where Attio repeats it."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    for kind in (*PASSING, "revoked", "forbidden", "redirect", "not_found"):
        attio.faults.add({"kind": kind, "times": 4, "retry_after": "none"})
        async with AttioClient(SecretStr(CANARY), base_url=base, patience=HASTY) as client:
            with pytest.raises(AttioApiError) as caught:
                await client.fetch_lists()
            said += [
                str(caught.value),
                repr(caught.value),
                repr(caught.value.__dict__),
                repr(client),
                repr(vars(client)),
            ]
        attio.faults.waiting.clear()
    echo = requests.Requests(SecretStr(CANARY), base, key_now=None, budget=None, patience=HASTY)
    answer = httpx.Response(400, json={"message": f"Bad token {CANARY}"}, headers={"x-attio-execution-id": CANARY})
    said.append(str(echo._error(AttioRefused, answer, answer.json())))
    assert "Bad token [the key]" in said[-1]
    assert CANARY not in "".join(said)
    assert CANARY not in caplog.text
    assert len(CANARY) == 64


@pytest.fixture
def base(attio_server: tuple[AttioSandbox, str]) -> str:
    return f"{attio_server[1]}/v2"
