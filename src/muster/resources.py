"""Opens MongoDB and Redis, once per process: for the API, the workers, the watcher and the command line."""

import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from beanie import Document, init_beanie
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo.errors import PyMongoError
from redis.asyncio import Redis

from muster.agents.documents import DOCUMENTS as AGENTS
from muster.api.documents import DOCUMENTS as API
from muster.attio.documents import DOCUMENTS as ATTIO
from muster.cohorts.documents import DOCUMENTS as COHORTS
from muster.errors import StartError
from muster.experiments.documents import DOCUMENTS as EXPERIMENTS
from muster.jobs.documents import DOCUMENTS as JOBS
from muster.jobs.doorbell import doorbell
from muster.projects.documents import DOCUMENTS as PROJECTS
from muster.records.documents import DOCUMENTS as RECORDS
from muster.rules import FunctionError, known_functions
from muster.settings import Settings
from muster.webhooks.documents import DOCUMENTS as WEBHOOKS

DOCUMENTS: Sequence[type[Document]] = (
    *API,
    *PROJECTS,
    *RECORDS,
    *JOBS,
    *COHORTS,
    *WEBHOOKS,
    *ATTIO,
    *AGENTS,
    *EXPERIMENTS,
)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process holds open."""

    settings: Settings
    mongodb: AsyncIOMotorClient[dict[str, Any]]
    database: AsyncIOMotorDatabase[dict[str, Any]]
    redis: Redis


def open_mongodb(settings: Settings) -> AsyncIOMotorClient[dict[str, Any]]:
    """A client on the configured server: aware datetimes, majority writes, retried once by the driver."""
    if settings.mongodb_uri is None:
        raise StartError("MUSTER_MONGODB_URI is not set; `muster up` starts an embedded MongoDB and sets it.")
    return AsyncIOMotorClient(
        settings.mongodb_uri.get_secret_value(),
        tz_aware=True,
        w="majority",
        retryWrites=True,
        serverSelectionTimeoutMS=10_000,
        appname="muster",
    )


@cache
def _set_imports_apart() -> None:
    """Spare the garbage collector what is there for good: looking at it again and again is half of the work of reading
    many profiles. Once per process, when everything is imported.
    """
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open everything and bind the documents to the database; close it all on the way out.

    Indexes are the migrations' business (`muster migrate`), so that no process builds one by surprise.
    Raises StartError when an address is missing, a team's function is wrong, or MongoDB does not answer; Redis may
    come later.
    """
    if settings.redis_url is None:
        raise StartError("MUSTER_REDIS_URL is not set; `muster up` starts an embedded Redis and sets it.")
    try:
        known_functions()  # a team's function that rules cannot call is told now, not by the first rule that is read
    except FunctionError as error:
        raise StartError(str(error)) from error
    mongodb = open_mongodb(settings)
    redis = Redis.from_url(settings.redis_url.get_secret_value())
    try:
        database = mongodb[settings.mongodb_database]
        try:
            await init_beanie(database=database, document_models=list(DOCUMENTS), skip_indexes=True)
        except PyMongoError as error:
            what = str(error).partition(" (configured")[0]
            raise StartError(
                f"MongoDB does not answer ({what}): is it running, and does MUSTER_MONGODB_URI name it?"
            ) from error
        _set_imports_apart()
        with doorbell(settings):
            yield Resources(settings, mongodb, database, redis)
    finally:
        await redis.aclose()
        mongodb.close()
