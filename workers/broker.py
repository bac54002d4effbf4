"""The broker of the worker processes, and its middleware in one commented list."""

import dramatiq
from dramatiq import Middleware
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO, Retries

from muster.jobs.doorbell import connect
from muster.settings import Settings, load_settings
from workers.garbage import SiftingBroker, StrictEncoder
from workers.middleware import LATER_MS, OpenResources, StopAtOnce, interrupted


def make_broker(settings: Settings) -> RedisBroker:
    """A broker that can run actors."""
    made = connect(settings, SiftingBroker)
    in_order: list[Middleware] = [
        # A stopping process interrupts its actors: they give their job back instead of being killed.
        StopAtOnce(),
        # Their messages go to another process. Otherwise the job document decides about further attempts.
        Retries(retry_when=interrupted, min_backoff=LATER_MS),
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
