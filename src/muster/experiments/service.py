"""Experiments as their owners see them: made, listed, changed, deleted, and who uses what."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection
from pymongo import ReturnDocument

from muster.api import etags
from muster.api.numbering import next_number
from muster.api.paging import decode_cursor, page_of
from muster.cohorts.documents import Cohort, Membership, generation_id
from muster.errors import Conflict, Invalid, NotFound, Problem
from muster.experiments.backends import check_choice
from muster.experiments.configuration import Configuration, fields_of, read
from muster.experiments.documents import CohortArm, Experiment, ExperimentRun, Persona
from muster.experiments.schemas import ExperimentIn, ExperimentPatch
from muster.jobs.documents import UNFINISHED, Job
from muster.projects.service import project_of
from muster.records.documents import Profile
from muster.records.registry import registry
from muster.settings import Settings
from muster.transactions import in_transaction

PREFIX = "EXP"
TAKERS = ("cohort_id", "arms", "members")
NAMED = 10  # experiments that an error names


async def create(owner: str, body: ExperimentIn, settings: Settings) -> Experiment:
    """A new experiment. Raises Invalid, pointing at what does not fit."""
    project = await project_of(owner, body.project_id)
    await _check_config(project.id, body.config, settings)
    now = _now()
    experiment = Experiment(
        id=await next_number(PREFIX),
        project_id=project.id,
        owner=owner,
        name=body.name,
        description=body.description,
        config=body.config.as_text(),
        created_at=now,
        updated_at=now,
        **await _takes(project.id, body, body.config),
    )
    await _experiments().insert_one(_stored(experiment))
    return experiment


async def experiment_of(owner: str, experiment_id: str) -> Experiment:
    """One experiment of an owner. Raises NotFound, also for another owner's."""
    found = await Experiment.find_one({"_id": experiment_id, "owner": owner})
    if found is None:
        raise NotFound(f"There is no experiment {experiment_id}.")
    return found


async def list_experiments(
    owner: str, *, project_id: str | None, cohort_id: str | None, limit: int, cursor: str | None
) -> tuple[list[Experiment], str | None]:
    """A page of a project's experiments, oldest first; of one cohort, if it is named."""
    project = await project_of(owner, project_id)
    query: dict[str, Any] = {"project_id": project.id}
    if cohort_id is not None:
        query["cohorts"] = cohort_id
    if cursor is not None:
        created_at, after = decode_cursor(cursor, datetime, str)
        query["$or"] = [{"created_at": {"$gt": created_at}}, {"created_at": created_at, "_id": {"$gt": after}}]
    found = _experiments().find(query, {"members": 0}).sort([("created_at", 1), ("_id", 1)]).limit(limit + 1)
    rows = [_read(stored) for stored in await found.to_list(None)]
    return page_of(rows, limit, lambda experiment: (experiment.created_at, experiment.id))


async def patch(
    owner: str,
    experiment_id: str,
    body: ExperimentPatch,
    settings: Settings,
    *,
    expected_revs: Collection[int] | None,
) -> Experiment:
    """Change what is given; runs that are frozen stay what they are. Raises Invalid, PreconditionFailed."""
    while True:
        experiment = await experiment_of(owner, experiment_id)
        if expected_revs is not None and experiment.rev not in expected_revs:
            raise etags.stale()
        given = body.model_fields_set
        values: dict[str, Any] = {name: getattr(body, name) for name in ("name", "description") if name in given}
        if "config" in given:
            await _check_config(experiment.project_id, body.config, settings)
            values["config"] = body.config.as_text()
        config = body.config if "config" in given else read(experiment.config)
        if _changes_takers(experiment, body):
            values |= await _takes(experiment.project_id, body, config)
        elif experiment.arms:
            _refuse_two_kinds_of_arms(config)
        changed = {name: value for name, value in values.items() if getattr(experiment, name) != value}
        if not changed:
            return experiment
        plain = {name: _plain(value) for name, value in changed.items()}
        found = await _experiments().find_one_and_update(
            {"_id": experiment_id, "owner": owner, "rev": experiment.rev},
            {"$set": {**plain, "updated_at": _now()}, "$inc": {"rev": 1}},
            return_document=ReturnDocument.AFTER,
        )
        if found is not None:
            return _read(found)


def _changes_takers(experiment: Experiment, body: ExperimentPatch) -> bool:
    """Whether somebody else shall be taken; what a GET answered and is sent back changes nobody."""
    given = [name for name in TAKERS if name in body.model_fields_set]
    if not given:
        return False
    arms = [CohortArm(name=arm.name, cohort_id=arm.cohort_id) for arm in body.arms or []]
    same = "members" not in given and body.cohort_id == experiment.cohort_id and arms == experiment.arms
    return not same


