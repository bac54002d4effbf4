"""What a run was, as a file in the project's repository, with one commit. It names no person: history cannot forget."""

import asyncio
import json
import os
import secrets
from typing import Any

from muster.experiments.documents import ExperimentRun
from muster.projects.repository import commit, repository_of
from muster.settings import Settings


def path_of(run: ExperimentRun) -> str:
    """Where the manifest of a run lies in the repository."""
    return f"experiments/{run.experiment}/{run.id}.json"


def manifest_of(run: ExperimentRun, name: str) -> dict[str, Any]:
    """What is told of a frozen run."""
    return {
        "experiment": run.experiment,
        "name": name,
        "run": run.id,
        "job": run.job,
        "frozenAt": run.frozen_at.isoformat().replace("+00:00", "Z") if run.frozen_at else None,
        "snapshotHash": run.snapshot_hash,
        "seed": run.seed,
        "personas": {"count": run.persona_count, "heldOut": run.held_out_count, "arms": run.arm_counts},
        "cohorts": [
            {
                "id": rule.cohort_id,
                "name": rule.name,
                "arm": rule.arm,
                "members": rule.member_count,
                "rule": rule.rule_text,
                "ruleVersion": rule.rule_version,
            }
            for rule in run.rules
        ],
        "configuration": json.loads(run.config or "{}"),
    }


async def commit_manifest(run: ExperimentRun, name: str, settings: Settings) -> str | None:
    """Write and commit the manifest of a run; the commit's hash, the same however often it is done.

    Raises GitTrouble.
    """
    repository = repository_of(settings, run.project_id)
    text = json.dumps(manifest_of(run, name), indent=2, ensure_ascii=False) + "\n"
    path = path_of(run)

    def write() -> None:
        file = repository.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(file)

    await asyncio.to_thread(write)
    # The run's own name, too: a database that was made anew counts its jobs from 1 again, beside the same repository.
    trailers = {"Muster-Job": run.job, "Muster-Run": run.id}
    return await commit(repository, [path], f"Freeze {run.experiment} for a run", trailers)
