"""Real records through a whole import from Attio: does everything count exactly what is in the files?

`muster sandbox --data` serves `companies.ndjson`, `people.ndjson`, `lists.ndjson`, `<list>-entries.ndjson` of a folder.
Companies, people and every list are imported into a new project on servers of this run's own, each saved as a cohort,
and then once more. Files, metadata, parts, members and cohorts over rules are compared with counts of the lines.

usage: python -m benchmarks.real_attio DIRECTORY
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from benchmarks.bench import OWNER, machine, workspace
from benchmarks.real_records import company, person_part, pii_id, records
from muster.attio import connection, imports
from muster.attio.documents import AttioImport
from muster.attio.import_schemas import ImportIn
from muster.attio.importing import run_job
from muster.cohorts import service as cohorts
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import CohortIn
from muster.jobs.documents import Job
from muster.projects.documents import Project
from muster.records.documents import Profile
from muster.sandbox.attio import KEY
from muster.settings import Settings

Parts = dict[str, dict[str, Any]]

RULES: dict[str, Callable[[dict[str, Any]], bool]] = {
    'company.country == "US" and "Health Care" in company.categories': lambda part: (
        part.get("country") == "US" and "Health Care" in part.get("categories", ())
    ),
    'company.founded_on < d"1900-01-01"': lambda part: part.get("founded_on", "9") < "1900",
    'company.country != "US"': lambda part: part.get("country") != "US",
    'person.job_title == "Senator"': lambda part: part.get("job_title") == "Senator",
    'person.region in ["CA", "TX"] and person.phone != null': lambda part: (
        part.get("region") in {"CA", "TX"} and "phone" in part
    ),
    '[e for e in person.emails if e.ends_with("@congress.example")].length > 0': lambda part: any(
        email.endswith("@congress.example") for email in part.get("emails", ())
    ),
}


class Counts:
    """What was compared, as a table; and how much of it differs."""

    def __init__(self) -> None:
        self.wrong = 0

    def row(self, what: str, found: object, expected: object) -> None:
        """One line of the table."""
        self.wrong += found != expected
        print(f"| {what} | {found} | {expected} | {'' if found == expected else '**differs**'} |")


async def main(folder: Path) -> None:
    """Print the comparison. Exit code 1 when a count differs."""
    parts, entries = expected_parts(folder), expected_entries(folder)
    print(f"{folder.name}: {machine()}\n\n| what | found | counted in the files | |\n|---|---:|---:|---|")
    counts = Counts()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "muster", "sandbox", "--port", "0", "--data", str(folder)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        line = await (process.stdout or asyncio.StreamReader()).readline()
        address = line.decode().strip().removeprefix("MUSTER_ATTIO_BASE_URL=")
        async with workspace(0) as (resources, project):
            settings = resources.settings.model_copy(update={"attio_base_url": address})
            await connection.connect(OWNER, project.id, SecretStr(KEY), settings)
            await import_and_compare(settings, project, parts, entries, counts)
            await compare_rules(project, parts, counts)
    finally:
        process.terminate()
        await process.communicate()
    sys.exit(1 if counts.wrong else 0)


async def import_and_compare(
    settings: Settings, project: Project, parts: Parts, entries: dict[str, list[str]], counts: Counts
) -> None:
    """Companies, people, every list; then all of it again."""
    bodies: dict[str, tuple[dict[str, Any], int, int]] = {}
    for source, name in (("companies", "company"), ("people", "person")):
        so_many = sum(name in part for part in parts.values())
        bodies[source] = {"source": source}, so_many, so_many
    for slug, parents in entries.items():
        bodies[slug] = {"source": "list", "list": slug}, len(parents), len(set(parents))
    for name, (body, records_, members) in bodies.items():
        started = time.perf_counter()
        job = await done(settings, {**body, "save_as_cohort": {"name": name}})
        seconds = time.perf_counter() - started
        result = job.result or {}
        counts.row(f"{name}: imported ({seconds:.1f} s)", result.get("imported"), records_)
        counts.row(f"{name}: failed", result.get("failed"), 0)
        cohort = await Cohort.get(result.get("cohort_id"))
        counts.row(f"{name}: members of its cohort", cohort.member_count if cohort else None, members)
        again = (await done(settings, body)).result or {}
        unchanged = {"imported": 0, "updated": 0, "unchanged": records_, "files": 0, "commit": None}
        counts.row(f"{name}: again", {key: again[key] for key in unchanged}, unchanged)
    root = settings.data_path / "projects" / project.id
    everything = sum(records_ for _, records_, _ in bodies.values())
    git = ["git", "-C", str(root), "rev-list", "--count", "HEAD"]
    commits = await asyncio.to_thread(subprocess.run, git, check=True, capture_output=True)
    counts.row("commits", int(commits.stdout), len(bodies))
    counts.row("files", sum(1 for _ in root.glob("attio/*/*.json")), everything)
    counts.row("metadata", await AttioImport.find({"project_id": project.id}).count(), everything)
    for part in ("company", "person"):
        found = await Profile.find({"project_id": project.id, part: {"$exists": True}}).count()
        counts.row(f"profiles with a {part}", found, sum(part in one for one in parts.values()))


async def compare_rules(project: Project, parts: Parts, counts: Counts) -> None:
    """Dynamic cohorts over what was imported, and every shared field of every part."""
    for rule, holds in RULES.items():
        cohort = await cohorts.create(OWNER, CohortIn(name=rule[:100], kind="dynamic", rule=rule))
        part = "person" if "person." in rule else "company"
        counts.row(f"`{rule}`", cohort.member_count, sum(part in one and holds(one[part]) for one in parts.values()))
    differing = 0
    async for profile in Profile.find({"project_id": project.id}):
        for part, values in parts[profile.pii_id].items():
            stored = json.loads(json.dumps(getattr(profile, part), default=lambda moment: f"{moment:%Y-%m-%d}"))
            differing += any(stored.get(name) != value for name, value in values.items() if value not in ([], ""))
    counts.row("profiles whose built-in fields differ", differing, 0)


async def done(settings: Settings, body: dict[str, Any]) -> Job:
    """An import, when it has ended."""
    job = await imports.begin(OWNER, ImportIn.model_validate(body), settings)
    await run_job(job.id, settings)
    return await Job.find_one({"_id": job.id}) or sys.exit(f"{job.id} is gone")


def expected_parts(folder: Path) -> Parts:
    """The parts of every profile, by pii_id, read from the lines without Muster's help."""
    names: dict[str, Any] = {}
    found: Parts = {}
    for record in records(folder / "companies.ndjson"):
        part = company(record)
        names[record["id"]["record_id"]] = part.get("name")
        found[pii_id(record)] = {"company": part}
    for record in records(folder / "people.ndjson"):
        found[pii_id(record)] = {"person": person_part(record, names)}
    return found


def expected_entries(folder: Path) -> dict[str, list[str]]:
    """The records that stand in each list."""
    return {
        one["api_slug"]: [entry["parent_record_id"] for entry in records(folder / f"{one['api_slug']}-entries.ndjson")]
        for one in records(folder / "lists.ndjson")
    }


if __name__ == "__main__":
    match [Path(argument) for argument in sys.argv[1:]]:
        case [directory] if (directory / "companies.ndjson").is_file() and (directory / "lists.ndjson").is_file():
            asyncio.run(main(directory))
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)
