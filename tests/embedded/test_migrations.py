"""`muster migrate`: collections, indexes and the registry, once, however many start at the same time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from beanie import init_beanie

from muster import migrations
from muster.jobs import leases
from muster.migrations import migrate, pending_migrations
from muster.resources import DOCUMENTS, Resources, open_resources
from muster.settings import Settings, bundled


@pytest.fixture
async def empty(settings: Settings, resources: Resources) -> AsyncIterator[Resources]:
    """A database that no migration has seen; the documents go back to the session's own afterwards."""
    name = f"{settings.mongodb_database}_empty"
    async with open_resources(settings.model_copy(update={"mongodb_database": name})) as opened:
        yield opened
        await opened.mongodb.drop_database(name)
    await _bind(resources)


async def test_every_declared_index_is_built(empty: Resources) -> None:
    """What a document declares is what the database has, no index more or less."""
    await migrate(empty)
    for document in DOCUMENTS:
        built = set(await empty.database[document.get_collection_name()].index_information()) - {"_id_"}
        declared = {field.index.document["name"] for field in document.get_settings().indexes or []}
        assert built == declared, document.__name__
    assert {document.get_collection_name() for document in DOCUMENTS} <= set(
        await empty.database.list_collection_names()
    )


async def test_the_registry_is_loaded(empty: Resources) -> None:
    """The built-in fields belong to no project."""
    await migrate(empty)
    score = await empty.database["fields"].find_one({"name": "lead.score"})
    assert score is not None
    assert (score["project_id"], score["type"]) == (None, "number")


async def test_a_second_run_finds_nothing_to_do(empty: Resources) -> None:
    """Each migration runs once."""
    assert await pending_migrations(empty.database) == await migrate(empty) != []
    assert await migrate(empty) == await pending_migrations(empty.database) == []


async def test_two_at_once_migrate_once(empty: Resources) -> None:
    """One waits for the other's lease, then finds nothing to do."""
    applied = await asyncio.gather(*(migrate(empty) for _ in range(4)))
    assert sorted(map(bool, applied)) == [False, False, False, True]
    files = len([*bundled("migrations").glob("[0-9]*.py")])
    assert await empty.database["migrations_log"].count_documents({}) == files


async def test_a_runner_that_was_killed_is_replaced(empty: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease runs out, and the next runner does the work from the beginning."""
    monkeypatch.setattr(migrations, "LEASE", migrations.LEASE / 100)
    assert await leases.take(migrations.LEASE_NAME, "somebody who is dead", migrations.LEASE)
    assert await migrate(empty) != []


async def _bind(resources: Resources) -> None:
    await init_beanie(database=resources.database, document_models=list(DOCUMENTS), skip_indexes=True)
