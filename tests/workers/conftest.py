"""The fixtures of this folder."""

from tests.workers.processes import start_worker

__all__ = ["start_worker"]
