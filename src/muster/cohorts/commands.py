"""`muster cohorts` and `muster rules check`."""

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import yaml

from muster.cohorts.history_commands import HISTORY
from muster.cohorts.member_commands import MEMBER_COMMANDS
from muster.settings import bundled
from muster.terminal.client import NoAnswer, NoToken, open_api
from muster.terminal.output import (
    as_json_option,
    limit_option,
    plain,
    print_error,
    print_fields,
    print_json,
    print_rows,
    project_option,
    say,
)

LISTED = {"id": "Cohort", "name": "Name", "kind": "Kind", "member_count": "Members", "state": "State", "rule": "Rule"}
MEMBERS = {
    "pii_id": "Profile",
    "name": "Name",
    "type": "Type",
    "email": "E-mail",
    "domain": "Domain",
    "entered_at": "Entered",
    "cause": "Cause",
}
PIECES = {"text": "Piece", "where": "Where", "reason": "Why"}


@click.group()
def cohorts() -> None:
    """Named groups of profiles."""


@cohorts.command("list")
@click.option("--kind", type=click.Choice(["dynamic", "static"]), help="Only of this kind.")
@click.option("--query", "q", help="Words in name or description.")
@project_option
@limit_option
@as_json_option
def list_cohorts(kind: str | None, q: str | None, project: str | None, limit: int, as_json: bool) -> None:
    """List cohorts, oldest first."""
    with open_api() as api:
        found = api.items("/v1/cohorts", limit=limit, kind=kind, q=q, project_id=project)
        print_rows(found if as_json else map(_flat, found), LISTED, as_json=as_json)


@cohorts.command("show")
@click.argument("cohort_id")
@as_json_option
def show_cohort(cohort_id: str, as_json: bool) -> None:
    """Show one cohort."""
    with open_api() as api:
        _print_cohort(api.get(_path(cohort_id)), as_json=as_json)


@cohorts.command("create")
@click.argument("name")
@click.option("--rule", help="A rule as text, as JSON (a condition tree), or @FILE with either.")
@click.option("--static", is_flag=True, help="Keep the members of now, instead of following the rule.")
@click.option("--member", "members", multiple=True, help="A profile of a static cohort; may be repeated.")
@click.option("--from", "from_cohort", metavar="COHORT", help="Static, with the members of another cohort.")
@click.option("--at", metavar="TIME", help="With --from: as they were then, as 2026-11-25T12:00:00Z.")
@click.option("--description", default="")
@project_option
@as_json_option
def create_cohort(
    *,
    name: str,
    rule: str | None,
    static: bool,
    members: tuple[str, ...],
    from_cohort: str | None,
    at: str | None,
    description: str,
    project: str | None,
    as_json: bool,
) -> None:
    """Create a cohort and wait until its members are found."""
    source = _read_rule(rule) if rule is not None else None
    body = _without_none(
        name=name,
        description=description,
        project_id=project,
        kind="static" if static or members or from_cohort else "dynamic",
        rule=source,
        members=list(members) or None,
        from_cohort=from_cohort,
        at=at,
    )
    with open_api() as api:
        cohort = api.post("/v1/cohorts", body, source=source if isinstance(source, str) else None)
        if cohort["job_id"]:
            api.wait_for(cohort["job_id"])
            cohort = api.get(_path(cohort["id"]))
    _print_cohort(cohort, as_json=as_json)


@cohorts.command("evaluate")
@click.argument("cohort_id")
@as_json_option
def evaluate_cohort(cohort_id: str, as_json: bool) -> None:
    """Ask the rule about every profile again. Not needed to stay right: the watcher does that."""
    with open_api() as api:
        result = api.post(f"{_path(cohort_id)}/evaluate")
        if "job_id" in result:
            done = api.wait_for(result["job_id"])["result"]
            result = {field: done[field] for field in ("added", "removed", "member_count")}
    if as_json:
        print_json(result)
    else:
        print_fields(result)


@cohorts.command("members")
@click.argument("cohort_id")
@click.option("--order", type=click.Choice(["joined", "id"]), default="joined", show_default=True)
@click.option("--at", metavar="TIME", help="Those of a past moment, as 2026-11-25T12:00:00Z.")
@limit_option
@as_json_option
def list_members(cohort_id: str, order: str, at: str | None, limit: int, as_json: bool) -> None:
    """List the members of a cohort; `export` writes them all."""
    with open_api() as api:
        print_rows(api.items(f"{_path(cohort_id)}/members", limit=limit, order=order, at=at), MEMBERS, as_json=as_json)


@cohorts.command("explain")
@click.argument("cohort_id")
@click.argument("pii_id")
@as_json_option
def explain_member(cohort_id: str, pii_id: str, as_json: bool) -> None:
    """Say why a profile is in a cohort or not, condition by condition."""
    with open_api() as api:
        found = api.get(f"{_path(cohort_id)}/explain/{quote(pii_id, safe='')}")
    if as_json:
        print_json(found)
        return
    click.echo(f"{pii_id} is {'' if found['member'] else 'not '}a member; the rule {_holds(found['matches'])} now.")
    _print_conditions(found["conditions"], depth=0)


