"""The documentation is true: the README's tour runs as it stands, and what the other pages name is there."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from muster.cli import main
from muster.resources import DOCUMENTS
from muster.settings import Settings
from tests.embedded.running_muster import PATIENCE, environment, running

TOP = Path(__file__).parents[1]
PAGES = ("README.md", "ARCHITECTURE.md", "GLOSSARY.md", "CHANGELOG.md")
ADDRESS = "http://127.0.0.1:8000"
BETWEEN = "--- the next block ---"

# What the tour waits a second for. How long a second is on a busy machine is no business of this test.
SLEEP = "sleep() { until members | grep -q tour-cleo; do command sleep 0.02; done; }"


class Step(NamedTuple):
    """A block to paste, and what the README says it prints."""

    block: str
    shown: str


async def test_attio_without_an_account_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """With stand-ins beside it, as `make run SANDBOX=1` starts them."""
    steps = steps_of("### Without an account")
    assert len(steps) == 2
    (tmp_path / ".venv").symlink_to(sys.prefix)
    async with running(tmp_path / ".muster", None, None, "--sandbox") as up:
        port = int(up.address.rpartition(":")[2])
        shell = await asyncio.to_thread(
            subprocess.run,
            "bash",
            input=f"\necho '{BETWEEN}'\n".join(step.block for step in steps),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment(up.folder, port),
            cwd=tmp_path,
        )
    assert list(map(alike, shell.stdout.split(f"{BETWEEN}\n"))) == [alike(step.shown) for step in steps]


def tour() -> Sequence[Step]:
    """The steps of the README's tour."""
    return steps_of("## A tour")


def steps_of(heading: str) -> Sequence[Step]:
    """The blocks under a heading of the README."""
    section = re.split(r"\n#+ ", read("README.md").partition(f"\n{heading}")[2])[0]
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    following = [*fences[1:], ("sh", "")]
    return [
        Step(block, "" if next_name else shown)
        for (name, block), (next_name, shown) in zip(fences, following, strict=True)
        if name == "sh"
    ]


async def test_the_tour_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """Pasted as it stands, block after block, in a folder as `make run` leaves it; only the port is another one."""
    steps = tour()
    (tmp_path / ".venv").symlink_to(sys.prefix)
    async with running(tmp_path / ".muster") as up:
        port = int(up.address.rpartition(":")[2])
        assert ADDRESS in steps[0].block
        pasted = f"\necho '{BETWEEN}'\n".join(step.block for step in steps).replace(ADDRESS, up.address)
        shell = await asyncio.to_thread(
            subprocess.run,
            "bash",
            input=f"{SLEEP}\n{pasted}",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            env=environment(up.folder, port),  # for `muster`, which else calls port 8000, too
            cwd=tmp_path,
        )
    printed = shell.stdout.split(f"{BETWEEN}\n")
    assert list(map(alike, printed)) == [alike(step.shown) for step in steps]


def test_the_tour_shows_one_leave_and_one_enter_without_asking_for_it() -> None:
    """Three members in all, two before and two after; nothing in it evaluates anything."""
    before, after = (step.shown for step in tour() if "\nmembers\n" in step.block)
    assert [re.findall(r'^(\d+)$|^"pii_id":"(.*)"$', shown, re.MULTILINE) for shown in (before, after)] == [
        [("2", ""), ("", "tour-ada"), ("", "tour-ben")],
        [("2", ""), ("", "tour-ben"), ("", "tour-cleo")],
    ]
    assert "evaluate" not in "".join(step.block for step in tour())


def test_the_readme_names_every_setting_and_every_command() -> None:
    """And no others."""
    readme = read("README.md")
    settings = {f"MUSTER_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"`(MUSTER_[A-Z_]+)`", readme)) == settings | {"MUSTER_TOKEN"}
    table = readme.partition("## The command line")[2].partition("\n## ")[0]
    assert {words.split()[0] for words in re.findall(r"`muster ([a-z][^`]*)`", table)} == set(main.commands)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page: str) -> None:
    """Links within the repository."""
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(page))
    assert [link for link in links if not (TOP / link).exists()] == []


def test_every_path_that_the_architecture_names_exists() -> None:
    """From the top of the repository or from `src/muster`; a mere file name, in some folder of a feature."""
    named = set(paths_in(read("ARCHITECTURE.md")))
    assert len(named) > 50
    package = TOP / "src" / "muster"
    assert {
        path
        for path in named
        if not (
            (TOP / path).exists() or (package / path).exists() or ("/" not in path and any(package.glob(f"*/{path}")))
        )
    } == set()


def test_the_architecture_names_every_folder_and_every_collection() -> None:
    """So that a new room of the house gets its line on the map."""
    page = read("ARCHITECTURE.md")
    tops = {path.name for path in TOP.iterdir() if path.is_dir() and path.name[0] != "."} - {"build", "dist"}
    packages = {path.parent.name for path in TOP.glob("src/muster/*/__init__.py")}
    assert {folder for folder in tops | packages if not re.search(rf"\b{folder}/", page)} == set()
    assert {model.Settings.name for model in DOCUMENTS if f"| `{model.Settings.name}` |" not in page} == set()


def read(page: str) -> str:
    return (TOP / page).read_text(encoding="utf-8")


def alike(text: str) -> str:
    """A text without what differs at every run: moments, and the width of columns that hold them."""
    masked = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return "\n".join(" ".join(line.split()) for line in masked.splitlines())


def paths_in(page: str) -> Iterator[str]:
    """What stands in backquotes and is a path: with a slash inside or at its end, or with an ending of ours."""
    for quoted in re.findall(r"`([\w./-]+)`", page):
        if not quoted.startswith("/") and ("/" in quoted or quoted.endswith((".py", ".yaml", ".toml", ".md"))):
            yield quoted
