"""Serves the application with uvicorn, and tells open streams when it is to stop."""

import sys
from contextlib import suppress
from types import FrameType

import uvicorn
from litestar import Litestar

GRACE = 2  # seconds for requests under way; then they are cut off
STARTUP_FAILURE = 3


class _Process:
    """What a signal has said to this process."""

    stopping = False


def stopping() -> bool:
    """Whether this process was told to stop. A stream without end looks at this, or it would be cut off."""
    return _Process.stopping


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        _Process.stopping = True
        super().handle_exit(sig, frame)


def serve(app: Litestar, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Ends the process when the address cannot be had."""
    config = uvicorn.Config(
        app, host=host, port=port, timeout_graceful_shutdown=GRACE, log_config=None, access_log=False
    )
    server = _Server(config)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)
