"""What the pages of Attio show: what a workspace holds, what is imported of it, how an import went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muster.attio import browsing, imports
from muster.attio.browsing import Listed
from muster.attio.connection import key_of
from muster.attio.documents import AttioConnection, AttioImport
from muster.attio.errors import AttioApiError
from muster.attio.models import AttioList, Record
from muster.errors import Conflict, NotFound
from muster.jobs.documents import Job
from muster.jobs.schemas import JobOut, job_out
from muster.projects.documents import Project
from muster.settings import Settings

COMPANIES, PEOPLE, LISTS, IMPORTED = "companies", "people", "lists", "imported"
TABS = (COMPANIES, PEOPLE, LISTS, IMPORTED)
ROWS_PER_PAGE = 50
LISTS_SHOWN = 200
CATEGORIES_SHOWN = 3

Values = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a project is connected, without asking Attio. `origin`: its own key, or the installation's; None without."""

    origin: str | None
    workspace: str | None


@dataclass(frozen=True, slots=True)
class BrowsedRow:
    """A company, a person or an entry of a list: its name, its key attributes, whether it is imported."""

    id: str
    name: str
    address: str | None
    about: str
    place: str
    web_url: str | None
    is_imported: bool


@dataclass(frozen=True, slots=True)
class Browsed:
    """A page of what a workspace holds; or what Attio said against showing it."""

    rows: Sequence[BrowsedRow] = ()
    next_cursor: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of a workspace; or what Attio said against showing them. `is_all`: there are no others."""

    lists: Sequence[AttioList] = ()
    is_all: bool = True
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class ImportedList:
    """A page of what is imported."""

    rows: Sequence[AttioImport]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Import:
    """An import: how far it is, and what came of it. `cohort_name` is of the cohort that it made or added to."""

    job: JobOut
    arguments: Mapping[str, Any]
    brought: int


async def standing(project: Project, settings: Settings) -> Standing:
    """Whether a project has a key, and for which workspace."""
    _key, origin = key_of(project.id, settings)
    pinned = await AttioConnection.get(project.id)
    return Standing(origin, (pinned.workspace_name or pinned.workspace_slug) if pinned else None)


async def browse(
    project: Project, settings: Settings, tab: str, *, list_slug: str, q: str, cursor: str | None
) -> Browsed:
    """A page of companies, people, or the entries of a list. What Attio says against it is shown, not raised."""
    try:
        if tab == LISTS:
            found, following = await browsing.list_entries(
                project.id, list_slug, settings, q=q, limit=ROWS_PER_PAGE, cursor=cursor
            )
        else:
            found, following = await browsing.list_records(
                project.id,
                "companies" if tab == COMPANIES else "people",
                settings,
                q=q,
                limit=ROWS_PER_PAGE,
                cursor=cursor,
            )
    except (AttioApiError, Conflict, NotFound) as error:
        return Browsed(problem=error.detail)
    return Browsed([_row(listed) for listed in found], following)


async def lists(project: Project, settings: Settings, *, q: str) -> Lists:
    """The lists of a workspace. What Attio says against it is shown, not raised."""
    try:
        found, following = await browsing.list_lists(project.id, settings, q=q, limit=LISTS_SHOWN, cursor=None)
    except (AttioApiError, Conflict) as error:
        return Lists(problem=error.detail)
    return Lists(found, following is None)


async def imported(project: Project, *, q: str, cursor: str | None) -> ImportedList:
    """A page of what is imported into a project."""
    rows, following = await imports.list_imports(project.id, q=q or None, limit=ROWS_PER_PAGE, cursor=cursor)
    return ImportedList(rows, following)


def import_of(job: Job) -> Import:
    """An import as its page shows it."""
    result = job.result or {}
    brought = sum(result.get(name) or 0 for name in ("imported", "updated", "unchanged"))
    return Import(job_out(job), job.arguments, brought)


def _row(listed: Listed) -> BrowsedRow:
    record = listed.parent if listed.attio_object_type == "list_entry" else listed.row
    values: Values = record.values if isinstance(record, Record) else {}
    about = _text(values, "job_title") or ", ".join(_titles(values, "categories")[:CATEGORIES_SHOWN])
    return BrowsedRow(
        id=listed.attio_record_id,
        name=listed.name,
        address=listed.email or listed.domain,
        about=about,
        place=_place(values),
        web_url=record.web_url if isinstance(record, Record) else None,
        is_imported=listed.imported,
    )


def _text(values: Values, slug: str) -> str:
    for value in values.get(slug) or ():
        if isinstance(value.get("value"), str):
            return str(value["value"])
    return ""


def _titles(values: Values, slug: str) -> list[str]:
    options = [value.get("option") for value in values.get(slug) or ()]
    return [str(option["title"]) for option in options if isinstance(option, Mapping) and option.get("title")]


def _place(values: Values) -> str:
    for value in values.get("primary_location") or ():
        found = [value.get("locality"), value.get("country_code")]
        return ", ".join(str(part) for part in found if isinstance(part, str) and part)
    return ""
