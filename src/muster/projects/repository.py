"""A project's git repository, `<data dir>/projects/{project id}`: what Muster writes for a project is versioned there.

It is the user's repository as much as ours: they may look, edit, branch and push. So a commit of ours is made beside
their work, never through it: new contents go into a pack, an index of our own begins with HEAD's tree and takes our
paths, and the branch moves by one atomic `update-ref` that names what it moves from. What they have staged or edited is
neither committed nor lost, and whatever is killed when, HEAD is the old commit or the new one. Commits carry trailers
(`Muster-Job: IMP-1`); whoever makes a commit looks for its trailers first, so that a crash never doubles one.

One process at a time works in a repository, by a lock on a file beside it that the kernel releases with its holder.
"""

import asyncio
import errno
import fcntl
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from muster.projects import git_commands as git
from muster.projects.blobs import check_folder, store_files
from muster.projects.git_commands import GitTrouble
from muster.projects.git_index import (
    index_lines,
    is_untold,
    locked_index,
    read_tree,
    remember_untold,
    tell_index,
)
from muster.settings import Settings

__all__ = [
    "GitTrouble",
    "Repository",
    "commit",
    "committed",
    "delete",
    "discard",
    "find_by_trailer",
    "remove",
    "repository_of",
]

BRANCH = "main"  # of a new repository; afterwards whatever branch is checked out
LOOK_BACK = 5_000  # commits among which trailers are looked for, newest first, on all branches
WAIT = 60.0  # seconds for another process that works in the repository
STALE_AFTER = 5.0  # seconds: git holds the lock of a branch for thousandths of one
LOOSE = 1_000  # objects outside of packs, about, at which they are packed
PACKS = 50  # at which they become one
ABANDONED_AFTER = 86_400.0  # seconds until a pack that nobody finished goes
TRIES = 5  # when the branch moves at the very moment

# What git leaves in its folder while a user is in the middle of something that ends with a commit of theirs.
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "BISECT_LOG")
_TRAILER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,50}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Repository:
    """A project's repository by the absolute path of its working tree, which may not be there yet."""

    root: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work in the repository, alone. Blocks: not for the event loop. Raises GitTrouble after a minute in vain."""
        try:
            descriptor = _lock(self.root)
        except OSError as error:
            raise _trouble(self.root, error) from error
        try:
            yield
        except OSError as error:
            raise _trouble(self.root, error) from error
        finally:
            os.close(descriptor)


def repository_of(settings: Settings, project_id: str) -> Repository:
    """The repository of a project; makes nothing."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", project_id):
        raise ValueError(f"{project_id!r} is no id of a project.")
    return Repository(settings.data_path / "projects" / project_id)


async def commit(repository: Repository, paths: Iterable[str], subject: str, trailers: Mapping[str, str]) -> str | None:
    """Commit these files as they are in the working tree, and nothing else, to the branch that is checked out.

    `paths` are relative to the root, with slashes; one where there is no file is taken out. The answer is the commit's
    hash: also that of an earlier commit with the same trailers. None when no file differs from HEAD. Raises GitTrouble.
    """
    return await asyncio.to_thread(_commit, repository, paths, subject, trailers)


async def find_by_trailer(repository: Repository, trailers: Mapping[str, str]) -> str | None:
    """The newest commit that carries all these trailers, among the newest 5,000 of all branches. Raises GitTrouble."""

    def find() -> str | None:
        with repository.locked():
            return _find(repository.root, trailers) if (repository.root / ".git").exists() else None

    return await asyncio.to_thread(find)


async def remove(repository: Repository, paths: Iterable[str], subject: str, trailers: Mapping[str, str]) -> str | None:
    """Delete these files from the working tree and commit that. Earlier commits still hold them. As `commit`."""

    named = list(paths)
    await discard(repository, named)
    return await commit(repository, named, subject, trailers)


async def discard(repository: Repository, paths: Iterable[str]) -> None:
    """Delete these files from the working tree; the next commit that names them takes them out. Raises GitTrouble."""

    def take_out() -> None:
        files, folders = [inside(repository.root, path) for path in paths], set[Path]()
        with repository.locked():
            for file in files:
                check_folder(repository.root, file.parent, folders)
                with suppress(FileNotFoundError, NotADirectoryError):
                    file.unlink()

    await asyncio.to_thread(take_out)


async def delete(repository: Repository) -> None:
    """Delete the whole repository with its history and working tree, when its project is gone. Raises GitTrouble."""

    def take_away() -> None:
        root = repository.root
        if not root.parent.exists():
            return
        with repository.locked():
            going = root.with_name(f".{root.name}.gone")
            shutil.rmtree(going, ignore_errors=True)  # an earlier attempt that was killed
            with suppress(FileNotFoundError):
                root.rename(going)
                shutil.rmtree(going)
            _lock_file(root).unlink(missing_ok=True)

    await asyncio.to_thread(take_away)


