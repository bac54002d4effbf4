"""Projects: one owner each, a default on first use, and nothing deleted that still holds something."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from muster.projects import service
from muster.projects.documents import Project


async def test_a_project_from_its_creation_to_its_end(client: httpx.AsyncClient) -> None:
    created = await client.post("/v1/projects", json={"name": " Spring ", "time_zone": "Europe/Zurich"})
    assert created.status_code == 201
    project = created.json()
    assert (project["name"], project["description"], project["time_zone"], project["rev"]) == (
        "Spring",
        "",
        "Europe/Zurich",
        1,
    )
    path = created.headers["location"]
    assert path == f"/v1/projects/{project['id']}"
    assert (await client.get(path)).json() == project
    patched = await client.patch(path, json={**project, "description": "Leads of spring"})
    assert (patched.json()["description"], patched.json()["rev"], patched.headers["etag"]) == (
        "Leads of spring",
        2,
        '"2"',
    )
    assert (await client.patch(path, json={"description": "Leads of spring"})).json() == patched.json()
    assert (await client.delete(path)).status_code == 204
    for gone in (client.get(path), client.delete(path), client.patch(path, json={"name": "x"})):
        assert (await gone).status_code == 404


async def test_the_default_project_is_made_once(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.put(f"/v1/leads/P{n}", json={}) for n in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    projects = (await client.get("/v1/projects")).json()["items"]
    assert [project["is_default"] for project in projects] == [True]
    assert len((await client.get("/v1/leads", params={"project_id": projects[0]["id"]})).json()["items"]) == 20


async def test_numbers_are_unique_in_the_installation(
    client: httpx.AsyncClient, token_for: Callable[[str], str]
) -> None:
    bob = {"Authorization": f"Bearer {token_for('bob')}"}
    made = [client.post("/v1/projects", json={"name": "x"}, headers=bob if n % 2 else {}) for n in range(20)]
    ids = [answer.json()["id"] for answer in await asyncio.gather(*made)]
    assert sorted(ids, key=lambda number: int(number.removeprefix("PRJ-"))) == [f"PRJ-{n}" for n in range(1, 21)]


async def test_projects_are_listed_oldest_first(client: httpx.AsyncClient) -> None:
    made = [(await client.post("/v1/projects", json={"name": "x"})).json()["id"] for _ in range(12)]
    found: list[str] = []
    params: dict[str, str | int] = {"limit": 5}
    while True:
        page = (await client.get("/v1/projects", params=params)).json()
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert found == made


async def test_a_project_that_holds_something_stays(client: httpx.AsyncClient) -> None:
    project = (await client.post("/v1/projects", json={"name": "x"})).json()["id"]
    await client.put("/v1/leads/P1", json={}, params={"project_id": project})
    await client.post("/v1/cohorts", json={"name": "all", "kind": "static", "members": ["P1"], "project_id": project})
    refused = await client.delete(f"/v1/projects/{project}")
    assert refused.status_code == 409
    assert "a profile" in refused.json()["detail"]
    assert "a cohort" in refused.json()["detail"]
    assert (await client.get(f"/v1/projects/{project}")).status_code == 200


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_stale_revision_changes_nothing(client: httpx.AsyncClient, method: str) -> None:
    path = (await client.post("/v1/projects", json={"name": "a"})).headers["location"]
    await client.patch(path, json={"name": "b"})
    body = {"json": {"name": "c"}} if method == "PATCH" else {}
    assert (await client.request(method, path, headers={"If-Match": '"1"'}, **body)).status_code == 412
    assert (await client.get(path)).json()["name"] == "b"
    assert (await client.request(method, path, headers={"If-Match": '"2"'}, **body)).is_success


async def test_of_many_writers_with_one_revision_one_wins(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/projects", json={"name": "a"})).headers["location"]
    writes = [client.patch(path, json={"name": f"n{n}"}, headers={"If-Match": '"1"'}) for n in range(10)]
    assert sorted(answer.status_code for answer in await asyncio.gather(*writes)) == [200] + [412] * 9
    assert (await client.get(path)).json()["rev"] == 2


async def test_writers_without_a_revision_all_count(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/projects", json={"name": "a"})).headers["location"]
    await asyncio.gather(*(client.patch(path, json={"name": f"n{n}"}) for n in range(10)))
    assert (await client.get(path)).json()["rev"] == 11


async def test_a_copy_that_is_still_right_is_not_sent_again(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/projects", json={"name": "a"})).headers["location"]
    assert (await client.get(path, headers={"If-None-Match": '"1"'})).status_code == 304
    assert (await client.get(path, headers={"If-None-Match": '"2"'})).status_code == 200


@pytest.mark.parametrize(
    "time_zone", ["", "Mars", "../../etc/passwd", "/etc/localtime", "America", "europe/paris", "UTC\0", "UTC+1"]
)
async def test_a_time_zone_is_an_iana_name(client: httpx.AsyncClient, time_zone: str) -> None:
    answer = await client.post("/v1/projects", json={"name": "x", "time_zone": time_zone})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/time_zone"


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, None, 5, ["x"]])
async def test_a_name_is_short_text(client: httpx.AsyncClient, name: object) -> None:
    answer = await client.post("/v1/projects", json={"name": name})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/name"


async def test_a_project_s_own_fields_go_with_it(client: httpx.AsyncClient, resources: object) -> None:
    project = (await client.post("/v1/projects", json={"name": "x"})).json()["id"]
    await client.post("/v1/fields", json={"name": "lead.nps", "type": "number"}, params={"project_id": project})
    fields = resources.database["fields"]  # type: ignore[attr-defined]
    assert await fields.count_documents({"project_id": project}) == 1
    await client.delete(f"/v1/projects/{project}")
    assert await fields.count_documents({"project_id": project}) == 0


@pytest.mark.usefixtures("mock_documents")
async def test_another_owner_s_project_is_not_there() -> None:
    project = await service.create_project("bob", name="bobs")
    assert (await service.project_of("bob", project.id)).name == "bobs"
    with pytest.raises(Exception, match="There is no project"):
        await service.project_of("ada", project.id)
    assert (await service.project_of("ada", None)).id != project.id
    assert await Project.find({"owner": "ada"}).count() == 1
