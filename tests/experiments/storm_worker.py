"""A worker as the real one, but quick to notice: short leases, pauses and time-outs, so that no test waits for long."""

from datetime import timedelta
from functools import partial

from muster.experiments import runs, wire
from muster.jobs import service
from muster.jobs.service import claim
from workers import housekeeping
from workers.broker import broker

service.RESEND_AFTER = timedelta(milliseconds=500)
housekeeping.FOLLOWERS = ()
housekeeping.CHORES = (housekeeping.Chore("jobs:sweep", service.sweep, timedelta(milliseconds=200)),)
runs.claim = partial(claim, ttl=timedelta(seconds=1))  # type: ignore[attr-defined]
runs.FIRST_PAUSE, runs.LONGEST_PAUSE, runs.WATCHED_FOR = 0.02, 0.3, 0.4
wire.ANSWER_WITHIN = 0.4

from workers import experiments  # noqa: E402  the actors, once all of this is set

__all__ = ["broker", "experiments"]