async def delete(owner: str, experiment_id: str, *, expected_revs: Collection[int] | None) -> None:
    """Delete an experiment with its runs and results. Raises Conflict while one is under way."""
    experiment = await experiment_of(owner, experiment_id)
    if expected_revs is not None and experiment.rev not in expected_revs:
        raise etags.stale()

    async def remove(session: AsyncIOMotorClientSession) -> None:
        query: dict[str, Any] = {"_id": experiment_id, "owner": owner}
        if expected_revs is not None:
            query["rev"] = {"$in": list(expected_revs)}
        gone = await _experiments().delete_one(query, session=session)
        if gone.deleted_count == 0:
            raise etags.stale()
        runs = ExperimentRun.get_motor_collection().find({"experiment": experiment_id}, {"job": 1}, session=session)
        jobs = [run["job"] for run in await runs.to_list(None)]
        busy = {"_id": {"$in": jobs}, "state": {"$in": list(UNFINISHED)}}
        under_way = await Job.get_motor_collection().find_one(busy, {"_id": 1}, session=session)
        if under_way is not None:
            raise Conflict(f"{experiment_id} is running ({under_way['_id']}); cancel that first.")

    await in_transaction(_experiments(), remove)
    runs = await ExperimentRun.get_motor_collection().distinct("_id", {"experiment": experiment_id})
    await Persona.get_motor_collection().delete_many({"run": {"$in": runs}})
    await ExperimentRun.get_motor_collection().delete_many({"_id": {"$in": runs}})


async def users_of(cohort_id: str) -> list[str]:
    """The experiments that take a cohort, in words: asked before the cohort is deleted."""
    found = await _experiments().find({"cohorts": cohort_id}, {"_id": 1}).limit(NAMED + 1).to_list(None)
    names = [f"the experiment {experiment['_id']}" for experiment in found[:NAMED]]
    return [*names, "others"] if len(found) > NAMED else names


async def holdings(project_id: str) -> list[str]:
    """What a project holds of experiments, in words."""
    count = await _experiments().count_documents({"project_id": project_id})
    return [f"{count:,} experiments" if count > 1 else "an experiment"] if count else []


async def taken_by(project_id: str, pii_ids: Sequence[str]) -> dict[str, list[str]]:
    """The experiments that take each of these profiles, or took it in a run; whom none takes is left out."""
    wanted = {"project_id": project_id, "pii_id": {"$in": list(pii_ids)}}
    profiles = await Profile.get_motor_collection().find(wanted, {"pii_id": 1}).to_list(None)
    found = await _takers(project_id, [profile["_id"] for profile in profiles])
    return {profile["pii_id"]: found[profile["_id"]] for profile in profiles if profile["_id"] in found}


async def experiment_ids_of(project_id: str, profile: ObjectId) -> list[str]:
    """The experiments that take a profile now, by a cohort or by hand, or that took it in a run."""
    return (await _takers(project_id, [profile])).get(profile, [])


async def _takers(project_id: str, profiles: Sequence[ObjectId]) -> dict[ObjectId, list[str]]:
    """The experiments of each of these profiles: by a run, by hand, or by a cohort that it is in."""
    ids, found = set(profiles), dict[ObjectId, set[str]]()
    per_run: list[dict[str, Any]] = [
        {"$match": {"profile": {"$in": list(ids)}}},
        {"$group": {"_id": {"profile": "$profile", "experiment": "$experiment"}}},
    ]
    async for group in Persona.get_motor_collection().aggregate(per_run):
        found.setdefault(group["_id"]["profile"], set()).add(group["_id"]["experiment"])
    async for experiment in _experiments().find({"members": {"$in": list(ids)}}, {"members": 1}):
        for profile in ids.intersection(experiment["members"]):
            found.setdefault(profile, set()).add(experiment["_id"])
    by_cohort: dict[str, list[str]] = {}
    async for experiment in _experiments().find({"project_id": project_id, "cohorts": {"$ne": []}}, {"cohorts": 1}):
        for cohort_id in experiment["cohorts"]:
            by_cohort.setdefault(cohort_id, []).append(experiment["_id"])
    cohorts = Cohort.get_motor_collection().find(
        {"_id": {"$in": list(by_cohort)}, "active": {"$ne": None}}, {"active.number": 1}
    )
    generations = {generation_id(cohort["_id"], cohort["active"]["number"]): cohort["_id"] async for cohort in cohorts}
    rows = {"profile": {"$in": list(ids)}, "generation": {"$in": list(generations)}, "in": True}
    async for row in Membership.get_motor_collection().find(rows, {"_id": 0, "profile": 1, "generation": 1}):
        found.setdefault(row["profile"], set()).update(by_cohort[generations[row["generation"]]])
    return {profile: sorted(each, key=lambda number: (len(number), number)) for profile, each in found.items()}


