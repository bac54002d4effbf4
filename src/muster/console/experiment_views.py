"""What the pages of experiments show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muster.cohorts import members
from muster.cohorts.documents import Cohort
from muster.cohorts.schemas import MemberOut
from muster.errors import Conflict
from muster.experiments import results, run_service, service
from muster.experiments.backends import check_settings
from muster.experiments.configuration import Configuration, read
from muster.experiments.documents import Experiment, ExperimentRun
from muster.experiments.results import Group, Summary
from muster.experiments.schemas import ResultOut, RunOut
from muster.jobs.documents import Job
from muster.jobs.schemas import JobOut, job_out
from muster.projects.documents import Project
from muster.settings import Settings

EXPERIMENTS_PER_PAGE = 50
RUNS_PER_PAGE = 20
RESULTS_PER_PAGE = 50
FIRST_MEMBERS = 5
MEASURES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Row:
    """An experiment in a list, with the newest of its runs."""

    id: str
    name: str
    description: str
    cohort_id: str | None
    takers: "Takers"
    last_run: RunOut | None


@dataclass(frozen=True, slots=True)
class Takers:
    """Who takes part: cohorts, each with the name of its arm where it is one; else a number of profiles, or made up."""

    cohorts: Sequence[tuple[str | None, Cohort]]
    picked: int | None
    made_up: int | None

    @property
    def count(self) -> int | None:
        """How many there are before a sample is taken of them; None where nobody knows."""
        if self.cohorts:
            return sum(cohort.member_count for _arm, cohort in self.cohorts)
        return self.picked if self.picked is not None else self.made_up


@dataclass(frozen=True, slots=True)
class ExperimentList:
    """A page of a project's experiments, the oldest first."""

    rows: Sequence[Row]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Detail:
    """One experiment with its runs, the newest first. `nowhere` says why a run cannot be sent."""

    experiment: Experiment
    config: Configuration
    takers: Takers
    runs: Sequence[RunOut]
    next_cursor: str | None
    nowhere: str | None


@dataclass(frozen=True, slots=True)
class RunDetail:
    """One run, its job, and a page of what came of it."""

    experiment: Experiment
    run: RunOut
    job: JobOut | None
    results: Sequence[ResultOut]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Bar:
    """The mean of a measure in one arm, on the scale of all arms: from 0, or from the lowest below it, to `most`."""

    arm: str | None
    count: int
    mean: float
    deviation: float | None


@dataclass(frozen=True, slots=True)
class MeasureChart:
    """A number that results carry, arm by arm. All bars go from `least` to `most`."""

    name: str
    bars: Sequence[Bar]
    least: float
    most: float


async def experiment_list(project: Project, *, cursor: str | None) -> ExperimentList:
    """A page of a project's experiments."""
    found, following = await service.list_experiments(
        project.owner, project_id=project.id, cohort_id=None, limit=EXPERIMENTS_PER_PAGE, cursor=cursor
    )
    cohorts = await _cohorts({cohort_id for experiment in found for cohort_id in experiment.cohorts})
    newest = await _newest_runs([experiment.id for experiment in found])
    rows = [
        Row(
            experiment.id,
            experiment.name,
            experiment.description,
            experiment.cohort_id,
            _takers(experiment, cohorts),
            newest.get(experiment.id),
        )
        for experiment in found
    ]
    return ExperimentList(rows, following)


async def _newest_runs(experiment_ids: Sequence[str]) -> dict[str, RunOut]:
    """The newest run of each; MongoDB jumps through the index, one look per experiment."""
    newest = ExperimentRun.get_motor_collection().aggregate(
        [
            {"$match": {"experiment": {"$in": list(experiment_ids)}}},
            {"$sort": {"experiment": 1, "created_at": -1, "_id": -1}},
            {"$group": {"_id": "$experiment", "run": {"$first": "$_id"}}},
        ]
    )
    ids = [found["run"] async for found in newest]
    runs = await ExperimentRun.find({"_id": {"$in": ids}}).to_list()
    jobs = {job.id: job async for job in Job.find({"_id": {"$in": [run.job for run in runs]}})}
    return {run.experiment: RunOut.of(run, jobs.get(run.job)) for run in runs}


