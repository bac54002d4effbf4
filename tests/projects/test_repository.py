"""The repository of a project: commits beside the user's work, once each, whatever is in the way or killed."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from muster.projects import repository as repositories
from muster.projects.repository import GitTrouble, Repository, commit, delete, find_by_trailer, remove, repository_of
from muster.settings import Settings
from tests.projects import committing_process
from tests.projects.repositories import Scene
from tests.waiting import until

JOB = {"Muster-Job": "IMP-1"}
KILLS = 20


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A project whose repository nobody has needed yet."""
    return Scene(Repository(tmp_path / "projects" / "PRJ-1"))


@pytest.fixture
async def begun(scene: Scene) -> Scene:
    """A repository with one commit of ours."""
    await commit(scene.repository, [scene.write("attio/company/first.json", "1")], "First", {"Muster-Job": "IMP-0"})
    return scene


async def test_the_first_commit_makes_the_repository(scene: Scene) -> None:
    paths = [scene.write(f"attio/company/{name}.json", name) for name in ("acme", "übung", "a b")]
    made = await commit(scene.repository, paths, "Import 3 companies", JOB)
    assert scene.git("rev-parse", "HEAD") == made
    assert scene.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert scene.git("log", "--format=%an <%ae> %cn <%ce> %s %(trailers)").strip() == (
        "Muster <muster@localhost> Muster <muster@localhost> Import 3 companies Muster-Job: IMP-1"
    )
    assert scene.status() == ""
    assert scene.git("-c", "core.quotePath=false", "ls-files").splitlines() == sorted(paths)
    assert scene.git("show", "HEAD:attio/company/acme.json") == "acme"
    assert scene.git("fsck", "--strict") == ""
    assert {path.name for path in scene.root.parent.iterdir()} == {".PRJ-1.lock", "PRJ-1"}


async def test_nothing_changed_means_no_commit(begun: Scene) -> None:
    path = "attio/company/first.json"
    assert await commit(begun.repository, [path], "Again", JOB) is None
    assert await commit(begun.repository, [], "Nothing", JOB) is None
    assert await commit(begun.repository, ["attio/company/never-there.json"], "Nothing", JOB) is None
    assert begun.subjects() == ["First"]


async def test_a_commit_is_found_again_and_never_doubled(begun: Scene) -> None:
    path = begun.write("attio/company/acme.json", "1")
    made = await commit(begun.repository, [path], "Import", JOB)
    begun.write(path, "2")
    assert await commit(begun.repository, [path], "Import", JOB) == made
    assert await find_by_trailer(begun.repository, JOB) == made
    assert await find_by_trailer(begun.repository, {"muster-job": "IMP-1"}) == made
    assert await find_by_trailer(begun.repository, {"Muster-Job": "IMP-10"}) is None
    begun.write(path, "1")
    begun.git("switch", "--quiet", "--create", "elsewhere", "HEAD~1")
    assert await find_by_trailer(begun.repository, JOB) == made


async def test_a_name_in_the_subject_cannot_forge_a_trailer(begun: Scene) -> None:
    await commit(
        begun.repository, [begun.write("a.json", "1")], "List x\n\nMuster-Job: IMP-9\u2028y", {"Muster-Job": "IMP-2"}
    )
    assert await find_by_trailer(begun.repository, {"Muster-Job": "IMP-9"}) is None
    assert begun.subjects()[0] == "List x Muster-Job: IMP-9 y"
    with pytest.raises(ValueError, match="trailers"):
        await commit(begun.repository, ["a.json"], "x", {"Muster-Job": "1\nSigned-off-by: x"})


async def test_what_the_user_stages_and_edits_is_neither_committed_nor_lost(begun: Scene) -> None:
    begun.write("notes.md", "committed")
    begun.git("add", "notes.md")
    begun.git("commit", "--quiet", "-m", "Notes")
    begun.git("add", begun.write("notes.md", "staged"))
    begun.git("add", begun.write("new.md", "staged and new"))
    begun.write("notes.md", "edited")
    begun.git("add", begun.write("attio/company/first.json", "staged by the user"))
    begun.write("attio/company/first.json", "2")
    paths = ["attio/company/first.json", begun.write("attio/company/acme.json", "1")]
    await commit(begun.repository, paths, "Import", JOB)
    assert begun.git("diff-tree", "-r", "--name-only", "--no-commit-id", "HEAD").splitlines() == sorted(paths)
    assert begun.git("show", "HEAD:attio/company/first.json") == "2"
    assert begun.git("show", ":attio/company/first.json") == "staged by the user"
    assert begun.git("show", ":notes.md") == "staged"
    assert begun.git("show", ":new.md") == "staged and new"
    assert (begun.root / "notes.md").read_text() == "edited"
    assert sorted(begun.status().splitlines()) == ["A  new.md", "MM attio/company/first.json", "MM notes.md"]


