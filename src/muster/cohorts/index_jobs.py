"""Building the indexes that rules would gain by, as a job, and dropping those that no rule speaks of any more."""

from collections.abc import Sequence
from typing import Any

from muster.cohorts.index_advice import Advice
from muster.cohorts.jobs import run_here_or_wait
from muster.errors import Conflict, Invalid, Problem
from muster.jobs.documents import Job
from muster.jobs.service import Cancelled, claim, create_job
from muster.projects.documents import Project
from muster.projects.service import list_projects, project_of
from muster.records.documents import Profile
from muster.records.indexes import drop_field_index, ensure_field_index

PREFIX, KIND = "IDX", "index"
MOST_PROJECTS = 1_000


async def projects_of(owner: str, project_id: str | None, *, every: bool) -> list[Project]:
    """The project to look at, or all of an owner's."""
    return await list_projects(owner, None, MOST_PROJECTS) if every else [await project_of(owner, project_id)]


async def drop_unused(advice: Sequence[Advice]) -> list[str]:
    """Drop the indexes that no rule of anybody's dynamic cohort speaks of; their fields."""
    return [each.field for each in advice if each.state == "unused" and await drop_field_index(each.field)]


def chosen(advice: Sequence[Advice], fields: Sequence[str] | None) -> list[str]:
    """The fields to build indexes on: those suggested, or those named. Raises Invalid for one of no use to any rule."""
    if fields is None:
        return [each.field for each in advice if each.state == "suggested"]
    usable = {each.field for each in advice if each.cohorts}
    problems = [
        Problem(f"No rule of these cohorts could use an index on {name}.", pointer=f"/fields/{index}")
        for index, name in enumerate(fields)
        if name not in usable
    ]
    if problems:
        raise Invalid("An index is built where a rule can use it.", problems)
    return list(dict.fromkeys(fields))


async def build(project: Project, fields: Sequence[str]) -> Job:
    """Build indexes; the answer is the job, ended or still under way."""
    job = await create_job(PREFIX, KIND, project.id, project.owner, {"fields": list(fields)})
    return await run_here_or_wait(job, here=True, run=run_job)


async def run_job(job_id: str) -> None:
    """Build the indexes that a job names, one after the other. Raises Busy or Done when the job is not to be had."""
    async with claim(job_id) as claimed:
        fields: list[str] = claimed.job.arguments["fields"]
        profiles = max(1, await Profile.get_motor_collection().estimated_document_count())
        result: dict[str, list[Any]] = {"created": [], "existed": [], "left_out": []}
        for position, name in enumerate(fields):

            async def report(read: int, before: int = position * profiles) -> None:
                await claimed.progress(before + min(read, profiles), len(fields) * profiles)

            try:
                await report(0)
                result["created" if await ensure_field_index(name, report) else "existed"].append(name)
            except Cancelled:
                await drop_field_index(name)  # which ends its build
                raise
            except Conflict as error:
                result["left_out"].append({"field": name, "detail": error.detail})
        claimed.result = result
