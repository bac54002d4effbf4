"""Experiments over HTTP: their life, whom they take, what is refused, and the configuration with its personas."""

import json
from datetime import UTC, datetime
from typing import Any

from muster.attio.documents import AttioImport
from muster.experiments import assignment
from muster.experiments.documents import Experiment, ExperimentRun, Persona
from tests.experiments.conftest import Lab, names, pages


async def test_the_life_of_an_experiment(lab: Lab) -> None:
    cohort = await lab.cohort()
    config = {"question": "Would you?", "model": {"name": "m", "temperature": 0.3}, "personas": {"tone": "dry"}}
    body = {"name": "Offer", "description": "Spring", "cohort_id": cohort, "config": config}
    made = await lab.http.post("/v1/experiments", json=body)
    assert made.status_code == 201, made.text
    experiment = made.json()
    path = f"/v1/experiments/{experiment['id']}"
    assert (made.headers["location"], made.headers["etag"]) == (path, '"1"')
    assert {name: experiment[name] for name in body} == body
    assert experiment["id"].startswith("EXP-")
    assert (await lab.http.get(path)).json() == experiment
    assert (await lab.http.get(path, headers={"If-None-Match": '"1"'})).status_code == 304
    again = await lab.http.patch(path, json=experiment)
    assert (again.status_code, again.json()["rev"]) == (200, 1), "what was answered may be sent back as it is"

    changed = await lab.http.patch(path, json={"name": "Other", "cohort_id": None}, headers={"If-Match": '"1"'})
    assert (changed.json()["name"], changed.json()["cohort_id"], changed.headers["etag"]) == ("Other", None, '"2"')
    assert (await lab.http.patch(path, json={"name": "x"}, headers={"If-Match": '"1"'})).status_code == 412
    assert (await lab.http.delete(path, headers={"If-Match": '"1"'})).status_code == 412
    assert (await lab.http.delete(path)).status_code == 204
    assert (await lab.http.get(path)).status_code == 404


async def test_lists_page_and_know_their_cohort(lab: Lab) -> None:
    cohort = await lab.cohort()
    made = [await lab.experiment(name=str(number), cohort_id=cohort if number % 2 else None) for number in range(5)]
    page = (await lab.http.get("/v1/experiments", params={"limit": 2})).json()
    assert [item["id"] for item in page["items"]] == made[:2]
    assert [item["id"] for item in await pages(lab.http, "/v1/experiments", limit=2)] == made
    assert [item["id"] for item in await pages(lab.http, "/v1/experiments", cohort_id=cohort)] == made[1::2]


async def test_an_idempotency_key_makes_one(lab: Lab) -> None:
    key = {"Idempotency-Key": "once"}
    made = [(await lab.http.post("/v1/experiments", json={"name": "a"}, headers=key)).json()["id"] for _ in range(2)]
    assert len(set(made)) == await Experiment.count() == 1
    await lab.http.patch(f"/v1/experiments/{made[0]}", json={"config": {"personas": {"count": 2}}})
    started = [(await lab.http.post(f"/v1/experiments/{made[0]}/run", headers=key)).json()["run_id"] for _ in range(2)]
    assert len(set(started)) == await ExperimentRun.count() == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"cohort_id": "COH-404"}, "/cohort_id"),
    ({"arms": [{"name": "a", "cohort_id": "COH-404"}, {"name": "b", "cohort_id": "COH-405"}]}, "/arms/0/cohort_id"),
    ({"arms": [{"name": "a.b", "cohort_id": "COH-1"}]}, "/arms/0/name"),
    ({"members": ["nobody"]}, "/members/0"),
    ({"config": {"personas": {"fields": ["lead.scroe"]}}}, "/config/personas/fields/0"),
    ({"config": {"personas": {"sample": 0}}}, "/config/personas/sample"),
    ({"config": {"personas": {"holdout": 1.5}}}, "/config/personas/holdout"),
    ({"config": {"personas": {"arms": [{"name": "a"}, {"name": "a"}]}}}, "/config/personas/arms"),
    ({"config": {"dispatch": {"backend": "pigeon"}}}, "/config/dispatch/backend"),
    ({"config": {"dispatch": {"backend": "webhook", "url": "http://169.254.169.254/"}}}, "/config/dispatch/url"),
    ({"config": {"dispatch": {"backend": "local", "callable": "nothing"}}}, "/config/dispatch/callable"),
    ({"config": []}, "/config"),
    ({"name": ""}, "/name"),
    ({"colour": "red"}, "/colour"),
]