async def test_the_branch_that_is_checked_out_gets_the_commit(begun: Scene) -> None:
    begun.git("switch", "--quiet", "--create", "feature/one")
    made = await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB)
    assert begun.git("rev-parse", "feature/one") == made
    assert begun.git("log", "--format=%s", "main") == "First"
    assert begun.status() == ""


async def test_a_head_without_a_branch_is_trouble_and_changes_nothing(begun: Scene) -> None:
    begun.git("switch", "--quiet", "--detach")
    path = begun.write("a.json", "1")
    with pytest.raises(GitTrouble, match="git switch main"):
        await commit(begun.repository, [path], "Import", JOB)
    assert (begun.root / path).read_text() == "1"
    begun.git("switch", "--quiet", "main")
    assert await commit(begun.repository, [path], "Import", JOB) is not None
    assert begun.subjects() == ["Import", "First"]


async def test_a_merge_under_way_is_left_alone(begun: Scene) -> None:
    (begun.root / ".git" / "MERGE_HEAD").write_text(begun.git("rev-parse", "HEAD"))
    with pytest.raises(GitTrouble, match="A merge is under way"):
        await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB)
    assert begun.subjects() == ["First"]


async def test_a_lock_of_the_index_holds_nobody_up_and_is_not_taken_away(begun: Scene) -> None:
    lock = begun.root / ".git" / "index.lock"
    lock.write_text("an editor waits")
    path = begun.write("a.json", "1")
    assert await commit(begun.repository, [path], "Import", JOB) is not None
    assert lock.read_text() == "an editor waits"
    lock.unlink()
    assert begun.status() != ""  # the index could not be told
    assert await commit(begun.repository, [path], "Import", JOB) is not None
    assert begun.status() == ""


async def test_a_lock_of_the_index_that_one_of_us_left_when_killed_is_taken_away(begun: Scene) -> None:
    folder = begun.root / ".git"
    (folder / "muster-0badcafe.mark").touch()
    os.link(folder / "muster-0badcafe.mark", folder / "index.lock")
    assert await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB) is not None
    assert list(folder.glob("*.lock")) == list(folder.glob("muster-*")) == []
    assert begun.status() == ""


async def test_an_index_that_cannot_be_read_does_not_stop_a_commit(begun: Scene) -> None:
    (begun.root / ".git" / "index").write_bytes(b"garbage")
    made = await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB)
    (begun.root / ".git" / "index").unlink()
    begun.git("reset", "--quiet")
    assert begun.git("rev-parse", "HEAD") == made
    assert begun.files() == ["a.json", "attio/company/first.json"]


async def test_a_lock_of_the_branch_that_a_dead_process_left_is_taken_away(
    begun: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "STALE_AFTER", 0.2)
    lock = begun.root / ".git" / "refs" / "heads" / "main.lock"
    lock.touch()
    assert await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB) is not None
    assert not lock.exists()


async def test_hooks_signing_and_configuration_have_no_say(
    begun: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "ran"
    for name in ("pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"):
        hook = begun.root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho {name} >> {ran}\nexit 1\n")
        hook.chmod(0o755)
    for setting in ("commit.gpgSign=true", "gpg.program=false", "core.fsmonitor=false", "user.useConfigOnly=true"):
        begun.git("config", *setting.split("="))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(f"[core]\n\thooksPath = {begun.root}/.git/hooks\n[user]\n\tname = Somebody\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Mallory")
    await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB)
    await commit(Repository(tmp_path / "projects" / "PRJ-2"), [], "Nothing", JOB)
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_AUTHOR_NAME", "GIT_CONFIG_COUNT"):
        monkeypatch.delenv(name)
    assert not ran.exists()
    assert begun.git("log", "-1", "--format=%an %cn %G?") == "Muster Muster N"
    assert list(tmp_path.glob("index*")) == []


async def test_a_repository_that_was_deleted_in_between_is_made_anew(begun: Scene) -> None:
    shutil.rmtree(begun.root)
    made = await commit(begun.repository, [begun.write("a.json", "1")], "Import", JOB)
    assert begun.git("rev-list", "--max-parents=0", "HEAD") == made
    assert begun.status() == ""


