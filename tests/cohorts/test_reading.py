"""How profiles are read: by an index on a field where it leads to few of them, with the same result either way."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from muster.cohorts import reading, service
from muster.cohorts.reading import FULL_READ, Hint, hint_for
from muster.cohorts.scans import filter_for, matching, planned
from muster.cohorts.schemas import CohortIn
from muster.cohorts.snapshot import open_snapshot
from muster.records.documents import Profile
from muster.records.indexes import drop_field_index, ensure_field_index
from muster.rules import Plan
from tests.cohorts.conftest import Workspace, drop_field_indexes

NOW = datetime.now(UTC)
PEOPLE = 400

SELECTIVE = {
    "lead.score > 390": {"rule_lead.score"},
    "lead.score > 100 and lead.score < 110": {"rule_lead.score"},
    'lead.score > 10 and lead.status == "s17"': {"rule_lead.status"},
    'lead.status in ["s7", "s8"]': {"rule_lead.status"},
    'lead.status.starts_with("s39")': {"rule_lead.status"},
    '"t5" in lead.tags and "even" in lead.tags': {"rule_lead.tags"},
    "lead.last_activity_at > $now - t'PT10H'": {"rule_lead.last_activity_at"},
    'lead.score > 395 or lead.status == "s3"': {"rule_lead.score", "rule_lead.status"},
    'lead.score > 395 or (lead.status == "s3" and lead.name == "n")': {"rule_lead.score", "rule_lead.status"},
    "lead.score > 390 and lead.score / 2 > 196": {"rule_lead.score"},
    "lead.score > 390 and not (lead.score > 397)": {"rule_lead.score"},
    "lead.vip": {"rule_lead.vip"},
}
BROAD = (
    "lead.score > 100",
    '"even" in lead.tags',
    "not (lead.score > 390)",
    'lead.score > 395 or lead.name == "n"',
    'lead.score > 395 or lead.status != "s3"',
    "lead.score != 7 and lead.score * 1 > 5",
    "lead.score == null",
)


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """No share of a project is kept from another test."""
    reading._shares.clear()


@pytest.fixture
async def indexed(workspace: Workspace) -> AsyncIterator[Workspace]:
    """Four hundred people, and five indexes on what is known of them."""
    await drop_field_indexes()
    await workspace.register("lead.vip", "boolean")
    await workspace.put(
        **{
            f"P{number}": {
                "lead": {
                    "score": float(number),
                    "status": f"s{number}",
                    "name": "n",
                    "tags": [f"t{number // 3}", "even" if number % 2 == 0 else "odd"],
                    "last_activity_at": NOW - timedelta(hours=number),
                    "vip": number == 77,
                }
            }
            for number in range(PEOPLE)
        }
    )
    fields = ("lead.score", "lead.status", "lead.tags", "lead.last_activity_at", "lead.vip")
    for field in fields:
        assert await ensure_field_index(field)
    yield workspace
    await drop_field_indexes()


async def plan_of(workspace: Workspace, rule: str) -> Plan:
    return await planned(await service.read_for(workspace.project, rule))


async def found(workspace: Workspace, plan: Plan) -> set[Any]:
    async with open_snapshot() as snapshot:
        batches = matching(workspace.project.id, plan, snapshot, NOW)
        return {profile async for profiles in batches for profile in profiles}


async def indexes_used(workspace: Workspace, plan: Plan, hint: Hint) -> set[str]:
    """The names of the indexes that MongoDB reads by; empty where it reads the whole collection."""
    cursor = Profile.get_motor_collection().find(filter_for(workspace.project.id, plan, NOW))
    explained = await (cursor.hint(hint) if hint else cursor).explain()
    waiting: list[Any] = [explained["queryPlanner"]["winningPlan"]]
    names: set[str] = set()
    while waiting:
        stage = waiting.pop()
        if isinstance(stage, list):
            waiting += stage
        elif isinstance(stage, dict):
            names |= {stage["indexName"]} if stage.get("stage") == "IXSCAN" else set()
            waiting += stage.values()
    return names


async def test_indexes_are_used_where_they_lead_to_few(indexed: Workspace) -> None:
    """And every rule finds with them what it finds without."""
    for rule, names in SELECTIVE.items():
        plan = await plan_of(indexed, rule)
        hint = await hint_for(indexed.project.id, plan, NOW)
        assert await indexes_used(indexed, plan, hint) == names, rule
    for rule in BROAD:
        plan = await plan_of(indexed, rule)
        assert await hint_for(indexed.project.id, plan, NOW) == FULL_READ, rule
    rules = [*SELECTIVE, *BROAD]
    by_index = [await found(indexed, await plan_of(indexed, rule)) for rule in rules]
    await drop_field_indexes()
    assert by_index == [await found(indexed, await plan_of(indexed, rule)) for rule in rules]
    telling = [rule for rule, ids in zip(rules, by_index, strict=True) if 0 < len(ids) < PEOPLE]
    assert len(telling) == len(rules) - 2, telling


async def test_a_rule_that_nobody_can_meet_reads_nobody(indexed: Workspace) -> None:
    plan = await plan_of(indexed, "lead.score > 5 and lead.score < 3 and lead.score * 2 > 1")
    assert await hint_for(indexed.project.id, plan, NOW) is None
    explained = await Profile.get_motor_collection().find(filter_for(indexed.project.id, plan, NOW)).explain()
    assert explained["executionStats"]["totalDocsExamined"] == 0


async def test_ranges_are_read_by_indexes_where_each_field_has_one(indexed: Workspace) -> None:
    assert await reading.hint_for_ranges(indexed.project.id, ["lead.last_activity_at", "lead.score"]) is None
    assert await reading.hint_for_ranges(indexed.project.id, ["lead.score", "lead.created_at"]) == FULL_READ


async def test_members_of_a_static_cohort_are_read_by_their_ids(indexed: Workspace) -> None:
    few = await service.create("ada", CohortIn(name="Few", kind="static", members=["P1", "P2", "P3"]))
    plan = await plan_of(indexed, f'$in_cohort("{few.id}") and lead.score > 1')
    assert await hint_for(indexed.project.id, plan, NOW) == "_id_"
    assert len(await found(indexed, plan)) == 2
    either = await plan_of(indexed, f'$in_cohort("{few.id}") or lead.score > 395')
    hint = await hint_for(indexed.project.id, either, NOW)
    assert await indexes_used(indexed, either, hint) == {"_id_", "rule_lead.score"}


async def test_an_index_that_is_newer_than_the_snapshot_is_not_used(workspace: Workspace) -> None:
    await workspace.put(**{f"P{number}": {"lead": {"score": float(number)}} for number in range(PEOPLE)})
    plan = await plan_of(workspace, "lead.score > 390")
    async with open_snapshot() as snapshot:
        await ensure_field_index("lead.score")
        try:
            assert await hint_for(workspace.project.id, plan, NOW, snapshot.session) == FULL_READ
            assert await hint_for(workspace.project.id, plan, NOW) == "rule_lead.score"
            assert sum([len(ids) async for ids in matching(workspace.project.id, plan, snapshot, NOW)]) == 9
        finally:
            await drop_field_index("lead.score")


async def test_a_small_project_is_not_read_by_reading_all_others(workspace: Workspace) -> None:
    now = datetime.now(UTC)
    crowd = [{"project_id": "PRJ-9", "pii_id": f"X{n}", "rev": 1, "created_at": now, "lead": {}} for n in range(500)]
    await Profile.get_motor_collection().insert_many(crowd)
    assert await hint_for("PRJ-8", await plan_of(workspace, "lead.score != 1"), NOW) is None
