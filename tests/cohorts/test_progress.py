"""How far the members of static cohorts drifted from their rules, against a count by the oracle."""

import random
from typing import Any

import httpx
import pytest

from muster.cohorts import members, service
from muster.cohorts import progress as progress_module
from muster.cohorts.documents import Cohort
from muster.cohorts.progress import progress
from muster.cohorts.schemas import CohortIn, CohortPatch
from muster.errors import Conflict
from tests.cohorts.conftest import Workspace

RULES = {
    "in MongoDB": "lead.score > 50",
    "in Python": "lead.score / 2 > 25",
    "in both": 'contact.country == "US" and lead.score / 2 > 25',
    "over a cohort": "$in_cohort('COH-1') and lead.score > 50",
    "over time": '$now - lead.created_at > t"P30D" or lead.score > 50',
}


async def people(workspace: Workspace, count: int, chance: random.Random) -> None:
    await workspace.put(
        **{
            f"P{number}": {
                "lead": {"score": float(chance.randrange(100))} if chance.random() < 0.9 else None,
                "contact": {"country": chance.choice(["US", "FR"])},
            }
            for number in range(count)
        }
    )


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
async def test_it_counts_who_still_matches(workspace: Workspace, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "BATCH", 7)
    monkeypatch.setattr(members, "BATCH", 7)
    chance = random.Random(5)
    await people(workspace, 60, chance)
    half = [f"P{number}" for number in range(0, 60, 2)]
    await service.create("ada", CohortIn(name="Half", kind="static", members=half))
    cohort = await service.create("ada", CohortIn(name="Then", kind="static", rule=rule))
    then = await workspace.members(cohort)
    assert len(then) > 5
    assert (await progress("ada", cohort.id)).model_dump() == {
        "total": len(then),
        "still_matching": len(then),
        "diverged": 0,
        "progress_percent": 0.0,
    }
    await people(workspace, 60, chance)
    # The same rule, evaluated by its own path, says who matches now.
    now = await workspace.members(await service.create("ada", CohortIn(name="Now", kind="static", rule=rule)))
    found = await progress("ada", cohort.id)
    assert (found.total, found.still_matching, found.diverged) == (len(then), len(then & now), len(then - now))
    assert found.progress_percent == pytest.approx(100 * len(then - now) / len(then), abs=0.005)
    assert 0 < found.diverged < found.total
    for order in ("joined", "id"):
        assert await listed(cohort, matching=True, order=order) == then & now
        assert await listed(cohort, matching=False, order=order) == then - now


async def listed(cohort: Cohort, **how: Any) -> set[str]:
    """Over all pages, each of them within the limit and nobody twice."""
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await members.page("ada", cohort.id, limit=4, cursor=cursor, **how)
        assert len(page) <= 4
        seen += [member.pii_id for member in page]
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    return set(seen)


async def test_a_page_ends_after_a_number_of_members_whoever_they_are(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "BATCH", 5)
    monkeypatch.setattr(members, "LOOKED_AT", 10)
    await workspace.put(**{f"P{number:02}": {"lead": {"score": 90.0}} for number in range(23)})
    cohort = await service.create("ada", CohortIn(name="Then", kind="static", rule="lead.score > 50"))
    await workspace.put(P22={"lead": {"score": 1.0}})
    pages = []
    cursor: str | None = None
    while not pages or cursor is not None:
        page, cursor = await members.page("ada", cohort.id, order="id", matching=False, limit=100, cursor=cursor)
        pages.append([member.pii_id for member in page])
    assert pages == [[], [], ["P22"]]


async def test_a_rule_given_later_is_what_members_are_held_against(workspace: Workspace) -> None:
    await workspace.put(ann={"lead": {"score": 90.0}}, bob={"lead": {"score": 10.0}})
    cohort = await service.create("ada", CohortIn(name="Two", kind="static", members=["ann", "bob"]))
    with pytest.raises(Conflict, match="no rule"):
        await progress("ada", cohort.id)
    with pytest.raises(Conflict, match="no rule"):
        await listed(cohort, matching=True, order="id")
    await service.patch("ada", cohort.id, CohortPatch(rule="lead.score > 50"), expected_revs=None)
    assert (await progress("ada", cohort.id)).progress_percent == 50.0
    assert await workspace.members(cohort) == {"ann", "bob"}


async def test_progress_over_http(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/cohorts", json={"name": "None", "kind": "static", "rule": "lead.score > 50"})
    answer = await client.get(f"/v1/cohorts/{made.json()['id']}/progress")
    nobody = {"total": 0, "still_matching": 0, "diverged": 0, "progress_percent": 0.0}
    assert (answer.status_code, answer.json()) == (200, nobody)
    by_hand = await client.post("/v1/cohorts", json={"name": "By hand", "kind": "static"})
    assert (await client.get(f"/v1/cohorts/{by_hand.json()['id']}/progress")).status_code == 409
    assert (await client.get("/v1/cohorts/COH-99/progress")).status_code == 404
    for wanted in ("true", "false"):
        listed = await client.get(f"/v1/cohorts/{made.json()['id']}/members", params={"matching": wanted})
        assert listed.json() == {"items": [], "next_cursor": None}
