"""Functions of rules over HTTP, and what a cohort keeps of those that its rule calls."""

import httpx
import pytest

from muster.cohorts.documents import Cohort
from muster.errors import StartError
from muster.resources import open_resources
from muster.rules import FunctionError, known_functions
from muster.settings import Settings


async def test_functions_are_listed_with_what_they_take(client: httpx.AsyncClient) -> None:
    """Each with its signature, what it does, and that it runs in Python."""
    items = (await client.get("/v1/rules/functions")).json()["items"]
    by_name = {item["name"]: item for item in items}
    assert set(by_name) == {f"${name}" for name in known_functions()}
    assert by_name["$percentile"]["signature"] == "$percentile(value: number, lower: number, upper: number) -> number"
    assert by_name["$overlap"]["parameters"][0] == {"name": "left", "types": ["list of string", "list of number"]}
    assert {item["runs"] for item in items} == {"python"}
    assert all(item["description"] and item["version"] and item["provider"] == "muster" for item in items)


async def test_a_generation_knows_the_versions_of_its_functions(client: httpx.AsyncClient) -> None:
    """So that it can be told which members were decided by an older version."""
    await client.put("/v1/leads/P-1", json={"name": "Acme, Inc."})
    await client.put("/v1/leads/P-2", json={"name": "Bolt"})
    rule = '$email_domain(lead.name) == null and $percentile(10, 0, 20) == 50 and lead.name.starts_with("A")'
    body = {"name": "like Acme", "kind": "dynamic", "rule": rule}
    answer = await client.post("/v1/cohorts", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["member_count"] == 1
    cohort = await Cohort.get(answer.json()["id"])
    assert cohort is not None
    assert cohort.active is not None
    assert cohort.active.rule is not None
    assert cohort.active.rule.functions == {
        name: known_functions()[name].version for name in ("email_domain", "percentile")
    }


async def test_nothing_starts_with_a_function_that_rules_cannot_call(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence of the function is the reason."""

    def broken() -> None:
        raise FunctionError("acme: the result of $tier must have one type, or that type or None.")

    monkeypatch.setattr("muster.resources.known_functions", broken)
    with pytest.raises(StartError, match="the result of \\$tier must have one type"):
        async with open_resources(settings):
            pass
