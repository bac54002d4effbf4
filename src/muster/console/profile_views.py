"""What the page of one profile shows: its parts, and what it takes part in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muster.agents.assignments import pipelines_of
from muster.agents.documents import Agent, Pipeline, Task
from muster.agents.tasks import tasks_of_lead
from muster.cohorts import members
from muster.cohorts.schemas import ProfileCohortOut
from muster.errors import NotFound
from muster.experiments.documents import Experiment
from muster.projects.documents import Project
from muster.records import service
from muster.records.addresses import contacts_with, normalised_address
from muster.records.documents import Profile
from muster.rules import PARTS

MOST_SHOWN = 200  # entries of a lead's history, tasks: a lead has a few


@dataclass(frozen=True, slots=True)
class ShownProfile:
    """A profile as its page shows it. `agents` are the names of those that `handed` and `tasks` mention."""

    pii_id: str
    name: str | None
    type: str
    rev: int
    parts: Mapping[str, Mapping[str, Any]]
    cohorts: Sequence[ProfileCohortOut]
    experiments: Mapping[str, str]
    handed: Sequence[Pipeline]
    tasks: Sequence[Task]
    agents: Mapping[str, str]


async def whose(project_id: str, who: str) -> list[str]:
    """The `pii_id`s meant by a `pii_id` or a contact's e-mail address."""
    try:
        return [(await service.profile(project_id, who)).pii_id]
    except NotFound:
        address = normalised_address(who)
        return sorted((await contacts_with(project_id, [address])).get(address, ())) if address else []


async def name_of(project_id: str, pii_id: str) -> str | None:
    """The name of a profile, where any of its parts tells one. Raises NotFound."""
    profile = await service.profile(project_id, pii_id)
    return members.name_and_type(profile.model_dump(include=set(PARTS), exclude_none=True))[0]


async def shown_profile(project: Project, pii_id: str) -> ShownProfile:
    """Everything about one profile. Raises NotFound."""
    profile = await service.profile(project.id, pii_id)
    stored = profile.model_dump(include=set(PARTS), exclude_none=True)
    name, kind = members.name_and_type(stored)
    handed, _ = await pipelines_of(project.id, pii_id, limit=MOST_SHOWN, cursor=None)
    tasks, _ = await tasks_of_lead(profile.id, limit=MOST_SHOWN, cursor=None)
    return ShownProfile(
        pii_id=pii_id,
        name=name,
        type=kind,
        rev=profile.rev,
        parts={part: dict(sorted(stored[part].items())) for part in PARTS if part in stored},
        cohorts=await members.cohorts_of_profile(project.id, pii_id),
        experiments=await _experiments_of(profile),
        handed=handed[::-1],
        tasks=tasks,
        agents=await _names_of(project, {each.agent_id for each in (*handed, *tasks)}),
    )


async def _experiments_of(profile: Profile) -> dict[str, str]:
    ids = await service.experiments_of(profile)
    found = await Experiment.find({"_id": {"$in": ids}}).sort("created_at", "_id").to_list()
    return {experiment.id: experiment.name for experiment in found}


async def _names_of(project: Project, agent_ids: set[str]) -> dict[str, str]:
    found = await Agent.find({"project_id": project.id, "agent_id": {"$in": sorted(agent_ids)}}).to_list()
    return {agent.agent_id: agent.name for agent in found}
