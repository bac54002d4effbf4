"""`muster experiments`, as a person calls it."""

import csv
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from click.testing import Result

from muster.experiments import runs
from muster.jobs.documents import Job
from muster.resources import Resources

Muster = Callable[..., Awaitable[Result]]
LOCAL = {"question": "Well?", "dispatch": {"backend": "local", "callable": "toy"}}
PEOPLE = "".join(
    f'{{"pii_id": "P{number}", "lead": {{"score": {number}}}, "contact": {{"name": "Person {number}"}}}}\n'
    for number in range(8)
)


async def test_the_life_of_an_experiment(muster: Muster, clean: Resources, tmp_path: Path) -> None:
    people, config, out = tmp_path / "people.ndjson", tmp_path / "config.json", tmp_path / "results.csv"
    people.write_text(PEOPLE)
    config.write_text(json.dumps(LOCAL))
    imported = await muster("import", "profiles", str(people), "--save-as-cohort", "people", "--json")
    cohort = json.loads(imported.stdout)["cohort_id"]
    options = ("--cohort", cohort, "--config", str(config), "--json")
    made = json.loads((await muster("experiments", "create", "Offer", *options)).stdout)
    assert (made["cohort_id"], made["config"]) == (cohort, LOCAL)
    table = (await muster("experiments", "list")).stdout.splitlines()
    assert table[1].split()[:3] == [made["id"], "Offer", cohort]

    shown = (await muster("experiments", "config", made["id"])).stdout
    assert [f"Person {number}" in shown for number in range(6)] == [True] * 5 + [False]
    whole = json.loads((await muster("experiments", "config", made["id"], "--all", "--json")).stdout)
    assert len(whole["personas"]["members"]) == whole["personas"]["count"] == 8

    started = json.loads((await muster("experiments", "run", made["id"], "--json")).stdout)
    await runs.run_job(started["job_id"], clean.settings)
    (listed,) = json.loads((await muster("experiments", "runs", made["id"], "--json")).stdout)
    assert (listed["run_id"], listed["state"]) == (started["run_id"], "succeeded")
    assert "succeeded" in (await muster("experiments", "runs", made["id"])).stdout
    results = json.loads((await muster("experiments", "results", made["id"], "--limit", "3", "--json")).stdout)
    assert [result["name"] for result in results] == ["Person 0", "Person 1", "Person 2"]
    assert "interest" in (await muster("experiments", "summary", made["id"])).stdout
    assert (await muster("experiments", "export", made["id"], "--output", str(out))).exit_code == 0
    header, *rows = csv.reader(io.StringIO(out.read_text()))
    assert (len(rows), header[-1]) == (8, "result.answer")

    changed = json.loads((await muster("experiments", "update", made["id"], "--member", "P3", "--json")).stdout)
    assert (changed["cohort_id"], changed["member_count"]) == (None, 1)
    assigned = await muster("experiments", "assign", cohort, made["id"], "EXP-404")
    assert (assigned.exit_code, "EXP-404" in assigned.stderr) == (1, True)
    assert json.loads((await muster("experiments", "show", made["id"], "--json")).stdout)["cohort_id"] == cohort
    assert (await muster("experiments", "delete", made["id"])).exit_code == 0
    gone = await muster("experiments", "run", made["id"])
    assert (gone.exit_code, gone.stderr) == (1, f"Error: There is no experiment {made['id']}.\n")


async def test_what_is_wrong_is_said(muster: Muster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{")
    assert (await muster("experiments", "create", "x", "--config", str(wrong))).exit_code == 2
    assert (await muster("experiments", "create", "x", "--arm", "COH-1")).exit_code == 2
    made = json.loads((await muster("experiments", "create", "x", "--json")).stdout)
    for command in ("results", "summary", "export"):
        answer = await muster("experiments", command, made["id"])
        assert (answer.exit_code, "has not run yet" in answer.stderr) == (1, True)
    refused = await muster("experiments", "run", made["id"])
    assert (refused.exit_code, "MUSTER_MODAL_URL" in refused.stderr) == (1, True)
    local = tmp_path / "local.json"
    local.write_text(json.dumps(LOCAL | {"personas": {"count": 2}}))
    await muster("experiments", "update", made["id"], "--config", str(local))
    started = json.loads((await muster("experiments", "run", made["id"], "--json")).stdout)
    await Job.find_one({"_id": started["job_id"]}).update({"$set": {"state": "failed", "error": "It rained."}})
    followed = await muster("jobs", "show", started["job_id"], "--wait")
    assert (followed.exit_code, "It rained." in followed.stderr) == (1, True)
