"""Runs against the stand-in for Modal: frozen, handed over once, results by persona; cancelled, tried again, erased."""

import asyncio
import csv
import io
import json
import math
import statistics
import subprocess
from typing import Any

import pytest

from muster.experiments import runs, snapshot, wire
from muster.experiments.documents import ExperimentRun, Persona
from muster.experiments.personas import Company
from muster.jobs import service as jobs
from muster.jobs.documents import Job
from muster.projects.repository import repository_of
from tests.experiments.conftest import Lab, names, pages


async def test_a_run_from_beginning_to_end(lab: Lab) -> None:
    """Every persona sent once, in order; every result on record, linked to its profile; the manifest committed."""
    ids = await lab.people(120)
    cohort = await lab.cohort("lead.score >= 20")
    experiment = await lab.experiment(cohort_id=cohort, config={"question": "Why?"})
    run = await lab.ran(experiment)
    (call,) = lab.modal.calls.values()
    assert call.key == f"{run['run_id']}/0"
    wanted = [f"Person {number}" for number in range(120) if number % 100 >= 20]
    assert names(call.personas) == wanted
    results = await lab.results(run)
    assert names(results) == wanted
    assert [result["pii_id"] for result in results] == [each for each in ids if int(each[1:]) % 100 >= 20]
    assert [result["result"] for result in results] == call.results
    assert (run["state"], run["phase"], run["persona_count"], run["result_count"]) == ("succeeded", "done", 80, 80)
    assert run["call_id"] == call.id
    assert run["cohorts"][0]["rule_text"] == "lead.score >= 20"
    assert run["progress"] == {"done": 80, "total": 80}
    (listed,) = (await lab.http.get(f"/v1/experiments/{experiment}/runs")).json()["items"]
    assert listed == run
    job = (await lab.http.get(f"/v1/jobs/{run['job_id']}")).json()
    assert (job["kind"], job["result"]["result_count"], job["attempts"]) == ("experiment", 80, 1)
    profile = (await lab.http.get(f"/v1/profiles/{results[0]['pii_id']}")).json()
    assert profile["experiment_ids"] == [experiment]

    root = repository_of(lab.settings, lab.project_id).root
    show = ("git", "-C", root, "show", "--name-only", "--format=%H %(trailers:only)", "HEAD")
    shown = (await asyncio.to_thread(subprocess.run, show, check=True, capture_output=True, text=True)).stdout
    assert run["commit"] in shown
    assert f"Muster-Job: {run['job_id']}" in shown
    manifest = json.loads((root / f"experiments/{experiment}/{run['run_id']}.json").read_text())
    assert manifest["snapshotHash"] == run["snapshot_hash"]
    assert manifest["personas"]["count"] == 80
    assert not any(name in json.dumps(manifest) for name in ("Person", "P00", "example")), "it names nobody"