async def test_what_does_not_hold_is_told_where(lab: Lab) -> None:
    """When it is made, and when it is changed."""
    experiment = await lab.experiment()
    for body, pointer in WRONG:
        for answer in (
            await lab.http.post("/v1/experiments", json={"name": "x"} | body),
            await lab.http.patch(f"/v1/experiments/{experiment}", json=body),
        ):
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["pointer"] == pointer
    assert await Experiment.count() == 1


async def test_a_configuration_that_nests_for_ever_is_refused(lab: Lab) -> None:
    deep = '{"name": "x", "config": {"a": ' + "[" * 400 + "]" * 400 + "}}"
    answer = await lab.http.post("/v1/experiments", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    large = {"name": "x", "config": {"a": "a" * 1_000_001}}
    assert (await lab.http.post("/v1/experiments", json=large)).status_code == 422


async def test_the_configuration_holds_every_member_as_a_persona(lab: Lab) -> None:
    await lab.people(1_234)
    await lab.http.put("/v1/leads/company", json={"score": 1})
    await upsert_company(lab)
    cohort = await lab.cohort()
    experiment = await lab.experiment(cohort_id=cohort, config={"question": "Why?", "personas": {"tone": "dry"}})
    config = (await lab.http.get(f"/v1/experiments/{experiment}/config")).json()
    personas = config.pop("personas")
    members = personas.pop("members")
    assert config == {"question": "Why?"}
    assert personas == {"generationType": "cohort", "cohortId": cohort, "count": 1_235, "tone": "dry"}
    assert len(members) == 1_235
    seventh = next(member for member in members if member["name"] == "Person 7")
    attributes = {"lead.score": 7.0, "lead.source": "lab", "contact.country": "US", "contact.name": "Person 7"}
    assert seventh == {"name": "Person 7", "type": "person", "attributes": attributes}
    assert [member["type"] for member in members].count("company") == 1
    assert not any("@people.example" in json.dumps(member) or "+1 555" in json.dumps(member) for member in members)

    chosen = {"fields": "contact.email,lead.score", "first": 5}
    few = (await lab.http.get(f"/v1/experiments/{experiment}/config", params=chosen)).json()["personas"]
    assert few["count"] == 1_235
    assert few["members"] == [
        {
            "name": name,
            "type": member["type"],
            "attributes": {
                "contact.email": f"{name.lower().replace(' ', '')}@people.example",
                "lead.score": float(name.split()[-1]),
            }
            if member["type"] == "person"
            else {"lead.score": 1.0},
        }
        for member in members[:5]
        for name in [member["name"]]
    ]
    personal = (await lab.http.get(f"/v1/experiments/{experiment}/config", params={"personal": True})).json()
    phones = {member["attributes"].get("contact.phone") for member in personal["personas"]["members"]}
    assert phones == {None, *(f"+1 555 {number:04}" for number in range(1_234))}
    wrong = await lab.http.get(f"/v1/experiments/{experiment}/config", params={"fields": "lead.nothing"})
    assert wrong.status_code == 422


async def upsert_company(lab: Lab) -> None:
    """A profile that is a company's."""
    line = {"pii_id": "company", "lead": {"score": 1}, "company": {"name": "Acme", "domains": ["acme.example"]}}
    headers = {"Content-Type": "application/x-ndjson"}
    assert (await lab.http.post("/v1/profiles/import", content=json.dumps(line), headers=headers)).status_code == 200


async def test_without_a_cohort_the_other_side_makes_personas_up(lab: Lab) -> None:
    traits = {"age": [20, 30]}
    experiment = await lab.experiment(config={"a": 1, "personas": {"count": 3, "traits": traits}})
    config = (await lab.http.get(f"/v1/experiments/{experiment}/config")).json()
    assert config == {"a": 1, "personas": {"generationType": "synthetic", "count": 3, "traits": traits}}
    run = await lab.ran(experiment)
    assert [result["pii_id"] for result in await lab.results(run)] == [None] * 3
    empty = await lab.experiment()
    refused = await lab.http.post(f"/v1/experiments/{empty}/run")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/config/personas/count")


async def test_members_picked_by_hand(lab: Lab) -> None:
    await lab.people(5)
    experiment = await lab.experiment(members=["P0003", "P0001", "P0003"])
    personas = (await lab.http.get(f"/v1/experiments/{experiment}/config")).json()["personas"]
    assert (personas["cohortId"], personas["count"], names(personas["members"])) == (None, 2, ["Person 3", "Person 1"])
    shown = (await lab.http.get("/v1/profiles/P0003")).json()
    assert shown["experiment_ids"] == [experiment]
    cohort = await lab.cohort()
    await lab.http.patch(f"/v1/experiments/{experiment}", json={"cohort_id": cohort})
    changed = (await lab.http.get(f"/v1/experiments/{experiment}")).json()
    assert (changed["cohort_id"], changed["member_count"]) == (cohort, None)
    assert (await lab.http.get("/v1/profiles/P0000")).json()["experiment_ids"] == [experiment]


async def test_imported_records_show_their_experiments(lab: Lab) -> None:
    """By hand, by cohort, or by a run that took them, as is true at the moment."""
    await lab.people(4)
    for number in range(4):
        await AttioImport(
            id=f"row-{number}",
            project_id=lab.project_id,
            attio_record_id=f"record-{number}",
            attio_object_type="person",
            name=f"Person {number}",
            pii_id=f"P{number:04}",
            subject_id=f"record-{number}",
            imported_at=datetime.now(UTC),
            job_id="IMP-1",
        ).insert()
    by_hand = await lab.experiment(members=["P0000", "P0001"])
    by_cohort = await lab.experiment(cohort_id=await lab.cohort("lead.score >= 1 and lead.score <= 2"))
    imports = (await lab.http.get("/v1/attio/imports")).json()["items"]
    assert [each["experiment_ids"] for each in imports] == [[by_hand], [by_hand, by_cohort], [by_cohort], []]
    await lab.ran(by_cohort)
    await lab.http.patch(f"/v1/experiments/{by_cohort}", json={"members": ["P0003"]})
    imports = (await lab.http.get("/v1/attio/imports")).json()["items"]
    assert [each["experiment_ids"] for each in imports] == [[by_hand], [by_hand, by_cohort], [by_cohort], [by_cohort]]


async def test_one_cohort_to_many_experiments(lab: Lab) -> None:
    cohort = await lab.cohort()
    made = [await lab.experiment(name=str(number)) for number in range(3)]
    path = f"/v1/cohorts/{cohort}/experiments"
    answer = await lab.http.post(path, json={"experiment_ids": [*made, "EXP-404"]})
    assert (answer.status_code, answer.json()["assigned"]) == (200, 3)
    assert [failure["experiment_id"] for failure in answer.json()["failed"]] == ["EXP-404"]
    assert {(await lab.http.get(f"/v1/experiments/{each}")).json()["cohort_id"] for each in made} == {cohort}
    assert (await lab.http.post("/v1/cohorts/COH-404/experiments", json={"experiment_ids": made})).status_code == 404


async def test_from_a_hundred_on_a_job_does_it(lab: Lab) -> None:
    cohort = await lab.cohort()
    made = [await lab.experiment(name=str(number)) for number in range(99)]
    answer = await lab.http.post(f"/v1/cohorts/{cohort}/experiments", json={"experiment_ids": [*made, "EXP-404"]})
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert job_id.startswith("EAJ-")
    assert answer.headers["location"] == f"/v1/jobs/{job_id}"
    await assignment.run_job(job_id, lab.settings)
    job = (await lab.http.get(f"/v1/jobs/{job_id}")).json()
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 100, "total": 100})
    assert job["result"] == {"cohort_id": cohort, "assigned": 99, "failed_count": 1}
    assert job["failures"] == [{"experiment_id": "EXP-404", "detail": "There is no experiment EXP-404."}]
    assert await Experiment.find({"cohorts": cohort}).count() == 99


async def test_what_is_in_use_is_not_deleted(lab: Lab) -> None:
    project = (await lab.http.post("/v1/projects", json={"name": "p"})).json()["id"]
    await lab.people(2)
    cohort = await lab.cohort()
    experiment = await lab.experiment(cohort_id=cohort)
    await lab.experiment(project_id=project)
    refused = await lab.http.delete(f"/v1/cohorts/{cohort}")
    assert (refused.status_code, experiment in refused.json()["detail"]) == (409, True)
    refused = await lab.http.delete(f"/v1/projects/{project}")
    assert (refused.status_code, "an experiment" in refused.json()["detail"]) == (409, True)
    started = await lab.start(experiment)
    busy = await lab.http.delete(f"/v1/experiments/{experiment}")
    assert (busy.status_code, started["job_id"] in busy.json()["detail"]) == (409, True)
    assert (await lab.http.post(f"/v1/jobs/{started['job_id']}/cancel")).status_code == 200
    assert (await lab.http.delete(f"/v1/experiments/{experiment}")).status_code == 204
    assert (await ExperimentRun.count(), await Persona.count()) == (0, 0)
    assert (await lab.http.delete(f"/v1/cohorts/{cohort}")).status_code == 204
