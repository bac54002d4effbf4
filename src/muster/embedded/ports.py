"""Free ports on the loopback address, and the ones a data folder used before."""

import json
import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


def why_not(host: str, port: int) -> str | None:
    """Why a server could not listen there now; None when it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None


def is_free(port: int) -> bool:
    """Whether a server could listen on a loopback port now."""
    return why_not(LOOPBACK, port) is None


def free_port() -> int:
    """A free port below the range that outgoing connections are given, so that it is likely free next time too."""
    while True:
        port = random.randrange(20_000, 32_000)
        if is_free(port):
            return port


def kept_port(folder: Path) -> int:
    """The port that the server of this folder had before if it is still free, else another; kept in `<folder>/port`."""
    file = folder / "port"
    try:
        port = int(json.loads(file.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        port = 0
    if port == 0 or not is_free(port):
        port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{port}\n")
    return port
