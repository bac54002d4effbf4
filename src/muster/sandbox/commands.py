"""`muster sandbox`: try Muster without accounts elsewhere."""

from pathlib import Path

import click

from muster.terminal.output import say

DEFAULT_PORT = 8100


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True, help="0: any free one."
)
@click.option("--companies", type=click.IntRange(0, 1_000_000), default=300, show_default=True, help="How many.")
@click.option("--people", type=click.IntRange(0, 1_000_000), default=1_000, show_default=True, help="How many.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of companies.ndjson, people.ndjson, lists.ndjson, attribute-types.json: serve these instead.",
)
@click.option("--rate", type=click.FloatRange(1), default=100, show_default=True, help="Requests a second allowed.")
@click.option(
    "--personas-per-second",
    type=click.FloatRange(0.01),
    default=500,
    show_default=True,
    help="How quick experiments are.",
)
def sandbox(
    *,
    host: str,
    port: int,
    companies: int,
    people: int,
    data: Path | None,
    rate: float,
    personas_per_second: float,
) -> None:
    """Serve stand-ins for Attio, with made-up records, and for Modal, with a toy experiment, until Ctrl-C.

    Prints the settings that lead Muster to them.
    """
    import asyncio
    import signal

    from muster.errors import StartError
    from muster.sandbox import modal
    from muster.sandbox.attio import KEY, AttioSandbox
    from muster.sandbox.attio_control import control
    from muster.sandbox.attio_world import generated_world, world_of_folder
    from muster.sandbox.serving import serving

    try:
        world = world_of_folder(data) if data else generated_world(companies, people)
    except (OSError, ValueError) as error:
        raise StartError(f"{data} cannot be served ({error}).") from None
    stand_in = modal.Modal(keys=(modal.KEY, modal.SECRET), per_second=personas_per_second)
    app = modal.beside(AttioSandbox(world, rate=rate, control=control), stand_in)

    async def run() -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with serving(app, host, port) as address:
            counts = ", ".join(f"{len(rows):,} {slug}" for slug, rows in world.objects.items())
            say(f"A sandbox, neither Attio nor Modal: {counts}, {len(world.lists)} lists, and a toy experiment.")
            say("Nothing in it is real, nothing is kept.")
            say("Put these lines into .env and start Muster (`make run`):")
            click.echo(f"MUSTER_ATTIO_BASE_URL={address}/v2")
            click.echo(f"MUSTER_ATTIO_API_KEY={KEY}")
            click.echo(f"MUSTER_MODAL_URL={address}{modal.PATH}")
            click.echo(f"MUSTER_MODAL_KEY={modal.KEY}")
            click.echo(f"MUSTER_MODAL_SECRET={modal.SECRET}")
            say(f"What can go wrong, and how to ask for it: {address}/sandbox. Ctrl-C stops it.")
            await stopped.wait()

    asyncio.run(run())