async def test_a_frozen_run_does_not_follow_its_cohort(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen, then everything changes, then it is sent: as it was. The next run sees what is new."""
    await lab.people(10)
    cohort = await lab.cohort("lead.score < 5")
    experiment = await lab.experiment(cohort_id=cohort, config={"question": "old"})
    started = await lab.start(experiment)

    async def dies(*_: Any) -> None:
        raise KeyboardInterrupt  # as when the process is told to stop

    with monkeypatch.context() as patch:
        patch.setattr(runs.Attempt, "go", dies)
        with pytest.raises(KeyboardInterrupt):
            await runs.run_job(started["job_id"], lab.settings)
    frozen = await lab.run(experiment, started["run_id"])
    assert (frozen["phase"], frozen["persona_count"]) == ("sending", 5)
    await lab.http.patch("/v1/contacts/P0000", json={"name": "Somebody else"})
    await lab.http.patch(f"/v1/cohorts/{cohort}", json={"rule": "lead.score >= 5"})
    await lab.http.patch(f"/v1/experiments/{experiment}", json={"config": {"question": "new"}})
    assert (await lab.work(started["job_id"])).state == "succeeded"
    done = await lab.run(experiment, started["run_id"])
    assert done["snapshot_hash"] == frozen["snapshot_hash"]
    assert names(await lab.results(done)) == [f"Person {number}" for number in range(5)]
    assert "old" in (await lab.results(done))[0]["result"]["answer"]
    second = await lab.ran(experiment)
    assert names(await lab.results(second)) == [f"Person {number}" for number in range(5, 10)]
    assert second["snapshot_hash"] != frozen["snapshot_hash"]
    assert second["cohorts"][0]["rule_version"] > frozen["cohorts"][0]["rule_version"]


async def test_the_same_members_and_seed_give_the_same_hash(lab: Lab) -> None:
    await lab.people(30)
    cohort = await lab.cohort()
    config = {"personas": {"seed": "s", "sample": 20, "holdout": 0.2}}
    experiment = await lab.experiment(cohort_id=cohort, config=config)
    first, second = await lab.ran(experiment), await lab.ran(experiment)
    somebody = (await lab.results(first))[0]
    both = await pages(lab.http, f"/v1/profiles/{somebody['pii_id']}/results", limit=1)
    assert {each["run_id"] for each in both} == {first["run_id"], second["run_id"]}
    assert [each["result"] for each in both] == [somebody["result"]] * 2
    assert (await lab.http.get("/v1/profiles/nobody/results")).status_code == 404
    assert first["snapshot_hash"] == second["snapshot_hash"]
    assert first["run_id"] != second["run_id"]
    await lab.http.patch("/v1/leads/P0001", json={"score": 77})
    assert (await lab.ran(experiment))["snapshot_hash"] != first["snapshot_hash"]


async def test_a_sample_its_arms_and_those_held_out(lab: Lab) -> None:
    """Nobody changes arms when the sample grows; the summary adds up, arm by arm, and finds nothing suspicious."""
    await lab.people(600)
    cohort = await lab.cohort()
    choice: dict[str, Any] = {"seed": 7, "holdout": 0.1, "arms": [{"name": "control"}, {"name": "warm", "weight": 3}]}
    seen: dict[int, dict[str, str]] = {}
    for sample in (100, 300):
        config = {"personas": choice | {"sample": sample}}
        experiment = await lab.experiment(cohort_id=cohort, config=config)
        run = await lab.ran(experiment)
        results = await lab.results(run)
        seen[sample] = {result["pii_id"]: result["arm"] for result in results}
        assert run["persona_count"] == len(results) == sample
        assert run["arm_counts"] == {arm: list(seen[sample].values()).count(arm) for arm in ("control", "warm")}
        assert 30 <= run["held_out_count"] <= 95
    assert seen[100].items() <= seen[300].items()
    held_out = await Persona.find({"run": run["run_id"], "is_held_out": True}).to_list()
    assert not {persona.pii_id for persona in held_out} & seen[300].keys()
    summary = (await lab.http.get(f"/v1/experiments/{experiment}/runs/{run['run_id']}/summary")).json()
    assert (summary["count"], summary["states"]) == (300, {"completed": 300})
    assert summary["sample_ratio"]["suspicious"] is False
    assert summary["sample_ratio"]["degrees_of_freedom"] == 1
    for arm, group in (*summary["arms"].items(), (None, summary)):
        values = [each["result"]["interest"] for each in results if arm in (None, each["arm"])]
        assert math.isclose(group["measures"]["interest"]["mean"], statistics.fmean(values))
        assert math.isclose(group["measures"]["interest"]["deviation"], statistics.stdev(values))
    assert len(await lab.results(run, arm="warm")) == summary["arms"]["warm"]["count"]


async def test_cohorts_as_arms_take_everybody_once(lab: Lab) -> None:
    """Who stands in both goes to one of them, by the seed."""
    await lab.people(300)
    low, high = await lab.cohort("lead.score < 60", "low"), await lab.cohort("lead.score >= 40", "high")
    arms = [{"name": "low", "cohort_id": low}, {"name": "high", "cohort_id": high}]
    experiment = await lab.experiment(arms=arms)
    personas = (await lab.http.get(f"/v1/experiments/{experiment}/config")).json()["personas"]
    assert (personas["cohortIds"], personas["arms"], personas["count"]) == ([low, high], ["low", "high"], 300)
    assert len(set(names(personas["members"]))) == 300
    both = [each["arm"] for each in personas["members"] if 40 <= each["attributes"]["lead.score"] < 60]
    assert len(both) == 60
    assert 12 <= both.count("low") <= 48
    only = {each["arm"] for each in personas["members"] if each["attributes"]["lead.score"] < 40}
    assert only == {"low"}
    run = await lab.ran(experiment)
    assert sum(run["arm_counts"].values()) == 300
    assert [each["arm"] for each in run["cohorts"]] == ["low", "high"]


async def test_in_parts_compressed_and_streamed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STREAMED_FROM", 3_000)
    await lab.people(100)
    experiment = await lab.experiment(cohort_id=await lab.cohort(), config={"dispatch": {"partBytes": 5_000}})
    run = await lab.ran(experiment)
    assert len(run["parts"]) > 2
    assert set(lab.modal.by_key) == {f"{run['run_id']}/{number}" for number in range(len(run["parts"]))}
    sent = [persona for call in lab.modal.calls.values() for persona in call.personas]
    assert names(sent) == names(await lab.results(run)) == [f"Person {number}" for number in range(100)]


async def test_a_cancelled_run_and_another_try(lab: Lab) -> None:
    """Cancelled while it rests: at once. Tried again, it goes on with the same call."""
    await lab.people(20)
    lab.modal.per_second = 0.001
    experiment = await lab.experiment(cohort_id=await lab.cohort())
    started = await lab.start(experiment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "WATCHED_FOR", 0.0)
        with pytest.raises(jobs.Waits):
            await runs.run_job(started["job_id"], lab.settings)
    job = await Job.get(started["job_id"])
    assert job is not None
    assert (job.state, job.lease.holder, job.due_at is not None) == ("running", None, True)
    run = await lab.run(experiment, started["run_id"])
    assert (run["state"], run["phase"], run["progress"]["total"]) == ("running", "waiting", 20)
    await lab.http.post(f"/v1/jobs/{started['job_id']}/cancel")
    assert (await lab.run(experiment, started["run_id"]))["state"] == "cancelled"
    lab.modal.stop()
    (call,) = lab.modal.calls.values()
    call.results, call.done = [{"n": number} for number in range(20)], 20
    assert (await lab.http.post(f"/v1/jobs/{started['job_id']}/retry")).status_code == 202
    assert (await lab.work(started["job_id"])).state == "succeeded"
    assert len(lab.modal.calls) == 1
    assert sum(lab.modal.posts.values()) == 1


async def test_a_job_that_waits_is_left_alone_until_it_is_due(lab: Lab) -> None:
    """The sweep sends it when its time has come, and no copy of its message works on it before."""
    await lab.people(3)
    lab.modal.per_second = 0.001
    experiment = await lab.experiment(cohort_id=await lab.cohort())
    started = await lab.start(experiment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "WATCHED_FOR", 0.0)
        patch.setattr(runs, "FIRST_PAUSE", 1_000.0)
        patch.setattr(runs, "LONGEST_PAUSE", 1_000.0)
        with pytest.raises(jobs.Waits):
            await runs.run_job(started["job_id"], lab.settings)
    await jobs.sweep()  # Redis is new to it
    assert await jobs.sweep() == 0
    with pytest.raises(jobs.Busy):
        await runs.run_job(started["job_id"], lab.settings)
    await Job.get_motor_collection().update_one({"_id": started["job_id"]}, [{"$set": {"due_at": "$$NOW"}}])
    assert await jobs.sweep() == 1
    assert await jobs.sweep() == 0
    lab.modal.stop()


async def test_an_erasure_reaches_frozen_runs(lab: Lab) -> None:
    """Persona, result and pick are gone; the results of the others keep their places, and nobody's is left."""
    await lab.people(10)
    experiment = await lab.experiment(members=[f"P{number:04}" for number in range(10)])
    run = await lab.ran(experiment)
    erased = (await lab.http.delete("/v1/profiles/P0004")).json()
    assert erased["removed"]["personas"] == 1
    left = [number for number in range(10) if number != 4]
    assert [result["number"] for result in await lab.results(run)] == left
    stored = await Persona.get_motor_collection().find({"run": run["run_id"]}).to_list(None)
    assert "P0004" not in str(stored)
    assert "Person 4" not in str(stored)
    assert (await lab.http.get(f"/v1/experiments/{experiment}")).json()["member_count"] == 9
    summary = (await lab.http.get(f"/v1/experiments/{experiment}/runs/{run['run_id']}/summary")).json()
    assert (summary["count"], summary["persona_count"]) == (9, 10)


async def test_who_is_erased_between_freezing_and_sending_is_an_empty_place(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whoever is erased while the run freezes is not in it, although the snapshot has seen the profile."""
    await lab.people(10)
    experiment = await lab.experiment(cohort_id=await lab.cohort())
    started = await lab.start(experiment)
    taken = Company.taken

    async def erasing(self: Company, projection: Any) -> Any:
        async for batch in taken(self, projection):
            assert (await lab.http.delete("/v1/profiles/P0002")).status_code == 200  # after its snapshot
            yield batch

    monkeypatch.setattr(Company, "taken", erasing)
    freeze = snapshot.freeze

    async def then_erasing(*arguments: Any) -> ExperimentRun:
        run = await freeze(*arguments)
        assert (await lab.http.delete("/v1/profiles/P0006")).status_code == 200
        return run

    monkeypatch.setattr(runs, "freeze", then_erasing)
    assert (await lab.work(started["job_id"])).state == "succeeded"
    (call,) = lab.modal.calls.values()
    assert [persona["name"] for persona in call.personas] == [
        None if number in (2, 6) else f"Person {number}" for number in range(10)
    ]
    run = await lab.run(experiment, started["run_id"])
    assert [result["number"] for result in await lab.results(run)] == [0, 1, 3, 4, 5, 7, 8, 9]


async def test_cancelled_while_it_freezes_it_sends_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.people(10)
    experiment = await lab.experiment(cohort_id=await lab.cohort())
    started = await lab.start(experiment)
    taken = Company.taken

    async def cancelling(self: Company, projection: Any) -> Any:
        async for batch in taken(self, projection):
            await jobs.cancel("ada", started["job_id"])
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Company, "taken", cancelling)
        assert (await lab.work(started["job_id"])).state == "cancelled"
    assert lab.modal.posts == {}
    assert (await lab.http.post(f"/v1/jobs/{started['job_id']}/retry")).status_code == 202
    assert (await lab.work(started["job_id"])).state == "succeeded"
    assert len(await lab.results(await lab.run(experiment, started["run_id"]))) == 10


async def test_files_that_no_spreadsheet_runs(lab: Lab) -> None:
    await lab.people(3)
    await lab.http.patch("/v1/contacts/P0001", json={"name": '=HYPERLINK("http://x")'})
    odd = {"n": -5, "inner": {"a": [1]}, "status": "ok"}
    lab.modal.run = lambda _, persona: {"+x": f"=1+{len(persona['name'])}", **odd}
    experiment = await lab.experiment(cohort_id=await lab.cohort())
    run = await lab.ran(experiment)
    path = f"/v1/experiments/{experiment}/runs/{run['run_id']}/export"
    answer = await lab.http.get(path)
    assert answer.headers["content-type"].startswith("text/csv")
    header, *rows = csv.reader(io.StringIO(answer.text))
    own = ["result.+x", "result.n", "result.inner", "result.status"]
    assert header == ["run_id", "pii_id", "name", "arm", "state", "result_at", *own]
    assert [row[2] for row in rows] == ["Person 0", '\'=HYPERLINK("http://x")', "Person 2"]
    assert rows[0][6:] == ["'=1+8", "-5", '{"a": [1]}', "ok"]
    lines = [json.loads(line) for line in (await lab.http.get(path, params={"format": "ndjson"})).text.splitlines()]
    assert [line["result"]["n"] for line in lines] == [-5] * 3
    assert {line["state"] for line in lines} == {"ok"}


async def test_nobody_to_run_over(lab: Lab) -> None:
    experiment = await lab.experiment(cohort_id=await lab.cohort())
    job = await lab.work((await lab.start(experiment))["job_id"])
    assert (job.state, "has nobody to run over" in (job.error or "")) == ("failed", True)
    unset = lab.settings.model_copy(update={"modal_url": None})
    job = await lab.work((await lab.start(experiment))["job_id"], unset)
    assert job.state == "failed"
