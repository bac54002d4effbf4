"""Cohorts as files: a folder applied to a project, again and again."""

import asyncio
from pathlib import Path

import pytest

from muster.cohorts import files
from muster.cohorts.documents import Cohort
from muster.errors import Invalid
from tests.cohorts.conftest import Workspace


def write(folder: Path, key: str, rule: str, **more: str) -> Path:
    path = folder / f"{key}.yaml"
    lines = {"key": key, "name": key.title(), "kind": "dynamic", **more}
    path.write_text("".join(f"{name}: {value}\n" for name, value in lines.items()) + f"rule: >-\n  {rule}\n")
    return path


async def test_a_folder_is_applied_once_and_then_only_what_changed(workspace: Workspace, tmp_path: Path) -> None:
    await workspace.put(ann={"lead": {"score": 80.0}}, bob={"lead": {"score": 20.0}})
    write(tmp_path, "hot", "lead.score > 50")
    cold = write(tmp_path, "cold", "lead.score < 50")
    assert sorted((await files.apply(tmp_path, "ada")).created) == ["cold", "hot"]
    assert sorted((await files.apply(tmp_path, "ada")).unchanged) == ["cold", "hot"]

    write(tmp_path, "hot", "lead.score > 10")
    cold.unlink()
    applied = await files.apply(tmp_path, "ada")
    assert (applied.updated, applied.released, applied.created) == (["hot"], ["cold"], [])
    hot = await Cohort.find_one({"key": "hot"})
    assert hot is not None
    assert await workspace.members(hot) == {"ann", "bob"}
    released = await Cohort.find_one({"name": "Cold"})
    assert released is not None
    assert (released.managed_by, released.key) == (None, None)


async def test_two_applies_at_once_make_each_cohort_once(workspace: Workspace, tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, f"c{number}", f"lead.score > {number}")
    await asyncio.gather(*(files.apply(tmp_path, workspace.project.owner) for _ in range(3)))
    assert sorted(cohort.key or "" for cohort in await Cohort.find_all().to_list()) == ["c0", "c1", "c2"]


async def test_a_wrong_rule_names_its_file_and_writes_nothing(workspace: Workspace, tmp_path: Path) -> None:
    write(tmp_path, "fine", "lead.score > 50")
    write(tmp_path, "wrong", "lead.scroe > 50")
    with pytest.raises(Invalid, match=r"wrong\.yaml") as caught:
        await files.apply(tmp_path, workspace.project.owner)
    assert caught.value.problems[0].span is not None
    assert await Cohort.count() == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("key: a\nname: A\nkind: dynamic\nrule: [", "is not YAML"),
        ("name: A\nkind: dynamic\nrule: x", "key"),
        ("key: a\nname: A\nkind: dynamic\nrule: lead.score > 1\ncolour: red", "colour"),
        ("key: a\nname: A\nkind: static", "needs a rule"),
        ("- just\n- a list", "the file"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(Invalid, match=says) as caught:
        files.read_folder(tmp_path)
    assert "a.yaml" in caught.value.detail


def test_a_key_stands_in_one_file_only(tmp_path: Path) -> None:
    write(tmp_path, "a", "lead.score > 1")
    (tmp_path / "b.yaml").write_text((tmp_path / "a.yaml").read_text())
    with pytest.raises(Invalid, match="same key"):
        files.read_folder(tmp_path)
