"""`muster experiments`: configurations run over the personas of cohorts, seen from a terminal."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from muster.terminal.client import Api, open_api
from muster.terminal.output import (
    as_json_option,
    limit_option,
    print_fields,
    print_json,
    print_rows,
    project_option,
    say,
    write_whole,
)

LISTED = {"id": "Experiment", "name": "Name", "takes": "Personas", "updated_at": "Changed"}
RUNS = {
    "run_id": "Run",
    "job_id": "Job",
    "state": "State",
    "phase": "Phase",
    "progress": "Personas",
    "created_at": "Begun",
    "error": "Error",
}
RESULTS = {"pii_id": "Profile", "name": "Name", "arm": "Arm", "state": "State", "result": "Result"}
PERSONAS = {"name": "Name", "type": "Type", "arm": "Arm", "attributes": "Attributes"}
MEASURES = {"arm": "Arm", "measure": "Measure", "count": "Count", "mean": "Mean", "deviation": "Deviation"}

config_option = click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, allow_dash=True), help="A file of JSON (`-`: stdin)."
)
run_option = click.option("--run", "run_id", help="A run; else the newest.")


@click.group()
def experiments() -> None:
    """Configurations that are run over the members of cohorts."""


@experiments.command("list")
@click.option("--cohort", help="Only those that take this cohort.")
@project_option
@limit_option
@as_json_option
def list_experiments(cohort: str | None, project: str | None, limit: int, as_json: bool) -> None:
    """List experiments, oldest first."""
    with open_api() as api:
        found = api.items("/v1/experiments", limit=limit, project_id=project, cohort_id=cohort)
        print_rows(found if as_json else map(_flat, found), LISTED, as_json=as_json)


@experiments.command("show")
@click.argument("experiment_id")
@as_json_option
def show_experiment(experiment_id: str, as_json: bool) -> None:
    """Show one experiment."""
    with open_api() as api:
        found = api.get(_path(experiment_id))
    (print_json if as_json else print_fields)(found)


@experiments.command("create")
@click.argument("name")
@click.option("--cohort", help="Whose members are the personas.")
@click.option("--arm", "arms", multiple=True, metavar="NAME=COHORT", help="A cohort as an arm; at least two of them.")
@click.option("--member", "members", multiple=True, help="A profile picked by hand; may be repeated.")
@click.option("--description", default="")
@config_option
@project_option
@as_json_option
def create_experiment(
    *,
    name: str,
    cohort: str | None,
    arms: tuple[str, ...],
    members: tuple[str, ...],
    description: str,
    config: str | None,
    project: str | None,
    as_json: bool,
) -> None:
    """Create an experiment."""
    body: dict[str, Any] = {"name": name, "description": description, "config": _config(config)}
    body |= {"cohort_id": cohort} if cohort else {}
    body |= {"arms": [_arm(arm) for arm in arms]} if arms else {}
    body |= {"members": list(members)} if members else {}
    body |= {"project_id": project} if project else {}
    with open_api() as api:
        made = api.post("/v1/experiments", body)
    (print_json if as_json else print_fields)(made)


@experiments.command("update")
@click.argument("experiment_id")
@click.option("--name")
@click.option("--description")
@click.option("--cohort", help="Take the members of this cohort from now on.")
@click.option("--member", "members", multiple=True, help="Take these profiles from now on; may be repeated.")
@config_option
@as_json_option
def update_experiment(
    *,
    experiment_id: str,
    name: str | None,
    description: str | None,
    cohort: str | None,
    members: tuple[str, ...],
    config: str | None,
    as_json: bool,
) -> None:
    """Change an experiment; runs that are frozen stay what they are."""
    body: dict[str, Any] = {"name": name, "description": description, "cohort_id": cohort}
    body = {key: value for key, value in body.items() if value is not None}
    body |= {"members": list(members)} if members else {}
    body |= {"config": _config(config)} if config else {}
    with open_api() as api:
        found = api.call("PATCH", _path(experiment_id), json=body)
    (print_json if as_json else print_fields)(found)


@experiments.command("delete")
@click.argument("experiment_id")
def delete_experiment(experiment_id: str) -> None:
    """Delete an experiment with its runs and results."""
    with open_api() as api:
        api.call("DELETE", _path(experiment_id))
    say(f"{experiment_id} is deleted.")


@experiments.command("config")
@click.argument("experiment_id")
@click.option(
    "--fields", help="Attributes by commas, such as lead.score,contact.email; else what the configuration says."
)
@click.option("--personal", is_flag=True, default=None, help="E-mail addresses and phone numbers, too.")
@click.option("--first", type=click.IntRange(0), default=5, show_default=True, help="So many personas.")
@click.option("--all", "everybody", is_flag=True, help="All personas; --json only.")
@as_json_option
def show_config(
    *, experiment_id: str, fields: str | None, personal: bool | None, first: int, everybody: bool, as_json: bool
) -> None:
    """Show what a run would send: the configuration and its personas, the first five of them."""
    query: dict[str, Any] = {"fields": fields, "personal": personal, "first": None if everybody else first}
    with open_api() as api:
        if as_json:
            for chunk in api.stream(f"{_path(experiment_id)}/config", **query):
                click.echo(chunk, nl=False)
            click.echo()
            return
        found = api.get(f"{_path(experiment_id)}/config", **query)
    personas = found.pop("personas")
    members = personas.pop("members", [])
    print_fields({**found, **personas})
    print_rows(members, PERSONAS, as_json=False)


@experiments.command("assign")
@click.argument("cohort_id")
@click.argument("experiment_ids", nargs=-1, required=True)
@as_json_option
def assign(cohort_id: str, experiment_ids: tuple[str, ...], as_json: bool) -> None:
    """Give a cohort to many experiments. Exit code 1 when some of them could not take it."""
    with open_api() as api:
        answer = api.post(f"/v1/cohorts/{quote(cohort_id, safe='')}/experiments", {"experiment_ids": experiment_ids})
        if "job_id" in answer:
            job = api.wait_for(answer["job_id"])
            answer = {"assigned": job["result"]["assigned"], "failed": job["failures"]}
    if as_json:
        print_json(answer)
    else:
        say(f"{answer['assigned']:,} experiments take {cohort_id} now.")
        for failure in answer["failed"]:
            say(f"{failure['experiment_id']}: {failure['detail']}")
    if answer["failed"]:
        raise click.exceptions.Exit(1)


@experiments.command("run")
@click.argument("experiment_id")
@click.option("--wait", is_flag=True, help="Wait until it ends, with a progress bar; exit code 1 when it fails.")
@as_json_option
def run_experiment(experiment_id: str, wait: bool, as_json: bool) -> None:
    """Freeze the members, hand them over, and store what comes of them."""
    with open_api() as api:
        started = api.post(f"{_path(experiment_id)}/run")
        if not wait:
            print_json(started) if as_json else say(
                f"{started['run_id']} is on its way; `muster jobs show {started['job_id']} --wait` follows it."
            )
            return
        api.wait_for(started["job_id"])
        run = api.get(f"{_path(experiment_id)}/runs/{started['run_id']}")
    (print_json if as_json else print_fields)(run)


@experiments.command("runs")
@click.argument("experiment_id")
@limit_option
@as_json_option
def list_runs(experiment_id: str, limit: int, as_json: bool) -> None:
    """List the runs of an experiment, newest first."""
    with open_api() as api:
        found = api.items(f"{_path(experiment_id)}/runs", limit=limit)
        print_rows(found if as_json else map(_run, found), RUNS, as_json=as_json)


@experiments.command("results")
@click.argument("experiment_id")
@run_option
@click.option("--state", help="Only in this state.")
@click.option("--arm", help="Only of this arm.")
@limit_option
@as_json_option
def list_results(
    *, experiment_id: str, run_id: str | None, state: str | None, arm: str | None, limit: int, as_json: bool
) -> None:
    """List what came of the personas of a run."""
    with open_api() as api:
        path = f"{_path(experiment_id)}/runs/{_run_id(api, experiment_id, run_id)}/results"
        print_rows(api.items(path, limit=limit, state=state, arm=arm), RESULTS, as_json=as_json)


@experiments.command("summary")
@click.argument("experiment_id")
@run_option
@as_json_option
def summarise(experiment_id: str, run_id: str | None, as_json: bool) -> None:
    """Sum up the results of a run: states, and every number with mean and spread, by arm."""
    with open_api() as api:
        found = api.get(f"{_path(experiment_id)}/runs/{_run_id(api, experiment_id, run_id)}/summary")
    if as_json:
        print_json(found)
        return
    print_fields({"count": found["count"], "of": found["persona_count"], "states": found["states"]})
    groups = [("", found), *found["arms"].items()]
    rows = [
        {"arm": arm or "all", "measure": name, "count": measure["count"], **_rounded(measure)}
        for arm, group in groups
        for name, measure in group["measures"].items()
    ]
    print_rows(rows, MEASURES, as_json=False)
    if (ratio := found["sample_ratio"]) and ratio["suspicious"]:
        say(f"The arms are not as large as they should be (p = {ratio['p_value']:.2g}): compare them no further.")


@experiments.command("export")
@click.argument("experiment_id")
@run_option
@click.option("--format", "file_format", type=click.Choice(["csv", "ndjson"]), default="csv", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Else standard output.")
def export_results(experiment_id: str, run_id: str | None, file_format: str, output: Path | None) -> None:
    """Write all results of a run. A file of that name is only replaced by a whole one."""
    with open_api() as api:
        path = f"{_path(experiment_id)}/runs/{_run_id(api, experiment_id, run_id)}/export"
        chunks = api.stream(path, format=file_format)
        write_whole(chunks, output)


def _config(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        with click.open_file(file, encoding="utf-8") as opened:
            read = json.load(opened)
    except ValueError as error:
        raise click.UsageError(f"{file} is not JSON: {error}") from None
    if not isinstance(read, dict):
        raise click.UsageError(f"{file} holds no JSON object.")
    return read


def _arm(text: str) -> dict[str, str]:
    name, separator, cohort = text.partition("=")
    if not (name and separator and cohort):
        raise click.UsageError(f"{text!r} is no arm: write it as NAME=COH-1.")
    return {"name": name, "cohort_id": cohort}


def _run_id(api: Api, experiment_id: str, run_id: str | None) -> str:
    """A run as a step of a path; the newest when none is named."""
    if run_id is None:
        runs = list(api.items(f"{_path(experiment_id)}/runs", limit=1))
        if not runs:
            raise click.ClickException(f"{experiment_id} has not run yet; `muster experiments run {experiment_id}`.")
        run_id = runs[0]["run_id"]
    return quote(str(run_id), safe="")


def _flat(experiment: dict[str, Any]) -> dict[str, Any]:
    takes = ", ".join(experiment["cohort_ids"]) or "made up by the other side"
    if experiment["member_count"] is not None:
        takes = f"{experiment['member_count']:,} picked by hand"
    return {**experiment, "takes": takes}


def _run(run: dict[str, Any]) -> dict[str, Any]:
    done, total = run["progress"]["done"], run["progress"]["total"]
    return {**run, "progress": "" if total is None else f"{done:,} of {total:,}"}


def _rounded(measure: dict[str, Any]) -> dict[str, Any]:
    return {name: None if measure[name] is None else f"{measure[name]:,.4g}" for name in ("mean", "deviation")}


def _path(experiment_id: str) -> str:
    return f"/v1/experiments/{quote(experiment_id, safe='')}"