async def takers_of(experiment: Experiment) -> Takers:
    """Who takes part in an experiment."""
    return _takers(experiment, await _cohorts(set(experiment.cohorts)))


def _takers(experiment: Experiment, cohorts: Mapping[str, Cohort]) -> Takers:
    named: list[tuple[str | None, str]] = [(arm.name, arm.cohort_id) for arm in experiment.arms]
    if experiment.cohort_id is not None:
        named = [(None, experiment.cohort_id)]
    return Takers(
        [(arm, cohorts[cohort_id]) for arm, cohort_id in named if cohort_id in cohorts],
        experiment.member_count,
        read(experiment.config).personas.count,
    )


async def _cohorts(ids: set[str]) -> dict[str, Cohort]:
    return {cohort.id: cohort for cohort in await Cohort.find({"_id": {"$in": sorted(ids)}}).to_list()}


async def first_members(cohort: Cohort) -> Sequence[MemberOut]:
    """The first few of a cohort, for whoever chooses it; nobody while its first evaluation runs."""
    if cohort.active is None:
        return []
    found, _ = await members.page(cohort.owner, cohort.id, order="joined", limit=FIRST_MEMBERS, cursor=None)
    return found


async def detail(owner: str, experiment_id: str, settings: Settings, *, cursor: str | None) -> Detail:
    """One experiment with a page of its runs. Raises NotFound, also for another owner's."""
    experiment = await service.experiment_of(owner, experiment_id)
    runs, following = await run_service.list_runs(owner, experiment_id, limit=RUNS_PER_PAGE, cursor=cursor)
    config = read(experiment.config)
    nowhere = None
    try:
        check_settings(config, settings)
    except Conflict as refused:
        nowhere = refused.detail
    return Detail(
        experiment,
        config,
        await takers_of(experiment),
        [RunOut.of(run, job) for run, job in runs],
        following,
        nowhere,
    )


async def run_detail(
    owner: str, experiment_id: str, run_id: str, *, arm: str, state: str, cursor: str | None
) -> RunDetail:
    """One run with a page of its results, of one arm or state where they are named. Raises NotFound."""
    experiment = await service.experiment_of(owner, experiment_id)
    run = await run_service.run_of(owner, experiment_id, run_id)
    job = await run_service.job_of_run(run)
    rows, following = await results.page(
        run, state=state or None, arm=arm or None, limit=RESULTS_PER_PAGE, cursor=cursor
    )
    return RunDetail(
        experiment,
        RunOut.of(run, job),
        job_out(job) if job else None,
        [ResultOut.of(row) for row in rows],
        following,
    )


def charts_of(found: Summary) -> list[MeasureChart]:
    """A chart for each number that results carry, with a bar for each arm; one bar where there are no arms."""
    groups: Mapping[str | None, Group] = dict(sorted(found.arms.items())) or {None: found.everybody}
    charts = []
    for name in list(found.everybody.measures)[:MEASURES_SHOWN]:
        measured = {arm: group.measures[name] for arm, group in groups.items() if name in group.measures}
        bars = [Bar(arm, each.count, each.mean, each.deviation) for arm, each in measured.items()]
        ends = [bar.mean + side * (bar.deviation or 0.0) for bar in bars for side in (-1, 1)]
        charts.append(MeasureChart(name, bars, least=min(0.0, *ends), most=max(0.0, *ends)))
    return charts


def states_of(found: Summary) -> list[tuple[str | None, int, Mapping[str, int]]]:
    """For each arm how many results it has, and how many in which state."""
    groups: Mapping[str | None, Group] = dict(sorted(found.arms.items())) or {None: found.everybody}
    return [(arm, group.count, dict(sorted(group.states.items()))) for arm, group in groups.items()]
