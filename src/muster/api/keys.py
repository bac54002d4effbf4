"""Keys of an installation: made once, kept in the data folder, readable by nobody else."""

import os
import secrets
from pathlib import Path


def kept_key(file: Path) -> bytes:
    """The key in a file, 64 hexadecimal digits; made when the file is not there. Raises OSError.

    Several processes may start at once: whoever links the file first decides, the others read it.
    """
    if not file.exists():
        _write_once(file, secrets.token_hex(32).encode())
    return file.read_bytes().strip()


def _write_once(path: Path, content: bytes) -> None:
    """Write a private file unless it is there already; a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
