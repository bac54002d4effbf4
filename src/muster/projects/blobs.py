"""File contents on their way into a repository: many at once, as one pack, and only those that HEAD has not."""

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from muster.projects import git_commands as git
from muster.projects.git_commands import GitTrouble

_PLAIN = b"100644"


def store_files(
    root: Path, files: Iterable[tuple[str, Path]], head: Mapping[bytes, bytes]
) -> dict[bytes, bytes | None]:
    """Put into the repository what differs from HEAD; by path the entry of each file, None where there is none.

    Reads each file once and holds one at a time. Raises GitTrouble, also for what is no plain file, or lies behind a
    symbolic link.
    """
    entries: dict[bytes, bytes | None] = {}
    folders: set[Path] = set()
    pack: git.Stream | None = None  # few blobs become loose objects, many one pack
    try:
        for path, file in files:
            check_folder(root, file.parent, folders)
            name = os.fsencode(path)
            content, known = _read(file), head.get(name)
            entry = None if content is None else _entry(content, known)
            entries[name] = entry
            if content is not None and entry != known:
                pack = pack or git.Stream(root, "fast-import", "--quiet")
                pack.write(_blob(content))
    except BaseException:
        if pack is not None:
            pack.kill()
        raise
    if pack is not None:
        pack.close()
    return entries


def _blob(content: bytes) -> bytes:
    return b"blob\ndata %d\n%s\n" % (len(content), content)


def _entry(content: bytes, known: bytes | None) -> bytes:
    """Mode and object id of a plain file. One that HEAD has as executable stays so."""
    object_id = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest().encode()
    mode = known[:6] if known is not None and known.startswith(b"100") else _PLAIN
    return mode + b" " + object_id


def _read(file: Path) -> bytes | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError:
        if file.is_symlink():
            raise GitTrouble(f"{file} is a symbolic link; Muster commits plain files only.") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise GitTrouble(f"{file} is no plain file; move it away, then try again.")
    with os.fdopen(descriptor, "rb", buffering=0) as opened:
        return opened.readall()


def check_folder(root: Path, folder: Path, checked: set[Path]) -> None:
    """Raise GitTrouble for a folder below the root that is a symbolic link, or lies behind one."""
    while folder != root and folder not in checked:
        if folder.is_symlink():
            raise GitTrouble(f"{folder} is a symbolic link; put a folder in its place.")
        checked.add(folder)
        folder = folder.parent
