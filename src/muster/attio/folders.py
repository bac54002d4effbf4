"""Folders of a repository held open, and plain files in them read and replaced: by name, never through a link."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Self

from muster.projects.repository import GitTrouble

_DRAFT = ".muster.tmp"  # one at a time: whoever writes holds the repository's lock


class Occupied(Exception):
    """Something stands where a file belongs that is no plain file."""


class Folders:
    """The folders of the files, held open, so that what is written there goes there, whatever is renamed meanwhile."""

    def __init__(self, root: Path, top: str) -> None:
        self._root, self._top = root, top
        self._open: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._root.mkdir(parents=True, exist_ok=True)
        self._open[""] = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def __getitem__(self, object_type: str) -> int:
        if object_type not in self._open:
            if self._top not in self._open:
                self._open[self._top] = self._below(self._open[""], self._top)
            self._open[object_type] = self._below(self._open[self._top], object_type)
        return self._open[object_type]

    def _below(self, parent: int, name: str) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=parent)
        try:
            return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            sentence = f"{name} in {self._root} is a symbolic link or a file; put a folder in its place."
            raise GitTrouble(sentence) from None


def read_file(folder: int, name: str) -> bytes | None:
    """What a file says; None where there is none. Raises Occupied for what is no plain file."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Occupied(f"{name} is a symbolic link; move it away.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Occupied(f"{name} is no plain file; move it away.")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return file.readall()


def replace_file(folder: int, name: str, content: bytes) -> None:
    """Put a file in place at once: a reader sees the old one or the new one."""
    descriptor = os.open(_DRAFT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644, dir_fd=folder)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]
        os.replace(_DRAFT, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(_DRAFT, dir_fd=folder)
        raise
