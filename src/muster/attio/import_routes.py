"""Imports over HTTP."""

from typing import Annotated

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_202_ACCEPTED

from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page
from muster.attio import imports
from muster.attio.files import ObjectType
from muster.attio.import_schemas import ImportIn, ImportJobOut, ImportOut, SyncStatus
from muster.settings import Settings


@post("/v1/attio/imports", status_code=HTTP_202_ACCEPTED, summary="Import from Attio", tags=["attio"])
async def begin_import(
    owner: NamedDependency[str], settings: NamedDependency[Settings], data: JSONBody[ImportIn]
) -> Response[ImportJobOut]:
    """Files in the project's repository, one commit, a part of a profile for each record, and a cohort if wished.

    A filter that Attio refuses fails the job with Attio's own words. Two imports of one project go one after the other.
    """
    job = await imports.begin(owner, data, settings)
    return Response(
        ImportJobOut(job_id=job.id), status_code=HTTP_202_ACCEPTED, headers={"Location": f"/v1/jobs/{job.id}"}
    )


@get("/v1/attio/imports", summary="List what is imported", tags=["attio"])
async def list_imports(
    *,
    project: NamedDependency[str],
    object_type: Annotated[ObjectType | None, QueryParameter(name="type", description="Only of this type.")] = None,
    q: Annotated[
        str | None, QueryParameter(max_length=200, description="Part of the name, an e-mail address or a domain.")
    ] = None,
    list_slug: Annotated[
        str | None, QueryParameter(name="list", max_length=200, description="Only entries of this list.")
    ] = None,
    sync_status: Annotated[SyncStatus | None, QueryParameter(description="Only in this state.")] = None,
    job_id: Annotated[
        str | None, QueryParameter(max_length=100, description="Only what this import wrote last.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[ImportOut]:
    """Every record and list entry that is imported into the project, companies before list entries before people."""
    found, following = await imports.list_imports(
        project,
        type_=object_type,
        q=q,
        list_slug=list_slug,
        sync_status=sync_status,
        job_id=job_id,
        limit=limit,
        cursor=cursor,
    )
    return Page(items=[ImportOut.of(one) for one in found], next_cursor=following)


@get("/v1/attio/imports/{attio_record_id:str}", summary="Show what is imported", tags=["attio"])
async def show_import(project: NamedDependency[str], attio_record_id: FromPath[str]) -> ImportOut:
    """One record, or one list entry by its own id."""
    return ImportOut.of(await imports.import_of(project, attio_record_id))


ROUTES: list[HTTPRouteHandler] = [begin_import, list_imports, show_import]