for command in (*HISTORY, *MEMBER_COMMANDS):
    cohorts.add_command(command)


@click.group()
def rules() -> None:
    """Rules, before they are cohorts; and cohorts kept as files."""


@rules.command("check")
@click.argument("sources", metavar="FILE|TEXT...", nargs=-1, required=True)
@project_option
@as_json_option
def check_rules(sources: tuple[str, ...], project: str | None, as_json: bool) -> None:
    """Say whether rules are right, what they use and how they would run. Exit code 1 when one is wrong.

    A FILE is a rule as text, a condition tree as JSON or YAML, or a cohort file with a `rule`; else the argument is
    the rule itself. Asks the API, whose projects may have fields of their own; without one it checks against the
    built-in fields.
    """
    rules_ = [_read_rule(source) for source in sources]
    answers = _check(rules_, project)
    if as_json:
        print_json(answers[0] if len(answers) == 1 else answers)
    elif len(answers) == 1:
        _print_check(answers[0])
    else:
        for source, answer in zip(sources, answers, strict=True):
            click.echo(f"{source}: {'right' if answer['valid'] else 'wrong'}")
            _print_errors(answer)
    sys.exit(0 if all(answer["valid"] for answer in answers) else 1)


def _check(rules_: list[Any], project: str | None) -> list[dict[str, Any]]:
    """By the API when there is one, else here."""
    try:
        with open_api() as api:
            return [api.post("/v1/rules/check", _without_none(rule=rule, project_id=project)) for rule in rules_]
    except (NoAnswer, NoToken):
        if project is not None:
            raise
        say("No API to ask: checked against the built-in fields.")
    # Beanie and rule_engine take most of a second: not for `muster --help`.
    from muster.cohorts.previews import checked
    from muster.records import registry_file

    fields = registry_file.read(bundled("rules") / "fields.yaml")
    return [checked(rule, fields).model_dump(mode="json") for rule in rules_]


def _read_rule(source: str) -> Any:
    """The rule in an argument: `@FILE`, the name of a file that exists, JSON, or the text itself."""
    path = Path(source.removeprefix("@"))
    if source.startswith("@") or (len(source) < 1_000 and "\n" not in source and path.is_file()):
        try:
            source = path.read_text(encoding="utf-8")
            content = yaml.safe_load(source) if path.suffix in {".yaml", ".yml", ".json"} else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise click.UsageError(f"{path} cannot be read: {error}") from error
        if isinstance(content, dict):
            return content.get("rule", content)
    if source.lstrip().startswith("{"):
        try:
            return json.loads(source)
        except ValueError as error:
            raise click.UsageError(f"The condition tree is not JSON: {error}.") from error
    return source.strip()


def _print_check(answer: dict[str, Any]) -> None:
    if not answer["valid"]:
        say("The rule is wrong.")
        _print_errors(answer)
        return
    print_fields(
        {
            "rule": answer["text"],
            "fields": answer["fields"],
            "scope": answer["entity_scope"],
            "over time": answer["time_dependent"],
            "runs in": answer["plan"]["strategy"],
        }
    )
    print_rows(answer["plan"]["pieces"], PIECES, as_json=False)
    for warning in answer["warnings"]:
        say("Worth a second look:")
        print_error(warning, answer["text"])


def _holds(result: bool) -> str:
    return "holds" if result else "does not hold"


def _print_conditions(condition: dict[str, Any], depth: int) -> None:
    seen = f"  ({plain(condition['actual']) or 'missing'})" if "actual" in condition else ""
    click.echo(f"{'  ' * depth}{'✓' if condition['result'] else '✗'} {condition['text']}{seen}")
    for child in condition.get("children", ()):
        _print_conditions(child, depth + 1)


def _print_errors(answer: dict[str, Any]) -> None:
    for error in answer["errors"]:
        print_error(error, answer["text"])


def _print_cohort(cohort: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(cohort)
    else:
        print_fields({**_flat(cohort), "evaluation": _evaluation(cohort["evaluation"])})


def _flat(cohort: dict[str, Any]) -> dict[str, Any]:
    """A cohort for a table: its rule as text."""
    return {**cohort, "rule": cohort["rule"]["text"] if cohort["rule"] else None}


def _evaluation(evaluation: dict[str, Any] | None) -> str | None:
    if evaluation is None:
        return None
    looked = f"{evaluation['matched']:,} matched, {evaluation['scanned']:,} looked at"
    return f"{looked}, {evaluation['elapsed_ms']:,.0f} ms, {evaluation['strategy']}, {evaluation['at']}"


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _path(cohort_id: str) -> str:
    return f"/v1/cohorts/{quote(cohort_id, safe='')}"