@pytest.mark.parametrize("obstacle", ["file", "link", "half"])
async def test_what_is_no_repository_is_not_overwritten(scene: Scene, tmp_path: Path, obstacle: str) -> None:
    path = scene.write("a.json", "1")
    folder = scene.root / ".git"
    if obstacle == "file":
        folder.write_text("gitdir: /elsewhere")
    elif obstacle == "link":
        folder.symlink_to(tmp_path)
    else:
        (folder / "objects").mkdir(parents=True)
    with pytest.raises(GitTrouble, match=r"no git repository of its own"):
        await commit(scene.repository, [path], "Import", JOB)
    assert (scene.root / path).read_text() == "1"


async def test_a_full_disk_is_told_and_the_next_try_completes(begun: Scene) -> None:
    head, paths = begun.git("rev-parse", "HEAD"), [begun.write(f"{each}.json", str(each)) for each in range(150)]
    limited = (
        "import resource,sys,asyncio;resource.setrlimit(resource.RLIMIT_FSIZE,(2000,2000));"
        "from pathlib import Path;from muster.projects.repository import *;"
        f"asyncio.run(commit(Repository(Path({str(begun.root)!r})),{paths!r},'Import',{JOB!r}))"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", limited], capture_output=True, text=True, check=False
    )
    assert "GitTrouble" in done.stderr
    assert list((begun.root / ".git").rglob("tmp_*")) == []
    assert begun.git("rev-parse", "HEAD") == head
    said = {}
    for complaint in (
        "fatal: unable to write: No space left on device",
        "error: Permission denied",
        "fatal: odd\nmore",
    ):
        said[complaint] = repositories.git.trouble(begun.root, complaint).detail
    assert [text.partition(": ")[2] for text in said.values()] == [
        "the disk is full; make room and try again.",
        "Muster may not read or write it; give it back to the user that Muster runs as.",
        "odd.",
    ]
    assert await commit(begun.repository, paths, "Import", JOB) is not None
    assert begun.subjects() == ["Import", "First"]
    assert begun.git("fsck") == ""


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", ".git/hooks/x", "a/.GIT/config", "a//b", "a/./b", "", "a\nb", "a\0b"]
)
async def test_paths_stay_inside(begun: Scene, path: str) -> None:
    for act in (commit, remove):
        with pytest.raises(ValueError, match="no path inside"):
            await act(begun.repository, [path], "Import", JOB)


@pytest.mark.parametrize("path", ["--output=x", "-a", ":(top)x", "*", "a?b", "\\x", "\"quoted\" 'x'", "ünï", "😀"])
async def test_odd_paths_are_only_paths(begun: Scene, path: str) -> None:
    begun.write("other.json", "not asked for")
    await commit(begun.repository, [begun.write(path, "1")], path, JOB)
    assert begun.git("-c", "core.quotePath=false", "ls-tree", "-z", "-r", "--name-only", "HEAD").strip("\0").split(
        "\0"
    ) == sorted([path, "attio/company/first.json"], key=os.fsencode)
    assert not (begun.root / "x").exists()


async def test_links_are_refused(begun: Scene, tmp_path: Path) -> None:
    (begun.root / "attio" / "person").symlink_to(tmp_path)
    (tmp_path / "x.json").write_text("outside")
    (begun.root / "link.json").symlink_to(tmp_path / "x.json")
    (begun.root / "folder.json").mkdir()
    for path in ("attio/person/x.json", "link.json", "folder.json"):
        with pytest.raises(GitTrouble, match=r"symbolic link|no plain file"):
            await commit(begun.repository, [path], "Import", JOB)
    assert begun.subjects() == ["First"]


async def test_removing_deletes_and_commits(begun: Scene) -> None:
    path = "attio/company/first.json"
    assert await remove(begun.repository, [path, "never/there.json"], "Remove", JOB) is not None
    assert not (begun.root / path).exists()
    assert begun.files() == []
    assert begun.status() == ""
    assert begun.git("show", "HEAD~1:attio/company/first.json") == "1"


async def test_a_deleted_project_leaves_no_folder(begun: Scene) -> None:
    await delete(begun.repository)
    await delete(begun.repository)
    assert list(begun.root.parent.iterdir()) == []
    await delete(Repository(begun.root / "never" / "PRJ-9"))


async def test_what_lies_about_is_packed_now_and_then(begun: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories, "LOOSE", 200)
    monkeypatch.setattr(repositories, "PACKS", 2)
    most_packs = 0
    for number in range(8):
        paths = [begun.write(f"{number}/{each}.json", f"{number} {each}") for each in range(90)]
        await commit(begun.repository, paths, f"Import {number}", {"Muster-Job": f"IMP-{number + 1}"})
        counts = dict(line.split(": ") for line in begun.git("count-objects", "-v").splitlines())
        assert int(counts["count"]) < 600
        most_packs = max(most_packs, int(counts["packs"]))
    assert 1 <= most_packs <= 3
    assert begun.status() == ""
    assert len(begun.subjects()) == 9
    assert begun.git("fsck") == ""