def committed(root: Path, paths: Sequence[str]) -> dict[str, str]:
    """The object ids of these files in HEAD, where it has them. Blocks. Nothing where there is no repository yet."""
    if not (root / ".git").exists():
        return {}
    lines = [f"HEAD:{path}\n".encode() for path in paths if inside(root, path)]
    answers = git.run(root, "cat-file", "--batch-check=%(objectname) %(objecttype)", lines=lines).decode().split("\n")
    found = {}
    for path, answer in zip(paths, answers, strict=False):
        object_id, _, kind = answer.partition(" ")
        if kind == "blob":
            found[path] = object_id
    return found


def inside(root: Path, path: str) -> Path:
    """The absolute form of a relative path. Raises ValueError for one that leads out of the root, or into `.git`."""
    parts = path.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or _CONTROL.search(path):
        raise ValueError(f"{path!r} is no path inside a repository.")
    return root.joinpath(*parts)


def _commit(repository: Repository, paths: Iterable[str], subject: str, trailers: Mapping[str, str]) -> str | None:
    message, root = _message(subject, trailers), repository.root
    named = sorted({path: inside(root, path) for path in paths}.items())
    with repository.locked():
        _make(root)
        _clean(root)
        head = _tip(root, _branch(root))
        before = read_tree(root, head)
        wanted = store_files(root, named, before)
        for _ in range(TRIES):
            with locked_index(root) as held:  # from here to the end users who commit wait for us, not we for them
                branch, seen = _branch(root), head
                head = _tip(root, branch)
                before = before if head == seen else read_tree(root, head)
                if held and is_untold(root):  # an earlier commit found the index locked, or was killed
                    _tell(root, before)
                if found := _find(root, trailers):
                    return found
                changes = {path: entry for path, entry in wanted.items() if entry != before.get(path)}
                if not changes:
                    return None
                new = _make_commit(root, head, changes, message)
                remember_untold(root, changes, before)
                if _move(root, branch, head, new):
                    if held:
                        _tell(root, {path: entry for path, entry in (before | changes).items() if entry})
                    break
        else:
            raise GitTrouble(f"The branch of {root} moved whenever Muster was about to commit; try again.")
        _pack(root)
        return new


def _tell(root: Path, head: Mapping[bytes, bytes]) -> None:
    try:
        tell_index(root, head)
    except (GitTrouble, OSError) as error:  # the commit stands; an index that cannot be read is its user's to mend
        _log.warning("The index of %s did not learn of a commit: %s", root, error)


def _branch(root: Path) -> str:
    """The branch that is checked out. Raises GitTrouble when there is none, or no commit may be made on it now."""
    for left in _UNDER_WAY:
        if (root / ".git" / left).exists():
            what = left.partition("_")[0].partition("-")[0].lower()
            raise GitTrouble(f"A {what} is under way in {root}; end it (git status says how), then try again.")
    head = (root / ".git" / "HEAD").read_text(encoding="utf-8", errors="surrogateescape").strip()
    branch = head.removeprefix("ref:").strip()
    if branch == head or not branch.startswith("refs/heads/"):
        raise GitTrouble(f"HEAD of {root} is on no branch; check one out (git switch {BRANCH}), then try again.")
    return branch


def _tip(root: Path, branch: str) -> str | None:
    """The commit that a branch names, if it has any yet."""
    asked = ("rev-parse", "--quiet", "--verify", "--end-of-options", f"{branch}^{{commit}}")
    tip = git.run(root, *asked, accept=lambda status: status in (0, 1)).decode().strip()
    if not tip and git.run(root, "for-each-ref", "--count=1", "--format=%(refname)", branch):
        raise GitTrouble(f"The branch {branch} of {root} names no commit; git fsck says what is wrong.")
    return tip or None


def _make_commit(root: Path, head: str | None, changes: Mapping[bytes, bytes | None], message: str) -> str:
    """A commit whose tree is HEAD's with these changes. Nothing refers to it yet."""
    draft = root / ".git" / f"muster-{secrets.token_hex(4)}.index"
    try:
        git.run(root, "read-tree", head or "--empty", index=draft)
        git.run(root, "update-index", "-z", "--index-info", lines=index_lines(changes), index=draft)
        tree = git.run(root, "write-tree", index=draft).decode().strip()
    finally:
        draft.unlink(missing_ok=True)
    parents = ("-p", head) if head else ()
    made = git.run(root, "commit-tree", "--no-gpg-sign", *parents, "-F", "-", tree, lines=[message.encode()])
    return made.decode().strip()


