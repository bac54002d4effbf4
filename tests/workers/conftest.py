"""The fixtures of this folder."""

from processes import start_worker

__all__ = ["start_worker"]