async def test_many_at_once_take_turns(begun: Scene) -> None:
    async def one(number: int) -> str | None:
        path = begun.write(f"attio/company/c{number}.json", "1")
        return await commit(begun.repository, [path], f"Import {number}", {"Muster-Job": f"IMP-{number}"})

    made = await asyncio.gather(*(one(number) for number in range(1, 13)), one(3))
    assert len(set(made)) == 12
    assert made[12] == made[2]
    assert len(begun.subjects()) == 13
    assert begun.status() == ""


async def test_a_user_who_commits_at_the_same_time_loses_nothing(begun: Scene) -> None:
    stop = asyncio.Event()

    def user(number: int) -> None:
        begun.git("add", begun.write(f"notes/{number}.md", "x"), check=False)
        begun.git("commit", "--quiet", "-m", f"Note {number}", check=False)

    async def keep_committing() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            await asyncio.to_thread(user, number)
        return number

    async with asyncio.TaskGroup() as group:
        notes = group.create_task(keep_committing())
        for number in range(15):
            path = begun.write(f"attio/company/c{number}.json", "1")
            await commit(begun.repository, [path], f"Import {number}", {"Muster-Job": f"IMP-{number + 1}"})
        stop.set()
    begun.git("add", "notes")
    begun.git("commit", "--quiet", "--allow-empty", "-m", "The rest")
    assert [subject for subject in begun.subjects() if subject.startswith("Import")] == [
        f"Import {number}" for number in reversed(range(15))
    ]
    await commit(begun.repository, [], "Nothing", {"Muster-Job": "IMP-99"})
    assert begun.status() == ""
    assert sorted(begun.files()) == sorted(
        ["attio/company/first.json"]
        + [f"attio/company/c{number}.json" for number in range(15)]
        + [f"notes/{number}.md" for number in range(1, notes.result() + 1)]
    )


@pytest.fixture
def committer() -> Iterator["subprocess.Popen[str]"]:
    """The process of `committing_process.py`."""
    command = [sys.executable, "-m", committing_process.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


async def test_kills_at_any_moment_leave_head_whole_and_one_commit_each(
    begun: Scene, committer: "subprocess.Popen[str]"
) -> None:
    """Of the process alone, whose git goes on without it, and of all of it; each then tried again."""
    assert committer.stdin is not None
    assert committer.stdout is not None
    moments, before, early, late = random.Random(7), begun.git("rev-parse", "main"), 0, 0
    lasts = 0.1  # seconds

    async def moved(since: str) -> bool:
        return begun.git("rev-parse", "main") != since

    for number in range(1, KILLS + 1):
        paths = [begun.write(f"attio/company/c{each}.json", f"{number} {each}") for each in range(110)]
        committer.stdin.write(f"{begun.root} {number} {len(paths)}\n")
        committer.stdin.flush()
        child = int(committer.stdout.readline())
        if number % 5 == 0:
            await until(lambda before=before: moved(before))  # just after the commit
        elif number % 5 > 1:  # else at the very beginning
            time.sleep(moments.uniform(0, 1.2 * lasts))  # noqa: ASYNC251  the moment of the kill is what is drawn
        with suppress(ProcessLookupError):
            if moments.random() < 0.5:
                os.kill(child, signal.SIGKILL)
            else:
                os.killpg(child, signal.SIGKILL)
        left = begun.git("rev-parse", "main")
        assert left == before or begun.git("rev-parse", f"{left}~1") == before
        started = time.monotonic()
        made = await commit(begun.repository, paths, f"Import {number}", {"Muster-Job": f"IMP-{number}"})
        if left == before:  # a whole commit: about as long as the next one lives, if it lives
            lasts = time.monotonic() - started
        early, late = early + (left == before), late + (left != before)
        before = begun.git("rev-parse", "main")
        assert made == before
    assert min(early, late) >= 3, f"{early} kills came before the commit, {late} after it"
    assert begun.subjects() == [f"Import {number}" for number in reversed(range(1, KILLS + 1))] + ["First"]
    assert begun.status() == ""
    assert "missing" not in begun.git("fsck", "--no-dangling")
    assert list((begun.root / ".git").glob("*lock")) == []
    assert list((begun.root / ".git").glob("muster-*")) == []


def test_a_project_has_its_place_in_the_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert repository_of(settings, "PRJ-1").root == tmp_path / "projects" / "PRJ-1"
    for odd in ("../x", "", ".", "PRJ-1/..", "PRJ 1"):
        with pytest.raises(ValueError, match="no id of a project"):
            repository_of(settings, odd)
