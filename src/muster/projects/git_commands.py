"""Git, run through GitPython in surroundings that we choose: nothing of the machine or its users changes what it does.

No system or user configuration, no hooks, no signing, no pager, an identity of our own, paths that are only paths, and
the variables by which a shell might point git elsewhere put back. Every call blocks: not for the event loop.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import TemporaryFile
from typing import IO, cast

from git import Git
from git.exc import GitCommandError, GitCommandNotFound

from muster.errors import Conflict

OLDEST = (2, 32)  # before it, a user's configuration could not be kept out
NAME, EMAIL = "Muster", "muster@localhost"

# What a repository's own configuration may say otherwise, and must not for our commands.
_CONFIGURATION = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.fsync=committed,reference",  # a branch never names what a power cut could take back
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "commit.gpgSign=false",
    "log.showSignature=false",
    "i18n.commitEncoding=UTF-8",
    "gc.auto=0",
    "maintenance.auto=false",
)
_OPTIONS = [argument for setting in _CONFIGURATION for argument in ("-c", setting)]


_FULL = "the disk is full; make room and try again"


class GitTrouble(Conflict):
    """Git cannot do what it is asked to in a project's repository. Files stay as they are; the sentence says why."""


def environment(root: Path) -> dict[str, str]:
    """The variables that every command of ours sees, whatever the process was started with."""
    folder = str(root / ".git")
    return {
        "GIT_DIR": folder,
        "GIT_COMMON_DIR": folder,
        "GIT_WORK_TREE": str(root),
        "GIT_OBJECT_DIRECTORY": f"{folder}/objects",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": "",
        "GIT_INDEX_FILE": f"{folder}/index",
        "GIT_NAMESPACE": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_COUNT": "0",
        "GIT_CONFIG_PARAMETERS": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_TRACE": "0",
        "GIT_AUTHOR_NAME": NAME,
        "GIT_AUTHOR_EMAIL": EMAIL,
        "GIT_COMMITTER_NAME": NAME,
        "GIT_COMMITTER_EMAIL": EMAIL,
    }


def run(
    root: Path,
    *arguments: str,
    lines: Iterable[bytes] = (),
    index: Path | None = None,
    accept: Callable[[int], bool] = lambda status: status == 0,
) -> bytes:
    """What a command prints. `lines` are its standard input, `index` the index file it works with.

    Raises GitTrouble when it ends with a status that is not accepted.
    """
    surroundings = environment(root) | ({"GIT_INDEX_FILE": str(index)} if index else {})
    with TemporaryFile() as given:
        given.writelines(lines)
        given.seek(0)
        try:
            status, printed, complaint = Git(root).execute(
                ["git", *_OPTIONS, *arguments],
                istream=given,
                env=surroundings,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
            )
        except GitCommandNotFound:
            raise no_git() from None
        except GitCommandError as error:  # it was killed
            raise trouble(root, str(error.stderr)) from None
    if not accept(status):
        raise trouble(root, complaint)
    return bytes(printed)


class Stream:
    """A command that is fed as long as the caller likes, and prints nothing. Once nobody holds it, it is ended."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self._root, self._packs = root, unfinished_packs(root)
        try:
            # Held for as long as this is: GitPython ends the process when its handle goes.
            self._handle = Git(root).execute(
                ["git", *_OPTIONS, *arguments], istream=PIPE, env=environment(root), as_process=True
            )
        except GitCommandNotFound:
            raise no_git() from None
        self._process: Popen[bytes] = cast("Popen[bytes]", self._handle.proc)

    def write(self, content: bytes) -> None:
        """Feed it. Raises GitTrouble when it has ended before its time."""
        try:
            cast("IO[bytes]", self._process.stdin).write(content)
        except BrokenPipeError:
            self.close()
            raise GitTrouble(f"git ended early in {self._root}; try again.") from None

    def close(self) -> None:
        """Let it end. Raises GitTrouble with what it complains of."""
        with suppress(BrokenPipeError):
            cast("IO[bytes]", self._process.stdin).close()
        complaint = cast("IO[bytes]", self._process.stderr).read().decode(errors="replace")
        if self._process.wait() != 0:
            self._clean()
            raise trouble(self._root, complaint)

    def kill(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.wait()
        self._clean()

    def _clean(self) -> None:
        """Take away what it has left: on a disk that is full, every further try would leave as much again."""
        (self._root / ".git" / f"fast_import_crash_{self._process.pid}").unlink(missing_ok=True)
        for left in unfinished_packs(self._root) - self._packs:
            left.unlink(missing_ok=True)


def unfinished_packs(root: Path) -> set[Path]:
    """Packs that are being written, or were when somebody was killed."""
    folder = root / ".git" / "objects" / "pack"
    return {*folder.glob("tmp_*"), *folder.glob(".tmp-*")}


def version() -> tuple[int, ...]:
    """The version of git on this machine. Raises GitTrouble without one."""
    try:
        return Git().version_info
    except (GitCommandNotFound, GitCommandError, OSError):
        raise no_git() from None


def trouble(root: Path, complaint: str) -> GitTrouble:
    """The error for what git complained of."""
    said = complaint.strip()
    causes: Mapping[str, str] = {
        "No space left on device": _FULL,
        "Out of diskspace": _FULL,
        "Disk quota exceeded": "the disk quota is used up; make room and try again",
        "Read-only file system": "the file system is read-only",
        "Permission denied": "Muster may not read or write it; give it back to the user that Muster runs as",
        "dubious ownership": "it belongs to another user; give it back to the user that Muster runs as",
    }
    for sign, cause in causes.items():
        if sign in said:
            return GitTrouble(f"The git repository {root} cannot be used: {cause}.")
    first = next((line for line in said.splitlines() if line.startswith(("fatal:", "error:"))), said[:300])
    what = first.partition(":")[2].strip() or first or "git ended without a word"
    return GitTrouble(f"The git repository {root} cannot be used: {what.rstrip('.')}.")


def no_git() -> GitTrouble:
    """The error for a machine without git."""
    return GitTrouble("There is no git on this machine; install it (Debian, Ubuntu: apt-get install git).")
