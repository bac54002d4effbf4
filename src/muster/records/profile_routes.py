"""`/v1/profiles`: profiles as a whole, and their import; `/v1/fields`: the registry."""

from dataclasses import dataclass
from typing import Annotated, Any

from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.status_codes import HTTP_200_OK

from muster.api import etags
from muster.api.paging import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from muster.api.requests import MEDIA_TYPES_KEY, media_type
from muster.records import service
from muster.records.fields import Fields
from muster.records.importing import CSV, MEDIA_TYPES, CsvReader, NdjsonReader, import_lines
from muster.records.registry import fields_of, register_field, registry
from muster.records.rolls import RollWriter
from muster.records.schemas import (
    ErasedAnswer,
    FieldAnswer,
    ImportAnswer,
    NewField,
    ProfileAnswer,
    SavedImportAnswer,
)

AnyRequest = Request[Any, Any, Any]
NAME = r"^\s*\S.{0,199}$"  # as cohorts take it


@dataclass
class ImportOperation(Operation):
    """The import in OpenAPI: Litestar cannot know what a route reads from the stream."""

    def __post_init__(self) -> None:
        text = Schema(type=OpenAPIType.STRING)
        content = {name: OpenAPIMediaType(schema=text) for name in MEDIA_TYPES}
        self.request_body = RequestBody(content=content, description="Any number of lines.", required=True)


@get("/v1/profiles/{pii_id:str}", summary="Show a profile", tags=["profiles"])
async def show_profile(project: NamedDependency[str], pii_id: FromPath[str]) -> Response[ProfileAnswer]:
    """Everything known about one person or company, the cohorts it is in, and the experiments that take it.

    The ETag is the profile's; which cohorts and experiments it is in does not change it.
    """
    profile = await service.profile(project, pii_id)
    answer = ProfileAnswer.of(profile, await service.cohorts_of(profile), await service.experiments_of(profile))
    return Response(answer, headers={"ETag": etags.etag(profile.rev)})


@delete("/v1/profiles/{pii_id:str}", status_code=HTTP_200_OK, summary="Erase a profile", tags=["profiles"])
async def erase_profile(
    request: AnyRequest, owner: NamedDependency[str], project: NamedDependency[str], pii_id: FromPath[str]
) -> ErasedAnswer:
    """Erase a profile from everywhere, and say how much of it was where.

    When the answer comes it is in no cohort, in no count, and its name in no history. A later profile of the same
    pii_id is a new one, and inherits nothing.
    """
    removed = await service.erase_everywhere(owner, project, pii_id, revs=etags.expected_revs(request))
    return ErasedAnswer(pii_id=pii_id, removed=removed)


@post(
    "/v1/profiles/import",
    summary="Import profiles as NDJSON or CSV",
    tags=["profiles"],
    status_code=200,
    request_max_body_size=None,
    opt={MEDIA_TYPES_KEY: MEDIA_TYPES},
    operation_class=ImportOperation,
)
async def import_profiles(
    request: AnyRequest,
    owner: NamedDependency[str],
    project: NamedDependency[str],
    save_as_cohort: Annotated[
        str | None,
        QueryParameter(description="Make a static cohort with this name of whose lines were taken.", pattern=NAME),
    ] = None,
) -> ImportAnswer | SavedImportAnswer:
    """Stream profiles in, of any number: lines apply in order, and one that cannot be taken stops no other.

    `application/x-ndjson`: a line `{"pii_id": "P1", "lead": {…}, "contact": {…}}`; a part that is named replaces the
    stored one, null removes it, parts that are not named stay.
    `text/csv`: a header `pii_id,lead.status,…`; sets the named fields only, an empty cell leaves its field, lists are
    split at `;`.
    """
    fields = Fields(await registry(project))
    reader = CsvReader(fields) if media_type(request) == CSV else NdjsonReader(fields)
    if save_as_cohort is None:
        return ImportAnswer.of(await import_lines(project, reader, request.stream()))
    roll = RollWriter(project)
    answer = ImportAnswer.of(await import_lines(project, reader, request.stream(), roll))
    (save,) = service.SAVE_AS_COHORT
    cohort_id, job_id = await save(owner, project, save_as_cohort.strip(), await roll.close())
    return SavedImportAnswer(**answer.model_dump(), cohort_id=cohort_id, job_id=job_id)


@get("/v1/fields", summary="List the fields of profiles", tags=["fields"])
async def list_fields(
    project: NamedDependency[str], cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> Page[FieldAnswer]:
    """The registry of a project, in the order of names: the built-in fields and its own."""
    after = decode_cursor(cursor, str)[0] if cursor else None
    found = await fields_of(project, after, limit + 1)
    fields, next_cursor = page_of(found, limit, lambda field: (field.name,))
    return Page(items=[FieldAnswer.of(field) for field in fields], next_cursor=next_cursor)


@post("/v1/fields", summary="Register a field", tags=["fields"])
async def create_field(project: NamedDependency[str], data: JSONBody[NewField]) -> Response[FieldAnswer]:
    """Add a field to a project. 200 when it is there already with this type, 409 when it has another."""
    field, created = await register_field(project, data.name, data.type)
    return Response(FieldAnswer.of(field), status_code=201 if created else 200)


ROUTES = (show_profile, erase_profile, import_profiles, list_fields, create_field)
