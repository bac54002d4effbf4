"""The doorbell: a Dramatiq message tells the workers that a job waits. Redis holds nothing else, and may lose it.

Every message of Muster is sent from here, by the name of its actor, so that `src` never imports `workers`.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum

from dramatiq import Message
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerError
from redis import Redis
from redis.exceptions import RedisError

from muster.errors import StartError
from muster.settings import Settings

QUEUE = "default"

_log = logging.getLogger(__name__)


class Actor(StrEnum):
    """Every actor that is ever called, as declared in `workers`."""

    EVALUATE_COHORT = "evaluate_cohort"
    BUILD_INDEXES = "build_indexes"
    EDIT_MEMBERS = "edit_members"
    RUN_EXPERIMENT = "run_experiment"
    ASSIGN_EXPERIMENTS = "assign_experiments"
    IMPORT_FROM_ATTIO = "import_from_attio"
    ASSIGN_LEADS = "assign_leads"
    UNDO_ASSIGNMENT = "undo_assignment"
    ERASE_FILES = "erase_files"


ACTOR_OF_KIND: Mapping[str, Actor] = {
    "evaluate": Actor.EVALUATE_COHORT,
    "index": Actor.BUILD_INDEXES,
    "members": Actor.EDIT_MEMBERS,
    "experiment": Actor.RUN_EXPERIMENT,
    "assign_experiments": Actor.ASSIGN_EXPERIMENTS,
    "import": Actor.IMPORT_FROM_ATTIO,
    "assign": Actor.ASSIGN_LEADS,
    "undo_assign": Actor.UNDO_ASSIGNMENT,
    "erase_files": Actor.ERASE_FILES,
}


class _Bell:
    """The broker of this process, once `doorbell` has opened it."""

    broker: RedisBroker | None = None


def connect(settings: Settings, kind: type[RedisBroker] = RedisBroker) -> RedisBroker:
    """A broker of this kind, without middleware. Raises StartError when no Redis is named.

    Dramatiq's defaults bring a message back minutes after its worker died; these do it within 15 seconds. The
    namespace carries the database's name, so that two Musters on one Redis do not hear each other.
    """
    if settings.redis_url is None:
        raise StartError("MUSTER_REDIS_URL is not set; `muster up` starts an embedded Redis and sets it.")
    client = Redis.from_url(settings.redis_url.get_secret_value(), socket_connect_timeout=2, socket_timeout=5)
    return kind(
        client=client,
        middleware=[],
        namespace=f"muster:{settings.mongodb_database}",
        heartbeat_timeout=15_000,
        maintenance_chance=1_000_000,
    )


@contextmanager
def doorbell(settings: Settings) -> Iterator[None]:
    """Open the doorbell of this process: `ring` works inside."""
    outer, _Bell.broker = _Bell.broker, connect(settings)
    try:
        yield
    finally:
        _Bell.broker.client.close()
        _Bell.broker = outer


async def ring(actor: Actor, *arguments: str | int) -> bool:
    """Send one message. False when Redis does not take it: then the sweep does it later, nobody has to wait."""
    message: Message[None] = Message(queue_name=QUEUE, actor_name=actor.value, args=arguments, kwargs={}, options={})
    broker = _Bell.broker
    if broker is None:
        raise RuntimeError("The doorbell is not open in this process: open_resources() opens it.")
    try:
        await asyncio.to_thread(broker.enqueue, message)
    except (RedisError, BrokerError, OSError) as error:
        _log.warning("Redis does not take messages (%s); the sweep sends %s later.", error, actor.value)
        return False
    return True


async def forgot_everything() -> bool:
    """Whether Redis has lost its memory since this was last asked (flushed, or replaced by another one).

    A mark of ours stands beside the messages; whoever finds it gone puts it back.
    """
    broker = _Bell.broker
    if broker is None:
        raise RuntimeError("The doorbell is not open in this process: open_resources() opens it.")
    try:
        return bool(await asyncio.to_thread(broker.client.set, f"{broker.namespace}:mark", "1", nx=True))
    except (RedisError, OSError):
        return False
