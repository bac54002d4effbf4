"""A repository in a test's folder, looked at by plain git as its user would."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from muster.projects.repository import Repository


class Scene(NamedTuple):
    """A repository and what a user does in it."""

    repository: Repository

    @property
    def root(self) -> Path:
        return self.repository.root

    def git(self, *arguments: str, check: bool = True) -> str:
        """What git prints for a user with an identity of their own and no other configuration."""
        command = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *arguments)
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, path: str, content: str) -> str:
        """A file of the working tree; its path again."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        return path

    def subjects(self) -> list[str]:
        """The commits of the branch, the newest first."""
        return self.git("log", "--format=%s").splitlines()

    def files(self) -> list[str]:
        """What HEAD has."""
        return self.git("ls-tree", "-r", "--name-only", "HEAD").splitlines()

    def status(self) -> str:
        return self.git("status", "--short")
