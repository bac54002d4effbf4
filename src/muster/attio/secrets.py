"""Secrets of a project: each in a file of its own, `<data folder>/secrets/PRJ-1.env`, readable by nobody else.

They stand nowhere else.

Lines are `NAME=value`. The file is written as a whole and put in place at once, so that workers which read it anew for
each use see the old secrets or the new ones.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from muster.embedded.data_folder import write_private
from muster.errors import Unavailable
from muster.settings import Settings

API_KEY = "MUSTER_ATTIO_API_KEY"

_PROJECT_ID = re.compile(r"[A-Za-z0-9-]{1,100}")


def secret_of(project_id: str, name: str, settings: Settings) -> SecretStr | None:
    """A secret of a project as it is kept now; None without one. Raises Unavailable when its file cannot be read."""
    value = _read(_file(project_id, settings)).get(name)
    return SecretStr(value) if value else None


def keep_secret(project_id: str, name: str, value: SecretStr | None, settings: Settings) -> None:
    """Keep a secret in place of the one before; None forgets it. Safe to call from several processes at once.

    Raises Unavailable when the file cannot be written; then the one before stands.
    """
    file = _file(project_id, settings)
    try:
        with _alone(file):
            kept = _read(file)
            kept.pop(name, None)
            if value is not None:
                kept[name] = value.get_secret_value()
            if kept:
                write_private(file, "".join(f"{each}={text}\n" for each, text in kept.items()))
            else:
                file.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(file, error) from None


def forget_secrets(project_id: str, settings: Settings) -> None:
    """Delete the file of a project that is gone."""
    file = _file(project_id, settings)
    if not file.exists():
        return
    with _alone(file):
        file.unlink(missing_ok=True)


def _file(project_id: str, settings: Settings) -> Path:
    if not _PROJECT_ID.fullmatch(project_id):
        raise ValueError(f"{project_id!r} is no project's id")
    return settings.data_path / "secrets" / f"{project_id}.env"


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Make the folder private, and keep other writers away from it."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.parent.chmod(0o700)
    lock = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(file, error) from None
    pairs = (line.strip().partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _unusable(file: Path, error: Exception) -> Unavailable:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
    return Unavailable(f"The secrets of a project, {file.name} in the data folder, cannot be used ({reason}).")
