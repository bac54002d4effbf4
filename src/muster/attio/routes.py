"""Attio over HTTP: a project's connection, and what the workspace holds."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from muster.api.etags import etag, expected_revs
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, encode_cursor
from muster.attio import browsing, connection
from muster.attio.browsing import OBJECT_TYPES, ObjectSlug
from muster.attio.schemas import AttributeOut, ConnectionIn, ConnectionOut, EntryOut, ListOut, RecordOut
from muster.errors import Invalid, NotFound
from muster.projects.routes import ProjectId
from muster.settings import Settings

AnyRequest = Request[Any, Any, Any]
Search = Annotated[
    str, QueryParameter(max_length=200, description="Part of the name, or of the e-mail address or domain.")
]

Filter = Annotated[
    str | None,
    QueryParameter(name="filter", max_length=10_000, description="A filter in Attio's own grammar, as JSON."),
]

NO_STORE = {"Cache-Control": "no-store"}


@put("/v1/attio/connection", summary="Connect with Attio", tags=["attio"])
async def connect(
    request: AnyRequest, owner: NamedDependency[str], settings: NamedDependency[Settings], data: JSONBody[ConnectionIn]
) -> Response[ConnectionOut]:
    """The key is tested, then kept in a private file of this installation; no answer shows it.

    A project stays bound to the workspace of its first key until it is disconnected: another one's key is a 409.
    """
    revs = expected_revs(request)
    state = await connection.connect(owner, data.project_id, data.api_key, settings, revs=revs)
    return Response(ConnectionOut.of(state), headers={"ETag": etag(state.rev), **NO_STORE})


@get("/v1/attio/connection", summary="Show the connection with Attio", tags=["attio"])
async def show_connection(
    owner: NamedDependency[str], settings: NamedDependency[Settings], project_id: ProjectId = None
) -> Response[ConnectionOut]:
    """Attio is asked now: a key that was revoked meanwhile shows as not connected, with the reason."""
    state = await connection.state_of(owner, project_id, settings)
    return Response(ConnectionOut.of(state), headers={"ETag": etag(state.rev), **NO_STORE})


@delete("/v1/attio/connection", summary="Disconnect from Attio", tags=["attio"])
async def disconnect(
    request: AnyRequest,
    owner: NamedDependency[str],
    settings: NamedDependency[Settings],
    project_id: ProjectId = None,
) -> None:
    """The key is forgotten, and the project may be connected with another workspace. What was imported stays."""
    await connection.disconnect(owner, project_id, settings, revs=expected_revs(request))


@get("/v1/attio/objects/{object_slug:str}/records", summary="Browse companies or people", tags=["attio"])
async def list_records(
    *,
    settings: NamedDependency[Settings],
    project: NamedDependency[str],
    object_slug: FromPath[str],
    q: Search = "",
    attio_filter: Filter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[RecordOut]:
    """`companies` or `people` of the workspace, the oldest first, as Attio has them now."""
    wanted = _filter(attio_filter)
    found, following = await browsing.list_records(
        project, _object(object_slug), settings, q=q, wanted=wanted, limit=limit, cursor=cursor
    )
    return Page(items=[RecordOut.of(listed) for listed in found], next_cursor=following)


@get("/v1/attio/objects/{object_slug:str}/attributes", summary="List attributes of companies or people", tags=["attio"])
async def list_attributes(
    *,
    settings: NamedDependency[Settings],
    project: NamedDependency[str],
    object_slug: FromPath[str],
    limit: Limit = 1000,
    cursor: Cursor = None,
) -> Page[AttributeOut]:
    """The workspace's own attributes included."""
    found = await browsing.list_attributes(project, _object(object_slug), settings)
    (start,) = decode_cursor(cursor, int) if cursor else (0,)
    end = max(0, start) + limit
    items = [AttributeOut.of(attribute) for attribute in found[max(0, start) : end]]
    return Page(items=items, next_cursor=encode_cursor([end]) if end < len(found) else None)


@get("/v1/attio/lists", summary="Browse lists", tags=["attio"])
async def list_lists(
    *,
    settings: NamedDependency[Settings],
    project: NamedDependency[str],
    q: Search = "",
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ListOut]:
    """The lists that the key may see."""
    found, following = await browsing.list_lists(project, settings, q=q, limit=limit, cursor=cursor)
    return Page(items=[ListOut.of(each) for each in found], next_cursor=following)


@get("/v1/attio/lists/{list_slug:str}/entries", summary="Browse the entries of a list", tags=["attio"])
async def list_entries(
    *,
    settings: NamedDependency[Settings],
    project: NamedDependency[str],
    list_slug: FromPath[str],
    q: Search = "",
    attio_filter: Filter = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[EntryOut]:
    """The list is named by its slug or its id; a record may stand in it more than once."""
    wanted = _filter(attio_filter)
    found, following = await browsing.list_entries(
        project, list_slug, settings, q=q, wanted=wanted, limit=limit, cursor=cursor
    )
    return Page(items=[EntryOut.of(listed) for listed in found], next_cursor=following)


def _filter(text: str | None) -> dict[str, Any] | None:
    """A filter out of the address. Raises Invalid."""
    if text is None or not text.strip():
        return None
    try:
        read = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise Invalid('filter is a JSON object in Attio\'s grammar, such as {"job_title": {"$contains": "head"}}.')
    return read


def _object(slug: str) -> ObjectSlug:
    known: dict[str, ObjectSlug] = {"companies": "companies", "people": "people"}
    if slug not in known:
        raise NotFound(f"Muster knows {' and '.join(OBJECT_TYPES)} of Attio, not {slug[:100]!r}.")
    return known[slug]


ROUTES = (connect, show_connection, disconnect, list_records, list_attributes, list_lists, list_entries)
