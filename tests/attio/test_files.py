"""Records as files: the right bytes under a name that stays, replaced at once, nothing of a user's lost."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.attio import folders
from muster.attio.files import FileDraft, Written, write
from muster.projects.repository import GitTrouble, Repository, commit
from tests.projects.repositories import Scene

NOW = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)
LATER = NOW + timedelta(days=1)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(Repository(tmp_path / "projects" / "PRJ-1"))


def draft(record_id: str, name: str = "Acme", **more: Any) -> FileDraft:
    values: dict[str, Any] = {"object_type": "company", "web_url": "https://app.attio.com/x", "attributes": {"tier": 1}}
    return FileDraft(record_id, name=name, **values | more)


async def one(scene: Scene, drafted: FileDraft, at: datetime = NOW) -> Written:
    [written] = await write(scene.repository, [drafted], at)
    return written


def said(scene: Scene, path: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((scene.root / path).read_text(encoding="utf-8"))
    return read


async def test_the_file_says_what_the_contract_says(scene: Scene) -> None:
    attributes = {"b": [1.5, None], "a": {"z": "ü🏛", "y": True}}
    written = await one(scene, draft("8f1c-22", "Zoë & Söhne", attributes=attributes, object_type="person"))
    assert written == Written("attio/person/zoe-sohne.json", "created", NOW)
    content = (scene.root / written.path).read_text(encoding="utf-8")
    assert list(json.loads(content).items()) == [
        ("source", "attio"),
        ("importedAt", "2026-01-31T12:00:00.123Z"),
        ("attioRecordId", "8f1c-22"),
        ("attioWebUrl", "https://app.attio.com/x"),
        ("objectType", "person"),
        ("name", "Zoë & Söhne"),
        ("attributes", attributes),
    ]
    assert content.startswith('{\n  "source": "attio",\n')
    assert content.endswith("}\n")
    assert content.index('"a"') < content.index('"b"')
    assert (scene.root / written.path).stat().st_mode & 0o777 == 0o644


async def test_an_unchanged_record_changes_no_byte(scene: Scene) -> None:
    first = await one(scene, draft("r1", attributes={"a": 1, "b": {"c": 2, "d": 3}}))
    before = (scene.root / first.path).stat()
    again = await one(scene, draft("r1", attributes={"b": {"d": 3, "c": 2}, "a": 1}), LATER)
    assert (again.outcome, again.path) == ("unchanged", first.path)
    assert again.imported_at == NOW.replace(microsecond=123_000)
    after = (scene.root / first.path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("changed", [{"attributes": {"tier": 2}}, {"name": "New"}, {"web_url": None}])
async def test_a_changed_record_keeps_its_file(scene: Scene, changed: dict[str, Any]) -> None:
    first = await one(scene, draft("r1"))
    again = await one(scene, draft("r1", **{"path": first.path, "attributes_before": {"tier": 1}} | changed), LATER)
    assert (again.outcome, again.path, again.imported_at, again.kept) == ("changed", first.path, LATER, None)
    assert said(scene, again.path)["importedAt"] == "2026-02-01T12:00:00.123Z"


async def test_a_record_whose_metadata_was_lost_finds_its_file_by_its_id(scene: Scene) -> None:
    await write(scene.repository, [draft("r1-aaaaaaaa"), draft("r2-bbbbbbbb")], NOW)
    (scene.root / "attio/company/acme.json").unlink()
    assert (await one(scene, draft("r2-bbbbbbbb"))).path == "attio/company/acme-r2bbbbbb.json"
    assert (await one(scene, draft("r1-aaaaaaaa"))).path == "attio/company/acme.json"


async def test_names_that_collide_are_told_apart_in_the_order_of_the_records(scene: Scene) -> None:
    ids = ["11111111-aaaa", "22222222-bbbb", "22222222-cccc"]
    drafts = [draft(each) for each in ids]
    written = await write(scene.repository, drafts, NOW)
    assert [Path(each.path).stem for each in written] == ["acme", "acme-22222222", "acme-22222222cccc"]
    assert [said(scene, each.path)["attioRecordId"] for each in written] == ids
    for order in (drafts, drafts[::-1]):
        again = await write(scene.repository, order, LATER)
        assert {(each.path, each.outcome) for each in again} == {(each.path, "unchanged") for each in written}


async def test_the_same_record_twice_at_once_is_one_file(scene: Scene) -> None:
    written = await write(scene.repository, [draft("r1"), draft("r1", attributes={"tier": 2})], NOW)
    assert [each.path for each in written] == ["attio/company/acme.json"] * 2
    assert said(scene, written[0].path)["attributes"] == {"tier": 2}


async def test_kinds_do_not_collide(scene: Scene) -> None:
    kinds = ("company", "person", "list_entry")
    written = await write(scene.repository, [draft("r1", object_type=kind) for kind in kinds], NOW)
    assert [each.path for each in written] == [f"attio/{kind}/acme.json" for kind in kinds]


async def test_a_file_of_a_users_own_is_not_touched(scene: Scene) -> None:
    for content in ("notes", "[]", '{"attioRecordId": "somebody else"}', ""):
        scene.write("attio/company/acme.json", content)
        written = await one(scene, draft("r1-12345678"))
        assert written.path == "attio/company/acme-r1123456.json"
        assert (scene.root / "attio/company/acme.json").read_text() == content


async def test_what_a_user_edited_is_put_aside_before_it_is_replaced(scene: Scene) -> None:
    first = await one(scene, draft("r1"))
    await commit(scene.repository, [first.path], "Import", {})
    edited = (scene.root / first.path).read_text().replace('"tier": 1', '"tier": 1, "note": "ours"')
    scene.write(first.path, edited)
    again = await one(scene, draft("r1", path=first.path, attributes_before={"tier": 1}), LATER)
    assert again.outcome == "changed"
    assert again.kept is not None
    assert again.kept.startswith("attio/company/acme.json.kept-")
    assert (scene.root / again.kept).read_text() == edited
    assert said(scene, first.path)["attributes"] == {"tier": 1}
    await commit(scene.repository, [again.path], "Import", {})
    assert scene.status() == f"?? {again.kept}"
    scene.write(first.path, "no JSON any more")
    third = await one(scene, draft("r1", path=first.path, attributes_before={"tier": 1}), LATER)
    assert third.kept is not None
    assert (scene.root / third.kept).read_text() == "no JSON any more"


async def test_what_is_committed_or_was_written_by_the_last_import_needs_no_copy(scene: Scene) -> None:
    first = await one(scene, draft("r1"))
    scene.write(first.path, (scene.root / first.path).read_text().replace("Acme", "Acme by hand"))
    await commit(scene.repository, [first.path], "A user's", {})
    assert (await one(scene, draft("r1", path=first.path, attributes_before={"tier": 1}))).kept is None
    uncommitted = await one(scene, draft("r1", path=first.path, attributes_before={"tier": 1}, attributes={"tier": 2}))
    assert uncommitted.kept is None
    last = await one(scene, draft("r1", path=first.path, attributes_before={"tier": 2}, attributes={"tier": 3}))
    assert last.kept is None


@pytest.mark.parametrize("place", ["attio", "attio/company"])
async def test_a_folder_that_is_a_link_is_refused(scene: Scene, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = scene.root / place
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(GitTrouble, match="symbolic link"):
        await one(scene, draft("r1"))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("obstacle", ["link", "folder", "pipe"])
async def test_what_is_no_plain_file_fails_that_record_only(scene: Scene, tmp_path: Path, obstacle: str) -> None:
    target = tmp_path / "outside.json"
    target.write_text("outside")
    place = scene.root / "attio" / "company" / "acme.json"
    place.parent.mkdir(parents=True)
    if obstacle == "link":
        place.symlink_to(target)
    elif obstacle == "folder":
        place.mkdir()
    else:
        os.mkfifo(place)
    first, second = await write(scene.repository, [draft("r1"), draft("r2", "Other")], NOW)
    assert (first.outcome, second.outcome) == ("failed", "created")
    assert first.error is not None
    assert "move it away" in first.error
    assert target.read_text() == "outside"


@pytest.mark.parametrize(
    "path", ["../x.json", "attio/person/acme.json", "attio/company/../x.json", "/etc/x", "attio/company/A.json"]
)
async def test_a_path_in_the_metadata_that_is_no_path_of_ours_is_not_followed(scene: Scene, path: str) -> None:
    assert (await one(scene, draft("r1", path=path))).path == "attio/company/acme.json"


async def test_a_path_that_another_record_took_is_given_up(scene: Scene) -> None:
    await one(scene, draft("r1"))
    written = await one(scene, draft("r2-34567890", "Other", path="attio/company/acme.json"))
    assert written.path == "attio/company/other.json"


async def test_a_full_disk_leaves_the_old_file_and_no_half_of_the_new(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await one(scene, draft("r1"))
    before = (scene.root / first.path).read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.os, "replace", full)
    with pytest.raises(GitTrouble, match="disk is full"):
        await one(scene, draft("r1", attributes={"tier": 2}))
    monkeypatch.undo()
    assert [path.name for path in (scene.root / "attio" / "company").iterdir()] == ["acme.json"]
    assert (scene.root / first.path).read_bytes() == before


NAMES = st.one_of(
    st.sampled_from(["Acme", "acme", "ACME!", "", "..", ".git", "CON", "con", "🏛", "unnamed", "x" * 300, "acme-r1"]),
    st.text(st.characters(codec=None), max_size=8),
)
IDS = st.sampled_from([f"{prefix}-{number}" for prefix in ("12345678", "1234567890123456", "é") for number in range(4)])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(st.tuples(IDS, NAMES), max_size=6, unique_by=lambda each: each[0]), min_size=2, max_size=4
    )
)
async def test_every_record_has_one_file_whatever_the_names(
    tmp_path_factory: pytest.TempPathFactory, batches: Sequence[Sequence[tuple[str, str]]]
) -> None:
    """Over several imports with changing names: distinct files, each saying its own record; all inside the folder."""
    repository = Repository(tmp_path_factory.mktemp("files") / "PRJ-1")
    paths: dict[str, str] = {}
    for batch in batches:
        known = {"attributes_before": {"tier": 1}}
        drafts = [draft(each, name, **known | {"path": paths[each]} if each in paths else {}) for each, name in batch]
        for drafted, written in zip(drafts, await write(repository, drafts, NOW), strict=True):
            assert written.outcome != "failed"
            assert paths.setdefault(drafted.record_id, written.path) == written.path
            assert json.loads((repository.root / written.path).read_text())["attioRecordId"] == drafted.record_id
    found = [str(path.relative_to(repository.root)) for path in repository.root.rglob("*") if path.is_file()]
    assert sorted(found) == sorted(paths.values())
    assert len({path.lower() for path in found}) == len(found)
