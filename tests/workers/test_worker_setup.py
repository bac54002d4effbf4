"""How a worker process is put together."""

import subprocess
import sys

import pytest
from dramatiq.middleware import AsyncIO, MiddlewareError
from pydantic import SecretStr

from muster.jobs.doorbell import ACTOR_OF_KIND, Actor, connect
from muster.settings import Settings, process_environment
from workers.middleware import OpenResources

NOWHERE = Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"))


def test_every_actor_that_is_sent_for_is_declared() -> None:
    """A name without an actor would send every message of its kind to the dead letters."""
    command = "from workers.main import broker; print(*broker.actors)"
    declared = subprocess.run(
        [sys.executable, "-c", command], env=process_environment(NOWHERE), capture_output=True, text=True, check=True
    )
    assert set(declared.stdout.split()) == {actor.value for actor in Actor}
    assert set(ACTOR_OF_KIND.values()) <= set(Actor)


def test_a_worker_without_mongodb_does_not_start() -> None:
    """Dramatiq swallows other errors at this point, and would answer messages with nothing behind them."""
    broker = connect(NOWHERE)
    loop = AsyncIO()
    loop.before_worker_boot(broker, None)  # type: ignore[no-untyped-call]
    try:
        with pytest.raises(MiddlewareError, match="MUSTER_MONGODB_URI is not set"):
            OpenResources(NOWHERE).before_worker_boot(broker, None)  # type: ignore[arg-type]
    finally:
        loop.after_worker_shutdown(broker, None)  # type: ignore[no-untyped-call]
