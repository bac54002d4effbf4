"""Imports: files, metadata, profile parts and cohorts, one each for every record."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from muster.attio import imports
from muster.attio.importing import run_job
from muster.cohorts import service as cohorts
from muster.cohorts import sources
from muster.cohorts.documents import Cause, Cohort, Membership
from muster.cohorts.schemas import CohortIn
from muster.errors import Invalid
from muster.jobs.service import cancel
from muster.records import service
from muster.records.bulk import upsert_parts
from muster.records.documents import Profile
from muster.records.registry import register_field, registry
from muster.resources import Resources
from muster.rules import FieldType
from muster.sandbox.attio_world import generated_world
from tests.attio.importing_world import OWNER, Importing, importing, pieces
from tests.waiting import until

COMPANIES, PEOPLE = 30, 60


@pytest.fixture
async def world(clean: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Importing]:
    """Connected; erasures and cohorts know of imports, as the application has it."""
    monkeypatch.setattr(sources, "IMPORTS", [imports.profiles_of])
    monkeypatch.setattr(service, "ERASURES", [imports.forget])
    async with importing(clean, tmp_path) as opened:
        yield opened


def record_id(world: Importing, slug: str, number: int) -> str:
    found: str = world.sandbox.world.objects[slug].row(number)["id"]["record_id"]
    return found


def change(world: Importing, slug: str, number: int, **values: Any) -> str:
    """Change a record in Attio."""
    row = world.sandbox.world.objects[slug].row(number)
    row["values"] |= values
    world.sandbox.world.objects[slug].put(row)
    found: str = row["id"]["record_id"]
    return found


async def test_all_companies_one_file_one_row_one_part_each_and_one_commit(world: Importing) -> None:
    job = await world.do(source="companies")
    assert job.state == "succeeded", job.error
    assert job.result == {
        "imported": 30,
        "updated": 0,
        "unchanged": 0,
        "failed": 0,
        "files": 30,
        "commit": world.git("rev-parse", "HEAD"),
        "cohort_id": None,
        "conflicts": 0,
    }
    assert (job.progress.done, job.progress.total) == (30, 30)
    stored = await world.stored()
    assert len(stored.files) == len(stored.rows) == len(stored.profiles) == 30
    assert stored.files.keys() == stored.rows.keys() == {item["id"] for item in await pieces(job.id)}
    assert len(world.commits()) == 1
    assert world.git("log", "-1", "--format=%s") == f"Import 30 companies from Attio ({job.id})"
    assert world.git("status", "--porcelain") == ""
    for attio_id, row in stored.rows.items():
        assert row.pii_id == f"attio:{attio_id}"
        assert stored.files[attio_id]["attributes"] == row.attributes
        company = stored.profiles[row.pii_id].company
        assert company is not None
        assert company.get("name", "").split() == row.name.split()


async def test_what_has_not_changed_changes_no_file_and_makes_no_commit(world: Importing) -> None:
    first = await world.do(source="people")
    before = await world.stored()
    again = await world.do(source="people")
    assert again.result is not None
    assert again.result | {"conflicts": 0} == {
        "imported": 0,
        "updated": 0,
        "unchanged": 60,
        "failed": 0,
        "files": 0,
        "commit": None,
        "cohort_id": None,
        "conflicts": 0,
    }
    after = await world.stored()
    assert after.files == before.files
    assert {key: row.model_dump() for key, row in after.rows.items()} == {
        key: row.model_dump() for key, row in before.rows.items()
    }
    assert {key: profile.rev for key, profile in after.profiles.items()} == dict.fromkeys(before.profiles, 1)
    assert first.result is not None
    assert world.commits() == [first.result["commit"]]


async def test_what_has_changed_is_updated_and_committed(world: Importing) -> None:
    await world.do(source="companies")
    changed = change(
        world,
        "companies",
        20,
        description=[{"value": "Quite another one"}],
        funding_raised_usd=[{"currency_value": 9_000_000_000, "currency_code": "USD"}],
    )
    job = await world.do(source="companies")
    assert job.result is not None
    assert (job.result["updated"], job.result["unchanged"], job.result["files"]) == (1, 29, 1)
    assert len(world.commits()) == 2
    assert world.git("show", "--stat", "--format=").endswith("1 file changed, 3 insertions(+), 3 deletions(-)")
    profile = (await world.stored()).profiles[f"attio:{changed}"]
    assert profile.company is not None
    assert profile.company["description"] == "Quite another one"
    assert profile.company["funding_raised_usd"] == 9e9
    once_more = await world.do(source="companies")  # whole numbers of 64 bits come back as what they were
    assert once_more.result is not None
    assert once_more.result["unchanged"] == 30


async def test_by_search_by_filter_and_by_ids(world: Importing) -> None:
    found = await world.do(source="companies", q="works")
    assert found.result is not None
    rows = (await world.stored()).rows.values()
    assert found.result["imported"] == len(rows) > 0
    assert all("works" in f"{row.name} {row.attributes['domains']}".lower() for row in rows)

    designers = [
        row["id"]["record_id"]
        for row in (world.sandbox.world.objects["people"].row(number) for number in range(PEOPLE))
        if row["values"]["job_title"] and row["values"]["job_title"][0]["value"] == "Designer"
    ]
    job = await world.do(source="people", filter={"job_title": {"$eq": "Designer"}})
    assert job.result is not None
    assert job.result["imported"] == len(designers) > 0
    assert {item["id"] for item in await pieces(job.id)} == set(designers)

    ids = [record_id(world, "companies", number) for number in (3, 4, 5)]
    job = await world.do(source="companies", record_ids=[*ids, "00000000-0000-4000-8000-00000000beef", ids[0]])
    assert job.result is not None
    assert (job.result["imported"] + job.result["unchanged"], job.result["failed"]) == (3, 1)
    assert job.failures[0]["record_id"] == "00000000-0000-4000-8000-00000000beef"
    assert (job.progress.done, job.progress.total) == (4, 4)


async def test_a_filter_that_attio_refuses_fails_the_job_in_its_words(world: Importing) -> None:
    job = await world.do(source="companies", filter={"no_such_attribute": {"$eq": 1}})
    assert job.state == "failed"
    assert job.error is not None
    assert "no_such_attribute" in job.error
    assert "Execution id: sandbox-" in job.error
    assert world.commits() == []


async def test_a_list_gives_one_file_and_one_row_per_entry_and_fills_the_lists_of_parts(world: Importing) -> None:
    entries = [world.sandbox.world.entries["beta-testers"].row(number) for number in range(15)]
    job = await world.do(source="list", list="beta-testers", save_as_cohort={"name": "Beta testers"})
    assert job.result is not None, job.error
    assert (job.result["imported"], job.result["files"]) == (15, 15)
    stored = await world.stored()
    assert stored.rows.keys() == stored.files.keys() == {entry["id"]["entry_id"] for entry in entries}
    parents = {entry["parent_record_id"] for entry in entries}
    assert len(parents) < 15  # somebody stands there twice
    assert stored.profiles.keys() == {f"attio:{parent}" for parent in parents}
    for profile in stored.profiles.values():
        assert profile.person is not None
        assert profile.person["lists"] == ["beta-testers"]
    for entry in entries:
        row = stored.rows[entry["id"]["entry_id"]]
        assert (row.attio_object_type, row.list_slug) == ("list_entry", "beta-testers")
        assert row.attributes["stage"] == entry["entry_values"]["stage"][0]["status"]["title"]
        assert row.attributes["parent_record_id"] == entry["parent_record_id"]
        assert row.attributes == stored.files[entry["id"]["entry_id"]]["attributes"]
    assert await members(job.result["cohort_id"]) == stored.profiles.keys()

    people = await world.do(source="people")  # the same profiles; the lists stay
    assert people.result is not None
    stored = await world.stored()
    assert len(stored.rows) == PEOPLE + 15
    assert len(stored.profiles) == PEOPLE
    in_list = {pii_id for pii_id, one in stored.profiles.items() if (one.person or {}).get("lists")}
    assert in_list == {f"attio:{parent}" for parent in parents}


async def test_a_list_that_is_not_there_fails_naming_those_that_are(world: Importing) -> None:
    job = await world.do(source="list", list="nobody")
    assert job.state == "failed"
    assert job.error == ("Attio has no list 'nobody' that the key may see; there are: beta-testers, sales-pipeline.")


async def test_people_join_the_one_contact_with_their_address(world: Importing) -> None:
    await upsert_parts(
        world.project_id,
        [
            ("known", {"contact": {"email": " Ada.Known@X.example"}, "lead": {"score": 5.0}}),
            ("first", {"contact": {"email": "two@x.example"}}),
            ("second", {"contact": {"email": "TWO@x.example"}}),
        ],
    )
    joins = change(world, "people", 0, email_addresses=[address("ada.known@x.example")])
    late = change(world, "people", 1, email_addresses=[address("other@x.example"), address("Ada.known@X.example")])
    torn = change(world, "people", 2, email_addresses=[address("two@x.example")])
    job = await world.do(source="people")
    assert job.result is not None
    assert job.result["imported"] == PEOPLE
    stored = await world.stored()
    assert stored.rows[joins].pii_id == "known"
    assert (stored.profiles["known"].lead, stored.profiles["known"].person is None) == ({"score": 5.0}, False)
    for conflicting in (late, torn):
        assert stored.rows[conflicting].pii_id == f"attio:{conflicting}"
        assert stored.rows[conflicting].conflict
    told = {failure["record_id"]: failure["detail"] for failure in job.failures}
    assert joins in told[late]
    assert "first" in told[torn]
    assert job.result["conflicts"] == len(told)

    # It keeps its profile, whatever becomes of addresses.
    change(world, "people", 0, email_addresses=[address("changed@x.example")])
    await upsert_parts(world.project_id, [("known", {"contact": {"email": "nobody@x.example"}})])
    await world.do(source="people")
    assert (await world.stored()).rows[joins].pii_id == "known"


async def test_two_records_with_one_address_are_two_profiles_and_a_conflict(world: Importing) -> None:
    """Whichever import brings the second one, and in whatever batch."""
    first = change(world, "people", 3, email_addresses=[address("same@x.example")])
    second = change(world, "people", 4, email_addresses=[address("SAME@x.example")])
    await world.do(source="people", record_ids=[first])
    for _ in range(2):
        job = await world.do(source="people", record_ids=[second])
        assert [failure["record_id"] for failure in job.failures] == [second]
    again = {failure["record_id"] for failure in (await world.do(source="people")).failures}
    assert (first in again, second in again) == (False, True)
    stored = await world.stored()
    assert stored.rows[first].conflict is None
    assert {stored.rows[one].pii_id for one in (first, second)} == {f"attio:{first}", f"attio:{second}"}


async def test_the_names_of_companies_come_along(world: Importing) -> None:
    await world.do(source="people", record_ids=[record_id(world, "people", number) for number in range(20, 40)])
    names = {
        row["id"]["record_id"]: (row["values"]["name"] or [{"value": ""}])[0]["value"]
        for row in (world.sandbox.world.objects["companies"].row(number) for number in range(COMPANIES))
    }
    stored = await world.stored()
    known = 0
    for attio_id, row in stored.rows.items():
        person = stored.profiles[f"attio:{attio_id}"].person or {}
        at = row.attributes["company"]
        if at and names[at["target_record_id"]].strip():
            assert person["company_name"].split() == names[at["target_record_id"]].split()
            known += 1
    assert known > 5


async def test_exactly_what_was_imported_is_saved_as_a_cohort(world: Importing) -> None:
    await world.do(source="companies", q="works")
    job = await world.do(
        source="companies",
        filter={"is_partner": True},
        save_as_cohort={"name": "Partners", "description": "Those who sell for us"},
    )
    assert job.result is not None
    cohort = await Cohort.get(job.result["cohort_id"])
    assert cohort is not None
    assert (cohort.name, cohort.description, cohort.kind.value, cohort.run) == (
        "Partners",
        "Those who sell for us",
        "static",
        None,
    )
    brought = {item["pii_id"] for item in await pieces(job.id)}
    assert await members(cohort.id) == brought
    assert cohort.member_count == len(brought) > 0

    # The same afterwards, by the number of the import.
    later = await cohorts.create(OWNER, CohortIn(name="Again", kind="static", import_id=job.id))
    assert await members(later.id) == brought


async def test_what_is_imported_is_added_to_a_cohort_that_is_there(world: Importing) -> None:
    """Also where a crash comes between: whoever is in already stays. Its history says that an import brought them."""
    first = await world.do(source="companies", q="works", save_as_cohort={"name": "Companies"})
    assert first.result is not None
    cohort_id = first.result["cohort_id"]
    before = await members(cohort_id)
    job = await world.begin(source="companies", filter={"is_partner": True}, add_to_cohort=cohort_id)
    twice = await world.begin(source="companies", filter={"is_partner": True}, add_to_cohort=cohort_id)
    for each in (job, twice):
        await run_job(each.id, world.settings)
    brought = {item["pii_id"] for item in await pieces(job.id)}
    assert await members(cohort_id) == before | brought
    results = [(await world.job(each.id)).result or {} for each in (job, twice)]
    assert [(result["cohort_id"], result["added"]) for result in results] == [
        (cohort_id, len(brought - before)),
        (cohort_id, 0),
    ]
    cohort = await Cohort.get(cohort_id)
    assert cohort is not None
    assert cohort.member_count == len(before | brought)
    causes = await Membership.get_motor_collection().distinct("cause", {"generation": {"$regex": f"^{cohort_id}[|]"}})
    assert causes == ["import"]


async def test_a_cohort_that_cannot_be_added_to_is_refused_or_told(world: Importing) -> None:
    """Before it begins, where that is known; what is deleted meanwhile costs no record."""
    rule = {"name": "Dynamic", "kind": "dynamic", "rule": "company.name != null"}
    dynamic = await cohorts.create(OWNER, CohortIn.model_validate(rule))
    for named in (dynamic.id, "COH-999"):
        with pytest.raises(Invalid) as refused:
            await world.begin(source="companies", add_to_cohort=named)
        assert refused.value.problems[0].pointer == "/add_to_cohort"
    with pytest.raises(Invalid):
        await world.begin(source="companies", add_to_cohort=dynamic.id, save_as_cohort={"name": "Both"})
    static = await cohorts.create(OWNER, CohortIn(name="Soon gone", kind="static"))
    job = await world.begin(source="companies", q="works", add_to_cohort=static.id)
    await cohorts.delete(OWNER, static.id, expected_revs=None)
    await run_job(job.id, world.settings)
    ended = await world.job(job.id)
    assert ended.result is not None
    assert (ended.state, ended.result["cohort_id"]) == ("succeeded", None)
    assert ended.result["imported"] > 0
    assert static.id in ended.failures[-1]["detail"]


async def test_attributes_are_fields_at_once_and_a_field_of_another_type_is_told(world: Importing) -> None:
    await register_field(world.project_id, "company.seats", FieldType.STRING)
    job = await world.do(source="companies")
    assert job.result is not None
    assert job.result["failed"] == 0
    fields = await registry(world.project_id)
    assert fields["company.tier"] == FieldType.STRING
    assert fields["company.is_partner"] == FieldType.BOOLEAN
    assert fields["company.renewal_on"] == FieldType.DATETIME
    assert fields["company.seats"] == FieldType.STRING
    assert fields["company.attio_seats"] == FieldType.NUMBER
    assert [failure["detail"] for failure in job.failures] == [
        "company.seats is registered as string; the attribute of this name fills company.attio_seats."
    ]
    rule = "company.tier == 'Gold' and company.attio_seats > 10"
    cohort = await cohorts.create(OWNER, CohortIn(name="Gold", kind="dynamic", rule=rule))
    stored = await world.stored()
    expected = {
        row.pii_id
        for row in stored.rows.values()
        if row.attributes["tier"] == "Gold" and (row.attributes["seats"] or 0) > 10
    }
    assert await members(cohort.id) == expected
    assert expected


async def test_an_import_that_is_cancelled_leaves_what_it_stored_whole(clean: Resources, tmp_path: Path) -> None:
    async with importing(clean, tmp_path, generated_world(2_600, 0)) as world:
        job = await world.begin(source="companies")
        await world.fault("slow", match="/query", skip=2, seconds=30)

        async def stored() -> bool:
            if (await world.job(job.id)).progress.done == 0:
                return False
            await cancel(OWNER, job.id)
            return True

        running = asyncio.create_task(run_job(job.id, world.settings))
        await until(stored)
        await asyncio.wait({running}, timeout=60)
        assert running.exception() is not None
        ended = await world.job(job.id)
        assert ended.state == "cancelled"
        stored_now = await world.stored()
        assert 0 < len(stored_now.files) == len(stored_now.rows) == len(stored_now.profiles) < 2_600
        assert len(await pieces(job.id)) == len(stored_now.rows)
        assert world.commits() == []
        completed = await world.do(source="companies")
        assert completed.result is not None
        assert completed.result["imported"] + completed.result["unchanged"] == 2_600
        assert len(world.commits()) == 1
        assert world.git("status", "--porcelain") == ""


async def test_a_refresh_fetches_what_exists_and_marks_what_is_gone(world: Importing) -> None:
    await world.do(source="companies", q="works")
    await world.do(source="list", list="sales-pipeline")
    before = await world.stored()
    changed = next(key for key, row in before.rows.items() if row.attio_object_type == "company")
    companies = world.sandbox.world.objects["companies"]
    number = companies.place_of(changed) or 0
    change(world, "companies", number, description=[{"value": "news"}])
    entries = world.sandbox.world.entries["sales-pipeline"]
    gone = entries.remove(3)
    job = await world.do(refresh=True, save_as_cohort={"name": "All that there is"})
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert (job.result["updated"], job.result["gone"], job.result["failed"]) == (1, 1, 0)
    assert job.progress.done == job.progress.total == len(before.rows)
    after = await world.stored()
    assert after.rows[changed].attributes["description"] == "news"
    lost = after.rows[gone["id"]["entry_id"]]
    assert lost.sync_status == "error"
    assert lost.sync_error is not None
    assert "no longer" in lost.sync_error
    assert len(after.files) == len(before.files)
    entries_left = [row for row in after.rows.values() if row.subject_id == lost.subject_id and row.list_slug]
    profile = after.profiles[lost.pii_id or ""]
    assert profile.company is not None
    assert ("lists" in profile.company) == (len(entries_left) > 1)


async def test_whoever_is_erased_is_in_no_import_any_more(world: Importing) -> None:
    job = await world.do(source="people")
    gone = f"attio:{record_id(world, 'people', 7)}"
    await service.erase(world.project_id, gone)
    assert gone not in {item["pii_id"] for item in await pieces(job.id)}


def address(email: str) -> Mapping[str, Any]:
    return {"original_email_address": email, "email_address": email, "attribute_type": "email-address"}


async def members(cohort_id: str) -> set[str]:
    """The members of a cohort, by their pii_id."""
    cohort = await Cohort.get(cohort_id)
    assert cohort is not None
    assert cohort.active is not None
    rows = await Membership.find({"generation": f"{cohort_id}|{cohort.active.number}", "in": True}).to_list()
    if cohort.kind.value == "static":
        assert {row.cause for row in rows} <= {Cause.IMPORT}
    profiles = await Profile.find({"_id": {"$in": [row.profile for row in rows]}}).to_list()
    return {profile.pii_id for profile in profiles}