def _move(root: Path, branch: str, old: str | None, new: str) -> bool:
    """Let the branch name the new commit, if it names the old one still and is checked out; whether it did.

    A lock of the branch that does not change for seconds was left by somebody who is dead: it is taken away.
    """
    seen: dict[Path, tuple[int, int]] = {}
    since, tries = time.monotonic(), TRIES
    while _branch(root) == branch:
        try:
            git.run(root, "update-ref", "-m", "commit by Muster", "--create-reflog", branch, new, old or "0" * 40)
        except GitTrouble:
            if _tip(root, branch) != old:
                return False
            left = _locks(root, branch)
            tries -= not left
            if not tries:
                raise
            if left != seen:
                seen, since = left, time.monotonic()
            elif time.monotonic() - since > STALE_AFTER:
                for lock in left:
                    lock.unlink(missing_ok=True)
            time.sleep(0.05)
        else:
            return True
    return False


def _locks(root: Path, branch: str) -> dict[Path, tuple[int, int]]:
    """The locks that git would need to move a branch and that are there, each with what tells it from a later one."""
    found = {}
    for lock in (root / ".git" / f"{branch}.lock", root / ".git" / "HEAD.lock"):
        with suppress(FileNotFoundError):
            status = lock.stat()
            found[lock] = (status.st_ino, status.st_mtime_ns)
    return found


def _find(root: Path, trailers: Mapping[str, str]) -> str | None:
    if not trailers:
        return None
    wanted = {(name.lower(), value) for name, value in trailers.items()}
    listed = git.run(
        root,
        "log",
        "-z",
        f"--max-count={LOOK_BACK}",
        "--format=%H%n%(trailers:only,unfold)",
        "--branches",
        "--",
    )
    for entry in listed.decode(errors="replace").split("\0"):
        commit_hash, *lines = entry.strip("\n").split("\n")
        carried = {(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)}
        if wanted <= carried:
            return commit_hash
    return None


def _message(subject: str, trailers: Mapping[str, str]) -> str:
    """One line, and the trailers: a name that stands in the subject cannot add any."""
    if not all(_TRAILER.fullmatch(name) and not _CONTROL.search(value) for name, value in trailers.items()):
        raise ValueError(f"{trailers!r} are no trailers.")
    line = _CONTROL.sub(" ", subject).strip()[:200] or "Update"
    return "\n".join([line, "", *(f"{name}: {value}" for name, value in trailers.items()), ""])


def _pack(root: Path) -> None:
    """Pack what lies about, now and then: every commit leaves a list of each folder, however little changed.

    `git gc` would take locks of references, which a kill leaves behind. Nothing that anybody may still want goes.
    """
    objects = root / ".git" / "objects"
    in_one_of_256 = len(list(objects.glob("17/*")))
    try:
        if len(list(objects.glob("pack/*.pack"))) > PACKS:
            git.run(root, "repack", "-A", "-d", "-l", "-q")
        elif 256 * in_one_of_256 > LOOSE:
            git.run(root, "repack", "-d", "-l", "-q")
    except GitTrouble as trouble:  # the commit stands
        _log.warning("%s", trouble.detail)


def _make(root: Path) -> None:
    """See that there is a repository; a new one is made beside it and put in place at once."""
    folder = root / ".git"
    if (folder / "HEAD").is_file() and not folder.is_symlink():
        return
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise GitTrouble(f"{folder} is no git repository of its own; restore it, or move it away for a new one.")
    root.mkdir(parents=True, exist_ok=True)
    new = root.with_name(f".{root.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    git.run(new, "init", "--quiet", "--template=", f"--initial-branch={BRANCH}")
    (new / ".git").rename(folder)
    new.rmdir()


def _clean(root: Path) -> None:
    """Take away what a killed process of ours left. We hold the lock: nobody uses it any more."""
    for left in (root / ".git").glob("muster-*.index*"):
        left.unlink(missing_ok=True)
    for pack in git.unfinished_packs(root):  # of a user's git, perhaps: that is not at it for a day
        with suppress(FileNotFoundError):
            if time.time() - pack.stat().st_mtime > ABANDONED_AFTER:
                pack.unlink()


def _lock_file(root: Path) -> Path:
    return root.with_name(f".{root.name}.lock")


def _lock(root: Path) -> int:
    """The descriptor of the locked file. Somebody may delete the file with its project: then the next one counts."""
    file, deadline = _lock_file(root), time.monotonic() + WAIT
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        sentence = f"Another process has worked in {root} for {WAIT:.0f} s; try again later."
                        raise GitTrouble(sentence) from None
                    time.sleep(0.01)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _trouble(root: Path, error: OSError) -> GitTrouble:
    if error.errno == errno.ENOSPC:
        return GitTrouble(f"The git repository {root} cannot be used: the disk is full; make room and try again.")
    return GitTrouble(f"The git repository {root} cannot be used: {error.strerror or error} ({error.filename}).")
