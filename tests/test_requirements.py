"""The lock: names, versions and hashes of everything that is declared, and nothing else."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def normal(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_names_no_registry_and_no_path(file: str) -> None:
    """Whoever installs decides where from."""
    for line in (ROOT / file).read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==[^\s/]+( ; [^/]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|(#.*)?", line), (
            line
        )


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_the_lock_holds_what_is_declared(file: str) -> None:
    """A dependency that is added is locked as well. Another platform's databases are not: the lock is made on one."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {normal(re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0]) for each in declared if "darwin" not in each}
    locked = {
        normal(name)
        for name in re.findall(r"^([a-z0-9._-]+)==", (ROOT / file).read_text(), re.MULTILINE | re.IGNORECASE)
    }
    assert names - locked == set()
