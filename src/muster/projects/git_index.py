"""Git's index of a user's working tree, told of a commit that was made beside it, so that their `git status` is clean.

What the index has to learn is written down before the branch moves (`muster-untold`), and struck out when it has: so it
learns whatever is killed in between, at the latest with the next commit.

The index is locked as git itself does it (`index.lock`), copied, changed, and put in place at once. The lock is a
second name of a mark of ours: whoever is killed leaves both, and the next one of us knows by the mark that the lock is
nobody's. A lock without our mark may be an editor that waits for a commit message, or another's crash: not ours to
decide.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from muster.projects import git_commands as git

UNTOLD = "muster-untold"
_NOTHING = b"0 " + b"0" * 40

Entry = bytes
"""What stands at a path: mode and object id, as in `100644 e69de29…`."""


def read_tree(root: Path, commit: str | None) -> dict[bytes, Entry]:
    """All files of a commit; none of no commit."""
    if commit is None:
        return {}
    entries = {}
    for line in git.run(root, "ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
        meta, _, path = line.partition(b"\t")
        mode, _, object_id = meta.split(b" ")
        entries[path] = mode + b" " + object_id
    return entries


def index_lines(entries: Mapping[bytes, Entry | None]) -> list[bytes]:
    """What `update-index -z --index-info` reads to set these entries, and to remove those that are None."""
    return [(entry or _NOTHING) + b"\t" + path + b"\0" for path, entry in sorted(entries.items())]


@contextmanager
def locked_index(root: Path) -> Iterator[bool]:
    """Hold the lock of the index; whether it could be had. While it is held, nobody switches branches."""
    folder = root / ".git"
    lock, mark = folder / "index.lock", folder / f"muster-{secrets.token_hex(4)}.mark"
    for left in folder.glob("muster-*.mark"):
        if lock.exists() and lock.samefile(left):
            lock.unlink()
        left.unlink()
    mark.touch()
    try:
        try:
            os.link(mark, lock)
        except OSError:  # somebody holds it; or the file system knows no second names, and the index stays behind
            yield False
            return
        try:
            yield True
        finally:
            lock.unlink(missing_ok=True)
    finally:
        mark.unlink(missing_ok=True)


def remember_untold(root: Path, paths: Iterable[bytes], before: Mapping[bytes, Entry]) -> None:
    """Write down that the index has to follow at these paths, from the entries before."""
    with (root / ".git" / UNTOLD).open("ab") as file:
        file.writelines(before.get(path, b"") + b"\t" + path + b"\0" for path in paths)


def is_untold(root: Path) -> bool:
    """Whether the index has anything to learn."""
    return (root / ".git" / UNTOLD).exists()


def tell_index(root: Path, head: Mapping[bytes, Entry]) -> None:
    """Let the index, which the caller has locked, follow to HEAD wherever that was written down.

    Where somebody staged something else meanwhile, that stays staged.
    """
    untold = root / ".git" / UNTOLD
    index, draft = root / ".git" / "index", root / ".git" / f"muster-{secrets.token_hex(4)}.index"
    before: dict[bytes, Entry] = {}
    for line in untold.read_bytes().split(b"\0")[:-1]:
        entry, _, path = line.partition(b"\t")
        before.setdefault(path, entry)  # of several the first is what the index had
    try:
        if index.exists():
            shutil.copy2(index, draft)  # with its time, by which git knows which entries to look at again
        staged = _read_index(root, draft) if draft.exists() else {}
        changes = {path: head.get(path) for path, entry in before.items() if staged.get(path, b"") == entry}
        if changes:
            git.run(root, "update-index", "-z", "--index-info", lines=index_lines(changes), index=draft)
            git.run(root, "update-index", "-q", "--refresh", index=draft, accept=lambda status: status in (0, 1))
            draft.replace(index)
        untold.unlink()
    finally:
        draft.unlink(missing_ok=True)


def _read_index(root: Path, index: Path) -> dict[bytes, Entry]:
    """All entries of an index file; of a path that a merge left in several versions the last, with its stage."""
    entries = {}
    for line in git.run(root, "ls-files", "--stage", "-z", index=index).split(b"\0")[:-1]:
        meta, _, path = line.partition(b"\t")
        mode, object_id, stage = meta.split(b" ")
        entries[path] = mode + b" " + object_id if stage == b"0" else meta
    return entries
