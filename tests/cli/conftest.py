"""A running API, and `muster` as a person calls it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from beanie import init_beanie
from click.testing import CliRunner, Result

from muster.cli import main
from muster.embedded.ports import free_port
from muster.resources import DOCUMENTS, Resources
from muster.settings import Settings, process_environment
from tests.waiting import until

Muster = Callable[..., Awaitable[Result]]


@pytest.fixture(scope="session")
async def api_settings(resources: Resources, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Settings]:
    """The settings of an API that runs, as a process of its own, on the servers of this session."""
    settings = resources.settings
    served = settings.model_copy(update={"port": free_port()})
    log = tmp_path_factory.mktemp("api") / "api.log"
    with log.open("wb") as file:
        command = (sys.executable, "-m", "muster", "api")
        process = await asyncio.create_subprocess_exec(
            *command, env=process_environment(served), stdout=file, stderr=file
        )

    async def ready() -> bool:
        assert process.returncode is None, log.read_text()
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{served.port}/health/ready")).is_success
        except httpx.ConnectError:
            return False

    try:
        await until(ready)
        yield served
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def muster(
    api_settings: Settings, clean: Resources, token_for: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Muster]:
    """Calls the command line as "ada": `await muster("cohorts", "list")`. `env` and `input` as CliRunner has them."""
    environment = {
        **process_environment(api_settings.model_copy(update={"data_dir": tmp_path / "data"})),
        "MUSTER_TOKEN": token_for("ada"),
    }

    async def call(*arguments: str, env: dict[str, str] | None = None, input: str | None = None) -> Result:  # noqa: A002
        invoke = CliRunner().invoke
        return await asyncio.to_thread(invoke, main, arguments, env={**environment, **(env or {})}, input=input)

    yield call
    await rebind(clean)


async def rebind(resources: Resources) -> None:
    """Bind the documents to this process's own client again: a command that works on the servers has its own."""
    await init_beanie(database=resources.database, document_models=list(DOCUMENTS), skip_indexes=True)
