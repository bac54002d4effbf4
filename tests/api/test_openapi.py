"""The OpenAPI document, its page, and the headers on everything."""

import re

import httpx
import pytest

RECORDS = [
    operation
    for plural in ("leads", "contacts", "customers")
    for operation in (
        f"put /v1/{plural}/{{}}",
        f"patch /v1/{plural}/{{}}",
        f"get /v1/{plural}/{{}}",
        f"delete /v1/{plural}/{{}}",
        f"get /v1/{plural}",
    )
]
PROJECTS = ["post /v1/projects", "get /v1/projects", *(f"{m} /v1/projects/{{}}" for m in ("get", "patch", "delete"))]
OTHERS = ["get /v1/profiles/{}", "delete /v1/profiles/{}", "get /v1/profiles/{}/cohorts", "post /v1/profiles/import"]
FIELDS = ["get /v1/fields", "post /v1/fields", "get /health/live", "get /health/ready", "get /metrics"]


async def document(client: httpx.AsyncClient) -> dict:
    answer = await client.get("/schema/openapi.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    return dict(answer.json())


async def test_the_contract_s_operations_are_there(client: httpx.AsyncClient) -> None:
    paths = (await document(client))["paths"]
    have = {f"{method} {re.sub(r'{[^}]*}', '{}', path)}" for path, item in paths.items() for method in item}
    assert {*RECORDS, *PROJECTS, *OTHERS, *FIELDS} - have == set()


async def test_every_operation_explains_itself(client: httpx.AsyncClient) -> None:
    for path, item in (await document(client))["paths"].items():
        for method, operation in item.items():
            assert operation.get("summary"), f"{method} {path}"
            assert operation.get("description"), f"{method} {path}"


async def test_errors_are_declared_as_problem_documents(client: httpx.AsyncClient) -> None:
    for path, item in (await document(client))["paths"].items():
        for method, operation in item.items():
            errors = {s: answer for s, answer in operation["responses"].items() if not s.startswith(("2", "3"))}
            assert "default" in errors, f"{method} {path}"
            assert ("401" in errors) == (operation.get("security") != [{}]), f"{method} {path}"
            for status, answer in errors.items():
                assert list(answer["content"]) == ["application/problem+json"], f"{method} {path} {status}"


async def test_a_token_is_declared_where_one_is_needed(client: httpx.AsyncClient) -> None:
    schema = await document(client)
    assert schema["security"] == [{"token": []}]
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    open_to_all = {
        path
        for path, item in schema["paths"].items()
        for operation in item.values()
        if operation.get("security") == [{}]
    }
    assert not any(path.startswith("/v1/") for path in open_to_all)


async def test_the_import_declares_both_of_its_media_types(client: httpx.AsyncClient) -> None:
    operation = (await document(client))["paths"]["/v1/profiles/import"]["post"]
    assert sorted(operation["requestBody"]["content"]) == ["application/x-ndjson", "text/csv"]


async def test_records_declare_their_fields(client: httpx.AsyncClient) -> None:
    schema = await document(client)
    lead = schema["components"]["schemas"]["Lead"]["properties"]
    assert lead["score"]["type"] == "number"
    assert lead["tags"]["items"] == {"type": "string"}
    assert lead["rev"]["readOnly"] is True
    put = schema["paths"]["/v1/leads/{pii_id}"]["put"]
    assert put["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Lead"}
    assert {"200", "201"} <= set(put["responses"])


async def test_every_reference_leads_somewhere(client: httpx.AsyncClient) -> None:
    text = (await client.get("/schema/openapi.json")).text
    schemas = (await document(client))["components"]["schemas"]
    assert set(re.findall(r'"#/components/schemas/([^"]+)"', text)) <= set(schemas)


async def test_operation_ids_are_unique(client: httpx.AsyncClient) -> None:
    ids = [op["operationId"] for item in (await document(client))["paths"].values() for op in item.values()]
    assert len(ids) == len(set(ids))


async def test_the_page_loads_nothing_from_another_host(client: httpx.AsyncClient) -> None:
    page = await client.get("/schema", headers={"Authorization": ""})
    assert page.headers["content-type"].startswith("text/html")
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", page.text)
    policy = page.headers["content-security-policy"]
    assert "http" not in policy
    assert "'unsafe-eval'" not in policy
    for address in re.findall(r'(?:src|spec-url)="([^"]+)"', page.text):
        assert (await client.get(address, headers={"Authorization": ""})).status_code == 200


@pytest.mark.parametrize("path", ["/v1/leads", "/v1/nowhere", "/nowhere", "/schema", "/schema/nowhere", "/health/live"])
async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient, path: str) -> None:
    headers = (await client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "public" not in headers["cache-control"]


async def test_metrics_show_routes_and_nobody(client: httpx.AsyncClient) -> None:
    await client.put("/v1/leads/a-very-personal-id", json={})
    text = (await client.get("/metrics", headers={"Authorization": ""})).text
    assert 'path="/v1/leads/{pii_id}"' in text
    assert "personal" not in text
