"""The data folder: made private, and claimed by one supervisor at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muster.errors import StartError


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the data folder for the length of a block; the kernel gives it back however this process ends.

    Raises StartError when it cannot be made or written, or another `muster up` holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "logs").mkdir(exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise StartError(
            f"The data folder {folder} cannot be used ({error.strerror}): make it writable, or name another one with "
            "MUSTER_DATA_DIR."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StartError(
                f"The data folder {folder} is in use by another `muster up` (process {lock.read().strip() or '?'}): "
                "stop that one, or name another folder with MUSTER_DATA_DIR."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def is_claimed(folder: Path) -> bool:
    """Whether a supervisor runs on this data folder now."""
    try:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read; a reader sees the old text or the new one, never half of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())  # or a power failure could leave an empty file in the place of the old one
    draft.replace(file)
