"""Attio records as files of the project's repository: `attio/{company|person|list_entry}/{name-slug}.json`.

A record keeps its file over every re-import, also when its name changes: by the path that its metadata names, else by
the record id in the file. A file is replaced at once or not at all, and not touched when it says the same already, so
that `importedAt` is when the record last changed. No file is synced to disk by itself: git syncs the commit, and what a
power cut empties the next import writes again.

What a user changed in a file and did not commit is put aside, beside it, before the file is replaced.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from muster.attio.folders import Folders, Occupied, read_file, replace_file
from muster.attio.models import moment
from muster.attio.slugs import file_names
from muster.attio.values import clean_text
from muster.projects.repository import Repository, committed

TOP = "attio"
ObjectType = Literal["company", "person", "list_entry"]
Outcome = Literal["created", "changed", "unchanged", "failed"]

_PATH = re.compile(r"attio/(company|person|list_entry)/[a-z0-9-]{1,200}\.json")


@dataclass(frozen=True, slots=True)
class FileDraft:
    """What a file shall say. `path` and `attributes_before` are what the record's metadata says, if it has any."""

    record_id: str
    object_type: ObjectType
    name: str
    web_url: str | None
    attributes: Mapping[str, Any]
    path: str | None = None
    attributes_before: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a draft. `path` is relative to the repository; `kept` is where a user's own edit was put."""

    path: str
    outcome: Outcome
    imported_at: datetime
    kept: str | None = None
    error: str | None = None


@dataclass(slots=True)
class _Plan:
    """A draft, the file it goes to, and what is there now."""

    draft: FileDraft
    name: str
    found: bytes | None
    content: bytes
    imported_at: datetime
    suspect: bool = False

    @property
    def path(self) -> str:
        return f"{TOP}/{self.draft.object_type}/{self.name}"


async def write(repository: Repository, drafts: Sequence[FileDraft], imported_at: datetime) -> list[Written]:
    """Write the files of these records, in their order, and say what became of each. Commits nothing.

    Where names collide the first record takes the plain one: the same order gives the same names. A few hundred at
    once are best. Raises GitTrouble when nothing can be written there: the disk is full, a folder is a symbolic link.
    """
    return await asyncio.to_thread(_write, repository, drafts, imported_at)


async def kept_copies(repository: Repository, paths: Sequence[str]) -> list[str]:
    """The paths of the copies that were put aside of these files."""

    def look() -> list[str]:
        found = []
        for path in paths:
            if _PATH.fullmatch(path):
                folder, _, name = path.rpartition("/")
                # A name of ours holds nothing that `glob` would read as more than itself.
                found += [f"{folder}/{each.name}" for each in (repository.root / folder).glob(f"{name}.kept-*")]
        return sorted(found)

    return await asyncio.to_thread(look)


def file_of(draft: FileDraft, imported_at: str) -> bytes:
    """The bytes of a record's file: the same record gives the same ones, whatever the order in which Attio sends it."""
    head = {
        "source": "attio",
        "importedAt": imported_at,
        "attioRecordId": clean_text(draft.record_id),
        "attioWebUrl": None if draft.web_url is None else clean_text(draft.web_url),
        "objectType": draft.object_type,
        "name": clean_text(draft.name),
        "attributes": msgspec.Raw(msgspec.json.encode(draft.attributes, order="sorted")),
    }
    return msgspec.json.format(msgspec.json.encode(head), indent=2) + b"\n"


def _write(repository: Repository, drafts: Sequence[FileDraft], imported_at: datetime) -> list[Written]:
    latest = {(draft.object_type, draft.record_id): draft for draft in drafts}  # a record that stands twice is one file
    planned: dict[tuple[ObjectType, str], Written | _Plan] = {}
    claimed: set[str] = set()
    with repository.locked(), Folders(repository.root, TOP) as folders:
        for key, draft in latest.items():
            try:
                plan = _plan(folders, draft, imported_at, claimed)
            except Occupied as error:
                planned[key] = Written(draft.path or "", "failed", imported_at, error=str(error))
            else:
                claimed.add(plan.path)
                planned[key] = plan
        suspects = [plan.path for plan in planned.values() if isinstance(plan, _Plan) and plan.suspect]
        heads = committed(repository.root, suspects) if suspects else {}
        done = {
            key: _carry_out(folders, plan, heads) if isinstance(plan, _Plan) else plan for key, plan in planned.items()
        }
    return [done[draft.object_type, draft.record_id] for draft in drafts]


def _plan(folders: Folders, draft: FileDraft, imported_at: datetime, claimed: set[str]) -> _Plan:
    """Where a draft goes, and what has to be written there."""
    name, found, says = _place(folders[draft.object_type], draft, claimed)
    stands_since = says.get("importedAt") if says else None
    if found is not None and isinstance(stands_since, str) and file_of(draft, stands_since) == found:
        since = moment(stands_since) or imported_at
        return _Plan(draft, name, found, found, since)
    at = imported_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    suspect = found is not None and not _is_ours(draft, found, says)
    return _Plan(draft, name, found, file_of(draft, at), imported_at, suspect)


def _place(folder: int, draft: FileDraft, claimed: set[str]) -> tuple[str, bytes | None, dict[str, Any] | None]:
    """The name of a record's file, its content if it is there, and what that says."""
    prefix, record_id = f"{TOP}/{draft.object_type}/", clean_text(draft.record_id)
    free: str | None = None
    if draft.path is not None and _PATH.fullmatch(draft.path) and draft.path.startswith(prefix):
        name = draft.path.removeprefix(prefix)
        found = read_file(folder, name)
        says = _parse(found)
        # Nobody else's file: gone, or not to be read any more; the metadata knows whose it is.
        if draft.path not in claimed and (says is None or says.get("attioRecordId") == record_id):
            return name, found, says
    for stem in file_names(draft.name, draft.record_id):
        name = f"{stem}.json"
        if prefix + name in claimed:
            continue
        found = read_file(folder, name)
        says = _parse(found)
        if says is not None and says.get("attioRecordId") == record_id:
            return name, found, says
        if found is None and free is None:
            free = name
    if free is None:
        raise Occupied(f"Every name for the file of {draft.record_id} is taken by another file.")
    return free, None, None


def _is_ours(draft: FileDraft, found: bytes, says: Mapping[str, Any] | None) -> bool:
    """Whether a file is what the last import wrote, as far as the metadata knows: no user changed it."""
    if says is None or draft.attributes_before is None:
        return False
    name, web_url = says.get("name"), says.get("attioWebUrl")
    if not isinstance(name, str) or not isinstance(web_url, str | None):
        return False
    before = replace(draft, name=name, web_url=web_url, attributes=draft.attributes_before)
    return file_of(before, str(says.get("importedAt"))) == found


def _carry_out(folders: Folders, plan: _Plan, heads: Mapping[str, str]) -> Written:
    folder, kept = folders[plan.draft.object_type], None
    if plan.found == plan.content:
        return Written(plan.path, "unchanged", plan.imported_at)
    if plan.suspect and plan.found is not None and heads.get(plan.path) != _blob_id(plan.found):
        kept = f"{plan.name}.kept-{hashlib.sha256(plan.found).hexdigest()[:8]}"
        replace_file(folder, kept, plan.found)
    replace_file(folder, plan.name, plan.content)
    return Written(
        plan.path,
        "created" if plan.found is None else "changed",
        plan.imported_at,
        kept=f"{TOP}/{plan.draft.object_type}/{kept}" if kept else None,
    )


def _parse(content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    return said if isinstance(said, dict) else None


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
