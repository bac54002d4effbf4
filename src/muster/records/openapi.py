"""Records in the OpenAPI document: their fields come from the registry, which Litestar cannot see in the routes."""

from collections.abc import Mapping

from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, OpenAPIResponse, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

from muster.rules import FieldType

_TEXT = Schema(type=OpenAPIType.STRING)
_NUMBER = Schema(type=OpenAPIType.NUMBER, minimum=-(2.0**53), maximum=2.0**53)
_MOMENT = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)

TYPES: Mapping[FieldType, Schema] = {
    FieldType.STRING: _TEXT,
    FieldType.NUMBER: _NUMBER,
    FieldType.BOOLEAN: Schema(type=OpenAPIType.BOOLEAN),
    FieldType.DATETIME: _MOMENT,
    FieldType.STRINGS: Schema(type=OpenAPIType.ARRAY, items=_TEXT),
    FieldType.NUMBERS: Schema(type=OpenAPIType.ARRAY, items=_NUMBER),
}


def declare_fields(document: OpenAPI, fields: Mapping[str, FieldType], plurals: Mapping[str, str]) -> None:
    """Give the routes of each part its built-in fields. A project's own fields come on top, so others may stand."""
    schemas = document.components.schemas = dict(document.components.schemas or {})
    for part, plural in plurals.items():
        known = {name.partition(".")[2]: TYPES[type_] for name, type_ in fields.items() if name.startswith(f"{part}.")}
        name = part.title()
        schemas[name] = Schema(
            type=OpenAPIType.OBJECT,
            description=f"A {part}: the built-in fields; a project may have others. What has no value is absent.",
            properties={
                "pii_id": Schema(type=OpenAPIType.STRING, read_only=True),
                **known,
                "updated_at": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME, read_only=True),
                "rev": Schema(type=OpenAPIType.INTEGER, read_only=True),
            },
        )
        content = {"application/json": OpenAPIMediaType(schema=Reference(ref=f"#/components/schemas/{name}"))}
        item = (document.paths or {})[f"/v1/{plural}/{{pii_id}}"]
        for operation in (item.get, item.put, item.patch):
            if operation is None or operation.responses is None:
                continue
            operation.responses["200"] = OpenAPIResponse(description=f"The {part}.", content=content)
            if operation.request_body is not None:
                operation.request_body = RequestBody(content=content, required=True)
        if item.put is not None and item.put.responses is not None:
            item.put.responses["201"] = OpenAPIResponse(description=f"The {part} is new.", content=content)
