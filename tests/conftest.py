"""Fixtures that every test may use. A unit test that asks for none of them starts no server.

Imports of the application stand inside the fixtures: a test of `muster.rules` alone imports nothing else.
"""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from muster.embedded.servers import Addresses, running_servers
from muster.settings import Settings

if TYPE_CHECKING:
    from litestar import Litestar
    from motor.motor_asyncio import AsyncIOMotorDatabase

    from muster.resources import Resources
    from muster.sandbox.attio import AttioSandbox

# These checks stand outside of test modules; pytest shall explain them when they fail all the same.
pytest.register_assert_rewrite(
    "tests.faults.assigning",
    "tests.faults.faults",
    "tests.faults.imports",
    "tests.faults.recount",
    "tests.faults.rounds",
    "tests.faults.scene",
    "tests.faults.traffic",
    "tests.faults.worlds",
)

ONE_HOUR = 3_600  # seconds
COMPANIES, PEOPLE = 30, 60  # of the sandbox
REAL_DATABASE = pytest.StashKey[Any]()


@pytest.fixture(scope="session")
def servers_folder() -> Iterator[Path]:
    """A folder for the servers' data: in memory where the machine has a memory file system with room."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made inside it
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > 4 * 2**30
    folder = Path(tempfile.mkdtemp(prefix="muster-tests-", dir=memory if in_memory else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def servers(servers_folder: Path) -> AsyncIterator[Addresses]:
    """A real mongod (a one-node replica set that allows fail points) and a real Redis, for the whole session."""
    test_commands = ("--setParameter", "enableTestCommands=1")
    async with running_servers(servers_folder, mongod_options=test_commands) as addresses:
        yield addresses


@pytest.fixture(scope="session")
async def attio_server() -> AsyncIterator[tuple["AttioSandbox", str]]:
    """The stand-in for Attio on a real port, and its address (without `/v2`). Tests ask for `attio`."""
    from muster.sandbox.attio import AttioSandbox
    from muster.sandbox.attio_control import control
    from muster.sandbox.attio_world import generated_world
    from muster.sandbox.serving import serving

    app = AttioSandbox(generated_world(COMPANIES, PEOPLE), control=control)
    async with serving(app) as address:
        yield app, address


@pytest.fixture
def attio(attio_server: tuple["AttioSandbox", str]) -> "AttioSandbox":
    """The stand-in for Attio that the settings name, as new: 30 companies, 60 people, no faults, one key."""
    from muster.sandbox.attio_world import generated_world

    app, _ = attio_server
    app.reset(generated_world(COMPANIES, PEOPLE))
    return app


@pytest.fixture(scope="session")
def settings(
    servers: Addresses, attio_server: tuple["AttioSandbox", str], tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Settings of this session: its servers, a database of its own, an empty data folder, a sandbox for Attio."""
    return Settings.model_validate(
        {
            "mongodb_uri": servers.mongodb_uri,
            "mongodb_database": f"test_{secrets.token_hex(4)}",
            "redis_url": servers.redis_url,
            "attio_base_url": f"{attio_server[1]}/v2",
            "data_dir": tmp_path_factory.mktemp("data"),
            "auth_secret": "a secret for tests that is long enough for HS256",
            "demo": False,
        }
    )


@pytest.fixture(scope="session")
async def resources(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator["Resources"]:
    """MongoDB and Redis opened, the documents bound to them, the migrations run."""
    from muster.migrations import migrate
    from muster.resources import open_resources

    async with open_resources(settings) as opened:
        await migrate(opened)
        request.config.stash[REAL_DATABASE] = opened.database
        yield opened


@pytest.fixture
async def clean(resources: "Resources") -> "Resources":
    """Every collection empty except for what the migrations put there; indexes stay. Redis empty too, and no secrets of
    projects, whose numbers begin anew.
    """
    shutil.rmtree(resources.settings.data_path / "secrets", ignore_errors=True)
    await _bind(resources.database)
    for name in await resources.database.list_collection_names(filter={"name": {"$not": {"$regex": "^system"}}}):
        if name == "fields":
            await resources.database[name].delete_many({"project_id": {"$ne": None}})
        elif name != "migrations_log":
            await resources.database[name].delete_many({})
    await resources.redis.flushdb()
    return resources


@pytest.fixture
def token_for(settings: Settings) -> Callable[[str], str]:
    """A function that makes a valid token for an owner."""
    from muster.api import auth

    return lambda owner: auth.issue_token(settings, owner, ONE_HOUR)


@pytest.fixture(scope="session")
def application(settings: Settings) -> "Litestar":
    """The whole application, made once: that takes longer than most tests. It starts and stops for each of them."""
    from muster.app import create_app

    return create_app(settings)


@pytest.fixture
async def client(
    clean: "Resources", application: "Litestar", token_for: Callable[[str], str]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the whole application in this process, signed in as "ada". Another owner: pass other headers."""
    from muster.app import connect_features

    connect_features(clean.settings)  # another application may have connected them for its own settings
    async with (
        running(application),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(application),
            base_url="http://muster.test",
            headers={"Authorization": f"Bearer {token_for('ada')}"},
        ) as opened,
    ):
        yield opened
    await _bind(clean.database)  # the application bound the documents to its own client, now closed


@pytest.fixture
async def mock_documents(request: pytest.FixtureRequest) -> AsyncIterator["AsyncIOMotorDatabase[dict[str, Any]]"]:
    """The documents bound to mongomock-motor: plain reads and writes only (no transactions, `$lookup`, bulk writes)."""
    from mongomock_motor import AsyncMongoMockClient

    database: AsyncIOMotorDatabase[dict[str, Any]] = AsyncMongoMockClient(tz_aware=True)["mock"]
    await _bind(database)
    yield database
    if REAL_DATABASE in request.config.stash:
        await _bind(request.config.stash[REAL_DATABASE])


@asynccontextmanager
async def running(app: "Litestar") -> AsyncIterator[None]:
    """The application started, its lifespan in a task of its own: pytest runs the halves of a fixture in two tasks,
    and what is entered in one cannot be left in the other.
    """
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    living = asyncio.create_task(live())
    starting = asyncio.create_task(started.wait())
    await asyncio.wait({living, starting}, return_when=asyncio.FIRST_COMPLETED)
    if living.done():
        starting.cancel()
        living.result()
    try:
        yield
    finally:
        stop.set()
        await living


async def _bind(database: "AsyncIOMotorDatabase[dict[str, Any]]") -> None:
    from beanie import init_beanie

    from muster.resources import DOCUMENTS

    await init_beanie(database=database, document_models=list(DOCUMENTS), skip_indexes=True)
