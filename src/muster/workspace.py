"""Commands that fill a workspace: `muster demo`, and `muster rules apply` for cohorts kept as files."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
import jwt

from muster.embedded.addresses import with_running_servers
from muster.records.commands import MEDIA_TYPES, show_report
from muster.records.demo import DEFAULT_PROFILES, DEFAULT_SEED, generate
from muster.settings import Settings, bundled, load_settings
from muster.terminal.client import Api, open_api, token_of
from muster.terminal.output import Count, as_json_option, counting, print_fields, print_json, say

if TYPE_CHECKING:
    from muster.cohorts.files import Applied

LOCAL_OWNER = "local"  # who `muster up` signs in
LOADED = "demo-loaded"  # in the data folder: the workspace was filled once, and may have been emptied on purpose
LINES_PER_CHUNK = 500


@click.command("apply")
@click.argument("directory", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--project", help="The project, such as PRJ-2; else the default one.")
@click.option("--owner", default=LOCAL_OWNER, show_default=True, help="Whose project.")
@as_json_option
def apply_rules(directory: Path | None, project: str | None, owner: str, as_json: bool) -> None:
    """Make the file-managed cohorts of a project what the files in DIRECTORY say; else those that come with Muster.

    Works on MongoDB directly, where this machine's settings or a running `muster up` name it.
    """
    applied = _apply(load_settings(), directory, owner, project)
    if as_json:
        print_json(asdict(applied))
    else:
        print_fields(asdict(applied))


@click.command()
@click.option("--profiles", type=click.IntRange(1), default=DEFAULT_PROFILES, show_default=True)
@click.option("--seed", type=int, default=DEFAULT_SEED, show_default=True, help="The same seed, the same people.")
@click.option("--once", is_flag=True, help="Do nothing when there are profiles, or were.")
@as_json_option
def demo(profiles: int, seed: int, once: bool, as_json: bool) -> None:
    """Fill your default project with invented people and companies, and the cohorts that come with Muster."""
    settings = load_settings()
    mark = settings.data_path / LOADED
    with open_api(settings) as api:
        if once and (mark.exists() or _has_profiles(api)):
            say("There is a workspace already.")
            return
        with counting("Profiles") as count:
            report = api.import_profiles(_chunks(profiles, seed, count), MEDIA_TYPES["ndjson"], None)
    if settings.data_path.is_dir():
        mark.touch()
    show_report(report, as_json=as_json)
    if once:
        return  # `muster up`, which calls so, applies the cohorts itself at every start
    servers = with_running_servers(settings)
    if servers.mongodb_uri is None or servers.redis_url is None:
        say("The cohorts of rules/ were not applied: run `muster rules apply` where MongoDB is.")
        return
    owner = jwt.decode(token_of(settings), options={"verify_signature": False})["sub"]  # the API has verified it
    applied = _apply(servers, None, owner, None)
    say(f"Cohorts: {len(applied.created)} created, {len(applied.updated)} updated, {len(applied.unchanged)} unchanged.")


def _apply(settings: Settings, directory: Path | None, owner: str, project: str | None) -> "Applied":
    # Beanie and rule_engine take most of a second: not for `muster --help`.
    from muster.cohorts import files  # noqa: PLC0415  as said
    from muster.resources import open_resources  # noqa: PLC0415  as said

    async def run() -> "Applied":
        async with open_resources(with_running_servers(settings)):
            return await files.apply(directory or bundled("rules") / "cohorts", owner, project)

    return asyncio.run(run())


def _has_profiles(api: Api) -> bool:
    return any(api.get(f"/v1/{plural}", limit=1)["items"] for plural in ("leads", "contacts", "customers"))


def _chunks(profiles: int, seed: int, count: Count) -> Iterator[bytes]:
    """The demo as NDJSON, many lines at a time."""
    made = generate(profiles, seed)
    done = 0
    while lines := list(islice(made, LINES_PER_CHUNK)):
        yield "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        done += len(lines)
        count(done, profiles)
