"""`/v1/leads`, `/v1/contacts`, `/v1/customers`: each is one part of a profile, flat."""

from typing import Any

from litestar import Request, Response, delete, get, patch, put
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from muster.api import etags
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from muster.errors import Invalid, NotFound, Problem
from muster.records import profile_routes, service
from muster.records.documents import Profile
from muster.records.fields import Fields, Normalised
from muster.records.registry import registry
from muster.records.schemas import Record, record_of
from muster.records.updates import FieldChanges
from muster.records.values import DoesNotFitError, read_pii_id

AnyRequest = Request[Any, Any, Any]


def part_routes(part: str, plural: str) -> tuple[HTTPRouteHandler, ...]:
    """The five routes of one part, under its plural."""

    @put(f"/v1/{plural}/{{pii_id:str}}", summary=f"Create or replace a {part}", tags=[plural], status_code=200)
    async def put_record(
        request: AnyRequest, project: NamedDependency[str], pii_id: FromPath[str], data: JSONBody[Record]
    ) -> Response[Record]:
        """Create the part, or replace it as a whole; null is the same as leaving a field out.

        201 when the part is new. `If-None-Match: *` only creates.
        """
        changes = {part: (await _read(project, part, data)).values}
        _check(pii_id)
        if etags.must_not_exist(request):
            return _answer(await service.create_part(project, pii_id, part, changes), part, 201)
        is_new = not await service.has_part(project, pii_id, part)
        found = await service.put(
            project, pii_id, changes, revs=etags.expected_revs(request), create=not etags.must_exist(request)
        )
        return _answer(found, part, 201 if is_new else 200)

    @patch(f"/v1/{plural}/{{pii_id:str}}", summary=f"Change fields of a {part}", tags=[plural])
    async def patch_record(
        request: AnyRequest, project: NamedDependency[str], pii_id: FromPath[str], data: JSONBody[Record]
    ) -> Response[Record]:
        """A JSON merge patch: a value sets its field, null removes it, what is left out stays."""
        read = await _read(project, part, data)
        changes = {part: FieldChanges(read.values, read.removed)}
        found = await service.change_part(project, pii_id, part, changes, revs=etags.expected_revs(request))
        return _answer(found, part)

    @get(f"/v1/{plural}/{{pii_id:str}}", summary=f"Show a {part}", tags=[plural])
    async def show_record(request: AnyRequest, project: NamedDependency[str], pii_id: FromPath[str]) -> Response[Any]:
        """The part, flat."""
        found = await service.profile_with(project, pii_id, part)
        if etags.not_modified(request, found.rev):
            return etags.unchanged(found.rev)
        return _answer(found, part)

    @delete(f"/v1/{plural}/{{pii_id:str}}", summary=f"Delete a {part}", tags=[plural])
    async def delete_record(request: AnyRequest, project: NamedDependency[str], pii_id: FromPath[str]) -> None:
        """Delete the part. The profile stays, also without any part; `DELETE /v1/profiles/{pii_id}` erases it."""
        await service.change_part(project, pii_id, part, {part: None}, revs=etags.expected_revs(request))

    @get(f"/v1/{plural}", summary=f"List {plural}", tags=[plural])
    async def list_records(
        project: NamedDependency[str], cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
    ) -> Page[Record]:
        """The parts of this kind in the order of their pii_id."""
        after = decode_cursor(cursor, str)[0] if cursor else None
        found = await service.profiles_with(project, part, after, limit + 1)
        profiles, next_cursor = page_of(found, limit, lambda profile: (profile.pii_id,))
        return Page(items=[record_of(profile, part) for profile in profiles], next_cursor=next_cursor)

    return put_record, patch_record, show_record, delete_record, list_records


async def _read(project: str, part: str, data: Record) -> Normalised:
    read = Fields(await registry(project)).read_part(part, data)
    if read.problems:
        raise Invalid(f"The {part} does not fit the field registry.", read.problems)
    return read


def _check(pii_id: str) -> None:
    try:
        read_pii_id(pii_id)
    except DoesNotFitError as error:
        raise Invalid(str(error), [Problem(str(error))]) from None


def _answer(profile: Profile, part: str, status: int = 200) -> Response[Record]:
    if getattr(profile, part) is None:
        raise NotFound(f"There is no {part} {profile.pii_id!r} any more.")
    return Response(record_of(profile, part), status_code=status, headers={"ETag": etags.etag(profile.rev)})


PLURALS = {"lead": "leads", "contact": "contacts", "customer": "customers"}

ROUTES = (
    *(route for part, plural in PLURALS.items() for route in part_routes(part, plural)),
    *profile_routes.ROUTES,
)
