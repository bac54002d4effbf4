"""Real records in a running Muster: are the counts exact, and how soon is a membership right after a change?

Reads `companies.ndjson` and `people.ndjson` of a folder, one record a line in the shape of Attio's API, and streams
them into a new project: companies as `company` parts, people as `person`, `lead` and `contact` parts. Then it creates
cohorts over them, compares each count with the same question asked in Python, and takes one lead out of a cohort and
back in. Finds the API as the command line does: MUSTER_HOST, MUSTER_PORT, MUSTER_TOKEN or the data folder.

usage: python -m benchmarks.real_records DIRECTORY
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from muster.records.commands import MEDIA_TYPES
from muster.terminal.client import Api, open_api

Line = dict[str, Any]
Record = Mapping[str, Any]

# What holds the value of an attribute; each of Attio's types has one of them.
HOLDERS = ("value", "full_name", "email_address", "phone_number", "domain", "currency_value")
LOCATION = {"city": "locality", "region": "region", "country": "country_code"}

COHORTS: dict[str, Callable[[Line], bool]] = {
    'company.country == "US" and "Health Care" in company.categories': lambda line: (
        line.get("company", {}).get("country") == "US" and "Health Care" in line["company"]["categories"]
    ),
    'company.founded_on < d"1900-01-01"': lambda line: line.get("company", {}).get("founded_on", "9") < "1900",
    'company.country != "US"': lambda line: "company" in line and line["company"].get("country") != "US",
    'lead.status == "new" and person.job_title == "Senator"': lambda line: (
        line.get("lead", {}).get("status") == "new" and line["person"].get("job_title") == "Senator"
    ),
    'person.region in ["CA", "TX"] and contact.phone != null': lambda line: (
        line.get("person", {}).get("region") in {"CA", "TX"} and "phone" in line["contact"]
    ),
    # A comprehension runs in Python, over all that have the part.
    '[e for e in person.emails if e.ends_with("@congress.example")].length > 0': lambda line: any(
        email.endswith("@congress.example") for email in line.get("person", {}).get("emails", ())
    ),
}
LIVE = 'lead.status == "new" and person.job_title == "Senator"'


def main(folder: Path) -> None:
    """Print what was imported, one row per cohort, and how long the changes took. Exit code 1 when a count differs."""
    lines = list(profiles(folder))
    with open_api() as api:
        project = api.post("/v1/projects", {"name": f"Real records of {folder.name}"})["id"]
        started = time.perf_counter()
        written = api.import_profiles(
            (json.dumps(line).encode() + b"\n" for line in lines), MEDIA_TYPES["ndjson"], project
        )
        print(f"{written['upserted']} profiles into {project} in {time.perf_counter() - started:.2f} s")
        for failed in written["failed"]:
            print(f"line {failed['line']}: {failed['detail']}")
        print("\n| rule | cohort | members | counted in Python | runs in | ms |\n|---|---|---|---|---|---|")
        wrong = written["failed_count"]
        for rule, holds in COHORTS.items():
            cohort = api.post("/v1/cohorts", {"name": rule, "kind": "dynamic", "rule": rule, "project_id": project})
            expected = sum(map(holds, lines))
            how = cohort["evaluation"]
            print(
                f"| `{rule}` | {cohort['id']} | {cohort['member_count']} | {expected} | {how['strategy']} "
                f"| {how['elapsed_ms']} |"
            )
            wrong += cohort["member_count"] != expected
            if rule == LIVE:
                live = cohort["id"]
        change_and_watch(api, project, live)
    sys.exit(1 if wrong else 0)


def change_and_watch(api: Api, project: str, cohort: str) -> None:
    """Take a member's lead out of the cohort and put it back, each time until the members say so."""
    pii_id = next(api.items(f"/v1/cohorts/{cohort}/members", limit=1))["pii_id"]
    print(f"\n{cohort}: {count(api, cohort)} members, {pii_id} among them")
    for status, present in (("lost", False), ("new", True)):
        api.call("PATCH", f"/v1/leads/{pii_id}", query={"project_id": project}, json={"status": status})
        acknowledged = time.perf_counter()
        while (pii_id in member_ids(api, cohort)) != present:
            if time.perf_counter() - acknowledged > 30:
                sys.exit(f"{cohort} has not followed the change of {pii_id} within 30 s: does the watcher run?")
        waited = (time.perf_counter() - acknowledged) * 1000
        print(
            f'status "{status}": {"in" if present else "out"}, {count(api, cohort)} members, '
            f"seen {waited:.0f} ms after the write was acknowledged"
        )


