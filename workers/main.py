"""What a worker process loads: the broker first, then every module of actors, each by hand."""

from workers.broker import broker  # isort: skip  actors bind to the broker that is there when they are declared
from workers import assignments, attio, evaluations, experiments, indexes

__all__ = ["assignments", "attio", "broker", "evaluations", "experiments", "indexes"]
