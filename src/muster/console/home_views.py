"""What the first page shows."""

from collections.abc import Sequence
from dataclasses import dataclass

from muster.cohorts.documents import Cohort
from muster.console import views
from muster.console.views import CohortRow, Watching
from muster.jobs.documents import UNFINISHED, Job
from muster.jobs.service import list_jobs
from muster.projects.documents import Project

COHORTS_SHOWN = 12
COHORTS_LOOKED_AT = 1_000
JOBS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Home:
    """The live part of the first page: the cohorts that changed last, how many there are, what runs now."""

    rows: Sequence[CohortRow]
    cohort_count: int
    jobs: Sequence[Job]
    watching: Watching


async def home(project: Project) -> Home:
    """What goes on in a project."""
    newest = await _changed_last(project)
    found = await Cohort.find({"_id": {"$in": newest}}).to_list()
    rows = sorted(await views.rows_of(found), key=lambda row: (row.changed_at, row.id), reverse=True)
    jobs, _ = await list_jobs(project.owner, project_id=project.id, states=tuple(UNFINISHED), limit=JOBS_SHOWN)
    count = await Cohort.find({"project_id": project.id}).count()
    return Home(rows, count, jobs, await views.watching())


async def _changed_last(project: Project) -> list[str]:
    """The cohorts, or members of whose, changed last; of the newest ones where there are very many."""
    newest = Cohort.get_motor_collection().find({"project_id": project.id}, {"updated_at": 1})
    found = await newest.sort("created_at", -1).limit(COHORTS_LOOKED_AT).to_list(None)
    changed = {cohort["_id"]: cohort["updated_at"] for cohort in found}
    for cohort_id, at in (await views.last_changes(list(changed))).items():
        changed[cohort_id] = max(at, changed[cohort_id])
    return sorted(changed, key=lambda cohort_id: (changed[cohort_id], cohort_id), reverse=True)[:COHORTS_SHOWN]


async def sparks(shown: Home) -> dict[str, list[int]]:
    """The sizes of the shown cohorts over the last day."""
    cohorts = await Cohort.find({"_id": {"$in": [row.id for row in shown.rows]}}).to_list()
    return await views.sparks_of(cohorts)
