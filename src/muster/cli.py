"""The command `muster`. Every command stands in the list at the end; those of a feature live in its `commands.py`.

Data goes to stdout, the rest to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import click

from muster.agents.commands import agents, assign, undo
from muster.attio.commands import attio
from muster.attio.hook_commands import webhook as attio_webhook
from muster.attio.import_commands import import_attio
from muster.cohorts.commands import cohorts, rules
from muster.cohorts.index_commands import list_indexes
from muster.errors import MusterError, StartError
from muster.experiments.commands import experiments
from muster.jobs.commands import jobs
from muster.records.commands import import_group
from muster.sandbox.commands import sandbox
from muster.settings import Settings, load_settings
from muster.webhooks.commands import webhooks
from muster.workspace import apply_rules, demo


class Muster(click.Group):
    """A group whose commands may raise our errors: each becomes one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (MusterError, StartError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=Muster, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="muster")
def main() -> None:
    """Rule-based cohorts of leads, contacts and customers that stay right while records change."""


@click.command()
@click.option("--sandbox", "with_sandbox", is_flag=True, help="Stand-ins for Attio and Modal, too, and connected.")
def up(with_sandbox: bool) -> None:
    """Run everything: MongoDB and Redis where no address is set, the API, workers and watcher. Ctrl-C stops it."""
    from muster.embedded import supervisor

    def announce(line: str) -> None:
        with suppress(OSError):  # nobody reads any more: no reason to stop
            click.echo(line)

    def tell(problem: str) -> None:
        with suppress(OSError):
            click.echo(f"muster: {problem}", err=True)

    asyncio.run(supervisor.up(load_settings(), announce=announce, tell=tell, with_sandbox=with_sandbox))


@click.command()
def api() -> None:
    """Run the API and the console."""
    from muster.api.serving import serve
    from muster.app import create_app

    log_to_stderr()
    settings = running_settings()
    serve(create_app(settings), settings.host, settings.port)


@click.command()
@click.option("--processes", type=click.IntRange(1, 64), default=None, help="Default: half the cores, at least 2.")
@click.option("--threads", type=click.IntRange(1, 256), default=8, show_default=True, help="Per process.")
def worker(processes: int | None, threads: int) -> None:
    """Run the workers: evaluations and other long work."""
    from muster.embedded.workers import run_workers

    pass_on(running_settings())
    sys.exit(run_workers(processes or max(2, (os.cpu_count() or 1) // 2), threads))


@click.command()
@click.option(
    "--holder", help="The name under which the lease is held; a new one with the same name takes over at once."
)
def watch(holder: str | None) -> None:
    """Run a watcher, which keeps cohorts right while records change; others share its slices, or stand by."""
    from muster.cohorts.watcher import watch as follow
    from muster.resources import open_resources

    async def run() -> None:
        task = asyncio.current_task()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, lambda: task and task.cancel())
        settings = running_settings()
        async with open_resources(settings):
            await follow(holder, settings.watch_slices)

    log_to_stderr()
    try:
        asyncio.run(run())
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("Stopped.")


@click.command("migrate")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def migrate_command(as_json: bool) -> None:
    """Bring the database up to date. Safe to run twice at once: one waits for the other."""
    from muster.migrations import migrate
    from muster.resources import open_resources

    async def run() -> list[str]:
        async with open_resources(running_settings()) as resources:
            return list(await migrate(resources))

    applied = asyncio.run(run())
    if as_json:
        click.echo(json.dumps({"applied": applied}))
    else:
        click.echo("\n".join(applied) if applied else "Nothing to do: the database is up to date.")


@click.command()
@click.option("--owner", required=True, help="The owner that the token speaks for (its `sub`).")
@click.option("--ttl", type=click.IntRange(1), default=30 * 24 * 3600, show_default=True, help="Valid for, in seconds.")
def token(owner: str, ttl: int) -> None:
    """Print a token for an owner, signed with this installation's secret."""
    from muster.api import auth

    click.echo(auth.issue_token(load_settings(), owner, ttl))


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def doctor_command(as_json: bool) -> None:
    """Check this machine and the configured servers; exit code 1 when something is wrong."""
    from muster.embedded import doctor

    findings = asyncio.run(doctor.examine(running_settings()))
    if as_json:
        click.echo(json.dumps([finding.as_json() for finding in findings]))
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.detail}")
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


def running_settings() -> Settings:
    """The settings, with the servers of a `muster up` on the same data folder where they name none."""
    from muster.embedded.addresses import with_running_servers

    return with_running_servers(load_settings())


def pass_on(settings: Settings) -> None:
    """Make these the settings of whatever this process imports or forks."""
    from muster.settings import process_environment

    os.environ.update(process_environment(settings))


def log_to_stderr() -> None:
    """Plain lines for whoever runs this process. httpx logs whole addresses, with their secrets: not those."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)


rules.add_command(apply_rules)
rules.add_command(list_indexes)
import_group.add_command(import_attio)
jobs.add_command(undo)
attio.add_command(attio_webhook)

for command in (
    up,
    api,
    worker,
    watch,
    sandbox,
    migrate_command,
    doctor_command,
    token,
    demo,
    import_group,
    cohorts,
    rules,
    experiments,
    agents,
    assign,
    jobs,
    webhooks,
    attio,
):
    main.add_command(command)
