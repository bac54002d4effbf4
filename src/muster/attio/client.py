"""Attio's REST API, version 2, as far as Muster uses it: typed, patient, careful with the key."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

from pydantic import SecretStr

from muster.attio import models
from muster.attio.budget import Budget
from muster.attio.errors import AttioNotFound
from muster.attio.models import AttioList, AttioWebhook, Attribute, ListEntry, Record
from muster.attio.paging import all_pages
from muster.attio.requests import PATIENT, KeyNow, Patience, Requests

PAGE = 500  # rows a query answers at most; larger limits are not honoured reliably

ObjectSlug = Literal["companies", "people"]
Filter = Mapping[str, Any]
"""A filter in Attio's own grammar, such as `{"name": {"$contains": "acme"}}`."""

OLDEST_FIRST: Sequence[Mapping[str, str]] = ({"attribute": "created_at", "direction": "asc"},)


class AttioClient:
    """Asks Attio with one key, within an `async with`.

    Every request is a read, but for those of webhooks. All are tried again (429 with any Retry-After, 5xx, time-outs,
    dropped connections, what is not JSON), up to `patience.tries` times, within the pace that all clients of a
    workspace share. A refused key ends it at once. Raises AttioApiError (`muster.attio.errors`), whose sentences never
    hold the key.
    """

    def __init__(
        self,
        api_key: SecretStr,
        *,
        base_url: str,
        key_now: KeyNow | None = None,
        budget: Budget | None = None,
        patience: Patience = PATIENT,
    ) -> None:
        """`base_url` ends in `/v2`; `budget` is that of the workspace, by default one of the client's own; `key_now`
        says what has become of the key meanwhile.
        """
        self._requests = Requests(api_key, base_url, key_now=key_now, budget=budget, patience=patience)

    async def __aenter__(self) -> Self:
        await self._requests.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._requests.__aexit__(kind, error, trace)

    async def test_connection(self) -> models.Self:
        """Whose key this is and what it may. A revoked or unknown one comes back with `active` false, not as an error;
        a malformed one raises AttioRefused.
        """
        return models.Self.of(await self._requests.get("/self"))

    async def fetch_companies(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  Attio's word
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[Record]:
        """One page of companies, the oldest first; the last page is the one shorter than `limit` (500 at most)."""
        return await self.fetch_records("companies", filter=filter, limit=limit, offset=offset)

    async def fetch_people(
        self,
        *,
        filter: Filter | None = None,  # noqa: A002  as above
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[Record]:
        """One page of people, the oldest first; the last page is the one shorter than `limit` (500 at most)."""
        return await self.fetch_records("people", filter=filter, limit=limit, offset=offset)

    async def fetch_records(
        self,
        object_slug: str,
        *,
        filter: Filter | None = None,  # noqa: A002  as above
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[Record]:
        """One page of an object's records (slug or id), the oldest first."""
        path = _path("objects", object_slug, "records", "query")
        return await self._requests.rows("POST", path, _query(filter, limit, offset), read=Record.of)

    async def fetch_lists(self) -> list[AttioList]:
        """Every list that the key may see."""
        return await self._requests.rows("GET", "/lists", read=AttioList.of)

    async def fetch_list_entries(
        self,
        list_slug: str,
        *,
        filter: Filter | None = None,  # noqa: A002  as above
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[ListEntry]:
        """One page of a list (slug or id), the oldest first. Raises AttioNotFound without such a list."""
        path = _path("lists", list_slug, "entries", "query")
        return await self._requests.rows("POST", path, _query(filter, limit, offset), read=ListEntry.of)

    async def fetch_attributes(
        self, slug: str, of: Literal["objects", "lists"] = "objects", *, show_archived: bool = False
    ) -> list[Attribute]:
        """Every attribute of an object ("companies") or, with `of="lists"`, of a list."""
        found: dict[str, Attribute] = {}
        while True:
            query = {"limit": PAGE, "offset": len(found), "show_archived": "true" if show_archived else "false"}
            page = await self._requests.rows("GET", _path(of, slug, "attributes"), query=query, read=Attribute.of)
            fresh = {attribute.api_slug: attribute for attribute in page if attribute.api_slug not in found}
            found |= fresh
            # No source says how many come at most. A page without news is the end for sure.
            if not fresh:
                return list(found.values())

    async def fetch_record(self, object_slug: str, record_id: str) -> Record:
        """One record; `object_slug` may be the object's UUID. Raises AttioNotFound when it is gone, with the code
        `merge_in_progress` when it is being merged and stays so for longer than the client waits.
        """
        return await self._requests.row(_path("objects", object_slug, "records", record_id), Record.of)

    async def fetch_entry(self, list_slug: str, entry_id: str) -> ListEntry:
        """One entry of a list (slug or id). Raises AttioNotFound when it is gone."""
        return await self._requests.row(_path("lists", list_slug, "entries", entry_id), ListEntry.of)

    def fetch_all_records(
        self,
        object_slug: str,
        *,
        filter: Filter | None = None,  # noqa: A002  as above
    ) -> AsyncGenerator[list[Record], None]:
        """Every record that matches, in batches of at most 500, each record once, the oldest first.

        The next page is asked for while the caller works on this one. Close the iterator (`contextlib.aclosing`) when
        leaving early. Only the ids are kept, 16 bytes each.
        """
        return all_pages(
            lambda offset: self.fetch_records(object_slug, filter=filter, offset=offset),
            lambda record: record.record_id,
            PAGE,
        )

    def fetch_all_entries(
        self,
        list_slug: str,
        *,
        filter: Filter | None = None,  # noqa: A002  as above
    ) -> AsyncGenerator[list[ListEntry], None]:
        """Every entry of a list that matches, in batches of at most 500, each entry once, the oldest first."""
        return all_pages(
            lambda offset: self.fetch_list_entries(list_slug, filter=filter, offset=offset),
            lambda entry: entry.entry_id,
            PAGE,
        )

    async def make_webhook(self, target_url: str, events: Sequence[str]) -> AttioWebhook:
        """Let Attio tell an address (https) of events. Only this answer has the secret; a retry may make it twice."""
        subscriptions = [{"event_type": event, "filter": None} for event in events]
        body = {"data": {"target_url": target_url, "subscriptions": subscriptions}}
        return await self._requests.send("POST", "/webhooks", body, read=AttioWebhook.of_answer)

    async def fetch_webhooks(self) -> list[AttioWebhook]:
        """The webhooks of the workspace that the key may see, without their secrets."""
        return await self._requests.rows("GET", "/webhooks", read=AttioWebhook.of)

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook; one that is gone already is no error."""
        with suppress(AttioNotFound):
            await self._requests.send("DELETE", _path("webhooks", webhook_id), read=lambda _: None)


def build_name_filter(object_slug: str, q: str) -> dict[str, Any] | None:
    """The filter for a search: people by name or e-mail address, companies by name or domain, whatever the case.

    None when `q` is blank: everything is meant.
    """
    wanted = q.strip()
    if not wanted:
        return None
    holds = {"$contains": wanted}
    if object_slug == "people":
        return {"$or": [{"name": {"full_name": holds}}, {"email_addresses": {"email_address": holds}}]}
    return {"$or": [{"name": holds}, {"domains": {"domain": holds}}]}


def build_entry_filter(list_slug: str, parent_objects: Sequence[str], q: str) -> dict[str, Any] | None:
    """The filter for a search in a list: entries whose record `build_name_filter` finds. None when `q` is blank."""
    wanted = q.strip()
    if not wanted:
        return None
    named = {
        "people": (("name", "full_name"), ("email_addresses", "email_address")),
        "companies": (("name", "value"), ("domains", "domain")),
    }
    return {
        "$or": [
            {
                "path": [[list_slug, "parent_record"], [parent, attribute]],
                "constraints": {part: {"$contains": wanted}},
            }
            for parent in parent_objects
            for attribute, part in named.get(parent, (("name", "value"),))
        ]
    }


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """A filter that holds where both do."""
    if one and other:
        return {"$and": [one, other]}
    return one or other


def _path(*steps: str) -> str:
    """A path whose steps hold no surprise: an id with a slash in it stays one step."""
    return "".join("/" + quote(step, safe="") for step in steps)


def _query(filter_: Filter | None, limit: int, offset: int) -> dict[str, Any]:
    """The body of a query. Paging stands in it: in the address Attio passes it over in silence."""
    asked = {"sorts": OLDEST_FIRST, "limit": limit, "offset": offset}
    return {"filter": filter_, **asked} if filter_ else asked
