"""An experiment with a run that has come back: put on record as a worker leaves it, because none runs here."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from muster.experiments.documents import ExperimentRun, FrozenRule, Persona, Phase, persona_id, snapshot_name
from muster.jobs.documents import Job
from muster.jobs.service import create_job

ARMS = ("plain offer", "warm offer")
PERSONAS = 12


async def build(api: httpx.AsyncClient, cohort: str, name: Callable[[str], str]) -> dict[str, str]:
    """The ids of both, for addresses."""
    config = {
        "question": name("Would you take this offer?"),
        "personas": {"arms": [{"name": arm} for arm in ARMS], "holdout": 0.1, "seed": "spring"},
    }
    body = {"name": name("Spring offer, asked"), "description": name("In their own words."), "cohort_id": cohort}
    made = (await api.post("/v1/experiments", json={**body, "config": config})).json()
    job = await create_job("EXR", "experiment", made["project_id"], "ada", {"experiment_id": made["id"]})
    await Job.get_motor_collection().update_one(
        {"_id": job.id}, {"$set": {"state": "succeeded", "finished_at": datetime.now(UTC)}}
    )
    run = await _run(made, job, cohort, name)
    return {"experiment": made["id"], "run": run.id}


async def _run(made: dict[str, Any], job: Job, cohort: str, name: Callable[[str], str]) -> ExperimentRun:
    now = datetime.now(UTC)
    run = ExperimentRun(
        id="run_0f3b",
        experiment=made["id"],
        project_id=made["project_id"],
        owner="ada",
        job=job.id,
        phase=Phase.DONE,
        config=json.dumps(made["config"]),
        seed="spring",
        rules=[FrozenRule(cohort_id=cohort, name=name("Hot leads"), member_count=14, rule_text="lead.score > 50")],
        weights=dict.fromkeys(ARMS, 1.0),
        snapshot=snapshot_name("run_0f3b", 1),
        snapshot_hash="4d1f6a",
        frozen_at=now,
        persona_count=PERSONAS,
        held_out_count=2,
        arm_counts=dict.fromkeys(ARMS, PERSONAS // 2),
        result_count=PERSONAS,
        created_at=now,
    )
    await ExperimentRun.get_motor_collection().insert_one(run.model_dump(by_alias=True, exclude={"revision_id"}))
    for number in range(PERSONAS):
        await Persona.get_motor_collection().insert_one(_persona(run, number, name, now))
    return run


def _persona(run: ExperimentRun, number: int, name: Callable[[str], str], now: datetime) -> dict[str, Any]:
    interest = (number * 37) % 10 + number % 2
    said = name("Yes, if it comes before the summer." if interest > 5 else "Not now; ask me again.")
    return {
        "_id": persona_id(run.snapshot or "", number),
        "snapshot": run.snapshot,
        "run": run.id,
        "experiment": run.experiment,
        "number": number,
        "pii_id": f"lead-{number:02}",
        "name": name(f"Lead {number}"),
        "arm": ARMS[number % 2],
        "result": json.dumps({"interest": interest, "words": 5 + number * 3, "answer": said}),
        "state": "completed",
        "result_at": now,
    }
