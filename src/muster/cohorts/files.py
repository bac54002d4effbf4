"""Cohorts kept as files: `rules/cohorts/*.yaml`, applied to a project so that it holds just what they say."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError
from pymongo.errors import DuplicateKeyError

from muster.cohorts import service
from muster.cohorts.documents import Cohort, Kind, StoredRule
from muster.cohorts.schemas import CohortIn, CohortPatch, Name
from muster.cohorts.sources import source_of
from muster.errors import Invalid, Problem
from muster.projects.documents import Project
from muster.projects.service import project_of


class CohortFile(CohortIn):
    """One cohort as a file. `key` names it for good; everything else may be edited."""

    model_config = ConfigDict(extra="forbid", strict=True)
    read_only = frozenset()

    key: Name


@dataclass(slots=True)
class Applied:
    """What applying a folder came to, by key. `released` cohorts have no file any more and are edited by hand now."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)


async def apply(directory: Path, owner: str, project_id: str | None = None) -> Applied:
    """Make a project's file-managed cohorts what the files say; safe to repeat, and beside another that does it.

    Every file is read and checked before anything is written. Raises Invalid, naming the file and the place.
    """
    project = await project_of(owner, project_id)
    files = read_folder(directory)
    rules = {file.key: await _checked(path, project, file) for path, file in files.items()}
    applied = Applied()
    for file in files.values():
        existing = await _of_key(project, file.key)
        if existing is None:
            try:
                source, _ = await source_of(project, file)
                await service.create_managed(project, file, rules[file.key], source=source, key=file.key)
            except DuplicateKeyError:  # another apply made it at this moment
                existing = await _of_key(project, file.key)
            else:
                applied.created.append(file.key)
        if existing is not None:
            before = existing.rev
            change = CohortPatch(name=file.name, description=file.description, kind=file.kind, rule=file.rule)
            after = await service.patch_managed(existing, change)
            (applied.unchanged if after.rev == before else applied.updated).append(file.key)
    orphans = {"project_id": project.id, "managed_by": "file", "key": {"$nin": [file.key for file in files.values()]}}
    async for orphan in Cohort.find(orphans):
        applied.released.append(orphan.key or orphan.id)
        await orphan.set({"managed_by": None, "key": None})
    return applied


async def _of_key(project: Project, key: str) -> Cohort | None:
    found: Cohort | None = await Cohort.find_one({"project_id": project.id, "key": key})
    return found


def read_folder(directory: Path) -> dict[Path, CohortFile]:
    """Every cohort file of a folder, in order of names. Raises Invalid for one that cannot be read."""
    if not directory.is_dir():
        raise Invalid(f"{directory} is no folder.")
    files: dict[Path, CohortFile] = {}
    for path in sorted(directory.glob("*.yaml")):
        files[path] = _read(path)
    by_key: dict[str, Path] = {}
    for path, file in files.items():
        if file.key in by_key:
            raise Invalid(f"{path.name} and {by_key[file.key].name} have the same key {file.key!r}.")
        by_key[file.key] = path
    return files


def _read(path: Path) -> CohortFile:
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = CohortFile.model_validate(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path.name} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the file"
        raise Invalid(f"{path.name}: {place}: {first['msg']}.") from error
    if Kind(file.kind) is Kind.STATIC and file.rule is None:
        raise Invalid(f"{path.name}: a static cohort in a file needs a rule to take its members from.")
    return file


async def _checked(path: Path, project: Project, file: CohortFile) -> StoredRule | None:
    try:
        return await service.rule_for(project, file.rule)
    except Invalid as error:
        problems = [Problem(f"{path.name}: {problem.detail}", span=problem.span) for problem in error.problems]
        raise Invalid(f"{path.name}: {error.detail}", problems) from error
