"""The pages of the console, from request to the last byte, over many profiles and cohorts.

Beside it the straightforward way to make the list of cohorts: count the members of each of them, and look for its last
change, one cohort after the other.

usage: python -m benchmarks.console [PROFILES] [COHORTS] [ROUNDS]
"""

import asyncio
import sys

import httpx

from benchmarks.bench import OWNER, machine, median, milliseconds, workspace
from benchmarks.results import keep
from muster.agents import service as agents
from muster.agents.schemas import AgentIn
from muster.api.auth import issue_signin_code
from muster.app import create_app
from muster.cohorts import service
from muster.cohorts.documents import Change, Cohort, Membership, generation_id
from muster.cohorts.schemas import CohortIn
from muster.console.views import COHORTS_PER_PAGE
from muster.experiments import service as experiments
from muster.experiments.schemas import ExperimentIn
from muster.projects.documents import Project
from muster.records.documents import Profile
from muster.settings import Settings

ADDRESS = "http://muster.test"
AGENTS, EXPERIMENTS = 20, 50


async def main(profiles: int, cohorts: int, rounds: int) -> None:
    """Print one row per page, and keep them."""
    async with workspace(profiles) as (resources, project):
        for number in range(cohorts):
            rule = f"lead.score > {50 if number == 0 else 90 + number % 10} and lead.score != {number}"
            await service.create(OWNER, CohortIn(name=f"Cohort {number:03}", kind="dynamic", rule=rule))
        app = create_app(resources.settings)
        async with app.lifespan(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ADDRESS) as visitor:
            await visitor.get("/signin", params={"code": await issue_signin_code(OWNER)})
            first = await Cohort.find({"project_id": project.id}).sort("created_at").limit(1).to_list()
            largest = first[0]
            experiment = await _beside(project, largest.id, resources.settings)
            someone = await Profile.get_motor_collection().find_one({"project_id": project.id}) or {}
            lines = [
                "## Pages of the console",
                "",
                f"`python -m benchmarks.console`: {profiles:,} profiles, {cohorts} cohorts, median of {rounds};",
                f"{machine()}.",
                "",
                "| page | ms | 90 % within |",
                "|---|---:|---:|",
            ]
            pages = {
                "home": "/",
                "cohorts": "/cohorts",
                "cohorts, searched": "/cohorts?q=cohort+49",
                f"a cohort of {largest.member_count:,}": f"/cohorts/{largest.id}",
                "its entries and exits": f"/cohorts/{largest.id}/changes",
                "jobs": "/jobs",
                "a profile": "/profile?who=" + str(someone["pii_id"]),
                "what is imported of Attio": "/attio?tab=imported",
                "assign": f"/assign?cohort={largest.id}",
                "assignments": "/assignments",
                "agents": "/agents",
                "experiments": "/experiments",
                "a new experiment": f"/experiments/new?cohort={largest.id}",
                "an experiment": f"/experiments/{experiment}",
                "settings": "/settings",
                "fields": "/settings/fields",
                "webhooks": "/settings/webhooks",
            }
            took: dict[str, list[float]] = {name: [] for name in pages}
            by_counting = []
            for _ in range(rounds + 1):  # the first one warms up
                for name, address in pages.items():
                    took[name].append(await milliseconds(lambda address=address: _get(visitor, address)))
                by_counting.append(await milliseconds(lambda: _count_each(project.id)))
            for name, each in took.items():
                measured = sorted(each[1:])
                lines.append(f"| {name} | {median(measured):.0f} | {measured[int(len(measured) * 0.9)]:.0f} |")
            ratio = median(by_counting[1:]) / median(took["cohorts"][1:])
            lines += [
                f"| the numbers of the list alone, counted per cohort | {median(by_counting[1:]):.0f} | |",
                "",
                f"The whole list takes one part in {ratio:.1f} of counting its {COHORTS_PER_PAGE} cohorts one by one.",
            ]
        print("\n".join(lines))
        keep("\n".join(lines))


async def _beside(project: Project, cohort_id: str, settings: Settings) -> str:
    """Agents, and an experiment for each of fifty names; the id of the last one."""
    for number in range(AGENTS):
        await agents.put(
            project,
            f"agent-{number}",
            AgentIn(name=f"Agent {number}", daily_capacity=20).values(),
            revs=None,
            create=True,
            only_create=False,
        )
    made = [
        await experiments.create(OWNER, ExperimentIn(name=f"Experiment {number}", cohort_id=cohort_id), settings)
        for number in range(EXPERIMENTS)
    ]
    return made[-1].id


async def _get(visitor: httpx.AsyncClient, address: str) -> None:
    answer = await visitor.get(address)
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}")


async def _count_each(project_id: str) -> None:
    found = await Cohort.find({"project_id": project_id}).sort("created_at").limit(COHORTS_PER_PAGE).to_list()
    for cohort in found:
        if cohort.active is not None:
            generation = generation_id(cohort.id, cohort.active.number)
            await Membership.get_motor_collection().count_documents({"generation": generation, "in": True})
        await Change.get_motor_collection().find_one({"cohort": cohort.id}, sort=[("at", -1)])


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    asyncio.run(main(*given, *(200_000, 500, 20)[len(given) :]))
