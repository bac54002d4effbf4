"""The OpenAPI document at `/schema/openapi.json`, and its page at `/schema`. Nothing comes from another host."""

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    Reference,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIType

from muster.api.auth import PUBLIC
from muster.api.problems import MEDIA_TYPE
from muster.errors import NotFound

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Muster API</title>
<script type="module" src="/schema/rapidoc.js"></script>
</head>
<body>
<rapi-doc spec-url="/schema/openapi.json" load-fonts="false" show-header="false" render-style="focused"
  schema-style="table" persist-auth="false" allow-server-selection="false"
  regular-font="system-ui, sans-serif" mono-font="ui-monospace, monospace"></rapi-doc>
<noscript>This page needs JavaScript; the document itself is <a href="/schema/openapi.json">openapi.json</a>.</noscript>
</body>
</html>
"""

_ABOUT = """Cohorts that stay right: rule-based segments of leads, contacts and customers, live.

Times are RFC 3339 UTC. Lists answer `{"items": [...], "next_cursor": null | "..."}`. Errors are RFC 9457 problem
documents. `Idempotency-Key` works on every POST with a JSON body; `If-Match` on PUT, PATCH and DELETE.
"""


class DocumentationPage(OpenAPIRenderPlugin):
    """RapiDoc, from our own host."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        return _PAGE.encode()

    def receive_router(self, router: Router) -> None:
        router.register(page_script)


@get("/rapidoc.js", sync_to_thread=False)
def page_script() -> Response[bytes]:
    """The script of the page, as published; its licence stands beside it."""
    return Response(_script(), media_type="text/javascript", headers={"Cache-Control": "public, max-age=86400"})


@cache
def _script() -> bytes:
    return (Path(__file__).parent / "static" / "rapidoc.js").read_bytes()


def _finish(response: Response[Any]) -> Response[Any]:
    if response.status_code == 404:  # Litestar's own page for an unknown address under /schema
        raise NotFound("There is nothing at this address.")
    if response.media_type == MediaType.HTML:
        response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


def openapi_config() -> OpenAPIConfig:
    """What Litestar writes the document from. A token is needed everywhere, unless a route says `[{}]`."""
    return OpenAPIConfig(
        title="Muster",
        version=version("muster"),
        description=_ABOUT,
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")},
        ),
        security=[{"token": []}],
        use_handler_docstrings=True,
        render_plugins=[DocumentationPage(), JsonRenderPlugin()],
        openapi_router=Router("/schema", route_handlers=[], opt=PUBLIC, include_in_schema=False, after_request=_finish),
    )


PROBLEM_SCHEMA = Schema(
    type=OpenAPIType.OBJECT,
    description="RFC 9457. `errors` says what is wrong where: a JSON pointer into the body, or a span in a text.",
    properties={
        "type": Schema(type=OpenAPIType.STRING),
        "title": Schema(type=OpenAPIType.STRING),
        "status": Schema(type=OpenAPIType.INTEGER),
        "detail": Schema(type=OpenAPIType.STRING),
        "errors": Schema(
            type=OpenAPIType.ARRAY,
            items=Schema(
                type=OpenAPIType.OBJECT,
                properties={
                    "detail": Schema(type=OpenAPIType.STRING),
                    "pointer": Schema(type=OpenAPIType.STRING),
                    "span": Schema(
                        type=OpenAPIType.OBJECT,
                        properties={
                            name: Schema(type=OpenAPIType.INTEGER) for name in ("start", "end", "line", "column")
                        },
                    ),
                    "suggestion": Schema(type=OpenAPIType.STRING),
                },
                required=["detail"],
            ),
        ),
    },
    required=["type", "title", "status", "detail", "errors"],
)


def declare_problems(document: OpenAPI) -> None:
    """Put the problem answers into every operation, in place of what Litestar assumes of errors."""
    document.components.schemas = {**(document.components.schemas or {}), "Problem": PROBLEM_SCHEMA}
    for path, item in (document.paths or {}).items():
        for method in ("get", "put", "post", "delete", "patch"):
            operation = getattr(item, method)
            if operation is None or operation.responses is None:
                continue
            statuses = {"422": "Readable, and wrong: `errors` say where."} if operation.parameters else {}
            if operation.security != [{}]:
                statuses["401"] = "No token, or one that does not hold."
            if "{" in path:
                statuses["404"] = "Not there, or somebody else's."
            operation.responses.pop("400", None)
            for status, description in {**statuses, "default": "Any other error."}.items():
                operation.responses[status] = OpenAPIResponse(
                    description=description,
                    content={MEDIA_TYPE: OpenAPIMediaType(schema=Reference(ref="#/components/schemas/Problem"))},
                )