async def _check_config(project_id: str, config: Configuration, settings: Settings) -> None:
    fields_of(config.personas, await registry(project_id))
    await check_choice(config, settings)


async def _takes(project_id: str, body: ExperimentIn | ExperimentPatch, config: Configuration) -> dict[str, Any]:
    """Whom a new or changed experiment takes, as it is stored. Raises Invalid."""
    given = [name for name in TAKERS if getattr(body, name)]
    if len(given) > 1:
        problems = [Problem("Give one of these.", f"/{name}") for name in given]
        raise Invalid("Personas come from a cohort, from cohorts as arms, or from a list.", problems)
    arms = [CohortArm(name=arm.name, cohort_id=arm.cohort_id) for arm in body.arms or []]
    if arms and (len(arms) < 2 or len({arm.name for arm in arms}) < len(arms)):
        raise Invalid(
            "The arms do not fit.", [Problem("Give two or more cohorts, each under a name of its own.", "/arms")]
        )
    if arms:
        _refuse_two_kinds_of_arms(config)
    named = {f"/arms/{place}/cohort_id": arm.cohort_id for place, arm in enumerate(arms)}
    if body.cohort_id is not None:
        named["/cohort_id"] = body.cohort_id
    if len(set(named.values())) < len(named):
        raise Invalid("The arms do not fit.", [Problem("A cohort stands here twice.", "/arms")])
    await _refuse_unknown_cohorts(project_id, named)
    by_hand = body.members is not None and not named
    picked = await _picked(project_id, body.members or []) if by_hand else None
    return {
        "cohort_id": body.cohort_id,
        "arms": arms,
        "cohorts": sorted(named.values()),
        "members": picked or [],
        "member_count": None if picked is None else len(picked),
    }


def _refuse_two_kinds_of_arms(config: Configuration) -> None:
    if config.personas.arms:
        problem = Problem("The cohorts are the arms already.", "/config/personas/arms")
        raise Invalid("Arms come from cohorts, or from a split of one cohort.", [problem])


async def _refuse_unknown_cohorts(project_id: str, named: dict[str, str]) -> None:
    query = {"_id": {"$in": list(named.values())}, "project_id": project_id}
    known = {found["_id"] async for found in Cohort.get_motor_collection().find(query, {"_id": 1})}
    problems = [
        Problem(f"There is no cohort {cohort_id!r} in {project_id}.", pointer)
        for pointer, cohort_id in named.items()
        if cohort_id not in known
    ]
    if problems:
        raise Invalid(problems[0].detail, problems)


async def _picked(project_id: str, members: Sequence[str]) -> list[ObjectId]:
    """The profiles of a list, everybody once, in its order. Raises Invalid naming those that are nobody's."""
    wanted = {"project_id": project_id, "pii_id": {"$in": list(members)}}
    known = {
        found["pii_id"]: found["_id"] async for found in Profile.get_motor_collection().find(wanted, {"pii_id": 1})
    }
    problems = [
        Problem(f"There is no profile {pii_id!r} in {project_id}.", f"/members/{place}")
        for place, pii_id in enumerate(members)
        if pii_id not in known
    ]
    if problems:
        raise Invalid(f"{len(problems)} of the {len(members)} members are not known.", problems[:100])
    return list(dict.fromkeys(known[pii_id] for pii_id in members))


def _stored(experiment: Experiment) -> dict[str, Any]:
    stored: dict[str, Any] = experiment.model_dump(by_alias=True, exclude={"revision_id"})
    return stored


def _plain(value: Any) -> Any:
    return (
        [arm.model_dump() if isinstance(arm, CohortArm) else arm for arm in value] if isinstance(value, list) else value
    )


def _read(stored: dict[str, Any]) -> Experiment:
    read: Experiment = Experiment.model_validate(stored)
    return read


def _now() -> datetime:
    """In whole milliseconds, as MongoDB keeps it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _experiments() -> AsyncIOMotorCollection[dict[str, Any]]:
    return Experiment.get_motor_collection()
