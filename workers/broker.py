"""The broker of the worker processes, and its middleware in one commented list."""

import dramatiq
from dramatiq import Middleware
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Retries, ShutdownNotifications

from muster.jobs.doorbell import connect
from muster.settings import Settings, load_settings
from workers.garbage import SiftingBroker, StrictEncoder
from workers.middleware import OpenResources


def make_broker(settings: Settings) -> RedisBroker:
    """A broker that can run actors."""
    made = connect(settings, SiftingBroker)
    in_order: list[Middleware] = [
        # Interrupts running actors when the process is to stop: they give their job back instead of being killed.
        ShutdownNotifications(notify_shutdown=True),
        # The job document decides about further attempts; only an actor without a job asks for retries.
        Retries(max_retries=0),
        # One event loop per process, on which every actor runs.
        AsyncIO(),
        # After AsyncIO, because it opens MongoDB and Redis on that loop.
        OpenResources(settings),
        # No time limit: a long import is no fault. No age limit: an old message still names a job. No Prometheus:
        # it would listen on every interface.
    ]
    for middleware in in_order:
        made.add_middleware(middleware)
    return made


dramatiq.set_encoder(StrictEncoder())
broker = make_broker(load_settings())
dramatiq.set_broker(broker)