def count(api: Api, cohort: str) -> int:
    """The count that the cohort itself gives."""
    members: int = api.get(f"/v1/cohorts/{cohort}")["member_count"]
    return members


def member_ids(api: Api, cohort: str) -> set[str]:
    """Who is in."""
    return {member["pii_id"] for member in api.items(f"/v1/cohorts/{cohort}/members")}


def profiles(folder: Path) -> Iterator[Line]:
    """The records of a folder as lines of an import, companies first."""
    names: dict[str, Any] = {}  # of companies, for the people who refer to them
    for record in records(folder / "companies.ndjson"):
        names[record["id"]["record_id"]] = first(record, "name")
        yield {"pii_id": pii_id(record), "company": company(record)}
    for record in records(folder / "people.ndjson"):
        person = person_part(record, names)
        shared = ("name", "email", "phone", "country", "city", "job_title")
        yield {
            "pii_id": pii_id(record),
            "person": person,
            "lead": present(name=person.get("name"), status="new", source="attio", created_at=record["created_at"]),
            "contact": {name: person[name] for name in shared if name in person},
        }


def company(record: Record) -> Line:
    """A company's part."""
    return present(
        name=first(record, "name"),
        description=first(record, "description"),
        domains=every(record, "domains"),
        categories=every(record, "categories"),
        employee_range=first(record, "employee_range"),
        estimated_arr_usd=first(record, "estimated_arr_usd"),
        funding_raised_usd=number(first(record, "funding_raised_usd")),
        founded_on=first(record, "foundation_date"),
        **location(record),
    )


def person_part(record: Record, company_names: Mapping[str, Any]) -> Line:
    """A person's part."""
    employers = [company_names.get(str(value.get("target_record_id"))) for value in values(record, "company")]
    return present(
        name=first(record, "name"),
        email=first(record, "email_addresses"),
        emails=every(record, "email_addresses"),
        job_title=first(record, "job_title"),
        description=first(record, "description"),
        phone=first(record, "phone_numbers"),
        company_name=next((name for name in employers if name), None),
        **location(record),
    )


def records(file: Path) -> Iterator[Record]:
    """The records of a file, one a line."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def pii_id(record: Record) -> str:
    """How the profile of a record is called."""
    return f"attio:{record['id']['record_id']}"


def values(record: Record, attribute: str) -> list[Record]:
    """The values of an attribute: none when it is empty, null or absent."""
    return record["values"].get(attribute) or []


def plain(value: Record) -> Any:
    """What a value says, by the property that it has."""
    option = value.get("option")
    if option is not None:  # of a select; a bare id has no title
        return option["title"] if isinstance(option, dict) else option
    return next((value[name] for name in HOLDERS if value.get(name) is not None), None)


def every(record: Record, attribute: str) -> list[Any]:
    """All values of an attribute."""
    return [found for value in values(record, attribute) if (found := plain(value)) is not None]


def first(record: Record, attribute: str) -> Any:
    """The first value of an attribute, None without one."""
    return next(iter(every(record, attribute)), None)


def location(record: Record) -> Line:
    """City, region and country of the primary location, as far as they are known."""
    place: Record = next(iter(values(record, "primary_location")), {})
    return {name: place.get(held) for name, held in LOCATION.items()}


def number(amount: Any) -> float | None:
    """An amount of money, which Attio sometimes writes as text."""
    return None if amount is None else float(amount)


def present(**fields: Any) -> Line:
    """Only the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


if __name__ == "__main__":
    match [Path(argument) for argument in sys.argv[1:]]:
        case [directory] if (directory / "companies.ndjson").is_file() and (directory / "people.ndjson").is_file():
            main(directory)
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)
